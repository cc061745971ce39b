//! Nodes die under load and no client is any the wiser; nothing is written twice or lost.

use crate::support::{Outcome, SCHEMA, Stage, stage};
use pgweir_tests::HarnessError;
use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::raw::{self, RawClient};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn replicas_that_die_and_return_under_load_cost_no_client_an_error() -> Outcome {
    let stage = Stage::own(|weir| weir.set("cluster.probe_timeout", "500ms"))?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica("SELECT count(*) FROM product")?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=8)
            .map(|number| {
                let (stage, over) = (&stage, &over);
                scope.spawn(move || -> Result<u64, pgweir_tests::HarnessError> {
                    let mut client = RawClient::login(&stage.weir.app())?;
                    client.prepare("r", "SELECT name FROM product WHERE id = $1")?;
                    let mut writes = 0;
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(client.value("SELECT count(*) FROM product")?, "100");
                        let rows = client.execute("r", &[Some("5")])?;
                        assert_eq!(rows, [[Some("product 5".to_owned())]]);
                        client.run("BEGIN READ ONLY")?;
                        assert_eq!(client.value("SELECT count(*) FROM product")?, "100");
                        std::thread::sleep(Duration::from_millis(3));
                        assert_eq!(client.execute("r", &[Some("5")])?, rows);
                        client.run("COMMIT")?;
                        client.run(&format!("UPDATE counter SET n = n + 1 WHERE id = {number}"))?;
                        writes += 1;
                    }
                    Ok(writes)
                })
            })
            .collect();
        for round in 0..4 {
            std::thread::sleep(Duration::from_millis(700));
            let replica = 1 + round % 2;
            match round {
                0 | 1 => stage.cluster.crash(replica),
                _ => stage.cluster.stop(replica),
            }
            std::thread::sleep(Duration::from_millis(700));
            stage.cluster.start(replica)?;
        }
        over.store(true, Ordering::Relaxed);
        for (number, client) in clients.into_iter().enumerate() {
            let writes = client.join().expect("no panic")?;
            assert!(writes > 0);
            let sql = format!("SELECT n FROM counter WHERE id = {}", number + 1);
            assert_eq!(stage.cluster.value(0, "app", &sql)?, writes.to_string());
        }
        Ok(())
    })
}

#[test]
fn each_acknowledged_commit_survives_a_switch_of_the_primary_and_none_counts_twice() -> Outcome {
    let stage = Stage::own(|weir| weir.set("cluster.primary_wait", "30s"))?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    // Acknowledged means: on a replica, too.
    stage.cluster.set_on(0, "synchronous_standby_names", "FIRST 1 (node1)")?;
    stage.cluster.wait_caught_up()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (stage, over) = (&stage, &over);
                scope.spawn(move || -> Result<(Vec<String>, usize), pgweir_tests::HarnessError> {
                    let mut client = RawClient::login(&stage.weir.app())?;
                    let (mut acknowledged, mut unknown) = (Vec::new(), 0);
                    let mut attempt = 0;
                    while !over.load(Ordering::Relaxed) {
                        attempt += 1;
                        let body = format!("once {number} {attempt}");
                        let sql = format!("INSERT INTO note (body) VALUES ('{body}')");
                        match client.query(&sql) {
                            Ok(frames) if frames.iter().all(|frame| frame.tag != b'E') => {
                                acknowledged.push(body);
                            }
                            // An outcome that is reported as unknown is honest; a lie is not.
                            Ok(_) => unknown += 1,
                            Err(_) => {
                                unknown += 1;
                                client = RawClient::login(&stage.weir.app())?;
                            }
                        }
                    }
                    Ok((acknowledged, unknown))
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        stage.cluster.crash(0);
        stage.cluster.promote(1)?;
        stage.cluster.set_on(1, "synchronous_standby_names", "")?;
        std::thread::sleep(Duration::from_secs(3));
        over.store(true, Ordering::Relaxed);
        for (number, client) in clients.into_iter().enumerate() {
            let (acknowledged, unknown) = client.join().expect("no panic")?;
            let sql = format!("SELECT body FROM note WHERE body LIKE 'once {number} %'");
            let found = stage.cluster.sql(1, "app", &sql)?;
            let mut found: Vec<_> = found.into_iter().flatten().flatten().collect();
            for body in &acknowledged {
                assert!(found.contains(body), "{body:?} was acknowledged and is lost");
            }
            let all = found.len();
            found.sort();
            found.dedup();
            assert_eq!(found.len(), all, "something was written twice");
            assert!(unknown <= 2, "client {number} got {unknown} errors");
            assert!(all <= acknowledged.len() + unknown, "more rows than attempts");
            assert!(!acknowledged.is_empty());
        }
        Ok(())
    })
}

