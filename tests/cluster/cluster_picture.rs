//! Roles and lag are discovered and watched; who is not fit to answer is left out.

use crate::support::{Outcome, SCHEMA, Stage, mark, stage};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until};
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir, weir};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const READ: &str = "SELECT count(*) FROM product";

fn broken_stage(primary_wait: &str) -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| {
        weir.set("cluster.primary_wait", primary_wait)
            .set("cluster.probe_timeout", "500ms")
            .set("routing.max_lag", "2s")
    })?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica(READ)?;
    Ok(stage)
}

/// The nodes that serve reads just now.
fn readers(stage: &Stage) -> Result<BTreeSet<usize>, HarnessError> {
    let mut client = stage.client()?;
    let mut nodes = BTreeSet::new();
    for _ in 0..20 {
        nodes.extend(stage.nodes_for_client(&mut client, READ)?);
    }
    Ok(nodes)
}

fn wait_for_readers(stage: &Stage, wanted: &[usize]) -> Outcome {
    let wanted: BTreeSet<usize> = wanted.iter().copied().collect();
    wait_until(&format!("reads are served by {wanted:?}"), || {
        readers(stage).is_ok_and(|nodes| nodes == wanted)
    })
}

fn gauge(stage: &Stage, name: &str, node: usize) -> f64 {
    let labels = [("node", &*stage.cluster.address(node))];
    stage.weir.metrics().map_or(f64::NAN, |metrics| metrics.sum(name, &labels))
}

#[test]
fn roles_are_found_by_asking_whatever_the_order_of_the_nodes() -> Outcome {
    let stage = broken_stage("1s")?;
    assert_eq!([0, 1, 2].map(|node| gauge(&stage, "pgweir_node_up", node)), [1.0; 3]);
    let primaries = [0, 1, 2].map(|node| gauge(&stage, "pgweir_node_is_primary", node));
    assert_eq!(primaries, [1.0, 0.0, 0.0]);
    let mut nodes = stage.cluster.addresses();
    nodes.reverse();
    let reversed = pgweir_tests::Weir::builder_for(&nodes).start()?;
    reversed.app().sql("UPDATE counter SET n = n WHERE id = 1")?;
    assert_eq!(reversed.app().value(READ)?, "100");
    Ok(())
}

#[test]
fn a_replica_that_dies_is_left_out_without_an_error_and_comes_back_by_itself() -> Outcome {
    let stage = broken_stage("1s")?;
    wait_for_readers(&stage, &[1, 2])?;
    for kill in [pgweir_tests::Cluster::kill, pgweir_tests::Cluster::crash, pgweir_tests::Cluster::stop] {
        kill(&stage.cluster, 2);
        // Not one read may fail, neither at first nor later.
        assert_eq!(readers(&stage)?, BTreeSet::from([1]));
        wait_until("the metric says that the node is down", || gauge(&stage, "pgweir_node_up", 2) == 0.0)?;
        stage.cluster.start(2)?;
        wait_for_readers(&stage, &[1, 2])?;
        assert_eq!(gauge(&stage, "pgweir_node_up", 2), 1.0);
    }
    Ok(())
}

#[test]
fn a_replica_that_lags_too_far_is_left_out_and_taken_back() -> Outcome {
    let stage = broken_stage("1s")?;
    // At eventual, only max_lag decides.
    let eventual = || -> Result<BTreeSet<usize>, HarnessError> {
        let mut client = stage.client()?;
        client.run("SET pgweir.consistency = 'eventual'")?;
        let mut nodes = BTreeSet::new();
        for _ in 0..20 {
            nodes.extend(stage.nodes_for_client(&mut client, READ)?);
        }
        Ok(nodes)
    };
    stage.cluster.pause_replay(1)?;
    let write = || stage.client()?.run("UPDATE counter SET n = n + 1");
    write()?;
    wait_until("the lagging replica is left out", || {
        let _ = write();
        eventual().is_ok_and(|nodes| nodes == BTreeSet::from([2]))
    })?;
    assert!(gauge(&stage, "pgweir_replica_lag_bytes", 1) > 0.0);
    wait_until("the time is told", || gauge(&stage, "pgweir_replica_lag_seconds", 1) >= 2.0)?;
    stage.cluster.resume_replay(1)?;
    stage.cluster.wait_caught_up()?;
    wait_until("it is taken back", || eventual().is_ok_and(|nodes| nodes.len() == 2))?;
    // Idle, nobody lags.
    wait_until("no lag is shown", || {
        [1, 2].iter().all(|node| gauge(&stage, "pgweir_replica_lag_bytes", *node) == 0.0)
    })
}

