//! `pgweir-soak`: random session work by many clients over few servers, compared with direct twins.

use clap::Parser;
use pgweir_tests::soak::{Options, prepare, replay, run, weir};
use pgweir_tests::{Cluster, HarnessError};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Starts a cluster and pgweir, lets clients work, and compares each answer with that of a direct
/// connection. Exit status: 0 when all were equal, nobody was stuck and memory stayed flat.
///
/// Example: pgweir-soak --clients 1000 --servers 20 --seconds 600
#[derive(Parser, Debug)]
#[command(name = "pgweir-soak")]
struct Arguments {
    /// The pgweir binary; otherwise the one beside this program.
    #[arg(long)]
    pgweir: Option<PathBuf>,
    /// Clients at once.
    #[arg(long, default_value_t = 1000)]
    clients: u32,
    /// Server connections per node, at most.
    #[arg(long, default_value_t = 20)]
    servers: i64,
    /// How long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Longest pause of a client, milliseconds.
    #[arg(long, default_value_t = 2000)]
    think: u64,
    /// For repeatable scripts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nothing but messages of the protocol in random order, most of them mistakes.
    #[arg(long)]
    only_chatter: bool,
    /// Plays this script alone, as the client whose number is told by `--clients`, and shows all answers.
    #[arg(long)]
    script: Option<u64>,
}

fn main() -> ExitCode {
    match soak(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: &Arguments) -> Result<(), HarnessError> {
    let program = match &arguments.pgweir {
        Some(path) => path.clone(),
        None => pgweir_tests::weir::program()?,
    };
    let cluster = Cluster::builder().setting("max_connections", "300").start()?;
    prepare(&cluster)?;
    let weir = weir(&cluster, arguments.servers).program(&program).start()?;
    if let Some(seed) = arguments.script {
        print!("{}", replay(&cluster, &weir, arguments.clients, seed, arguments.only_chatter)?);
        return Ok(());
    }
    let options = Options {
        clients: arguments.clients,
        time: Duration::from_secs(arguments.seconds),
        think: Duration::from_millis(arguments.think),
        seed: arguments.seed,
        only_chatter: arguments.only_chatter,
    };
    let report = run(&cluster, &weir, &options)?;
    println!(
        "{} lives, {} answers compared, {} faults; memory {} MiB after a third of the time, {} MiB at the end",
        report.lives,
        report.answers,
        report.faults_seen,
        report.memory_early >> 20,
        report.memory_late >> 20
    );
    let (longest, step) = &report.longest;
    println!("longest wait for an answer: {longest:.1?}, to {step}");
    for (reason, count) in &report.held {
        println!("{reason:>20} {count:6.2} on average");
    }
    report.verdict()
}
