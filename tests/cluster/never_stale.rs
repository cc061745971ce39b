//! A write is seen by every read that comes after it, whatever connection it comes on.

use crate::support::{Outcome, Stage, mark};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::time::Duration;

const READ: &str = "SELECT count(*) FROM product";

/// A stage whose replicas show every commit later by this much.
fn delayed(delay: Duration) -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| weir.set("routing.freshness_wait", "2s"))?;
    stage.cluster.node(0).superuser().database("app").sql(crate::support::SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica(READ)?;
    for replica in stage.cluster.replicas() {
        stage.cluster.set_apply_delay(replica, delay)?;
    }
    Ok(stage)
}

#[test]
fn a_read_on_another_connection_sees_the_write_before_it() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    let (mut writer, mut reader) = (stage.client()?, stage.client()?);
    for round in 1..=25 {
        let written = writer.value("UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n")?;
        assert_eq!(reader.value("SELECT n FROM counter WHERE id = 1")?, written, "round {round}");
        let id = writer.value("INSERT INTO note (body) VALUES ('fresh') RETURNING id")?;
        let sql = format!("SELECT count(*) FROM note WHERE id = {id}");
        assert_eq!(stage.client()?.value(&sql)?, "1", "round {round}");
    }
    // The transaction counts at its COMMIT, by the extended protocol as well.
    writer.prepare("add", "UPDATE counter SET n = n + 1 WHERE id = 2")?;
    for round in 1..=10 {
        writer.run("BEGIN")?;
        writer.execute("add", &[])?;
        writer.run("COMMIT")?;
        let n = reader.value("SELECT n FROM counter WHERE id = 2")?;
        assert_eq!(n, round.to_string());
    }
    Ok(())
}

/// SQL on a connection for logical replication is passed as it is, and its writes count all the same.
#[test]
fn what_a_replication_connection_has_written_or_heard_of_is_seen() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    let login = stage.weir.superuser().database("app");
    let mut walsender = RawClient::login_with(&login, 0x3_0000, &[("replication", "database")])?;
    let mut reader = stage.client()?;
    for round in 1..=10 {
        walsender.run("UPDATE counter SET n = n + 1 WHERE id = 1")?;
        assert_eq!(reader.value("SELECT n FROM counter WHERE id = 1")?, round.to_string());
    }
    Ok(())
}

#[test]
fn at_eventual_a_read_may_be_stale_and_runs_on_a_replica_at_once() -> Outcome {
    // Shows that the delay works and that the story above could fail.
    let stage = delayed(Duration::from_millis(700))?;
    let (mut writer, mut reader) = (stage.client()?, stage.client()?);
    reader.run("SET pgweir.consistency = 'eventual'")?;
    let mut stale = 0;
    for _ in 0..10 {
        let written = writer.value("UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n")?;
        let mark = mark();
        let read = reader.value(&format!("/* {mark} */ SELECT n FROM counter WHERE id = 1"))?;
        let nodes = stage.cluster.nodes_that_ran(&mark);
        assert!(stage.is_replica(&nodes), "an eventual read ran on {nodes:?}");
        stale += usize::from(read != written);
    }
    assert!(stale > 0, "ten reads within 0.7 s of a write, and none was stale");
    Ok(())
}

#[test]
fn a_replica_whose_replay_is_paused_never_answers_with_the_old_state() -> Outcome {
    let stage = delayed(Duration::ZERO)?;
    for replica in stage.cluster.replicas() {
        stage.cluster.pause_replay(replica)?;
    }
    let mut client = stage.client()?;
    for round in 1..=3 {
        client.run("UPDATE counter SET n = n + 1 WHERE id = 3")?;
        let n = stage.client()?.value("SELECT n FROM counter WHERE id = 3")?;
        assert_eq!(n, round.to_string());
    }
    stage.cluster.resume_replay(1)?;
    stage.wait_for_replica("SELECT n FROM counter WHERE id = 3")
}

/// A write that is committed long before it is acknowledged.
const LONG_ACKNOWLEDGED: &str = "BEGIN; UPDATE counter SET n = n + 1 WHERE id = 7; NOTIFY done; COMMIT; \
     SELECT pg_sleep(0.3)";
const SEVEN: &str = "SELECT n FROM counter WHERE id = 7";

/// Two clients beside a writer: one hears of the commit in some way, then the other reads.
fn heard(stage: &Stage, write: &str, hear: impl Fn(&mut RawClient, i32) -> Outcome) -> Outcome {
    let (mut writer, mut hearer, mut reader) = (stage.client()?, stage.client()?, stage.client()?);
    hearer.run("LISTEN done")?;
    for round in 1..=10 {
        let before: i32 = stage.direct()?.value(SEVEN)?.parse().expect("a number");
        writer.send(&raw::query(write))?;
        hear(&mut hearer, before + 1)?;
        assert_eq!(reader.value(SEVEN)?, (before + 1).to_string(), "{write}, round {round}");
        writer.until_ready()?;
        assert_eq!(reader.value(SEVEN)?, (before + 1).to_string(), "{write}, acknowledged, round {round}");
    }
    Ok(())
}

