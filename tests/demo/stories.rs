//! The application's own tests, run against the demo's servers: Django's and the browser's.

use crate::board::Board;
use crate::python;
use pgweir_tests::cluster::APP;
use pgweir_tests::process::run_shown;
use pgweir_tests::{Cluster, HarnessError};
use std::process::Command;
use std::time::Instant;

/// What needs a browser, a process each.
const BROWSER: [&str; 4] = ["e2e.story", "e2e.control_room", "e2e.files", "e2e.accessibility"];
/// What needs none.
const SERVERS: [&str; 2] = ["e2e.compare", "e2e.connections"];

/// A browser's evening on the board, if there is a browser.
pub fn one_evening(board: &Board) -> Result<bool, HarnessError> {
    match python::browser() {
        true => step("A browser's evening, replicas 200 ms late", tests(board, "e2e.story")),
        false => {
            println!("Left out: the browser's story, because there is no Chromium with ChromeDriver here.");
            println!("  On Debian: apt-get install chromium chromium-driver");
            Ok(true)
        }
    }
}

/// Everything, and in the end what failed.
pub fn all(cluster: &Cluster, board: &Board) -> Result<bool, HarnessError> {
    // Django makes a database for its tests, and drops it.
    cluster.sql(cluster.primary(), "postgres", &format!("ALTER ROLE {APP} CREATEDB"))?;
    let mut failed = Vec::new();
    let mut note = |what: &'static str, well: bool| {
        if !well {
            failed.push(what);
        }
    };
    note("style", style(board)?);
    note("Django's tests", step("Django's tests through pgweir", django(board))?);
    let replicas: Vec<String> = cluster.replicas().into_iter().map(|index| cluster.address(index)).collect();
    for module in SERVERS {
        let mut command = tests(board, module);
        command.env("BOARD_PRIMARY", cluster.address(cluster.primary()));
        command.env("BOARD_REPLICAS", replicas.join(","));
        note(module, step(module, command)?);
    }
    if python::browser() {
        for module in BROWSER {
            note(module, step(module, tests(board, module))?);
        }
    } else {
        println!("\nNOT RUN: the browser's tests, because there is no Chromium with ChromeDriver here.");
    }
    match failed.is_empty() {
        true => println!("\nThe application's tests have passed."),
        false => println!("\nFAILED: {}", failed.join(", ")),
    }
    Ok(failed.is_empty())
}

/// Format, types, migrations, and Django's own opinion of the production settings.
fn style(board: &Board) -> Result<bool, HarnessError> {
    let mut deploy = board.command(&["manage.py", "check", "--deploy", "--fail-level", "WARNING"]);
    deploy.env("DJANGO_SETTINGS_MODULE", "board.settings.production");
    // As long as a real one, and as good as none.
    deploy.env("BOARD_SECRET_KEY", "an-example-of-a-key-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdef");
    deploy.env("BOARD_HOSTS", "board.example");
    let commands = [
        board.command(&["-m", "ruff", "check", "--no-cache", "."]),
        board.command(&["-m", "ruff", "format", "--no-cache", "--check", "."]),
        board.command(&["-m", "mypy", "--no-incremental"]),
        board.command(&["manage.py", "makemigrations", "--check", "--dry-run"]),
        deploy,
    ];
    let mut well = true;
    for command in commands {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        well &= step(&words.join(" "), command)?;
    }
    Ok(well)
}

fn django(board: &Board) -> Command {
    board.command(&["manage.py", "test", "--settings=board.settings.test", "--noinput"])
}

/// A module of tests in which nothing may be skipped.
fn tests(board: &Board, module: &str) -> Command {
    let mut command = board.command(&["-m", "unittest", "-v", module]);
    command.env("BOARD_STRICT", "1");
    command
}

fn step(title: &str, command: Command) -> Result<bool, HarnessError> {
    println!("\n--- {title}");
    let start = Instant::now();
    let well = run_shown(command)?;
    println!("--- {} in {:.0} s", if well { "passed" } else { "FAILED" }, start.elapsed().as_secs_f64());
    Ok(well)
}
