//! The answer to a COMMIT is lost with its server: the next primary tells what became of it, where that can be
//! proved. A transaction that was not committed is lost, and its session goes on.

use crate::support::{Outcome, SCHEMA, Stage, stage};
use crate::twin::{self, Batch, extended, simple};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::{self, Frame, RawClient, tags};
use pgweir_tests::{HarnessError, Weir};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

/// Probers of this stage bear with a node that does not answer for some seconds.
fn broken_stage() -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| {
        weir.set("cluster.commit_outcome", true)
            .set("cluster.probe_timeout", "30s")
            .set("cluster.primary_wait", "60s")
            .set("runtime.watch_config", false)
    })?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica("SELECT count(*) FROM product")?;
    Ok(stage)
}

fn client(stage: &Stage) -> Result<RawClient, HarnessError> {
    let mut client = stage.client()?;
    client.set_patience(PATIENCE)?;
    Ok(client)
}

/// A client with an open transaction that has written.
fn writer(stage: &Stage, body: &str) -> Result<RawClient, HarnessError> {
    let mut client = client(stage)?;
    client.run("BEGIN")?;
    client.run("SET LOCAL synchronous_commit = remote_apply")?;
    client.run(&format!("INSERT INTO note (body) VALUES ('{body}')"))?;
    Ok(client)
}

fn commit_by_batch() -> Vec<u8> {
    let bound = [raw::parse("", "COMMIT"), raw::bind("", "", &[]), raw::describe(b'P', "")];
    [bound.concat(), raw::execute("", 0), raw::sync()].concat()
}

/// So many transactions wait on this node for a standby.
fn wait_for_commits(stage: &Stage, node: usize, count: usize) -> Outcome {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    wait_until("they wait for the standby", || {
        stage.cluster.value(node, "postgres", sql).is_ok_and(|n| n == count.to_string())
    })
}

/// A replica has received all that its primary has written.
fn wait_received(stage: &Stage, from: usize, to: usize) -> Outcome {
    let written = stage.cluster.value(from, "postgres", "SELECT pg_current_wal_flush_lsn()")?;
    let sql = format!("SELECT pg_last_wal_receive_lsn() >= '{written}'");
    wait_until("it has received all", || {
        stage.cluster.value(to, "postgres", &sql).is_ok_and(|yes| yes == "t")
    })
}

fn count(stage: &Stage, node: usize, body: &str) -> Result<String, HarnessError> {
    stage.cluster.value(node, "app", &format!("SELECT count(*) FROM note WHERE body = '{body}'"))
}

fn code(frames: &[Frame]) -> Option<String> {
    frames.iter().find(|f| f.tag == b'E').and_then(|f| f.field(b'C'))
}

fn outcomes(weir: &Weir, outcome: &str) -> f64 {
    weir.metrics().map_or(f64::NAN, |m| m.sum("pgweir_commit_outcomes_total", &[("outcome", outcome)]))
}

/// The answer was lost, and the next primary has the commit.
fn committed(stage: &Stage) -> Outcome {
    stage.cluster.set_on(0, "synchronous_standby_names", "node1")?;
    stage.cluster.pause_replay(1)?;
    let mut simple = writer(stage, "simple")?;
    let mut batch = writer(stage, "batch")?;
    simple.run("SAVEPOINT s")?;
    simple.run("SET work_mem = '7MB'")?;
    simple.send(&raw::query("COMMIT"))?;
    batch.send(&commit_by_batch())?;
    let mut idle = writer(stage, "idle")?;
    let mut busy = writer(stage, "busy")?;
    let mut copying = writer(stage, "copying")?;
    busy.send(&raw::query("SELECT pg_sleep(60)"))?;
    copying.send(&raw::query("COPY note (body) FROM STDIN"))?;
    copying.until(b"G")?;
    copying.send_frame(b'd', b"copied\n")?;
    wait_for_commits(stage, 0, 2)?;
    wait_received(stage, 0, 1)?;
    stage.cluster.crash(0);
    // A promotion replays all that is there.
    stage.cluster.promote(1)?;
    assert_eq!(tags(&simple.until_ready()?), "CZ", "{}", stage.weir.log());
    assert_eq!(tags(&batch.until_ready()?), "12nCZ");
    for body in ["simple", "batch"] {
        assert_eq!(count(stage, 1, body)?, "1");
    }
    assert_eq!(simple.value("SHOW work_mem")?, "7MB");
    simple.run("INSERT INTO note (body) VALUES ('later')")?;
    assert_eq!(outcomes(&stage.weir, "committed"), 2.0);
    // What was not committed is lost for certain.
    for lost in [&mut busy, &mut copying] {
        assert_eq!(code(&lost.until(b"Z")?).as_deref(), Some("40001"), "{}", stage.weir.log());
        assert_eq!(lost.refusal("SELECT 1")?.0, "25P02");
        lost.run("ROLLBACK")?;
    }
    assert_eq!(idle.refusal("INSERT INTO note (body) VALUES ('idle')")?.0, "40001");
    idle.run("ROLLBACK")?;
    idle.run("BEGIN; INSERT INTO note (body) VALUES ('idle, later'); COMMIT")?;
    for body in ["idle", "busy", "copying", "copied"] {
        assert_eq!(count(stage, 1, body)?, "0");
    }
    Ok(())
}