#[test]
fn who_hears_of_a_commit_before_it_is_acknowledged_may_tell_others_who_see_it() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    stage.cluster.node(0).superuser().database("app").sql(
        "CREATE PROCEDURE long_going() LANGUAGE plpgsql AS 'BEGIN \
         UPDATE counter SET n = n + 1 WHERE id = 7; NOTIFY done; COMMIT; PERFORM pg_sleep(0.3); END'",
    )?;
    let notified = |hearer: &mut RawClient, _| hearer.until(b"A").map(drop);
    heard(&stage, LONG_ACKNOWLEDGED, notified)?;
    heard(&stage, "CALL long_going()", notified)?;
    // It reads the row on the primary until it sees it.
    heard(&stage, LONG_ACKNOWLEDGED, |hearer, now| {
        while hearer.value("SELECT n FROM counter WHERE id = 7 FOR SHARE")? != now.to_string() {}
        Ok(())
    })?;
    // Or waits for a lock that the writer takes, and gives back when it has committed.
    let locked = "SELECT pg_advisory_lock(7); BEGIN; UPDATE counter SET n = n + 1 WHERE id = 7; \
         SELECT pg_sleep(0.6); COMMIT; SELECT pg_advisory_unlock(7); SELECT pg_sleep(0.3)";
    heard(&stage, locked, |hearer, _| {
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND objsubid = 1";
        let mut primary = stage.direct()?;
        wait_until("the writer has its lock", || primary.value(held).is_ok_and(|held| held == "1"))?;
        hearer.run("SELECT pg_advisory_lock(7); SELECT pg_advisory_unlock(7)").map(drop)
    })
}

#[test]
fn a_notification_from_elsewhere_is_passed_on_with_what_it_tells_of() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    let (mut writer, mut listener, mut reader) = (stage.direct()?, stage.client()?, stage.client()?);
    listener.run("LISTEN done")?;
    for round in 1..=10 {
        writer.send(&raw::query("BEGIN; UPDATE counter SET n = n + 1 WHERE id = 8; NOTIFY done; COMMIT"))?;
        listener.until(b"A")?;
        assert_eq!(reader.value("SELECT n FROM counter WHERE id = 8")?, round.to_string());
        writer.until_ready()?;
    }
    Ok(())
}

#[test]
fn commits_that_are_flushed_late_are_noticed_and_other_tables_stay_on_replicas() -> Outcome {
    let cluster = Cluster::builder()
        .log_statements()
        .setting("synchronous_commit", "off")
        .setting("wal_writer_delay", "500ms")
        .start()?;
    cluster.node(0).superuser().database("app").sql(crate::support::SCHEMA)?;
    cluster.wait_caught_up()?;
    let weir = Weir::builder(&cluster).start()?;
    let stage = Stage { cluster, weir };
    stage.wait_for_replica(READ)?;
    let (mut writer, mut reader) = (stage.client()?, stage.client()?);
    let mut written = String::new();
    wait_until("late flushes are noticed", || {
        written = writer.value("UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n").unwrap_or_default();
        let delay = stage.weir.metrics().map(|metrics| metrics.sum("pgweir_wal_flush_delay_seconds", &[]));
        delay.is_ok_and(|delay| delay > 0.0)
    })?;
    assert!(stage.weir.log().contains("synchronous_commit = off"), "{}", stage.weir.log());
    assert_eq!(reader.value("SELECT n FROM counter WHERE id = 1")?, written);
    let nodes = stage.nodes_for_client(&mut reader, READ)?;
    assert!(stage.is_replica(&nodes), "a table that was not written was read on {nodes:?}");
    Ok(())
}

