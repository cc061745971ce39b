//! A failover is a pause and nothing more: what can be done again safely is done again, reads go on
//! meanwhile, and what was lost is told.

use crate::support::{Outcome, SCHEMA, Stage, mark};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until};
use pgweir_tests::door::round_robin;
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READ: &str = "SELECT count(*) FROM product";

fn broken_stage() -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| {
        weir.set("cluster.probe_timeout", "1s")
            .set("cluster.primary_wait", "10s")
            .set("runtime.watch_config", false)
    })?;
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica(READ)?;
    Ok(stage)
}

fn console(weir: &Weir) -> Login {
    Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir")
}

fn wait_for_primary(stage: &Stage, node: usize) -> Outcome {
    let name = stage.cluster.address(node);
    wait_until(&format!("node{node} is the primary"), || {
        let rows = console(&stage.weir).sql("SHOW NODES").unwrap_or_default();
        rows.iter().any(|row| row[0].as_deref() == Some(&name) && row[1].as_deref() == Some("primary"))
    })
}

/// Ends whatever runs a statement that contains this text on the primary.
fn terminate(stage: &Stage, text: &str) -> Outcome {
    let mut root = RawClient::login(&stage.cluster.node(0).superuser())?;
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE query LIKE '%{text}%' AND pid <> pg_backend_pid() AND state = 'active'"
    );
    wait_until("it is ended", || root.value(&sql).is_ok_and(|n| n != "0"))
}

#[test]
fn a_lone_statement_whose_server_is_shut_down_under_it_runs_once_more_and_only_such_a_one() -> Outcome {
    let stage = broken_stage()?;
    let slow = |body: &str| format!("INSERT INTO note (body) SELECT '{body}' FROM pg_sleep(3)");
    let again = [
        (slow("insert"), "insert"),
        (
            "UPDATE counter SET n = n + 1 WHERE id = 5 AND pg_sleep(3) IS NOT NULL /* update */".into(),
            "update",
        ),
        ("/* pgweir: primary */ SELECT count(*) /* read */ FROM generate_series(1, 6000000)".into(), "read"),
    ];
    for (sql, text) in &again {
        let mut client = stage.client()?;
        client.prepare("s", sql)?;
        for extended in [false, true] {
            std::thread::scope(|scope| {
                let running = scope.spawn(|| {
                    let went = match extended {
                        true => client.execute("s", &[]),
                        false => client.run(sql),
                    };
                    went.map(drop).inspect_err(|error| eprintln!("{text}, extended: {extended}: {error}"))
                });
                terminate(&stage, text)?;
                running.join().expect("no panic")
            })?;
        }
    }
    assert_eq!(stage.cluster.value(0, "app", "SELECT count(*) FROM note WHERE body = 'insert'")?, "2");
    assert_eq!(stage.cluster.value(0, "app", "SELECT n FROM counter WHERE id = 5")?, "2");
    let never = [
        format!("{}; SELECT 'two texts'", slow("two texts")),
        format!("DO $$ BEGIN {}; END $$ /* do */", slow("do")),
    ];
    for (sql, text) in never.iter().zip(["two texts", "do"]) {
        let mut client = stage.client()?;
        client.send(&raw::query(sql))?;
        terminate(&stage, text)?;
        let told = client.until(b"E")?;
        assert_eq!(told.last().and_then(|f| f.field(b'C')).as_deref(), Some("57P01"), "{sql}");
        let count = format!("SELECT count(*) FROM note WHERE body = '{text}'");
        assert_eq!(stage.cluster.value(0, "app", &count)?, "0");
    }
    Ok(())
}

#[test]
fn a_transaction_that_has_only_read_on_the_primary_outlives_it() -> Outcome {
    let stage = broken_stage()?;
    let mut client = stage.client()?;
    client.run("BEGIN")?;
    client.run(READ)?;
    terminate_idle(&stage, "BEGIN")?;
    assert_eq!(client.value(READ)?, "100");
    client.run("UPDATE counter SET n = n + 1 WHERE id = 6")?;
    client.run("COMMIT")?;
    assert_eq!(stage.cluster.value(0, "app", "SELECT n FROM counter WHERE id = 6")?, "1");
    Ok(())
}

