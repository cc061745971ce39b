//! The harness does what it says.

use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::{Cluster, HarnessError};
use std::time::Duration;

#[test]
fn a_cluster_streams_breaks_fails_over_and_heals() -> Result<(), HarnessError> {
    let cluster = Cluster::builder().log_statements().doors().start()?;
    let app = cluster.app(0);
    app.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1) /* marker-one */")?;
    cluster.wait_caught_up()?;
    for replica in cluster.replicas() {
        assert_eq!(cluster.app(replica).value("SELECT n FROM t /* marker-read */")?, "1");
        assert!(cluster.app(replica).sql("INSERT INTO t VALUES (2)").is_err());
    }
    assert_eq!(cluster.nodes_that_ran("marker-one"), [0]);
    assert_eq!(cluster.nodes_that_ran("marker-read"), [1, 2]);

    cluster.pause_replay(1)?;
    app.sql("INSERT INTO t VALUES (2)")?;
    assert_eq!(cluster.app(1).value("SELECT count(*) FROM t")?, "1");
    cluster.resume_replay(1)?;
    cluster.set_apply_delay(1, Duration::from_millis(10))?;
    cluster.wait_caught_up()?;
    assert_eq!(cluster.app(1).value("SELECT count(*) FROM t")?, "2");

    cluster.crash(2);
    assert!(cluster.app(2).sql("SELECT 1").is_err());
    cluster.start(2)?;
    cluster.kill(0);
    cluster.promote(1)?;
    cluster.follow(2, 1)?;
    cluster.follow(0, 1)?;
    cluster.app(1).sql("INSERT INTO t VALUES (3)")?;
    cluster.wait_caught_up()?;
    for node in 0..3 {
        assert_eq!(cluster.app(node).value("SELECT count(*) FROM t")?, "3", "node{node}");
    }
    Ok(())
}

#[test]
fn a_raw_client_logs_in_and_queries() -> Result<(), HarnessError> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let mut client = RawClient::login(&cluster.app(0))?;
    assert!(client.key.is_some());
    assert_eq!(raw::tags(&client.query("SELECT 1 AS one")?), "TDCZ");
    client.send(&[raw::parse("", "SELECT $1::int"), raw::bind("", "", &[Some("7")])].concat())?;
    client.send(&[raw::execute("", 0), raw::sync()].concat())?;
    let frames = client.until_ready()?;
    assert_eq!(raw::tags(&frames), "12DCZ");
    assert_eq!(frames[2].columns(), [Some("7".to_owned())]);
    Ok(())
}

#[test]
fn a_door_lets_through_slows_blocks_and_slams() -> Result<(), HarnessError> {
    let cluster = Cluster::builder().replicas(0).doors().start()?;
    let mut login = cluster.app(0);
    login.port = cluster.address(0).rsplit_once(':').map_or(0, |(_, port)| port.parse().unwrap());
    let mut client = RawClient::login(&login)?;
    assert_eq!(raw::tags(&client.query("SELECT 1")?), "TDCZ");
    cluster.slow(0, Duration::from_millis(100));
    let start = std::time::Instant::now();
    client.query("SELECT 1")?;
    assert!(start.elapsed() >= Duration::from_millis(200));
    cluster.partition(0);
    client.send(&raw::query("SELECT 2"))?;
    assert!(client.is_silent_for(Duration::from_millis(300))?);
    cluster.heal(0);
    assert_eq!(raw::tags(&client.until_ready()?), "TDCZ");
    cluster.close_door(0);
    client.until_closed(Duration::from_secs(5))?;
    assert!(RawClient::login(&login).is_err());
    Ok(())
}
