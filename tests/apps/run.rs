//! One application, one walk, one way to its database.

use crate::application::{Application, Effort, Scene};
use crate::counted::{Counts, Gained, spelled};
use crate::install;
use crate::model;
use crate::reads::{Mark, Reads};
use crate::stage::{Mode, Stage};
use crate::walked::Walked;
use pgweir_tests::process::{self, Process};
use pgweir_tests::{HarnessError, Weir, ports, scratch};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the walk has seen.
    pub walked: Walked,
    /// Where the application's reads ran.
    pub reads: Reads,
    /// pgweir's counts; none where the application went to the primary itself.
    pub gained: Option<Gained>,
    /// The most sessions that kept their server at once, by reason.
    pub pins: Counts,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Walked { steps, errors, stale, .. } = self.walked;
        let Reads { replicas, after_write, kept, .. } = &self.reads;
        write!(f, "{steps} steps, {errors} errors, {stale} stale, {} reads: ", self.reads.all())?;
        write!(f, "{replicas} on replicas, {after_write} after a write of their transaction, {kept} kept")
    }
}

impl Outcome {
    /// What the person who waits may want to see.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.walked.notes.clone();
        if let Some(gained) = &self.gained {
            notes.push(format!("primary: {}", spelled(&gained.primary)));
            notes.push(format!("pins: {}; caught: {}", spelled(&self.pins), spelled(&gained.caught)));
        }
        notes
    }
}

/// What pgweir must not have done to this application.
pub fn complaints(name: &str, outcomes: &[(Mode, Outcome)]) -> Vec<String> {
    let direct = outcomes.iter().find(|(mode, _)| *mode == Mode::Direct);
    let (errors, stale) = direct.map_or((0, 0), |(_, direct)| (direct.walked.errors, direct.walked.stale));
    let mut complaints = Vec::new();
    for (mode, Outcome { walked, .. }) in outcomes {
        let word = mode.word();
        if *mode == Mode::Eventual {
            // An application that trips over what it does not find has noticed as well.
            if walked.stale <= stale && walked.errors <= errors {
                complaints
                    .push(format!("{name}, {word}: the walk noticed nothing, so it would never notice"));
            }
            continue;
        }
        if *mode == Mode::Direct && errors > 0 {
            complaints.push(format!("{name}, {word}: {errors} errors, so its walk is no measure"));
        }
        if walked.errors > errors {
            complaints.push(format!("{name}, {word}: {} errors, {errors} directly", walked.errors));
        }
        if walked.stale > stale {
            complaints.push(format!("{name}, {word}: {} stale reads, {stale} directly", walked.stale));
        }
    }
    complaints
}

/// Makes the database that the runs' own are copies of.
pub fn model(stage: &Stage, application: &Application, installed: &Path) -> Result<String, HarnessError> {
    let database = format!("{}_model", application.name);
    stage.set_replicas(Mode::Direct)?;
    stage.make_database(&database, None)?;
    model::fill(stage, application, &scene(stage, None, installed, &database)?)?;
    Ok(database)
}

/// What all runs of an application share.
#[derive(Debug)]
pub struct Run<'a> {
    /// Whose they are.
    pub application: &'a Application,
    /// Where it is installed.
    pub installed: &'a Path,
    /// The database that theirs are copies of.
    pub model: &'a str,
    /// What it reads directly.
    pub known: Option<Reads>,
}

/// Starts the application in this mode, walks, and counts.
pub fn run(stage: &Stage, run: &Run, mode: Mode) -> Result<Outcome, HarnessError> {
    let application = run.application;
    let database = format!("{}_{mode:?}", application.name).to_lowercase();
    // Tables that are made through pgweir while its replicas are late are a walk of their own.
    let fresh = mode == Mode::Late && application.effort == Effort::Seconds;
    stage.make_database(&database, (!fresh).then_some(run.model))?;
    stage.set_replicas(mode)?;
    let weir = stage.weir(mode)?;
    let scene = scene(stage, weir.as_ref(), run.installed, &database)?;
    if fresh {
        (application.set_up)(&scene)?;
    }
    let mut running = (application.serve)(&scene)?;
    let mut outcome = walk(stage, run, &scene, weir.as_ref());
    for status in running.iter_mut().filter_map(Process::ended) {
        // Its words are in the logs.
        if let Ok(outcome) = &mut outcome {
            outcome.walked.error(format!("the application ended by itself: {status}"));
        }
    }
    drop(running);
    keep_logs(&scene, weir.as_ref(), &format!("{}-{mode:?}", application.name).to_lowercase())?;
    drop(weir);
    stage.set_replicas(Mode::Direct)?;
    stage.drop_database(&database)?;
    outcome
}

/// What the application and pgweir have said is of use after a run, too: target/apps/logs.
fn keep_logs(scene: &Scene, weir: Option<&Weir>, name: &str) -> Result<(), HarnessError> {
    let failed = |error| HarnessError::Io(format!("keeping the logs of {name}"), error);
    let logs = install::shelf()?.join("logs").join(name);
    std::fs::create_dir_all(&logs).map_err(failed)?;
    let files = std::fs::read_dir(&scene.place).map_err(failed)?.flatten().map(|file| file.path());
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "log")) {
        std::fs::copy(&file, logs.join(file.file_name().unwrap_or_default())).map_err(failed)?;
    }
    let said = weir.map(Weir::log).unwrap_or_default();
    std::fs::write(logs.join("pgweir.log"), said).map_err(failed)
}

fn scene(
    stage: &Stage,
    weir: Option<&Weir>,
    installed: &Path,
    database: &str,
) -> Result<Scene, HarnessError> {
    Ok(Scene {
        login: stage.login(weir, database),
        installed: installed.to_owned(),
        place: scratch::directory()?,
        port: ports::free_port(),
        other_port: ports::free_port(),
    })
}

fn walk(stage: &Stage, run: &Run, scene: &Scene, weir: Option<&Weir>) -> Result<Outcome, HarnessError> {
    let mut command: Command = (run.application.walker)(scene);
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("apps/walks/{}_walk.py", run.application.name));
    command
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("WALK_URL", scene.url())
        .env("WALK_PORT", scene.other_port.to_string())
        .env("WALK_ROUNDS", stage.rounds.to_string())
        .env("WALK_USERS", stage.users.to_string());
    let mark = Mark::set(stage.cluster());
    let before = weir.map(Weir::metrics).transpose()?;
    let (output, pins) = watched(weir, || process::run(command))?;
    let after = weir.map(Weir::metrics).transpose()?;
    Ok(Outcome {
        walked: Walked::parse(&output)?,
        reads: mark.count(stage.cluster(), &scene.login.database, run.known.as_ref())?,
        gained: before.zip(after).map(|(before, after)| Gained::between(&before, &after)),
        pins,
    })
}

/// Does something while pins are looked at: they are a gauge, and gone afterwards.
fn watched(
    weir: Option<&Weir>,
    deed: impl FnOnce() -> Result<String, HarnessError>,
) -> Result<(String, Counts), HarnessError> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = Counts::new();
            while !over.load(Ordering::Relaxed) {
                let now = weir.and_then(|weir| weir.metrics().ok()).unwrap_or_default();
                for (reason, count) in now.by_label("pgweir_pinned_sessions", "reason") {
                    let most = most.entry(reason).or_default();
                    *most = (count as u64).max(*most);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            most.retain(|_, count| *count > 0);
            most
        });
        let output = deed();
        over.store(true, Ordering::Relaxed);
        let pins = watching.join().expect("reading metrics does not panic");
        output.map(|output| (output, pins))
    })
}
