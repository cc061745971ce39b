//! `pgweir-day`: does an operator's day cost a client anything?

use clap::Parser;
use pgweir_tests::day::Day;
use std::process::ExitCode;
use std::time::Duration;

/// Mixed load on a throw-away cluster while an operator reloads, drains, removes and adds nodes. Exit
/// status: 0 when no client saw an error, all sums agree and memory stayed flat; 1 when not; 2 when it
/// could not be run.
#[derive(Parser, Debug)]
#[command(name = "pgweir-day")]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 1800)]
    seconds: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Pause between two deeds of the operator, milliseconds.
    #[arg(long, default_value_t = 2000)]
    pause: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let day = Day {
        duration: Duration::from_secs(arguments.seconds),
        clients: arguments.clients.min(10_000),
        pause: Duration::from_millis(arguments.pause),
    };
    match day.run() {
        Ok(outcome) => {
            print!("{outcome}");
            let complaints = outcome.complaints();
            complaints.iter().for_each(|complaint| println!("wrong: {complaint}"));
            if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("pgweir-day: {error}");
            ExitCode::from(2)
        }
    }
}