/// The answer was lost, and the next primary lacks the commit: of one transaction it has the first write, of the
/// other nothing, so that its id belongs to somebody else.
fn aborted(stage: &Stage) -> Outcome {
    stage.cluster.follow(2, 1)?;
    stage.cluster.wait_caught_up()?;
    stage.cluster.set_on(1, "synchronous_standby_names", "node2")?;
    let mut begun = writer(stage, "begun")?;
    wait_received(stage, 1, 2)?;
    stage.cluster.set_on(2, "primary_conninfo", "")?;
    let receives = "SELECT count(*) FROM pg_stat_wal_receiver";
    wait_until("it receives nothing more", || {
        stage.cluster.value(2, "postgres", receives).is_ok_and(|n| n == "0")
    })?;
    let mut unseen = writer(stage, "unseen")?;
    begun.send(&raw::query("COMMIT"))?;
    unseen.send(&commit_by_batch())?;
    wait_for_commits(stage, 1, 2)?;
    // pgweir does not hear of the promotion before others have had the next ids.
    stage.cluster.partition(2);
    stage.cluster.crash(1);
    stage.cluster.promote(2)?;
    for _ in 0..5 {
        stage.cluster.sql(2, "app", "INSERT INTO note (body) VALUES ('somebody else')")?;
    }
    stage.cluster.heal(2);
    for lost in [&mut begun, &mut unseen] {
        let frames = lost.until_ready()?;
        assert_eq!((tags(&frames).as_str(), code(&frames).as_deref()), ("EZ", Some("40001")));
        assert_eq!(frames.last().map(|ready| ready.body.clone()).as_deref(), Some(&b"I"[..]));
        lost.run("INSERT INTO note (body) VALUES ('again')")?;
    }
    assert_eq!((count(stage, 2, "begun")?, count(stage, 2, "unseen")?), ("0".into(), "0".into()));
    assert_eq!(outcomes(&stage.weir, "aborted"), 2.0);
    Ok(())
}

/// Nobody has seen how the next primary became one.
fn unknown(stage: &Stage) -> Outcome {
    stage.cluster.follow(0, 2)?;
    stage.cluster.wait_caught_up()?;
    stage.cluster.set_on(2, "synchronous_standby_names", "nobody")?;
    let mut unknown = writer(stage, "unknown")?;
    unknown.send(&raw::query("COMMIT"))?;
    wait_for_commits(stage, 2, 1)?;
    stage.cluster.close_door(0);
    stage.cluster.crash(2);
    stage.cluster.promote(0)?;
    stage.cluster.heal(0);
    let told = unknown.until(b"E")?;
    assert_eq!(code(&told).as_deref(), Some("08007"), "{}", stage.weir.log());
    assert!(
        told.last().and_then(|f| f.field(b'H')).is_some_and(|hint| hint.contains("look whether it is there"))
    );
    assert_eq!(outcomes(&stage.weir, "unknown"), 1.0);
    Ok(())
}

#[test]
fn the_outcome_of_a_commit_is_what_the_next_primary_proves() -> Outcome {
    let stage = broken_stage()?;
    committed(&stage)?;
    aborted(&stage)?;
    unknown(&stage)
}

