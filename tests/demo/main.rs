//! `make demo`: a throw-away cluster, pgweir and the sample application, for a person to click
//! through; with `--check` or `--test`, for a machine.

mod board;
mod browser;
mod check;
mod python;
mod stories;
mod tally;
mod topology;

use board::Board;
use clap::Parser;
use pgweir_tests::cluster::APP;
use pgweir_tests::{HarnessError, Weir, reaper, runtime};
use python::Extent;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Starts everything, keeps a little traffic going, takes everything down on Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// Look at the application's pages, stop and start a replica, count who served what, let a
    /// browser tell its story, and leave: 0 if all was well.
    #[arg(long)]
    check: bool,
    /// Run the application's own tests and leave: 0 if all passed.
    #[arg(long, conflicts_with = "check")]
    test: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    take_down_on_signal();
    let result = demo(&arguments);
    if !reaper::finish() {
        // A signal came first: whatever has failed here, failed because of that.
        loop {
            std::thread::park();
        }
    }
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whatever we are doing just then: the reaper knows all that was started.
fn take_down_on_signal() {
    runtime::handle().spawn(async {
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        println!("\nTaking everything down …");
        reaper::finish();
        println!("Nothing is left.");
        std::process::exit(0);
    });
}

fn demo(arguments: &Arguments) -> Result<bool, HarnessError> {
    let extent = match (arguments.check, arguments.test) {
        (false, false) => Extent::Application,
        (true, _) => Extent::Browser,
        (_, true) => Extent::Development,
    };
    let python = python::prepared(extent)?;
    println!("Starting PostgreSQL: a primary and three streaming replicas …");
    let cluster = topology::cluster()?;
    let major = cluster.binaries().major();
    for (index, part) in topology::PARTS.iter().enumerate() {
        let group = part.group.map(|group| format!(", group {group}")).unwrap_or_default();
        println!(
            "  {:<11} PostgreSQL {major} on {}, zone {}{group}",
            part.name,
            cluster.address(index),
            part.zone
        );
    }
    println!("Starting pgweir …");
    let weir = topology::weir(&cluster)?;
    println!("  on {}, zone {}", weir.address(), topology::ZONE);
    let board = Board::start(&python, &cluster, &weir)?;
    if arguments.check {
        return Ok(check::run(&cluster, &weir, &board)? & stories::one_evening(&board)?);
    }
    if arguments.test {
        return stories::all(&cluster, &board);
    }
    invite(&weir, &board);
    // Until a signal ends the process.
    browser::traffic(board.address())
}

fn invite(weir: &Weir, board: &Board) {
    println!();
    println!("  application   http://{}/", board.address());
    println!("                log in as {} / {}", board::PERSON, board::PASSWORD);
    println!("  status page   http://{}/", weir.http_address());
    println!("  metrics       http://{}/metrics", weir.http_address());
    println!(
        "  psql          psql '{}' -c 'SET pgweir.trace = on' -c 'SELECT count(*) FROM posts_post'",
        weir.app().uri()
    );
    println!();
    println!("The database of the application is {APP:?}; its only host is pgweir.");
    println!("A little traffic is going on. Ctrl-C takes everything down.");
}
