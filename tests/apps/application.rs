//! What is to be known of an application: how it is installed, set up, served and walked.

use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::process::{self, Process};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, http};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long an application may take until it answers: some compile themselves, on two busy cores.
const START_TIME_MAX: Duration = Duration::from_secs(180);

/// One application from a registry. It is run as it comes; only the database's address is ours.
#[derive(Debug)]
pub struct Application {
    /// One word: of its directory, its database, its walk.
    pub name: &'static str,
    /// What it is, for the page.
    pub what: &'static str,
    /// Installs it in this directory, if it is not there yet.
    pub install: fn(&Path) -> Result<(), HarnessError>,
    /// Makes its tables in an empty database.
    pub set_up: fn(&Scene) -> Result<(), HarnessError>,
    /// How long that takes.
    pub effort: Effort,
    /// Starts it, and returns when it answers.
    pub serve: fn(&Scene) -> Result<Vec<Process>, HarnessError>,
    /// The Python that walks, and what else the walk is told.
    pub walker: fn(&Scene) -> Command,
    /// What holds reads on the primary, in words, for the page.
    pub note: &'static str,
}

/// How long it takes to set an application up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// It is done anew each time, in one run through pgweir as well.
    Seconds,
    /// It is done once, directly, and what it made is kept.
    Minutes,
}

/// Where an application plays during one run.
#[derive(Debug)]
pub struct Scene {
    /// The database of this run, directly or through pgweir.
    pub login: Login,
    /// Where it is installed.
    pub installed: PathBuf,
    /// A directory of this run: configuration, logs.
    pub place: PathBuf,
    /// Where it listens.
    pub port: u16,
    /// A second port, for those that need one.
    pub other_port: u16,
}

impl Scene {
    /// Its address for browsers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes a file of its configuration.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, HarnessError> {
        let file = self.place.join(name);
        std::fs::write(&file, text).map_err(|error| HarnessError::Io(format!("writing {name}"), error))?;
        Ok(file)
    }

    /// A program of the Python environment in which it is installed.
    pub fn python(&self, program: &str) -> Command {
        let mut command = Command::new(self.installed.join("venv/bin").join(program));
        command.current_dir(&self.place);
        command
    }

    /// Node with this file of the application's packages.
    pub fn node(&self, file: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.installed.join("node_modules").join(file)).current_dir(&self.place);
        command
    }

    /// Starts one of its programs; what it says is kept in a file of this name.
    pub fn spawn(&self, command: Command, name: &str) -> Result<Process, HarnessError> {
        Process::spawn(command, &self.place.join(format!("{name}.log")), "TERM")
    }

    /// Runs one of its programs to its end.
    pub fn run(&self, command: Command) -> Result<(), HarnessError> {
        process::run(command).map(drop)
    }

    /// Starts a server and waits until it answers this path with a status below 500.
    pub fn spawn_answering(&self, command: Command, name: &str, path: &str) -> Result<Process, HarnessError> {
        let mut process = self.spawn(command, name)?;
        let address = format!("127.0.0.1:{}", self.port);
        let mut ended = None;
        let answered = wait_until_within(START_TIME_MAX, &format!("{name} answers {path}"), || {
            ended = process.ended();
            ended.is_some() || http::get(&address, path).is_ok_and(|answer| answer.status < 500)
        });
        match (answered, ended) {
            (Ok(()), None) => Ok(process),
            (Err(error), _) => Err(HarnessError::failed(format!("{error}:\n{}", self.log_end(name)))),
            (Ok(()), Some(status)) => {
                Err(HarnessError::failed(format!("{name} ended with {status}:\n{}", self.log_end(name))))
            }
        }
    }

    fn log_end(&self, name: &str) -> String {
        const LINES: usize = 30;
        let log = std::fs::read(self.place.join(format!("{name}.log"))).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// The walk's Python where nothing but the standard library is needed.
pub fn plain_walker(_: &Scene) -> Command {
    Command::new("python3")
}