#[test]
fn a_primary_that_comes_back_tells_what_it_has_committed() -> Outcome {
    let stage = broken_stage()?;
    stage.cluster.set_on(0, "synchronous_standby_names", "nobody")?;
    let warned = |client: &mut RawClient| -> Outcome {
        let frames = client.until_ready()?;
        assert_eq!(tags(&frames), "NCZ", "{}", stage.weir.log());
        let warning = frames[0].field(b'M').unwrap_or_default();
        assert!(warning.contains("might not have been replicated"), "{warning}");
        Ok(())
    };
    // It crashes, and recovers by itself.
    let mut first = writer(&stage, "crash")?;
    first.send(&raw::query("COMMIT"))?;
    wait_for_commits(&stage, 0, 1)?;
    stage.cluster.crash(0);
    stage.cluster.start(0)?;
    warned(&mut first)?;
    // Its connection is ended, and nothing else.
    let mut second = writer(&stage, "terminated")?;
    second.send(&raw::query("COMMIT"))?;
    wait_for_commits(&stage, 0, 1)?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    stage.cluster.sql(0, "postgres", end)?;
    warned(&mut second)?;
    // A fast shutdown, and a start.
    let mut third = writer(&stage, "stopped")?;
    third.send(&commit_by_batch())?;
    wait_for_commits(&stage, 0, 1)?;
    stage.cluster.stop(0);
    stage.cluster.start(0)?;
    let frames = third.until_ready()?;
    assert_eq!(tags(&frames), "N12nCZ", "{}", stage.weir.log());
    for body in ["crash", "terminated", "stopped"] {
        assert_eq!(count(&stage, 0, body)?, "1");
    }
    assert_eq!(outcomes(&stage.weir, "committed"), 3.0);
    // A cancel request ends the wait for a primary.
    let mut cancelled = writer(&stage, "cancelled")?;
    cancelled.send(&raw::query("COMMIT"))?;
    wait_for_commits(&stage, 0, 1)?;
    stage.cluster.crash(0);
    assert!(cancelled.is_silent_for(Duration::from_secs(1))?);
    cancelled.set_patience(Duration::from_secs(40))?;
    cancelled.cancel()?;
    assert_eq!(code(&cancelled.until(b"E")?).as_deref(), Some("08007"));
    Ok(())
}

/// Without the option an open transaction is lost in the same way, and a COMMIT is in doubt.
#[test]
fn an_open_transaction_is_lost_and_its_session_goes_on() -> Outcome {
    let stage = broken_stage()?;
    stage
        .weir
        .reconfigure(|config| pgweir_tests::weir::set(config, "cluster.commit_outcome", false.into()))?;
    let mut bound = writer(&stage, "bound")?;
    bound.run("CREATE TEMP TABLE own (n int)")?;
    let terminate = |what: &str| {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' AND {what}"
        );
        wait_until("it is ended", || stage.cluster.value(0, "postgres", &sql).is_ok_and(|n| n != "0"))
    };
    let mut busy = writer(&stage, "busy")?;
    busy.send(&raw::query("SELECT pg_sleep(60)"))?;
    terminate("query LIKE '%pg_sleep(60)%' AND state = 'active'")?;
    assert_eq!(code(&busy.until_ready()?).as_deref(), Some("40001"));
    busy.run("ROLLBACK")?;
    let mut batch = writer(&stage, "batch")?;
    let copy = [raw::parse("", "COPY note (body) FROM STDIN"), raw::bind("", "", &[]), raw::execute("", 0)];
    batch.send(&[copy.concat(), raw::sync()].concat())?;
    batch.until(b"G")?;
    terminate("query LIKE 'COPY%' AND state = 'active'")?;
    assert_eq!(code(&batch.until(b"E")?).as_deref(), Some("40001"));
    batch.send_frame(b'd', b"late\n")?;
    batch.send_frame(b'c', b"")?;
    batch.send(&raw::sync())?;
    assert_eq!(tags(&batch.until_ready()?), "Z");
    assert_eq!(batch.refusal("SELECT 1")?.0, "25P02");
    batch.run("ROLLBACK")?;
    assert_eq!(batch.value("SELECT 1")?, "1");
    // Idle in its transaction, by a shutdown and by a crash.
    for crash in [false, true] {
        let mut idle = writer(&stage, "idle")?;
        let mut failed = writer(&stage, "failed")?;
        assert_eq!(failed.refusal("SELECT 1/0")?.0, "22012");
        if crash {
            stage.cluster.crash(0)
        } else {
            stage.cluster.stop(0)
        }
        std::thread::sleep(Duration::from_millis(200));
        stage.cluster.start(0)?;
        let commits = idle.refusal("COMMIT")?;
        assert_eq!(commits.0, "40001", "{commits:?}");
        assert_eq!(idle.value("SELECT count(*) FROM note WHERE body = 'idle'")?, "0");
        assert_eq!(failed.refusal("SELECT 1")?.0, "25P02");
        failed.run("ROLLBACK")?;
        failed.run("INSERT INTO note (body) VALUES ('later')")?;
    }
    assert!(bound.run("SELECT 1").is_err(), "it had a table there");
    // A COMMIT that nobody can ask about.
    stage.cluster.set_on(0, "synchronous_standby_names", "nobody")?;
    let mut doubt = writer(&stage, "doubt")?;
    doubt.send(&raw::query("COMMIT"))?;
    wait_for_commits(&stage, 0, 1)?;
    stage.cluster.crash(0);
    assert_eq!(code(&doubt.until(b"E")?).as_deref(), Some("08006"));
    Ok(())
}

