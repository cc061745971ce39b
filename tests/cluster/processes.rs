//! Process ids: what a client is told of its own, and what one can do with it.

use crate::assert_same;
use crate::support::{Outcome, Stage, stage};
use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::{HarnessError, Weir};
use std::time::Duration;

fn with_servers(stage: &Stage, most: i64) -> Result<Weir, HarnessError> {
    Weir::builder(&stage.cluster).set("pool.server_connections_max", most).start()
}

fn process(client: &RawClient) -> i32 {
    client.key.as_ref().expect("a log-in tells it").0
}

#[test]
fn who_asks_for_its_servers_process_keeps_that_server() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 10)?;
    let mut one = RawClient::login(&weir.app())?;
    let mut other = RawClient::login(&weir.app())?;
    let server = one.value("SELECT pg_backend_pid()")?;
    for _ in 0..5 {
        assert_ne!(other.value("SELECT pg_backend_pid() AS pid, 1")?, server);
        assert_eq!(one.value("SELECT pg_backend_pid()")?, server);
        assert_eq!(other.value(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {server}"))?, "1");
    }
    // Ended from elsewhere, its client is told so at once, in Postgres's words.
    stage
        .cluster
        .node(stage.cluster.primary())
        .superuser()
        .sql(&format!("SELECT pg_terminate_backend({server})"))?;
    let end = one.frame()?;
    assert_eq!((end.tag, end.field(b'C').as_deref()), (b'E', Some("57P01")));
    assert_eq!(other.value("SELECT 1")?, "1");
    Ok(())
}

#[test]
fn a_server_kept_for_its_process_goes_to_who_waits_for_one() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 2)?;
    let mut clients = (0..12).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..3 {
        for client in &mut clients {
            client.value("SELECT pg_backend_pid()")?;
            client.run("UPDATE counter SET n = n WHERE id = 3")?;
        }
    }
    Ok(())
}

#[test]
fn a_notification_names_its_sender_as_the_sender_knows_itself() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 5)?;
    let mut listener = RawClient::login(&weir.app())?;
    let mut speaker = RawClient::login(&weir.app())?;
    listener.run("LISTEN who")?;
    let of = |frame: raw::Frame| i32::from_be_bytes(frame.body[..4].try_into().expect("four bytes"));
    speaker.run("NOTIFY who, 'plainly'")?;
    assert_eq!(of(listener.frame()?), process(&speaker));
    speaker.run("BEGIN; SELECT pg_notify('who', 'in a transaction')")?;
    speaker.run("COMMIT")?;
    assert_eq!(of(listener.frame()?), process(&speaker));
    let own = listener.query("NOTIFY who, 'to myself'")?;
    let own = own.into_iter().find(|frame| frame.tag == b'A').expect("it listens to itself");
    assert_eq!(of(own), process(&listener));
    // Who has asked for it knows itself by its server's process id.
    for mut asker in [RawClient::login(&weir.app())?, listener] {
        let server = asker.value("SELECT pg_backend_pid()")?;
        asker.run("LISTEN who")?;
        let heard = asker.query("NOTIFY who, 'by the name that it asked for'")?;
        let heard = heard.into_iter().find(|frame| frame.tag == b'A').expect("it listens to itself");
        assert_eq!(of(heard).to_string(), server);
    }
    let mut listener = RawClient::login(&weir.app())?;
    listener.run("LISTEN who")?;
    // Who does not come through here is named as Postgres names it.
    let mut direct = stage.direct()?;
    direct.run("NOTIFY who, 'from elsewhere'")?;
    assert_eq!(of(listener.frame()?), process(&direct));
    Ok(())
}

#[test]
fn a_client_is_ended_by_the_process_id_that_it_was_told() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 5)?;
    let mut killer = RawClient::login(&weir.app())?;
    killer.prepare("one", "SELECT pg_terminate_backend($1::int)")?;
    killer.prepare("many", "SELECT pg_terminate_backend(n) FROM unnest($1::int[]) n")?;
    for by in ["text", "parameter", "array"] {
        let mut victim = RawClient::login(&weir.app())?;
        assert_eq!(victim.value("SELECT 1")?, "1");
        let process = process(&victim);
        match by {
            "text" => drop(killer.run(&format!("SELECT pg_terminate_backend({process})"))?),
            "parameter" => drop(killer.execute("one", &[Some(&process.to_string())])?),
            _ => drop(killer.execute("many", &[Some(&format!("{{1,{process}}}"))])?),
        }
        let end = victim.frame()?;
        assert_eq!((end.tag, end.field(b'C').as_deref()), (b'E', Some("57P01")));
    }
    let mut sleeper = RawClient::login(&weir.app())?;
    sleeper.send(&raw::query("SELECT pg_sleep(20)"))?;
    let process = process(&sleeper);
    std::thread::sleep(Duration::from_millis(300));
    killer.run(&format!("SELECT pg_cancel_backend({process})"))?;
    let answer = sleeper.until_ready()?;
    assert_eq!(answer[0].field(b'C').or(answer[1].field(b'C')).as_deref(), Some("57014"));
    Ok(())
}