#[test]
fn a_replica_that_shows_commits_late_on_purpose_is_as_late_as_it_is_said_to_be() -> Outcome {
    let stage = broken_stage("1s")?;
    let delay = Duration::from_secs(4);
    stage.cluster.set_apply_delay(1, delay)?;
    wait_until("nobody lags", || {
        [1, 2].iter().all(|n| gauge(&stage, "pgweir_replica_lag_bytes", *n) == 0.0)
    })?;
    stage.client()?.run("UPDATE counter SET n = n + 1 WHERE id = 1")?;
    let written = Instant::now();
    wait_until("bytes are told at once", || gauge(&stage, "pgweir_replica_lag_bytes", 1) > 0.0)?;
    assert!(written.elapsed() < delay, "they were told when they were there");
    let mut most: f64 = 0.0;
    wait_until("it has caught up", || {
        most = most.max(gauge(&stage, "pgweir_replica_lag_seconds", 1));
        gauge(&stage, "pgweir_replica_lag_bytes", 1) == 0.0
    })?;
    let took = written.elapsed().as_secs_f64();
    assert!((1.5..=took).contains(&most), "{most} s were told of a replica that took {took} s");
    assert_eq!(gauge(&stage, "pgweir_replica_lag_seconds", 1), 0.0);
    assert!(gauge(&stage, "pgweir_replica_lag_seconds", 2) < 1.0, "the other one is not late");
    Ok(())
}

#[test]
fn with_all_replicas_gone_the_primary_reads() -> Outcome {
    let stage = broken_stage("1s")?;
    stage.cluster.kill(1);
    stage.cluster.crash(2);
    assert_eq!(readers(&stage)?, BTreeSet::from([0]));
    stage.cluster.start(1)?;
    wait_for_readers(&stage, &[1])
}

#[test]
fn without_a_primary_reads_go_on_and_writes_wait_and_get_57p03() -> Outcome {
    let stage = broken_stage("1s")?;
    let mut client = stage.client()?;
    client.run(READ)?;
    stage.cluster.kill(0);
    for _ in 0..20 {
        assert_eq!(client.value(READ)?, "100");
    }
    let start = Instant::now();
    let (code, message) = client.refusal("UPDATE counter SET n = n WHERE id = 1")?;
    assert_eq!(code, "57P03", "{message}");
    assert!(message.to_lowercase().contains("primary"), "the message does not say so: {message}");
    let waited = start.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    // The session lives, new ones may log in, and the primary's return is noticed.
    assert_eq!(client.value(READ)?, "100");
    assert_eq!(RawClient::login(&stage.weir.app())?.value(READ)?, "100");
    stage.cluster.start(0)?;
    wait_until("writes are taken again", || client.run("UPDATE counter SET n = n WHERE id = 1").is_ok())
}

#[test]
fn a_write_waits_through_a_promotion() -> Outcome {
    let stage = broken_stage("30s")?;
    let mut client = stage.client()?;
    client.run("UPDATE counter SET n = n WHERE id = 1")?;
    stage.cluster.wait_caught_up()?;
    stage.cluster.kill(0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.run("UPDATE counter SET n = n + 1 WHERE id = 9"));
        std::thread::sleep(Duration::from_millis(500));
        stage.cluster.promote(1)?;
        waiting.join().expect("no panic")
    })?;
    assert_eq!(stage.cluster.value(1, "app", "SELECT n FROM counter WHERE id = 9")?, "1");
    stage.cluster.follow(2, 1)?;
    stage.cluster.follow(0, 1)?;
    // The old primary serves reads now, and the new one takes the writes.
    wait_for_readers(&stage, &[0, 2])?;
    let nodes = stage.nodes_for("UPDATE counter SET n = n WHERE id = 1")?;
    assert_eq!(nodes, [1]);
    assert_eq!(gauge(&stage, "pgweir_node_is_primary", 1), 1.0);
    assert_eq!(gauge(&stage, "pgweir_node_is_primary", 0), 0.0);
    Ok(())
}

