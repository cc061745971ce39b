//! Clients that send much before they read anything get every answer, and never wait for ever.

use crate::assert_same;
use crate::support::{Outcome, Stage, stage};
use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::raw::{self, Frame, RawClient};
use pgweir_tests::{HarnessError, Weir};
use std::time::Duration;

/// Longer than any of these takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something to send in one write, and how many ReadyForQuery answer it.
struct Pipeline {
    name: &'static str,
    bytes: Vec<u8>,
    ready: usize,
}

/// Parse, Bind, Execute and Sync of one statement.
fn extended(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
    [raw::parse("", sql), raw::bind("", "", values), raw::execute("", 0), raw::sync()].concat()
}

fn pipelines() -> Vec<Pipeline> {
    let of = |name, one: Vec<u8>, ready| Pipeline { name, bytes: one.repeat(ready), ready };
    let begun = |sql: &str, rest: Pipeline| Pipeline {
        bytes: [raw::query(sql), rest.bytes, raw::query("COMMIT")].concat(),
        ready: rest.ready + 2,
        ..rest
    };
    let wide = || extended("SELECT repeat('x', $1)", &[Some("8000")]);
    let named = format!("SELECT name FROM product WHERE id = 7 /* {} */", "y".repeat(7_000));
    let update = "UPDATE counter SET n = n WHERE id = 77 RETURNING repeat('x', 300)";
    vec![
        of("wide rows", wide(), 40),
        of("small queries", raw::query("SELECT name FROM product WHERE id = 7"), 6_000),
        of("updates", extended(update, &[]), 1_200),
        begun("BEGIN READ ONLY", of("reads of a transaction", wide(), 40)),
        begun("BEGIN", of("statements of a transaction", wide(), 40)),
        of("long queries", raw::query(&named), 60),
        of("wide rows by simple queries", raw::query("SELECT repeat('x', 8000) FROM product LIMIT 1"), 60),
    ]
}

/// All answers to something that is sent whole before anything is read.
fn answers(mut client: RawClient, pipeline: &Pipeline) -> Result<Vec<Frame>, HarnessError> {
    client.set_patience(PATIENCE)?;
    client.send(&pipeline.bytes)?;
    let mut frames = Vec::new();
    for _ in 0..pipeline.ready {
        frames.extend(client.until_ready()?);
    }
    Ok(frames)
}

fn all_are_answered(stage: &Stage, weir: &Weir) -> Outcome {
    for pipeline in pipelines() {
        let directly = answers(stage.direct()?, &pipeline)?;
        let through = answers(RawClient::login(&weir.app())?, &pipeline)?;
        let tags = |frames: &[Frame]| raw::tags(frames);
        assert_same!(tags(&through), tags(&directly), "{}", pipeline.name);
        let bodies = |frames: &[Frame]| frames.iter().filter(|f| f.tag == b'D').cloned().collect::<Vec<_>>();
        assert!(bodies(&through) == bodies(&directly), "{}: other rows", pipeline.name);
    }
    Ok(())
}

#[test]
fn pipelines_that_are_read_only_when_all_is_sent_get_every_answer() -> Outcome {
    let stage = stage();
    all_are_answered(&stage, &stage.weir)
}

#[test]
fn so_do_they_where_nothing_is_split_and_in_session_mode() -> Outcome {
    let stage = stage();
    let unsplit = Weir::builder(&stage.cluster).set("routing.split", false).start()?;
    all_are_answered(&stage, &unsplit)?;
    let alone = Weir::builder(&stage.cluster).set("pool.mode", "session").start()?;
    all_are_answered(&stage, &alone)
}

const FLOODS: usize = 4;

/// Answers each of which is far more than all buffers on the way hold.
fn flood() -> Vec<u8> {
    extended("SELECT repeat('x', $1) /* flood */", &[Some("20000000")]).repeat(FLOODS)
}

fn runs(stage: &Stage, what: &str) -> Result<bool, HarnessError> {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{what}%' \
         AND pid <> pg_backend_pid()"
    );
    let mut count = 0;
    for node in 0..3 {
        count += stage.cluster.value(node, "app", &sql)?.parse::<i32>().unwrap_or(1);
    }
    Ok(count > 0)
}

#[test]
fn a_client_that_leaves_its_answers_unread_is_missed_and_its_server_goes_to_others() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 1).start()?;
    for begin in ["", "BEGIN READ ONLY", "BEGIN"] {
        let mut client = RawClient::login(&weir.app())?;
        client.send(&[raw::query(begin), flood()].concat())?;
        wait_until_within(PATIENCE, "a server waits for the client to read", || {
            runs(&stage, "flood").unwrap_or(false)
        })?;
        drop(client);
        wait_until_within(PATIENCE, "no server works for it any more", || {
            runs(&stage, "flood").is_ok_and(|runs| !runs)
        })?;
        let mut next = RawClient::login(&weir.app())?;
        assert_eq!(next.value("SELECT count(*) FROM product")?, "100");
        next.run("UPDATE counter SET n = n WHERE id = 78")?;
    }
    Ok(())
}

#[test]
fn whatever_has_waited_to_be_read_flows_on_when_it_is_and_can_be_cancelled() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.set_patience(PATIENCE)?;
    let sleep = raw::query("SELECT pg_sleep(3600)");
    client.send(&[flood(), sleep, raw::query("SELECT 'after'")].concat())?;
    wait_until_within(PATIENCE, "a server waits for the client to read", || {
        runs(&stage, "flood").unwrap_or(false)
    })?;
    for _ in 0..FLOODS {
        let frames = client.until_ready()?;
        assert_eq!(raw::tags(&frames), "12DCZ");
    }
    wait_until_within(PATIENCE, "the last but one runs", || runs(&stage, "pg_sleep(3600)").unwrap_or(false))?;
    client.cancel()?;
    let error = client.until_ready()?.iter().find_map(|frame| frame.field(b'C'));
    assert_eq!(error.as_deref(), Some("57014"));
    let rest = client.until_ready()?;
    assert_eq!(rest[1].columns(), [Some("after".to_owned())]);
    Ok(())
}

/// A NOTICE tells how far long work has come: it is there while its statement still waits.
#[test]
fn a_notice_of_the_primary_comes_while_its_statement_runs() -> Outcome {
    let stage = stage();
    let mut holder = stage.direct()?;
    holder.run(
        "CREATE TABLE told (n int); \
         CREATE FUNCTION tell_and_wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
         'BEGIN RAISE NOTICE ''begun''; PERFORM pg_advisory_xact_lock(7700); RETURN n; END'",
    )?;
    let write = "INSERT INTO told SELECT tell_and_wait(n) FROM generate_series(1, 2) AS n";
    let batch = [raw::parse("", write), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat();
    let mut client = stage.client()?;
    for (way, bytes) in [("simple", raw::query(write)), ("extended", batch)] {
        holder.run("SELECT pg_advisory_lock(7700)")?;
        client.send(&bytes)?;
        let told = client.until(b"N")?;
        assert_eq!(told.last().and_then(|frame| frame.field(b'M')).as_deref(), Some("begun"), "{way}");
        holder.run("SELECT pg_advisory_unlock(7700)")?;
        assert!(raw::tags(&client.until_ready()?).ends_with("CZ"), "{way}");
    }
    client.run("DROP TABLE told; DROP FUNCTION tell_and_wait(int)")?;
    Ok(())
}
