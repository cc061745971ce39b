//! `pgweir-regress`: PostgreSQL's own test suites, directly and through pgweir, and what only pgweir loses.

mod suite;
mod verdict;

use clap::{Parser, ValueEnum};
use pgweir_tests::node::{SUPERUSER, SUPERUSER_PASSWORD};
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::path::PathBuf;
use std::process::ExitCode;
use suite::{Material, Run, Suite};
use verdict::{Explained, Verdicts};

/// Runs the regression schedule and the isolation specs against a direct connection and through
/// pgweir. Exit status: 0 when each test that is lost through pgweir is explained in
/// tests/regress/explained.txt.
///
/// Example: pgweir-regress --sources postgres-tests-15.18.tar.xz --mode session --suite regress
#[derive(Parser, Debug)]
#[command(name = "pgweir-regress")]
struct Arguments {
    /// PostgreSQL's `regress`, `isolation` and `spi` sources: a directory or an archive.
    #[arg(long, env = "PGWEIR_POSTGRES_TESTS")]
    sources: PathBuf,
    /// Where the differences of lost tests are kept.
    #[arg(long, default_value = "target/regress")]
    results: PathBuf,
    /// One pool mode only. By default the isolation specs run in session mode only: their tester looks for
    /// sessions that wait by the number of their log-in, which is pgweir's own where servers are shared.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// One suite only.
    #[arg(long, value_enum)]
    suite: Option<Suite>,
}

/// How pgweir shares its servers during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// As it does by default: a server goes back between transactions.
    Default,
    /// `pool.mode = "session"`.
    Session,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Mode::Default => "default",
            Mode::Session => "session",
        }
    }
}

fn main() -> ExitCode {
    match regress(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn regress(arguments: &Arguments) -> Result<bool, HarnessError> {
    let explained = Explained::read(include_str!("explained.txt"))?;
    let suites = arguments.suite.map_or(vec![Suite::Regress, Suite::Isolation], |one| vec![one]);
    let mut sound = true;
    for suite in suites {
        let direct = against(arguments, suite, None)?;
        println!("{} directly: {direct}", suite.word());
        for mode in arguments.mode.map_or(modes(suite), |one| vec![one]) {
            let through = against(arguments, suite, Some(mode))?;
            println!("{} through pgweir, {} mode: {through}", suite.word(), mode.word());
            for name in direct.lost_in(&through) {
                let reason = explained.reason(suite.word(), mode.word(), name);
                println!("  lost: {name}: {}", reason.unwrap_or("NOT EXPLAINED"));
                sound &= reason.is_some();
            }
        }
    }
    Ok(sound)
}

/// The modes in which a suite can be passed.
fn modes(suite: Suite) -> Vec<Mode> {
    match suite {
        Suite::Regress => vec![Mode::Default, Mode::Session],
        Suite::Isolation => vec![Mode::Session],
    }
}

/// One run of one suite on a cluster of its own.
fn against(arguments: &Arguments, suite: Suite, mode: Option<Mode>) -> Result<Verdicts, HarnessError> {
    let cluster = Cluster::builder()
        .setting("max_connections", "300")
        .setting("max_prepared_transactions", "10")
        .start()?;
    let material = Material::prepare(&cluster, &arguments.sources)?;
    suite::make_database(&cluster)?;
    let weir = match mode {
        None => None,
        Some(mode) => {
            let weir = Weir::builder(&cluster).set("pool.server_connections_max", 100);
            let weir = if mode == Mode::Session { weir.set("pool.mode", "session") } else { weir };
            Some(weir.start()?)
        }
    };
    let port = weir.as_ref().map_or_else(|| cluster.node(cluster.primary()).port(), Weir::port);
    let login = Login::local(port, SUPERUSER, SUPERUSER_PASSWORD, suite::DATABASE);
    let words = format!("{}-{}", suite.word(), mode.map_or("direct", Mode::word));
    let run = Run { cluster: &cluster, material: &material, suite, login: &login };
    run.verdicts(&arguments.results.join(words))
}
