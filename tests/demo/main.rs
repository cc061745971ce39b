//! `make demo`: a throw-away cluster, pgweir and the sample application, for a person to click
//! through; with `--check`, for a machine.

mod board;
mod browser;
mod check;
mod python;
mod tally;

use board::Board;
use clap::Parser;
use pgweir_tests::cluster::APP;
use pgweir_tests::{Cluster, HarnessError, Weir, reaper, runtime};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Starts everything, keeps a little traffic going, takes everything down on Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// Look at the application's pages, count who served what, and leave: 0 if all was well.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    take_down_on_signal();
    let result = demo(arguments.check);
    reaper::finish();
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
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!("\nTaking everything down …");
        reaper::finish();
        println!("Nothing is left.");
        std::process::exit(0);
    });
}

fn demo(check: bool) -> Result<bool, HarnessError> {
    let python = python::prepared()?;
    println!("Starting PostgreSQL: a primary and two streaming replicas …");
    let cluster = Cluster::builder().count_statements().start()?;
    println!("  PostgreSQL {} on {}", cluster.binaries().major(), cluster.addresses().join(", "));
    println!("Starting pgweir …");
    let weir = Weir::builder(&cluster).start()?;
    println!("  on {}", weir.address());
    let board = Board::start(&python, &cluster, &weir)?;
    if check {
        return check::run(&cluster, &weir, &board);
    }
    invite(&weir, &board);
    let over = AtomicBool::new(false);
    // Until a signal ends the process.
    browser::traffic(board.address(), &over);
    over.store(true, Ordering::Relaxed);
    Ok(true)
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
