//! Two nodes say that they are primary, or one does that is not: nothing is acknowledged on the wrong one.

use crate::support::{Outcome, SCHEMA, Stage};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until};
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir};
use std::time::Duration;

/// Longer than anything here may take a client to hear of its end, shorter than any time-out of the kernel's.
const PATIENCE: Duration = Duration::from_secs(20);

fn torn_stage() -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| {
        weir.set("cluster.probe_timeout", "1s")
            .set("cluster.primary_wait", "6s")
            .set("runtime.watch_config", false)
    })?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica("SELECT count(*) FROM product")?;
    Ok(stage)
}

/// What SHOW NODES says of a node: its role, its state, what is wrong.
fn shown(weir: &Weir, node: &str) -> Result<[String; 3], HarnessError> {
    let rows = Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir").sql("SHOW NODES")?;
    let row = rows.iter().find(|row| row[0].as_deref() == Some(node)).expect("it is shown");
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok([text(&row[1]), text(&row[2]), text(row.last().expect("columns"))])
}

fn wait_for_primary(stage: &Stage, node: usize) -> Outcome {
    let name = stage.cluster.address(node);
    wait_until(&format!("node{node} is the primary"), || {
        shown(&stage.weir, &name).is_ok_and(|[role, ..]| role == "primary")
    })
}

/// The code of the error that a request was answered with; nothing when it went well.
fn outcome(client: &mut RawClient, sql: &str) -> Option<String> {
    let sent = client.send(&raw::query(sql)).and_then(|()| client.until(b"EZ"));
    let Ok(frames) = sent else { return Some("gone".into()) };
    let error = frames.iter().find(|f| f.tag == b'E')?;
    if error.field(b'V').as_deref() == Some("ERROR") {
        client.until(b"Z").ok()?;
    }
    error.field(b'C')
}

