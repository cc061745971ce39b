//! Leaving: transactions end, nobody is cut off in the middle.

use crate::support::{Outcome, stage};
use pgweir_tests::Weir;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::{self, RawClient};
use std::time::{Duration, Instant};

#[test]
fn sigterm_lets_a_transaction_end_and_then_leaves_with_0() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("limits.drain", "20s").start()?;
    let mut busy = RawClient::login(&weir.app())?;
    let mut idle = RawClient::login(&weir.app())?;
    busy.run("BEGIN; UPDATE counter SET n = n WHERE id = 80")?;
    idle.run("SELECT 1")?;
    weir.signal("TERM");
    wait_until("it is no longer ready", || weir.get("/readyz").map_or(true, |a| a.status != 200))?;
    // The idle client is told to go; who is in the middle of something may finish.
    let farewell = idle.until_closed(Duration::from_secs(10))?;
    assert!(farewell.is_empty() || String::from_utf8_lossy(&farewell).contains("57P01"));
    assert_eq!(busy.value("UPDATE counter SET n = n WHERE id = 81 RETURNING id")?, "81");
    assert_eq!(raw::tags(&busy.query("COMMIT")?), "CZ");
    let status = weir.wait(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    Ok(())
}

#[test]
fn sigint_without_clients_leaves_at_once_and_a_second_signal_does_not_wait() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    weir.signal("INT");
    let status = weir.wait(Duration::from_secs(5));
    assert_eq!(status.and_then(|status| status.code()), Some(0));

    let weir = Weir::builder(&stage.cluster).set("limits.drain", "60s").start()?;
    let mut client = RawClient::login(&weir.app())?;
    client.run("BEGIN; UPDATE counter SET n = n WHERE id = 82")?;
    weir.signal("TERM");
    assert!(weir.wait(Duration::from_secs(1)).is_none(), "it did not wait for the transaction");
    let start = Instant::now();
    weir.signal("TERM");
    assert!(weir.wait(Duration::from_secs(5)).is_some(), "the second signal was ignored");
    assert!(start.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[test]
fn it_starts_before_its_cluster_and_serves_once_that_is_up() -> Outcome {
    let cluster = pgweir_tests::Cluster::builder().start()?;
    for node in 0..3 {
        cluster.stop(node);
    }
    let weir = Weir::builder(&cluster).without_waiting().start()?;
    assert_eq!(weir.get("/readyz")?.status, 503);
    for node in 0..3 {
        cluster.start(node)?;
    }
    wait_until("it is ready", || weir.get("/readyz").is_ok_and(|answer| answer.status == 200))?;
    assert_eq!(weir.app().value("SELECT 1")?, "1");
    Ok(())
}
