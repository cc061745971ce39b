//! The checker's verdict on each consistency level, with replicas that are late.

use crate::support::{Outcome, Stage};
use pgweir_tests::HarnessError;
use pgweir_tests::checker::verify::{Promise, Verdict, verify};
use pgweir_tests::checker::workload::{Workload, prepare, run};
use pgweir_tests::runtime;
use std::time::Duration;

/// Long enough for thousands of operations.
const RUN: Duration = Duration::from_secs(8);

fn checked(stage: &Stage, level: &str, faults: impl FnOnce() -> Outcome) -> Result<Verdict, HarnessError> {
    let workload = Workload {
        address: stage.weir.app().config(),
        setup: Some(format!("SET pgweir.consistency = '{level}'")),
        outside: Some(stage.cluster.app(0).config()),
        clients: 12,
        outside_clients: 2,
        tables: 3,
        rows: 4,
        writes: 20,
        think: Duration::from_millis(5),
        duration: RUN,
        seed: 1,
    };
    let failed = |error: tokio_postgres::Error| HarnessError::failed(error.to_string());
    let tables = workload.clone();
    runtime::block_on(async move { prepare(&tables).await }).map_err(failed)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica("SELECT count(*) FROM checker_register_0")?;
    let running = std::thread::spawn(move || runtime::block_on(run(workload)));
    faults()?;
    let (history, last) = running.join().expect("the clients do not panic").map_err(failed)?;
    let verdict = verify(&history, &last);
    assert!(
        verdict.reads > 300 && verdict.writes > 300,
        "{} reads, {} writes",
        verdict.reads,
        verdict.writes
    );
    assert_eq!(verdict.lost, 0);
    Ok(verdict)
}

fn assert_kept(level: &str, verdict: &Verdict) {
    for promise in Promise::of_level(level).expect("a level") {
        let broken = verdict.violations.iter().find(|v| v.promise == *promise);
        assert!(broken.is_none(), "{level}: {}", broken.expect("just seen"));
    }
}

/// Replicas that show each commit 100 ms late; one that restarts meanwhile.
fn late() -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| weir.set("routing.freshness_wait", "1s"))?;
    for replica in stage.cluster.replicas() {
        stage.cluster.set_apply_delay(replica, Duration::from_millis(100))?;
    }
    Ok(stage)
}

#[test]
fn each_level_keeps_its_promises_while_replicas_are_late() -> Outcome {
    let stage = late()?;
    for level in ["session", "proxy", "global"] {
        assert_kept(level, &checked(&stage, level, || Ok(()))?);
    }
    Ok(())
}

#[test]
fn the_checker_finds_what_eventual_does_not_promise() -> Outcome {
    let stage = late()?;
    let verdict = checked(&stage, "eventual", || Ok(()))?;
    assert!(verdict.broken(Promise::ReadYourWrites) > 0);
    assert!(verdict.broken(Promise::ProxyWide) > 0);
    assert!(verdict.broken(Promise::Global) > 0);
    Ok(())
}

#[test]
fn promises_hold_while_replicas_pause_and_crash() -> Outcome {
    let stage = late()?;
    let cluster = &stage.cluster;
    let faults = || {
        cluster.pause_replay(1)?;
        std::thread::sleep(Duration::from_secs(1));
        cluster.resume_replay(1)?;
        cluster.kill(2);
        std::thread::sleep(Duration::from_secs(1));
        cluster.start(2)
    };
    assert_kept("proxy", &checked(&stage, "proxy", faults)?);
    Ok(())
}