/// What lasts although the statement, or its transaction, has failed: a procedure commits on its way, another
/// connection of the server's commits for itself, and a program does what it likes; in this database or in another.
#[test]
fn what_lasts_beyond_an_error_or_a_rollback_is_seen_too() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    let root = stage.cluster.node(0).superuser();
    root.sql("CREATE DATABASE beside OWNER app")?;
    root.database("app").sql("CREATE EXTENSION dblink")?;
    let beside = stage.weir.app().database("beside");
    beside.sql("CREATE TABLE counter (id int, n int); INSERT INTO counter VALUES (1, 0)")?;
    stage.cluster.wait_caught_up()?;
    let app = stage.cluster.app(stage.cluster.primary());
    let add = "UPDATE counter SET n = n + 1 WHERE id = 1";
    let dblink = |database: &str| {
        let (port, user, password) = (app.port, &app.user, &app.password);
        let to = format!("host=127.0.0.1 port={port} dbname={database} user={user} password={password}");
        format!("dblink_exec('{to}', '{add}')")
    };
    let fails = format!("DO $$ BEGIN {add}; COMMIT; PERFORM 1 / 0; END $$");
    let (here, there) = (dblink("app"), dblink("beside"));
    let program = format!(
        "COPY (SELECT 1) TO PROGRAM 'PGPASSWORD={} {} -h 127.0.0.1 -p {} -U {} -d app -c \"{add}\"'",
        app.password,
        stage.cluster.binaries().program("psql").display(),
        app.port,
        app.user
    );
    for (login, sql, read_by) in [
        (stage.weir.app(), fails, stage.weir.app()),
        (stage.weir.app(), format!("BEGIN; SELECT {here}; ROLLBACK"), stage.weir.app()),
        (stage.weir.app(), format!("SELECT 1 / (length({here}) - 8)"), stage.weir.app()),
        (stage.weir.app(), format!("SELECT {there}"), beside.clone()),
        (stage.weir.superuser().database("app"), program, stage.weir.app()),
    ] {
        let (mut writer, mut reader) = (RawClient::login(&login)?, RawClient::login(&read_by)?);
        let mut n = reader.value("SELECT n FROM counter WHERE id = 1")?.parse::<i64>().expect("a number");
        for round in 0..4 {
            let answer = writer.query(&sql)?;
            n += 1;
            let read = reader.value("SELECT n FROM counter WHERE id = 1")?;
            assert_eq!(read, n.to_string(), "round {round}: {sql}: {answer:?}");
        }
    }
    Ok(())
}

/// It has asked for the time or has a cursor, and stays where it is: there it waits.
#[test]
fn a_block_that_cannot_leave_its_replica_sees_what_was_committed_before_each_read() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    let mut writer = stage.client()?;
    let add = "UPDATE counter SET n = n + 1 WHERE id = 4 RETURNING n";
    let read = "SELECT n FROM counter WHERE id = 4";
    for level in ["proxy", "global"] {
        for tie in ["SELECT now()", "DECLARE c CURSOR FOR SELECT id FROM product"] {
            for round in 0..4 {
                let mut reader = stage.client()?;
                reader.run(&format!("SET pgweir.consistency = '{level}'"))?;
                reader.run("BEGIN READ ONLY")?;
                reader.run(read)?;
                reader.run(tie)?;
                let written = writer.value(add)?;
                assert_eq!(reader.value(read)?, written, "{level}, {tie}, round {round}");
                reader.run("COMMIT")?;
            }
        }
    }
    // A snapshot that was taken before is kept, as on a direct connection.
    let mut reader = stage.client()?;
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let before = reader.value(read)?;
    reader.run("SELECT now()")?;
    assert_ne!(writer.value(add)?, before);
    assert_eq!(reader.value(read)?, before);
    Ok(())
}

/// Each part of a batch takes a snapshot of its own.
#[test]
fn what_follows_a_flush_sees_what_was_committed_since() -> Outcome {
    let stage = delayed(Duration::from_millis(200))?;
    let mut writer = stage.client()?;
    let select = |portal: &str, rows| {
        let sql = "SELECT n FROM counter WHERE id = 5";
        [raw::parse("", sql), raw::bind(portal, "", &[]), raw::execute(portal, rows)].concat()
    };
    for portal in ["", "kept"] {
        for _ in 0..4 {
            let mut reader = stage.client()?;
            reader.send(&[select(portal, 1), raw::flush()].concat())?;
            reader.until(b"Cs")?;
            let written = writer.value("UPDATE counter SET n = n + 1 WHERE id = 5 RETURNING n")?;
            reader.send(&[select("", 0), raw::sync()].concat())?;
            let frames = reader.until_ready()?;
            let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
            assert_eq!(String::from_utf8_lossy(&row.body[6..]), written, "portal {portal:?}");
        }
    }
    Ok(())
}

#[test]
fn a_block_whose_replica_falls_behind_for_good_is_told_to_begin_again() -> Outcome {
    let stage = delayed(Duration::from_millis(10))?;
    let (mut writer, mut reader) = (stage.client()?, stage.client()?);
    let read = "SELECT n FROM counter WHERE id = 6";
    reader.run("BEGIN READ ONLY")?;
    reader.run(read)?;
    reader.run("SELECT now()")?;
    for replica in stage.cluster.replicas() {
        stage.cluster.set_apply_delay(replica, Duration::from_secs(3600))?;
    }
    writer.run("UPDATE counter SET n = n + 1 WHERE id = 6")?;
    assert_eq!(reader.refusal(read)?.0, "40001");
    assert_eq!(reader.refusal(read)?.0, "25P02");
    reader.run("ROLLBACK")?;
    assert_eq!(reader.value(read)?, writer.value(read)?);
    Ok(())
}
