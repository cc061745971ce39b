//! Several pgweirs of one cluster: a read through one sees what another has acknowledged.

use crate::support::{Outcome, Stage};
use pgweir_tests::cluster::{wait_until, wait_until_within};
use pgweir_tests::door::Weather;
use pgweir_tests::raw::RawClient;
use pgweir_tests::{HarnessError, Weir};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READ: &str = "SELECT count(*) FROM product";
const ADD: &str = "UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n";
const GET: &str = "SELECT n FROM counter WHERE id = 1";

/// A stage whose replicas show every commit later by this much; its pgweir reaches the nodes by doors.
fn late(delay: Duration) -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| {
        weir.set("cluster.probe_timeout", "500ms")
            .set("cluster.primary_wait", "1s")
            .set("routing.freshness_wait", "1s")
    })?;
    stage.cluster.node(0).superuser().database("app").sql(crate::support::SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica(READ)?;
    for replica in stage.cluster.replicas() {
        stage.cluster.set_apply_delay(replica, delay)?;
    }
    Ok(stage)
}

/// Another pgweir of the cluster, past the doors.
fn another(stage: &Stage) -> pgweir_tests::WeirBuilder {
    let nodes: Vec<_> =
        stage.cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    Weir::builder_for(&nodes)
}

fn siblings(weir: &Weir) -> f64 {
    weir.metrics().map_or(-1.0, |metrics| metrics.sum("pgweir_siblings", &[]))
}

fn on_replicas(weir: &Weir) -> Result<f64, HarnessError> {
    Ok(weir.metrics()?.sum("pgweir_statements_total", &[("target", "replica")]))
}

/// So that a replica that is promoted need not be waited with until everybody may have come.
#[test]
fn a_replica_shows_who_watches_it_and_both_go_on_behind_its_promotion() -> Outcome {
    let stage = late(Duration::ZERO)?;
    let other = another(&stage).start()?;
    let watchers = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885828983";
    for node in 0..3 {
        wait_until("both watch it", || stage.cluster.value(node, "app", watchers).is_ok_and(|n| n == "2"))?;
    }
    stage.cluster.crash(0);
    // Longer than one is remembered by the others.
    std::thread::sleep(Duration::from_secs(6));
    stage.cluster.promote(1)?;
    stage.cluster.follow(2, 1)?;
    let (mut writer, mut reader) = (RawClient::login(&stage.weir.app())?, RawClient::login(&other.app())?);
    wait_until("there is a primary", || writer.value(ADD).is_ok())?;
    for round in 0..50 {
        let written = writer.value(ADD)?;
        assert_eq!(reader.value(GET)?, written, "round {round}");
    }
    assert!(siblings(&stage.weir) == 1.0 && siblings(&other) == 1.0, "they see each other");
    Ok(())
}

#[test]
fn a_read_through_one_sees_what_another_has_acknowledged() -> Outcome {
    let stage = late(Duration::from_millis(80))?;
    let other = another(&stage).start()?;
    wait_until("they see each other", || siblings(&stage.weir) == 1.0 && siblings(&other) == 1.0)?;
    let (mut writer, mut reader) = (RawClient::login(&stage.weir.app())?, RawClient::login(&other.app())?);
    // A transaction that reads on a replica sees as much with each of its statements.
    let mut within = RawClient::login(&other.app())?;
    within.run("BEGIN READ ONLY")?;
    for round in 1..=100 {
        let written = writer.value(ADD)?;
        assert_eq!(reader.value(GET)?, written, "round {round}");
        let written = writer.value(ADD)?;
        assert_eq!(within.value(GET)?, written, "round {round}, within a transaction");
    }
    within.run("COMMIT")?;
    assert!(on_replicas(&other)? > 0.0, "replicas serve reads all the same");
    let console = other.app().user("pgweir", "pgweir-secret").database("pgweir");
    let seen = console.sql("SHOW SIBLINGS")?;
    assert_eq!(seen.len(), 1, "{seen:?}");
    drop(other);
    wait_until("the one that has left is seen no more", || siblings(&stage.weir) == 0.0)?;
    Ok(())
}

#[test]
fn one_that_comes_beside_a_busy_one_is_seen_before_it_acknowledges_anything() -> Outcome {
    let stage = late(Duration::from_millis(300))?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        let busy = scope.spawn(|| -> Outcome {
            let mut client = stage.client()?;
            while !ended.load(Ordering::Relaxed) {
                client.value("SELECT n FROM counter WHERE id = 2")?;
            }
            Ok(())
        });
        let arrivals = (1..=5).try_for_each(|round| arrival(&stage, round));
        ended.store(true, Ordering::Relaxed);
        busy.join().expect("the busy client ends")?;
        arrivals
    })
}