#[test]
fn a_deposed_primary_is_written_to_no_more_whatever_holds_a_session_there() -> Outcome {
    let stage = torn_stage()?;
    let kinds = [
        ("temp", "CREATE TEMP TABLE own (n int)"),
        ("lock", "SELECT pg_advisory_lock(7)"),
        ("open", "BEGIN; INSERT INTO note (body) VALUES ('before open')"),
        ("sequence", "SELECT nextval('ticket')"),
        ("process", "SELECT pg_backend_pid()"),
        ("listen", "LISTEN news"),
        ("cursor", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
        ("prepare", "PREPARE p AS SELECT 1"),
        ("plain", "SELECT 1"),
    ];
    let mut clients = vec![];
    for (kind, sql) in kinds {
        let mut client = stage.client()?;
        client.set_patience(PATIENCE)?;
        client.run(sql)?;
        clients.push((kind, client));
    }
    let mut walsender = RawClient::login_with(
        &stage.weir.superuser().database("app"),
        0x3_0000,
        &[("replication", "database")],
    )?;
    walsender.set_patience(PATIENCE)?;
    walsender.run("SELECT 1")?;
    // The former primary lives on, and nobody has told it anything.
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    assert_eq!(
        outcome(&mut walsender, "INSERT INTO note (body) VALUES ('late walsender')").as_deref(),
        Some("gone")
    );
    let mut told = vec![];
    for (kind, client) in &mut clients {
        let sql = format!("INSERT INTO note (body) VALUES ('late {kind}')");
        told.push((*kind, outcome(client, &sql)));
    }
    let late = |node| stage.cluster.sql(node, "app", "SELECT body FROM note WHERE body LIKE 'late %'");
    assert!(late(0)?.is_empty(), "{:?} were written on the former primary", late(0)?);
    for (kind, code) in &told {
        let wanted = match *kind {
            "plain" | "sequence" | "process" | "listen" => None,
            "open" => Some("40001"),
            _ => Some("57P01"),
        };
        assert_eq!(code.as_deref(), wanted, "{kind}");
    }
    assert_eq!(late(1)?.len(), 4);
    // The lost transaction's session goes on, as after any error in a transaction.
    let (_, open) = clients.iter_mut().find(|(kind, _)| *kind == "open").expect("it is there");
    assert_eq!(outcome(open, "SELECT 1").as_deref(), Some("25P02"));
    assert_eq!(outcome(open, "ROLLBACK"), None);
    assert_eq!(open.value("SELECT count(*) FROM note WHERE body = 'before open'")?, "0");
    assert!(stage.weir.log().contains("it is left out"));
    Ok(())
}

#[test]
fn what_is_under_way_when_the_primary_changes_is_not_acknowledged() -> Outcome {
    let stage = torn_stage()?;
    let mut writing = stage.client()?;
    let mut committing = stage.client()?;
    let mut copying = stage.client()?;
    let mut reading = stage.client()?;
    let mut within = stage.client()?;
    let mut half_sent = stage.client()?;
    for client in [&mut writing, &mut committing, &mut copying, &mut reading, &mut within, &mut half_sent] {
        client.set_patience(PATIENCE)?;
    }
    // The rest of a message that is longer than pgweir keeps comes when its server is lost.
    half_sent.run("BEGIN")?;
    let body = "x".repeat(300_000);
    let long = [
        raw::parse("", "INSERT INTO note (body) VALUES ($1)"),
        raw::bind("", "", &[Some(&body)]),
        raw::execute("", 0),
        raw::sync(),
    ]
    .concat();
    half_sent.send(&long[..280_000])?;
    writing.send(&raw::query("INSERT INTO note (body) SELECT 'in flight' FROM pg_sleep(4)"))?;
    committing.run("BEGIN")?;
    committing.run("INSERT INTO note (body) VALUES ('in flight')")?;
    committing.send(&raw::query("DO 'BEGIN PERFORM pg_sleep(4); END'; COMMIT"))?;
    copying.send(&raw::query("COPY note (body) FROM STDIN"))?;
    copying.until(b"G")?;
    copying.send_frame(b'd', b"in flight\n")?;
    reading.send(&raw::query("SELECT count(*) FROM product, pg_sleep(4)"))?;
    within.run("BEGIN")?;
    within.run("INSERT INTO note (body) VALUES ('in flight')")?;
    within.send(&raw::query("SELECT pg_sleep(4)"))?;
    std::thread::sleep(Duration::from_millis(300));
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    let code = |client: &mut RawClient| -> Result<Option<String>, HarnessError> {
        Ok(client.until(b"EZ")?.iter().find(|f| f.tag == b'E').and_then(|f| f.field(b'C')))
    };
    assert_eq!(code(&mut writing)?.as_deref(), Some("08007"));
    assert_eq!(code(&mut committing)?.as_deref(), Some("08007"));
    assert_eq!(code(&mut copying)?.as_deref(), Some("08007"));
    assert_eq!(code(&mut within)?.as_deref(), Some("40001"));
    within.until(b"Z")?;
    within.run("ROLLBACK")?;
    half_sent.send(&long[280_000..])?;
    assert_eq!(code(&mut half_sent)?.as_deref(), Some("40001"));
    half_sent.until(b"Z")?;
    half_sent.run("ROLLBACK")?;
    within.run("INSERT INTO note (body) VALUES ('afterwards')")?;
    assert_eq!(stage.cluster.value(1, "app", "SELECT string_agg(body, ',') FROM note")?, "afterwards");
    // A read may run again: its client sees nothing of all this.
    assert_eq!(code(&mut reading)?, None);
    Ok(())
}

#[test]
fn sessions_on_a_frozen_primary_hear_of_their_end_and_it_acknowledges_nothing_later() -> Outcome {
    let stage = torn_stage()?;
    let mut clients: Vec<_> = (0..3).map(|_| stage.client()).collect::<Result<_, _>>()?;
    for client in &mut clients {
        client.set_patience(PATIENCE)?;
        client.run("INSERT INTO note (body) VALUES ('before')")?;
    }
    stage.cluster.wait_caught_up()?;
    stage.cluster.freeze(0);
    clients[0].send(&raw::query("INSERT INTO note (body) VALUES ('frozen')"))?;
    clients[1].send(&raw::query("/* pgweir: primary */ SELECT count(*) FROM note"))?;
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    let told = clients[0].until(b"E")?;
    assert_eq!(told.last().and_then(|f| f.field(b'C')).as_deref(), Some("08007"));
    assert!(clients[1].until(b"Z")?.iter().all(|frame| frame.tag != b'E'));
    stage.cluster.thaw(0);
    assert_eq!(outcome(&mut clients[2], "INSERT INTO note (body) VALUES ('after')"), None);
    assert_eq!(stage.cluster.value(1, "app", "SELECT count(*) FROM note WHERE body = 'after'")?, "1");
    Ok(())
}

#[test]
fn a_pgweir_that_starts_late_takes_no_former_primary_for_the_primary() -> Outcome {
    let stage = torn_stage()?;
    stage.cluster.kill(0);
    stage.cluster.promote(1)?;
    stage.cluster.follow(2, 1)?;
    stage.cluster.wait_caught_up()?;
    stage.cluster.kill(1);
    stage.cluster.start(0)?;
    let fresh = Weir::builder(&stage.cluster).set("cluster.primary_wait", "1s").without_waiting().start()?;
    let old = stage.cluster.address(0);
    wait_until("the former primary is refused", || {
        shown(&fresh, &old).is_ok_and(|[_, _, error]| error.contains("newer primary"))
    })?;
    let told = RawClient::login(&fresh.app()).and_then(|mut c| c.refusal("INSERT INTO note DEFAULT VALUES"));
    assert!(told.is_err() || told.is_ok_and(|(code, _)| code == "57P03"));
    assert_eq!(stage.cluster.value(0, "app", "SELECT count(*) FROM note")?, "0");
    // A person says that it is to go on.
    fresh.reconfigure(|config| pgweir_tests::weir::set(config, "cluster.nodes", vec![old.clone()].into()))?;
    wait_until("it is the primary", || shown(&fresh, &old).is_ok_and(|[role, ..]| role == "primary"))?;
    fresh.app().sql("INSERT INTO note DEFAULT VALUES")?;
    Ok(())
}

#[test]
fn two_promotions_onto_one_timeline_are_two_histories() -> Outcome {
    let stage = torn_stage()?;
    stage.cluster.kill(0);
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    let mut client = stage.client()?;
    client.run("INSERT INTO note (body) VALUES ('first')")?;
    stage.cluster.promote(2)?;
    let rival = stage.cluster.address(2);
    wait_until("the rival is refused", || {
        shown(&stage.weir, &rival).is_ok_and(|[_, _, error]| error.contains("two histories"))
    })?;
    client.run("INSERT INTO note (body) VALUES ('first')")?;
    stage.cluster.kill(1);
    let mut other = stage.client()?;
    let (code, _) = other.refusal("INSERT INTO note (body) VALUES ('second')")?;
    assert_eq!(code, "57P03");
    assert_eq!(stage.cluster.value(2, "app", "SELECT count(*) FROM note")?, "0");
    stage.cluster.start(1)?;
    wait_for_primary(&stage, 1)?;
    other.run("INSERT INTO note (body) VALUES ('first')").map(drop)
}

#[test]
fn a_replica_that_cannot_follow_a_promotion_is_shown_as_stranded() -> Outcome {
    let stage = torn_stage()?;
    // It has more than the one that will be promoted.
    stage.cluster.wait_caught_up()?;
    stage.cluster.set_on(1, "primary_conninfo", "")?;
    let receives = "SELECT count(*) FROM pg_stat_wal_receiver";
    wait_until("it receives nothing more", || {
        stage.cluster.value(1, "app", receives).is_ok_and(|n| n == "0")
    })?;
    stage.weir.app().sql("INSERT INTO note (body) VALUES ('beyond the fork')")?;
    let ahead = "SELECT count(*) FROM note";
    wait_until("the other has it", || stage.cluster.value(2, "app", ahead).is_ok_and(|n| n == "1"))?;
    stage.cluster.kill(0);
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    let name = stage.cluster.address(2);
    wait_until("it is stranded", || {
        shown(&stage.weir, &name)
            .is_ok_and(|[_, state, error]| state == "stranded" && error.contains("cannot follow"))
    })?;
    assert_eq!(stage.weir.metrics()?.sum("pgweir_node_is_stranded", &[("node", name.as_str())]), 1.0);
    assert!(stage.weir.log().contains("has stayed on timeline 1"));
    Ok(())
}

/// The former primary lives on, and with it the connection that its catalog is watched by.
#[test]
fn what_statements_mean_is_asked_of_the_primary_in_force() -> Outcome {
    let stage = torn_stage()?;
    stage.weir.app().sql("CREATE VIEW shelf AS SELECT name FROM product WHERE id = 1")?;
    stage.wait_for_replica("SELECT name FROM shelf")?;
    stage.cluster.promote(1)?;
    stage.cluster.follow(2, 1)?;
    wait_for_primary(&stage, 1)?;
    let create =
        "CREATE FUNCTION later() RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM note_of_later'";
    stage.weir.app().sql("CREATE TABLE note_of_later (name text); INSERT INTO note_of_later VALUES ('1')")?;
    stage.weir.app().sql(create)?;
    stage.wait_for_replica("SELECT later()")?;
    // A write there is a write of what the view shows now.
    stage.weir.app().sql("CREATE OR REPLACE VIEW shelf AS SELECT name FROM note_of_later")?;
    let mut client = stage.client()?;
    for n in 2..30 {
        client.run(&format!("UPDATE note_of_later SET name = '{n}'"))?;
        assert_eq!(client.value("SELECT name FROM shelf")?, n.to_string());
    }
    Ok(())
}
