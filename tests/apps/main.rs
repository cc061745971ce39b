//! `pgweir-apps`: real applications, unchanged, directly and through pgweir.

mod application;
mod applications;
mod counted;
mod install;
mod judge;
mod model;
mod page;
mod reads;
mod run;
mod stage;
mod walked;

use application::Application;
use clap::{Parser, ValueEnum};
use pgweir_tests::HarnessError;
use run::{Outcome, Run};
use stage::{Mode, Stage};
use std::path::PathBuf;
use std::process::ExitCode;

/// Installs applications under target/apps (once), and has a small walk write, read back at once, change
/// and delete through each one's own interface: directly, through pgweir with replicas in step, and with
/// replicas 200 ms late. Exit status: 0 when pgweir gave no error and no stale read that a direct connection
/// does not give, and each walk saw the staleness of `eventual`; 1 when not; 2 when something could not be run.
#[derive(Parser, Debug)]
#[command(name = "pgweir-apps")]
struct Arguments {
    /// These applications; all without this.
    #[arg(long)]
    only: Vec<String>,
    /// These runs; all without this.
    #[arg(long, value_enum)]
    run: Vec<Mode>,
    /// How often each user of an application goes the walk.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Users at once.
    #[arg(long, default_value_t = 2)]
    users: u32,
    /// Where the page goes.
    #[arg(long, default_value = "tests/apps/RESULTS.md")]
    results: PathBuf,
    /// Prints the names of the applications.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        applications::ALL
            .iter()
            .for_each(|application| println!("{}: {}", application.name, application.what));
        return ExitCode::SUCCESS;
    }
    match all(&arguments) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| println!("wrong: {complaint}"));
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("pgweir-apps: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(arguments: &Arguments) -> Result<Vec<String>, HarnessError> {
    let wanted = wanted(&arguments.only)?;
    let modes = if arguments.run.is_empty() { Mode::value_variants() } else { &arguments.run };
    let pages = install::shelf()?.join("pages");
    let stage = Stage::start(arguments.rounds, arguments.users)?;
    let mut complaints = Vec::new();
    let mut failures = Vec::new();
    for application in wanted {
        match outcomes(&stage, application, modes) {
            Ok(outcomes) => {
                complaints.extend(run::complaints(application.name, &outcomes));
                page::keep(&pages, application, &outcomes)?;
                page::write(&pages, &arguments.results, &stage.version()?)?;
            }
            // The others are of use without it.
            Err(error) => failures.push(format!("{}: {error}", application.name)),
        }
    }
    match failures.is_empty() {
        true => Ok(complaints),
        false => Err(HarnessError::failed(failures.join("\n"))),
    }
}

fn wanted(only: &[String]) -> Result<Vec<&'static Application>, HarnessError> {
    if only.is_empty() {
        return Ok(applications::ALL.iter().collect());
    }
    let find = |name: &String| applications::ALL.iter().find(|application| application.name == name);
    only.iter()
        .map(|name| {
            find(name).ok_or_else(|| HarnessError::failed(format!("no application {name:?}; see --list")))
        })
        .collect()
}

fn outcomes(
    stage: &Stage,
    application: &'static Application,
    modes: &[Mode],
) -> Result<Vec<(Mode, Outcome)>, HarnessError> {
    println!("{}: {}", application.name, application.what);
    let installed = install::place(application.name)?;
    (application.install)(&installed)?;
    let model = run::model(stage, application, &installed)?;
    let mut outcomes: Vec<(Mode, Outcome)> = Vec::new();
    for mode in modes {
        let direct = outcomes.iter().find(|(mode, _)| *mode == Mode::Direct);
        let known = direct.map(|(_, outcome)| outcome.reads.clone());
        let outcome =
            run::run(stage, &Run { application, installed: &installed, model: &model, known }, *mode)?;
        println!("  {}: {outcome}", mode.word());
        outcome.notes().iter().for_each(|note| println!("    {note}"));
        outcomes.push((*mode, outcome));
    }
    stage.drop_database(&model)?;
    Ok(outcomes)
}