/// A pgweir comes, serves at once and leaves without a word.
fn arrival(stage: &Stage, round: u32) -> Outcome {
    let written = stage.client()?.value(ADD)?;
    let newcomer = another(stage).without_waiting().start()?;
    let mut here = stage.client()?;
    let mut there = RawClient::login(&newcomer.app())?;
    assert_eq!(there.value(GET)?, written, "arrival {round}: what was acknowledged before it came");
    for write in 1..=10 {
        let written = there.value(ADD)?;
        assert_eq!(here.value(GET)?, written, "arrival {round}, write {write}");
    }
    let written = there.value(ADD)?;
    drop(newcomer);
    assert_eq!(here.value(GET)?, written, "arrival {round}: what it acknowledged before it left");
    wait_until("it is gone", || siblings(&stage.weir) == 0.0)?;
    assert_eq!(here.value(GET)?, written, "arrival {round}: and when it is forgotten");
    Ok(())
}

#[test]
fn a_process_that_starts_again_shows_what_its_predecessor_acknowledged() -> Outcome {
    let stage = late(Duration::from_millis(500))?;
    let Stage { cluster, weir } = stage;
    let written = RawClient::login(&weir.app())?.value(ADD)?;
    drop(weir);
    let weir = Weir::builder(&cluster).start()?;
    assert_eq!(RawClient::login(&weir.app())?.value(GET)?, written);
    Ok(())
}

#[test]
fn one_that_is_cut_off_from_the_primary_serves_nothing_that_a_sibling_may_have_changed() -> Outcome {
    let stage = late(Duration::ZERO)?;
    let other = another(&stage).start()?;
    wait_until("they see each other", || siblings(&stage.weir) == 1.0 && siblings(&other) == 1.0)?;
    let mut reader = stage.client()?;
    let mut eventual = stage.client()?;
    eventual.run("SET pgweir.consistency = 'eventual'")?;
    for weather in [Weather::Closed, Weather::Partitioned] {
        let door = stage.cluster.door(0).expect("a door");
        door.set(weather);
        let mut writer = RawClient::login(&other.app())?;
        let began = Instant::now();
        let mut refused = 0;
        while began.elapsed() < Duration::from_secs(5) {
            let written = writer.value(ADD)?;
            match reader.value(GET) {
                Ok(read) => assert_eq!(read, written, "{weather:?}: stale"),
                Err(_) => {
                    refused += 1;
                    // A primary that does not answer takes the session along.
                    reader = stage.client().or_else(|_| RawClient::login(&other.app()))?;
                }
            }
        }
        assert!(refused > 0, "{weather:?}: nothing was refused");
        eventual.value(GET)?;
        door.set(Weather::Clear);
        wait_until_within(Duration::from_secs(20), "reads go on", || {
            reader = match stage.client() {
                Ok(client) => client,
                Err(_) => return false,
            };
            reader.value(GET).is_ok()
        })?;
    }
    Ok(())
}

#[test]
fn what_a_node_may_have_is_divided_by_those_who_share_it() -> Outcome {
    const MAX: usize = 8;
    let stage = Stage::own(|weir| weir)?;
    let shared = || {
        another(&stage)
            .set("pool.node_connections_max", MAX as i64)
            .set("pool.node_connections_shared", true)
            .set("pool.lease_wait", "20s")
    };
    // `stage.weir` is one of them, too.
    let weir = shared().start()?;
    wait_until("it sees the first", || siblings(&weir) == 1.0)?;
    let count = || -> Result<usize, HarnessError> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%shared place%' AND pid <> pg_backend_pid()";
        Ok(stage.cluster.value(stage.cluster.primary(), "postgres", sql)?.parse().unwrap_or(usize::MAX))
    };
    let ask = |weir: &Weir, stop: &AtomicBool| -> Outcome {
        let mut client = RawClient::login(&weir.app())?;
        client.run("SET pgweir.route = 'primary'")?;
        while !stop.load(Ordering::Relaxed) {
            client.run("SELECT pg_sleep(0.01) /* shared place */")?;
        }
        Ok(())
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| ask(&weir, &stop))).collect();
        let seen = (|| {
            wait_until("half of them are open", || count().is_ok_and(|open| open == MAX / 2))?;
            let more = (shared().start()?, shared().start()?);
            wait_until("it gives up its surplus", || count().is_ok_and(|open| open == MAX / 4))?;
            drop(more);
            wait_until("it has them again", || count().is_ok_and(|open| open == MAX / 2))
        })();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))?;
        seen
    })
}