/// Ends the application's servers on the primary that are in a transaction and do nothing.
fn terminate_idle(stage: &Stage, what: &str) -> Outcome {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE usename = 'app' AND state = 'idle in transaction'";
    wait_until(what, || stage.cluster.value(0, "app", sql).is_ok_and(|n| n != "0"))
}

#[test]
fn without_a_primary_reads_and_settings_go_on_also_in_a_pgweir_that_has_just_started() -> Outcome {
    let stage = broken_stage()?;
    let mut old = stage.client()?;
    stage.cluster.kill(0);
    let fresh = Weir::builder(&stage.cluster)
        .set("cluster.probe_timeout", "1s")
        .set("cluster.primary_wait", "60s")
        .set("cluster.fleet", "alone")
        .without_waiting()
        .start()?;
    wait_until("it lets clients in", || RawClient::login(&fresh.app()).is_ok())?;
    let mut new = RawClient::login(&fresh.app())?;
    for (which, client) in [("old", &mut old), ("new", &mut new)] {
        client.set_patience(Duration::from_secs(8))?;
        for sql in [
            READ,
            "SET work_mem = '7MB'",
            "SHOW work_mem",
            "RESET ALL",
            "DISCARD ALL",
            "BEGIN READ ONLY",
            READ,
            "SAVEPOINT s",
            "DECLARE c CURSOR FOR SELECT id FROM product ORDER BY id",
            "FETCH 2 FROM c",
            "SHOW transaction_read_only",
            "CLOSE c",
            "ROLLBACK TO s",
            READ,
            "COMMIT",
        ] {
            let went = client.run(sql);
            assert!(went.is_ok(), "{which}: {sql}: {went:?}\n{}", fresh.log());
        }
    }
    stage.cluster.start(0)?;
    new.set_patience(Duration::from_secs(30))?;
    new.run("UPDATE counter SET n = n WHERE id = 1")?;
    Ok(())
}

/// Also while nobody knows yet that it will not answer, and is taken for the primary still.
#[test]
fn reads_go_on_while_a_primary_hangs() -> Outcome {
    let probe_timeout = Duration::from_secs(2);
    let stage = Stage::own(|weir| weir.set("cluster.probe_timeout", "2s"))?;
    let (read, write) = ("SELECT count(*) FROM product", "UPDATE counter SET n = n + 1 WHERE id = 1");
    stage.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    stage.wait_for_replica(read)?;
    // Servers of the primary that lie idle, for whoever comes.
    let mut blocks = (0..4).map(|_| RawClient::login(&stage.weir.app())).collect::<Result<Vec<_>, _>>()?;
    for sql in ["BEGIN", "LOCK TABLE product IN ACCESS SHARE MODE", "COMMIT"] {
        blocks.iter_mut().try_for_each(|client| client.run(sql).map(drop))?;
    }
    let frozen_for = 5 * probe_timeout;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, weir) = (&over, &stage.weir);
        scope.spawn(move || {
            // What it hears is for other stories.
            let mut client = RawClient::login(&weir.app())?;
            while !over.load(Ordering::Relaxed) {
                let _ = client.run(write);
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok::<_, HarnessError>(())
        });
        let block = vec!["BEGIN READ ONLY", read, "COMMIT"];
        let readers = [(false, vec![read]), (false, block), (true, vec![read])].map(|(comes_anew, texts)| {
            scope.spawn(move || {
                let mut client = RawClient::login(&weir.app())?;
                let mut longest = Duration::ZERO;
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    if comes_anew {
                        client = RawClient::login(&weir.app())?;
                    }
                    texts.iter().try_for_each(|text| client.run(text).map(drop))?;
                    longest = longest.max(began.elapsed());
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok::<_, HarnessError>(longest)
            })
        });
        std::thread::sleep(Duration::from_secs(1));
        stage.cluster.freeze(0);
        std::thread::sleep(frozen_for);
        stage.cluster.thaw(0);
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            let longest = reader.join().expect("no panic")?;
            assert!(longest < 3 * probe_timeout, "somebody waited for {longest:?}");
        }
        Ok(())
    })
}