/// As on Postgres: the client hears that it is ended, not that its statement was cancelled.
#[test]
fn a_client_is_ended_in_the_middle_of_a_statement() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 5)?;
    let mut killer = RawClient::login(&weir.app())?;
    for statement in ["SELECT pg_sleep(20)", "BEGIN; SELECT pg_sleep(20)"] {
        let mut victim = RawClient::login(&weir.app())?;
        victim.send(&raw::query(statement))?;
        std::thread::sleep(Duration::from_millis(300));
        killer.run(&format!("SELECT pg_terminate_backend({})", process(&victim)))?;
        let end = loop {
            let frame = victim.frame()?;
            if frame.tag == b'E' {
                break frame;
            }
        };
        assert_eq!(end.field(b'S').as_deref(), Some("FATAL"), "{statement}");
        assert_eq!(end.field(b'C').as_deref(), Some("57P01"), "{statement}");
        assert!(victim.frame().is_err(), "nothing follows: {statement}");
    }
    Ok(())
}

/// Ended while the server waits for it, not the other way round.
#[test]
fn a_client_is_ended_in_the_middle_of_its_copy_or_batch() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 5)?;
    let mut killer = RawClient::login(&weir.app())?;
    for copies in [true, false] {
        let mut victim = RawClient::login(&weir.app())?;
        if copies {
            victim.run("CREATE TEMPORARY TABLE copied (line text)")?;
            victim.send(&raw::query("COPY copied FROM STDIN"))?;
            victim.until(b"G")?;
            victim.send_frame(b'd', b"the first line\n")?;
        } else {
            // A batch that is neither ended nor given up.
            victim.send_frame(b'P', b"\0SELECT 1\0\0\0")?;
            victim.send_frame(b'H', b"")?;
            victim.until(b"1")?;
        }
        killer.run(&format!("SELECT pg_terminate_backend({})", process(&victim)))?;
        let end = victim.frame()?;
        assert_eq!((end.tag, end.field(b'C').as_deref()), (b'E', Some("57P01")), "{copies}");
        assert!(victim.frame().is_err(), "nothing follows: {copies}");
    }
    Ok(())
}

#[test]
fn a_client_that_does_not_read_is_ended() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 5)?;
    let mut killer = RawClient::login(&weir.app())?;
    let clients = || Ok::<_, HarnessError>(weir.metrics()?.sum("pgweir_clients", &[]));
    let before = clients()?;
    let mut victim = RawClient::login(&weir.app())?;
    victim.send(&raw::query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"))?;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(clients()?, before + 1.0);
    killer.run(&format!("SELECT pg_terminate_backend({})", process(&victim)))?;
    wait_until_within(Duration::from_secs(20), "the client is gone", || clients().is_ok_and(|n| n == before))
}

#[test]
fn who_may_end_another_users_client_is_as_postgres_says() -> Outcome {
    let stage = stage();
    let root = stage.cluster.node(0).superuser();
    root.sql("CREATE ROLE stranger LOGIN PASSWORD 'x'; CREATE ROLE friend LOGIN PASSWORD 'x' IN ROLE app")?;
    stage.cluster.wait_caught_up()?;
    let mut victim = stage.client()?;
    let end = |by: &str, client: &RawClient| {
        let mut by = RawClient::login(&stage.weir.app().user(by, "x"))?;
        by.run(&format!("SELECT pg_cancel_backend({0}), 1", process(client)))?;
        by.run(&format!("SELECT pg_terminate_backend({0})", process(client)))
    };
    end("stranger", &victim)?;
    assert!(victim.is_silent_for(Duration::from_millis(300))?);
    assert_eq!(victim.value("SELECT 1")?, "1");
    let is_ended = |victim: &mut RawClient, by: &str| {
        let end = victim.frame().ok().and_then(|frame| frame.field(b'C'));
        assert_eq!(end.as_deref(), Some("57P01"), "by {by}");
    };
    end("friend", &victim)?;
    is_ended(&mut victim, "a member of its role");
    // A superuser's is for superusers.
    let mut victim = RawClient::login(&stage.weir.superuser())?;
    root.sql("GRANT pg_signal_backend TO stranger")?;
    stage.cluster.wait_caught_up()?;
    end("stranger", &victim)?;
    assert!(victim.is_silent_for(Duration::from_millis(300))?);
    let mut victim = stage.client()?;
    assert_eq!(victim.value("SELECT 1")?, "1");
    end("stranger", &victim)?;
    is_ended(&mut victim, "a member of pg_signal_backend");
    Ok(())
}