#[test]
fn a_server_that_has_said_farewell_serves_nobody_else() -> Outcome {
    let stage = stage();
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    for _ in 0..60 {
        let (mut first, mut next) = (stage.client()?, stage.client()?);
        let process = first.value("SELECT pg_backend_pid()")?;
        root.sql(&format!("SELECT pg_terminate_backend({process})"))?;
        let farewell = first.until(b"E")?;
        assert_eq!(farewell.last().and_then(|frame| frame.field(b'C')).as_deref(), Some("57P01"));
        next.run("UPDATE counter SET n = n WHERE id = 3")?;
    }
    Ok(())
}

/// What is said in the middle of a row would be taken for the row.
#[test]
fn nothing_is_said_in_the_middle_of_a_message_that_a_lost_server_cut_off() -> Outcome {
    let stage = stage();
    let mut reader = stage.client()?;
    reader.run("BEGIN")?;
    reader.send(&raw::query("SELECT repeat('x', 50000000) AS cut_off"))?;
    let mut root = RawClient::login(&stage.cluster.node(stage.cluster.primary()).superuser())?;
    let stuck = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE query LIKE '%AS cut_off' AND wait_event = 'ClientWrite'";
    wait_until_within(Duration::from_secs(20), "the server waits for the client to read", || {
        root.value(stuck).is_ok_and(|n| n == "1")
    })?;
    let told = reader.until_closed(Duration::from_secs(20))?;
    assert!(told.len() < 50_000_000, "{} bytes", told.len());
    assert!(told.ends_with(b"x"), "{:?}", &told[told.len().saturating_sub(99)..]);
    Ok(())
}

#[test]
fn a_write_whose_answer_was_lost_is_not_run_again_by_either_protocol() -> Outcome {
    let stage = Stage::own(|weir| weir.set("cluster.probe_timeout", "500ms"))?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    let slow = "INSERT INTO note (body) SELECT 'lost answer' FROM pg_sleep(0.8)";
    for round in 1..=2 {
        let mut client = stage.client()?;
        client.prepare("w", slow)?;
        let outcome = std::thread::scope(|scope| {
            let writing = scope.spawn(|| match round {
                1 => client.execute("w", &[]).map(drop),
                _ => client.run(slow).map(drop),
            });
            std::thread::sleep(Duration::from_millis(300));
            stage.cluster.close_door(0);
            std::thread::sleep(Duration::from_millis(50));
            stage.cluster.heal(0);
            writing.join().expect("no panic")
        });
        assert!(outcome.is_err(), "round {round}: the answer was lost and the client was told of success");
        // Longer than a second run would take.
        std::thread::sleep(Duration::from_millis(1500));
        let count = "SELECT count(*) FROM note WHERE body = 'lost answer'";
        assert_eq!(stage.cluster.value(0, "app", count)?, round.to_string());
    }
    Ok(())
}

#[test]
fn a_reading_transaction_goes_on_without_its_replica_unless_it_keeps_one_snapshot() -> Outcome {
    let stage = Stage::own(|weir| weir.set("cluster.probe_timeout", "500ms"))?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    let read = "SELECT count(*) FROM product";
    for (level, goes_on) in [("READ COMMITTED", true), ("REPEATABLE READ", false)] {
        stage.wait_for_replica(read)?;
        let mut client = stage.client()?;
        client.run(&format!("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}"))?;
        client.run("BEGIN READ ONLY")?;
        let nodes = stage.nodes_for_client(&mut client, read)?;
        assert!(stage.is_replica(&nodes), "{nodes:?}");
        stage.cluster.crash(nodes[0]);
        assert_eq!(client.value(read).is_ok(), goes_on, "{level}");
        stage.cluster.start(nodes[0])?;
    }
    Ok(())
}