#[test]
fn what_a_failover_has_lost_is_counted_and_told_and_a_planned_one_loses_nothing() -> Outcome {
    let stage = broken_stage()?;
    let lost = || stage.weir.metrics().map_or(f64::NAN, |m| m.sum("pgweir_lost_writes_total", &[]));
    let mut client = stage.client()?;
    for _ in 0..20 {
        client.run("INSERT INTO note (body) VALUES ('kept')")?;
    }
    stage.cluster.stop(0);
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    client.run("INSERT INTO note (body) VALUES ('kept')")?;
    assert_eq!(lost(), 0.0, "{}", stage.weir.log());
    stage.cluster.follow(2, 1)?;
    stage.cluster.follow(0, 1)?;
    stage.cluster.wait_caught_up()?;
    // From now on node0 has nothing of what is written.
    stage.cluster.set_on(0, "primary_conninfo", "")?;
    std::thread::sleep(Duration::from_millis(500));
    let mut witness = stage.client()?;
    for _ in 0..10 {
        witness.run("INSERT INTO note (body) VALUES ('lost')")?;
    }
    // Probes come by once a second while nothing else happens.
    std::thread::sleep(Duration::from_millis(1500));
    stage.cluster.kill(1);
    stage.cluster.promote(0)?;
    wait_for_primary(&stage, 0)?;
    assert_eq!(lost(), 10.0, "{}", stage.weir.log());
    let warned = |client: &mut RawClient| -> Result<usize, HarnessError> {
        Ok(client.query("SELECT 1")?.iter().filter(|frame| frame.tag == b'N').count())
    };
    assert_eq!((warned(&mut witness)?, warned(&mut witness)?), (1, 0));
    assert_eq!(warned(&mut stage.client()?)?, 0);
    Ok(())
}

#[test]
fn pause_stops_sessions_that_keep_a_server_and_resume_ends_it() -> Outcome {
    let stage = broken_stage()?;
    let mut client = stage.client()?;
    client.run("SELECT nextval('ticket')")?;
    console(&stage.weir).sql("PAUSE")?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| client.run("INSERT INTO note (body) VALUES ('paused')").map(drop));
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(stage.cluster.value(0, "app", "SELECT count(*) FROM note")?, "0");
        console(&stage.weir).sql("RESUME")?;
        writing.join().expect("no panic")
    })?;
    // A PAUSE that waits in vain for a transaction is ended by RESUME as well.
    client.run("BEGIN")?;
    client.run("INSERT INTO note (body) VALUES ('open')")?;
    std::thread::scope(|scope| {
        let pausing = scope.spawn(|| console(&stage.weir).sql("PAUSE"));
        std::thread::sleep(Duration::from_millis(500));
        console(&stage.weir).sql("RESUME")?;
        let paused = pausing.join().expect("no panic");
        assert!(paused.is_err_and(|error| error.to_string().contains("RESUME came before")));
        Ok::<_, HarnessError>(())
    })?;
    client.run("COMMIT").map(drop)
}