#[test]
fn nobody_is_ended_by_a_call_that_has_not_run() -> Outcome {
    let stage = stage();
    let mut victim = stage.client()?;
    let mut client = stage.client()?;
    let process = process(&victim);
    client.query(&format!("SELECT 'pg_terminate_backend({process})' FROM pg_backend_pid()"))?;
    client.query(&format!("SELECT CASE WHEN random() > 2 THEN pg_terminate_backend({process}) END"))?;
    client.query(&format!("SELECT pg_terminate_backend({process}) FROM product WHERE id < 0 FOR UPDATE"))?;
    client.query(&format!("SELECT pg_backend_pid(), {process} AS \"pg_terminate_backend\""))?;
    client.run("BEGIN")?;
    client.query("SELECT 1/0")?;
    assert_eq!(client.refusal(&format!("SELECT pg_terminate_backend({process})"))?.0, "25P02");
    client.run("ROLLBACK")?;
    client.prepare("end", "SELECT pg_terminate_backend($1)")?;
    client.send(&[raw::bind("", "end", &[Some(&process.to_string())]), raw::sync()].concat())?;
    client.until_ready()?;
    assert!(victim.is_silent_for(Duration::from_millis(300))?);
    assert_eq!(victim.value("SELECT 1")?, "1");
    Ok(())
}

#[test]
fn a_client_that_ends_itself_hears_of_nothing_but_its_end() -> Outcome {
    let stage = stage();
    let end = "SELECT pg_terminate_backend($1)";
    for simple in [true, false] {
        let outcome = |mut client: RawClient| -> Result<_, HarnessError> {
            let process = process(&client).to_string();
            let by_parameter =
                [raw::parse("", end), raw::bind("", "", &[Some(&process)]), raw::execute("", 0)];
            match simple {
                true => client.send(&raw::query(&end.replace("$1", &process)))?,
                false => client.send(&[by_parameter.concat(), raw::sync()].concat())?,
            }
            Ok(said_until_the_end(&mut client))
        };
        assert_same!(outcome(stage.client()?)?, outcome(stage.direct()?)?, "simple: {simple}");
    }
    Ok(())
}

/// Types of all frames up to the end of the connection, with SQLSTATEs and rows.
fn said_until_the_end(client: &mut RawClient) -> Vec<(char, Option<String>, Vec<u8>)> {
    let mut said = vec![];
    while let Ok(frame) = client.frame() {
        let code = (frame.tag == b'E').then(|| frame.field(b'C')).flatten();
        let row = if frame.tag == b'D' { frame.body } else { vec![] };
        said.push((char::from(frame.tag), code, row));
    }
    said
}

#[test]
fn what_a_server_has_said_before_its_farewell_is_passed_on() -> Outcome {
    let stage = stage();
    let end = "SELECT id, pg_terminate_backend(pg_backend_pid()) FROM counter WHERE id < 3";
    let extended =
        [raw::parse("", end), raw::bind("", "", &[]), raw::describe(b'P', ""), raw::execute("", 0)];
    for bytes in [raw::query(end), [extended.concat(), raw::sync()].concat()] {
        let outcome = |mut client: RawClient| -> Result<_, HarnessError> {
            client.send(&bytes)?;
            Ok(said_until_the_end(&mut client))
        };
        assert_same!(outcome(stage.client()?)?, outcome(stage.direct()?)?, "{:?}", bytes.escape_ascii());
    }
    Ok(())
}

#[test]
fn a_notification_waits_for_the_end_of_the_listeners_transaction() -> Outcome {
    let stage = stage();
    let outcome = |mut listener: RawClient| -> Result<_, HarnessError> {
        listener.run("LISTEN patience")?;
        listener.run("BEGIN")?;
        stage.direct()?.run("NOTIFY patience")?;
        assert!(listener.is_silent_for(Duration::from_millis(200))?);
        Ok(raw::tags(&listener.query("COMMIT")?))
    };
    assert_same!(outcome(stage.client()?)?, outcome(stage.direct()?)?, "COMMIT");
    Ok(())
}

/// Object-relational mappers take numbers from sequences and never look back.
#[test]
fn who_takes_numbers_from_a_sequence_holds_nobody_up_and_reads_from_replicas() -> Outcome {
    let stage = stage();
    stage.wait_for_replica("SELECT count(*) FROM product")?;
    let weir = with_servers(&stage, 3)?;
    let mut clients = (0..12).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..3 {
        for client in &mut clients {
            client.value("SELECT nextval('ticket')")?;
        }
    }
    let mut one = stage.client()?;
    one.value("SELECT nextval('ticket')")?;
    wait_until_within(Duration::from_secs(10), "it reads from a replica", || {
        let nodes = stage.nodes_for_client(&mut one, "SELECT count(*) FROM product");
        nodes.is_ok_and(|nodes| stage.is_replica(&nodes))
    })
}

#[test]
fn what_a_sequence_gave_is_remembered_between_transactions_and_on_replicas() -> Outcome {
    let stage = stage();
    let weir = with_servers(&stage, 6)?;
    let mut clients = (0..4).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    let mut given = vec![];
    for client in &mut clients {
        given.push(client.value("SELECT nextval('ticket')")?);
    }
    for _ in 0..5 {
        for (client, given) in clients.iter_mut().zip(&given) {
            client.value("SELECT count(*) FROM product")?;
            client.run("UPDATE counter SET n = n WHERE id = 4")?;
            assert_eq!(&client.value("SELECT currval('ticket')")?, given);
            assert_eq!(&client.value("SELECT lastval()")?, given);
        }
    }
    let mut stranger = RawClient::login(&weir.app())?;
    assert_eq!(stranger.refusal("SELECT lastval()")?.0, "55000");
    Ok(())
}
