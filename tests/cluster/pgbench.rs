//! pgbench, sixteen clients, every protocol: no error, and each statement where it belongs.

use crate::support::{Outcome, Seat, stage};
use pgweir_tests::cluster::{APP, wait_until};
use pgweir_tests::process::run;
use pgweir_tests::{HarnessError, Weir};
use std::process::Command;

/// A database of one's own (without a log of each statement), filled through pgweir.
fn filled(stage: &Seat, name: &str) -> Result<Weir, HarnessError> {
    stage.cluster.node(0).superuser().sql(&format!("CREATE DATABASE {name} OWNER {APP}"))?;
    stage.cluster.wait_caught_up()?;
    let weir = Weir::builder(&stage.cluster).start()?;
    pgbench(stage, &weir, name, &["-i", "-s", "5", "-q"])?;
    stage.cluster.wait_caught_up()?;
    let login = weir.app().database(name);
    // The catalog of a new database is read when the first client comes.
    wait_until("a replica reads", || {
        let before = replica_statements(&weir, name);
        let read = login.sql("SELECT count(*) FROM pgbench_branches");
        read.is_ok() && replica_statements(&weir, name) > before
    })?;
    Ok(weir)
}

fn pgbench(stage: &Seat, weir: &Weir, database: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(stage.cluster.binaries().program("pgbench"));
    command.args(arguments).envs(weir.app().database(database).environment());
    // Errors of single transactions do not change the exit status: ask for their number.
    let out = run(command)?;
    if let Some(line) = out.lines().find(|line| line.contains("failed transactions")) {
        assert!(line.contains(": 0 "), "{out}");
    }
    Ok(())
}

fn replica_statements(weir: &Weir, database: &str) -> f64 {
    let labels = [("database", database), ("target", "replica")];
    weir.metrics().map_or(0.0, |m| m.sum("pgweir_statements_total", &labels))
}

/// Committed transactions in the database by node, as the nodes count them.
fn commits(stage: &Seat, database: &str) -> Result<Vec<f64>, HarnessError> {
    // Counters reach the view with some delay.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let sql = format!("SELECT xact_commit FROM pg_stat_database WHERE datname = '{database}'");
    (0..3).map(|node| Ok(stage.cluster.value(node, "postgres", &sql)?.parse().unwrap_or(0.0))).collect()
}

fn load(name: &str, arguments: &[&str], check: impl Fn(&[f64]) -> bool) -> Outcome {
    let stage = stage();
    let weir = filled(&stage, name)?;
    for mode in ["simple", "extended", "prepared"] {
        let mut all = vec!["-n", "-c", "16", "-j", "2", "-T", "3", "-M", mode];
        all.extend(arguments);
        let mut told = vec![];
        // While a changed catalog is read again, reads are the primary's: beside other stories that may take
        // a good part of so short a run.
        let served = (0..3).try_fold(false, |served, _| {
            if served {
                return Ok::<_, HarnessError>(true);
            }
            let before = commits(&stage, name)?;
            pgbench(&stage, &weir, name, &all)?;
            let after = commits(&stage, name)?;
            let done: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
            let served = check(&done);
            told.push(done);
            Ok(served)
        })?;
        assert!(served, "-M {mode}: transactions by node, in three runs: {told:?}");
    }
    Ok(())
}

#[test]
fn selects_are_served_by_both_replicas() -> Outcome {
    load("bench_reads", &["-S"], |done| {
        let all: f64 = done.iter().sum();
        done[1] > all * 0.1 && done[2] > all * 0.1 && done[0] < all * 0.02 + 50.0
    })
}

#[test]
fn tpc_b_is_served_by_the_primary() -> Outcome {
    load("bench_writes", &[], |done| done[0] > 100.0 && done[1] + done[2] < done[0] * 0.02 + 50.0)
}

/// CPU time of the event loop with this number, nanoseconds.
fn used_by_loop(weir: &Weir, number: usize) -> Option<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", weir.pid())).ok()?;
    let of =
        |path: &std::path::Path, file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
    let task =
        tasks.flatten().map(|t| t.path()).find(|t| of(t, "comm").trim() == format!("clients-{number}"))?;
    of(&task, "schedstat").split_whitespace().next()?.parse().ok()
}

#[test]
fn clients_that_keep_an_event_loop_busy_go_on_in_another_and_few_share_one() -> Outcome {
    let stage = stage();
    let weir = filled(&stage, "bench_loops")?;
    let second_loop = || used_by_loop(&weir, 1).unwrap_or(0);
    pgbench(&stage, &weir, "bench_loops", &["-n", "-S", "-c", "2", "-R", "50", "-T", "2"])?;
    let idle = second_loop();
    assert!(idle < 100_000_000, "a light load used {idle} ns of the second loop");
    for _ in 0..10 {
        let arguments = ["-n", "-S", "-c", "24", "-j", "2", "-T", "3", "-M", "prepared"];
        pgbench(&stage, &weir, "bench_loops", &arguments)?;
        if second_loop() > idle + 300_000_000 {
            return Ok(());
        }
    }
    Err(HarnessError::failed(format!("the second loop stayed idle: {} ns", second_loop())))
}