#[test]
fn an_address_that_leads_to_several_servers_is_not_read_from_and_is_told() -> Outcome {
    let stage = broken_stage()?;
    let port = round_robin(vec![stage.cluster.node(1).port(), stage.cluster.node(2).port()])?;
    let name = format!("127.0.0.1:{port}");
    let weir = Weir::builder_for(&[stage.cluster.address(0), name.clone()])
        .set("routing.consistency", "session")
        .start()?;
    stage.cluster.set_apply_delay(2, Duration::from_secs(60))?;
    let mut client = RawClient::login(&weir.app())?;
    let mut stale = 0;
    for i in 1..=200 {
        client.run(&format!("UPDATE counter SET n = {i} WHERE id = 9"))?;
        let seen = client.value("SELECT n FROM counter WHERE id = 9")?;
        stale += usize::from(seen != i.to_string());
    }
    assert_eq!(stale, 0, "of 200 reads");
    client.run("SET pgweir.consistency = 'eventual'")?;
    wait_until("it is told", || {
        // Only who opens a connection sees where it leads.
        let _ = console(&weir).sql("RECONNECT");
        let mark = mark();
        let _ = client.run(&format!("SELECT '{mark}', count(*) FROM product"));
        let rows = console(&weir).sql("SHOW NODES").unwrap_or_default();
        let row = rows.into_iter().find(|row| row[0].as_deref() == Some(&name)).unwrap_or_default();
        row.get(2).cloned().flatten().as_deref() == Some("several")
    })?;
    assert!(weir.log().contains("leads to several servers"));
    assert_eq!(weir.metrics()?.sum("pgweir_node_is_several", &[("node", name.as_str())]), 1.0);
    Ok(())
}

/// Killed, and deposed while it lives on.
#[test]
fn a_session_that_listens_goes_on_listening_on_the_next_primary_and_is_told_that_it_may_have_missed_some()
-> Outcome {
    let stage = broken_stage()?;
    let mut listener = stage.client()?;
    listener.run("LISTEN jobs")?;
    listener.run("BEGIN")?;
    listener.run("LISTEN \"A \"\"b\"\"\"")?;
    listener.run("LISTEN never")?;
    listener.run("UNLISTEN never")?;
    listener.run("COMMIT")?;
    listener.run("SET work_mem = '7MB'")?;
    listener.prepare("sum", "SELECT $1::int + 1")?;
    listener.run("BEGIN; LISTEN undone; ROLLBACK")?;
    let mut bound = stage.client()?;
    bound.run("LISTEN jobs")?;
    bound.run("SELECT pg_advisory_lock(7)")?;
    let heard = |listener: &mut RawClient, stage: &Stage| -> Outcome {
        listener.set_patience(Duration::from_secs(20))?;
        let warning = listener.until(b"NE")?;
        let text = warning.last().and_then(|frame| frame.field(b'M')).unwrap_or_default();
        assert!(text.contains("may have been missed"), "{warning:?}\n{}", stage.weir.log());
        let mut sender = stage.client()?;
        for channel in ["never", "undone", "jobs", "A \"b\""] {
            sender.run(&format!("SELECT pg_notify('{channel}', 'now')"))?;
        }
        for channel in ["jobs", "A \"b\""] {
            let told = listener.frame()?;
            assert_eq!(told.tag, b'A', "{told:?}");
            assert_eq!(&told.body[4..], format!("{channel}\0now\0").as_bytes());
        }
        assert_eq!(listener.value("SELECT count(*) FROM pg_listening_channels()")?, "2");
        assert_eq!(listener.value("SHOW work_mem")?, "7MB");
        assert_eq!(listener.execute("sum", &[Some("1")])?, [[Some("2".to_owned())]]);
        Ok(())
    };
    stage.cluster.kill(0);
    stage.cluster.promote(1)?;
    wait_for_primary(&stage, 1)?;
    heard(&mut listener, &stage)?;
    assert!(bound.run("SELECT 1").is_err(), "it had a lock there");
    // Now one that lives on, and is primary no more.
    stage.cluster.follow(2, 1)?;
    stage.cluster.wait_caught_up()?;
    stage.cluster.promote(2)?;
    wait_for_primary(&stage, 2)?;
    heard(&mut listener, &stage)?;
    listener.run("UNLISTEN *")?;
    listener.run("SELECT 1")?;
    Ok(())
}
