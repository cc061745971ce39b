//! The side-by-side runs: pgweir beside its peers, its levels and a direct connection.
//!
//! Both runs start a throw-away cluster, put the contestants before it one beside the other, and
//! drive them in interleaved rounds (A B C, A B C, …), so that whatever else the machine does
//! falls on all of them alike. A figure is the median of its rounds, with the lowest and highest.

mod bench_error;
mod callgrind;
mod chart;
mod contestant;
mod crowd;
mod drivers;
mod exercise;
mod freshness;
mod instructions;
mod machine;
mod pgbench;
mod report;
mod sample;
mod side_by_side;
mod statistics;
mod workload;

use clap::{Parser, Subcommand};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

/// pgweir beside its peers, in one run.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// pgweir, PgBouncer, HAProxy and a direct connection under the same loads.
    SideBySide(side_by_side::Options),
    /// What each consistency level costs under replay delay and writes.
    Freshness(freshness::Options),
    /// pgweir's own instructions per statement, counted by valgrind.
    Instructions(instructions::Options),
    /// Every load once before one pgweir: what a profile-guided build learns from.
    Exercise(exercise::Options),
    /// Drivers' feature checks and published suites, directly and through pgweir.
    Drivers(drivers::Options),
    /// Opens idle connections until its standard input ends (a part of the side-by-side run).
    #[command(hide = true)]
    Crowd(crowd::Options),
}

fn main() -> ExitCode {
    raise_file_limit();
    let done = match Arguments::parse().command {
        Command::SideBySide(options) => side_by_side::run(&options),
        Command::Freshness(options) => freshness::run(&options),
        Command::Instructions(options) => instructions::run(&options),
        Command::Exercise(options) => exercise::run(&options),
        Command::Drivers(options) => drivers::run(&options),
        Command::Crowd(options) => crowd::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgweir-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A thousand idle clients need more than the usual 1024 open files, in this process and in those
/// that it starts; only a shell can raise the limit without `unsafe`, so the program starts itself
/// again from one.
fn raise_file_limit() {
    const DONE: &str = "PGWEIR_BENCHES_FILE_LIMIT_RAISED";
    if std::env::var_os(DONE).is_some() {
        return;
    }
    let Ok(me) = std::env::current_exe() else { return };
    // `exec` returns only if it failed; then the limit stays as it is.
    let _ = std::process::Command::new("/bin/sh")
        .args(["-c", r#"ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$0" "$@""#])
        .arg(me)
        .args(std::env::args_os().skip(1))
        .env(DONE, "yes")
        .exec();
}