/// What a program has done is not undone with the transaction that ran it.
#[test]
fn a_write_whose_trigger_runs_a_program_is_not_done_again() -> Outcome {
    let stage = stage();
    let root = stage.weir.superuser().database("app");
    let file = std::env::temp_dir().join(format!("pgweir_programs_{}", std::process::id()));
    root.sql(&format!(
        "CREATE TABLE with_program (a int); GRANT INSERT ON with_program TO PUBLIC;
         CREATE FUNCTION runs_program() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             COPY (SELECT 'done') TO PROGRAM 'cat >> {}'; PERFORM pg_sleep(3); RETURN new; END $$;
         CREATE TRIGGER t BEFORE INSERT ON with_program FOR EACH ROW EXECUTE FUNCTION runs_program()",
        file.display()
    ))?;
    let done = || std::fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    let mut client = stage.client()?;
    client.send(&raw::query("INSERT INTO with_program VALUES (1)"))?;
    wait_until_within(Duration::from_secs(10), "the program has run", || done() == 1)?;
    root.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE query LIKE 'INSERT INTO with_program%' AND pid <> pg_backend_pid()",
    )?;
    let answer = client.until(b"EC")?;
    assert_eq!(answer.last().map(|frame| frame.tag), Some(b'E'), "{answer:?}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(done(), 1);
    let _ = std::fs::remove_file(&file);
    Ok(())
}

/// Ends, by `end`, whatever runs a statement with this mark, until its client has an answer. How often that was, and the
/// answer's last frame.
fn end_again_and_again(
    stage: &Stage,
    mark: &str,
    end: impl Fn(&str) -> String,
) -> Result<(usize, raw::Frame), HarnessError> {
    let mut client = stage.client()?;
    client.send(&raw::query(&format!("SELECT count(*), pg_sleep(60) /* {mark} */ FROM product LIMIT 1")))?;
    let answer = std::thread::spawn(move || client.until(b"EC"));
    let mut ended = 0;
    while !answer.is_finished() && ended < 10 {
        for node in 0..3 {
            let sql = format!(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '%{mark}%' AND pid <> pg_backend_pid() \
                 AND backend_type = 'client backend' AND state = 'active'"
            );
            // It may be on its way up again.
            let Ok(found) = stage.cluster.node(node).superuser().sql(&sql) else { continue };
            for process in found.into_iter().flatten().flatten() {
                ended += 1;
                let _ = stage.cluster.node(node).superuser().sql(&end(&process));
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let frames = answer.join().expect("no panic")?;
    Ok((ended, frames.last().cloned().expect("an answer")))
}

#[test]
fn a_statement_that_somebody_wants_to_end_ends() -> Outcome {
    let stage = stage();
    let end = |process: &str| format!("SELECT pg_terminate_backend({process})");
    let (ended, answer) = end_again_and_again(&stage, &crate::support::mark(), end)?;
    assert!((1..=3).contains(&ended), "it ran {ended} times");
    assert_eq!(answer.field(b'C').as_deref(), Some("57P01"));
    Ok(())
}

#[test]
fn a_statement_that_brings_servers_down_does_so_twice_at_most() -> Outcome {
    let stage = Stage::own(|weir| weir)?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica("SELECT count(*) FROM product")?;
    let end = |process: &str| format!("COPY (SELECT 1) TO PROGRAM 'kill -9 {process}'");
    let (ended, answer) = end_again_and_again(&stage, &crate::support::mark(), end)?;
    assert!((1..=2).contains(&ended), "{ended} servers went down");
    assert_eq!(answer.field(b'C').as_deref(), Some("08006"));
    Ok(())
}