#[test]
fn a_replica_behind_a_dead_network_is_left_out_in_bounded_time() -> Outcome {
    let stage = broken_stage("1s")?;
    for cut in [pgweir_tests::Cluster::partition, pgweir_tests::Cluster::freeze] {
        cut(&stage.cluster, 2);
        // What was under way there is answered elsewhere; not one read fails.
        readers(&stage)?;
        wait_for_readers(&stage, &[1])?;
        assert!(!readers(&stage)?.contains(&2), "it was given reads again");
        stage.cluster.heal(2);
        stage.cluster.thaw(2);
        wait_for_readers(&stage, &[1, 2])?;
    }
    Ok(())
}

#[test]
fn the_first_statement_after_a_start_is_not_kept_on_the_primary_for_want_of_a_catalog() -> Outcome {
    let stage = stage();
    for _ in 0..3 {
        let weir = Weir::builder(&stage.cluster).set("routing.freshness_wait", "5s").start()?;
        wait_until("it knows the primary", || weir.log().contains("is the primary"))?;
        let mark = mark();
        RawClient::login(&weir.app())?.run(&format!("/* {mark} */ SELECT count(*) FROM product"))?;
        let nodes = stage.cluster.nodes_that_ran(&mark);
        assert!(stage.is_replica(&nodes), "it ran on {nodes:?}");
    }
    Ok(())
}

/// Its configuration is not replicated, and what it says would be seen in results.
#[test]
fn a_replica_that_is_configured_otherwise_serves_no_reads() -> Outcome {
    let cluster = Cluster::builder().log_statements().start()?;
    cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    cluster.wait_caught_up()?;
    cluster.set_on(1, "timezone", "Asia/Tokyo")?;
    cluster.set_on(2, "bytea_output", "escape")?;
    let weir = Weir::builder(&cluster).set("runtime.watch_config", false).start()?;
    let moment = "SELECT timestamptz '2024-01-01 00:00+00', count(*) FROM product";
    let mut direct = RawClient::login(&cluster.app(0))?;
    let shown = direct.value(moment)?;
    let mut client = RawClient::login(&weir.app())?;
    let ran = |client: &mut RawClient| -> Result<Vec<usize>, HarnessError> {
        let mark = mark();
        assert_eq!(client.value(&format!("/* {mark} */ {moment}"))?, shown);
        Ok(cluster.nodes_that_ran(&mark))
    };
    let error = |node: usize| {
        let rows = Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir").sql("SHOW NODES")?;
        let row = rows.into_iter().find(|row| row[0] == Some(cluster.address(node)));
        Ok::<_, HarnessError>(row.and_then(|row| row.last().cloned().flatten()).unwrap_or_default())
    };
    for (node, what) in [(1, "TimeZone is \"Asia/Tokyo\" there"), (2, "bytea_output is")] {
        wait_until(what, || error(node).is_ok_and(|said| said.contains(what)))?;
    }
    assert_eq!(weir.metrics()?.sum("pgweir_node_differs", &[]), 2.0);
    for _ in 0..20 {
        assert_eq!(ran(&mut client)?, [0]);
    }
    // Put right, or allowed to differ, they serve; and no longer when that changes again.
    cluster.set_on(1, "timezone", &cluster.value(0, "app", "SHOW TimeZone")?)?;
    wait_until("the first serves", || ran(&mut client).is_ok_and(|nodes| nodes == [1]))?;
    assert_eq!(error(1)?, "");
    cluster.set_on(2, "bytea_output", "hex")?;
    cluster.set_on(2, "xmlbinary", "hex")?;
    wait_until("the other is said to differ", || error(2).is_ok_and(|said| said.contains("xmlbinary")))?;
    weir.reconfigure(|config| weir::set(config, "cluster.settings_may_differ", "xmlbinary".into()))?;
    wait_until("both serve", || {
        let nodes: Vec<_> = (0..8).filter_map(|_| ran(&mut client).ok()).flatten().collect();
        nodes.contains(&1) && nodes.contains(&2)
    })?;
    cluster.set_on(1, "datestyle", "German")?;
    wait_until("it serves no more", || error(1).is_ok_and(|said| said.contains("DateStyle")))?;
    for _ in 0..10 {
        assert!(ran(&mut client)? != [1]);
    }
    Ok(())
}