/// What a client sees of transactions while they are traced: nothing.
#[test]
fn nobody_sees_that_the_id_of_a_transaction_is_asked() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("cluster.commit_outcome", true).start()?;
    let (mut client, mut direct) = (RawClient::login(&weir.app())?, stage.direct()?);
    let write = "UPDATE counter SET n = n WHERE id = 90";
    let run = |sql: &str| extended(&[raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)]);
    let named = |sql: &str| extended(&[raw::parse("mine", sql), raw::describe(b'S', "mine")]);
    let conversation: Vec<Batch> = vec![
        simple("BEGIN"),
        simple(write),
        simple("COMMIT"),
        // An unnamed statement and an unnamed portal outlive the question.
        simple("BEGIN ISOLATION LEVEL REPEATABLE READ"),
        extended(&[
            raw::parse("", "SELECT generate_series(1, 5)"),
            raw::bind("", "", &[]),
            raw::execute("", 2),
        ]),
        extended(&[raw::parse("other", write), raw::bind("p", "other", &[]), raw::execute("p", 0)]),
        extended(&[raw::execute("", 2)]),
        extended(&[raw::bind("", "", &[]), raw::execute("", 1)]),
        run("COMMIT"),
        // A lock that is waited for comes before the snapshot.
        simple("BEGIN ISOLATION LEVEL SERIALIZABLE"),
        simple("LOCK TABLE counter IN ROW SHARE MODE"),
        simple(write),
        simple("SAVEPOINT s"),
        simple("SELECT 1/0"),
        simple("ROLLBACK TO s"),
        simple("COMMIT AND CHAIN"),
        simple(write),
        simple("ROLLBACK"),
        extended(&[
            raw::parse("", "BEGIN"),
            raw::bind("", "", &[]),
            raw::execute("", 0),
            raw::parse("", write),
            raw::bind("", "", &[]),
            raw::execute("", 0),
        ]),
        named("COMMIT"),
        extended(&[raw::bind("", "mine", &[]), raw::execute("", 0)]),
        simple("BEGIN; UPDATE counter SET n = n WHERE id = 90; COMMIT"),
        simple("BEGIN"),
        simple("SELECT 1/0"),
        simple("COMMIT"),
    ];
    let (told, wanted) = (twin::hold(&mut client, &conversation)?, twin::hold(&mut direct, &conversation)?);
    for (at, (told, wanted)) in told.iter().zip(&wanted).enumerate() {
        assert_eq!(tags(told), tags(wanted), "batch {at}");
        assert_eq!(told, wanted, "batch {at}");
    }
    Ok(())
}

/// Where the question is not allowed, transactions fail and say why; a session can do without it.
#[test]
fn where_the_id_cannot_be_asked_the_client_is_told_why() -> Outcome {
    let stage = broken_stage()?;
    let revoke = "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM public";
    stage.cluster.sql(0, "app", revoke)?;
    let write = "INSERT INTO note (body) VALUES ('refused')";
    let mut client = client(&stage)?;
    client.run("BEGIN")?;
    let (code, message) = client.refusal(write)?;
    assert!(code == "42501" && message.contains("pg_logical_emit_message"), "{code}: {message}");
    client.run("ROLLBACK")?;
    // One that is asked at its end hears of it as well, and not that it was rolled back without a word.
    client.run("BEGIN")?;
    client.run("CREATE TABLE made (n int)")?;
    assert_eq!(client.refusal("COMMIT")?.0, "42501");
    assert_eq!(client.value("SELECT count(*) FROM pg_class WHERE relname = 'made'")?, "0");
    client.run("SET pgweir.commit_outcome = off")?;
    assert_eq!(client.value("SHOW pgweir.commit_outcome")?, "off");
    for sql in ["BEGIN", write, "COMMIT"] {
        client.run(sql)?;
    }
    Ok(())
}
