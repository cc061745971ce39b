//! Few servers serve many clients, and nobody can tell.

use crate::support::{Outcome, Stage, stage};
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir};
use std::time::{Duration, Instant};

/// A pgweir that has one server connection per node for each user: all clients must share it.
fn narrow(stage: &Stage) -> Result<Weir, HarnessError> {
    Weir::builder(&stage.cluster).set("pool.server_connections_max", 1).start()
}

/// A pgweir with room for clients that keep their server.
fn wide(stage: &Stage) -> Result<Weir, HarnessError> {
    Weir::builder(&stage.cluster).set("pool.server_connections_max", 10).start()
}

fn new_role(stage: &Stage, name: &str) -> Outcome {
    let root = stage.cluster.node(0).superuser();
    root.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE app"))?;
    stage.cluster.wait_caught_up()
}

fn count_servers(stage: &Stage, user: &str) -> Result<Vec<usize>, HarnessError> {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}'");
    (0..3)
        .map(|node| Ok(stage.cluster.value(node, "postgres", &sql)?.parse().unwrap_or(usize::MAX)))
        .collect()
}

#[test]
fn sixty_clients_share_five_servers_per_node() -> Outcome {
    let stage = stage();
    new_role(&stage, "crowd")?;
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 5).start()?;
    let login = weir.app().user("crowd", "x");
    let busiest = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..60)
            .map(|number| {
                let login = &login;
                scope.spawn(move || -> Outcome {
                    let mut client = RawClient::login(login)?;
                    for round in 0..30 {
                        let wanted = (number * 1000 + round).to_string();
                        assert_eq!(client.value(&format!("SELECT {wanted}"))?, wanted);
                        let sum = "SELECT sum(id) FROM product WHERE id <= 10";
                        assert_eq!(client.value(sum)?, "55");
                        client.run("BEGIN; UPDATE counter SET n = n WHERE id = 7; COMMIT")?;
                    }
                    Ok(())
                })
            })
            .collect();
        let mut busiest = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            busiest = busiest.max(count_servers(&stage, "crowd")?.into_iter().max().unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        }
        for client in clients {
            client.join().expect("a client does not panic")?;
        }
        Ok::<_, HarnessError>(busiest)
    })?;
    assert!((1..=5).contains(&busiest), "{busiest} servers on one node");
    Ok(())
}

#[test]
fn settings_follow_their_client_over_a_shared_server() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    let zones = ["UTC", "Asia/Tokyo", "Europe/Zurich", "America/Lima"];
    let mut clients = zones.iter().map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    for (client, zone) in clients.iter_mut().zip(zones) {
        client.run(&format!("SET TimeZone = '{zone}'"))?;
        client.run(&format!("SELECT set_config('myapp.zone', '{zone}', false)"))?;
        client.run(&format!("SET application_name = 'in {zone}'"))?;
    }
    for _ in 0..5 {
        for (client, zone) in clients.iter_mut().zip(zones) {
            // On the primary, on a replica, and in a transaction.
            assert_eq!(client.value("SHOW TimeZone")?, zone);
            assert_eq!(client.value("SELECT current_setting('myapp.zone')")?, zone);
            let sql = "SELECT to_char(timestamptz '2020-01-01 00:00+00', 'TZ') FROM product WHERE id = 1";
            let direct = format!("SET TimeZone = '{zone}'; {sql}");
            assert_eq!(client.value(sql)?, stage.direct()?.value(&direct)?);
            client.run("BEGIN")?;
            assert_eq!(client.value("SHOW application_name")?, format!("in {zone}"));
            client.run("COMMIT")?;
        }
    }
    Ok(())
}

#[test]
fn a_setting_given_by_a_parameter_follows_its_client_and_pins_nothing() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    let mut clients = (0..3).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    let names = ["it's", "back\\slash", "Zürich"];
    for (client, name) in clients.iter_mut().zip(names) {
        client.prepare("tenant", "SELECT set_config('app.tenant', $1, false)")?;
        assert_eq!(client.execute("tenant", &[Some(name)])?, [[Some(name.to_owned())]]);
    }
    let pins = weir.metrics()?.sum("pgweir_pinned_sessions", &[]);
    assert_eq!(pins, 0.0, "somebody keeps the only server");
    for _ in 0..3 {
        for (client, name) in clients.iter_mut().zip(names) {
            assert_eq!(client.value("SELECT current_setting('app.tenant')")?, name);
        }
    }
    // One that has only begun to give rows has set it, too; a NULL takes it back.
    let set = raw::parse("", "SELECT set_config('work_mem', $1, false)");
    let bind = raw::bind("", "", &[Some("9MB")]);
    clients[0].send(&[set.clone(), bind, raw::execute("", 1), raw::sync()].concat())?;
    assert_eq!(raw::tags(&clients[0].until_ready()?), "12DsZ");
    assert_eq!(clients[1].value("SHOW work_mem")?, clients[2].value("SHOW work_mem")?);
    assert_ne!(clients[1].value("SHOW work_mem")?, "9MB");
    assert_eq!(clients[0].value("SHOW work_mem")?, "9MB");
    clients[0].send(&[set, raw::bind("", "", &[None]), raw::execute("", 0), raw::sync()].concat())?;
    clients[0].until_ready()?;
    assert_eq!(clients[0].value("SHOW work_mem")?, clients[1].value("SHOW work_mem")?);
    Ok(())
}

#[test]
fn what_a_statement_prepared_by_sql_sets_stays_with_its_client() -> Outcome {
    let stage = stage();
    let weir = wide(&stage)?;
    let before = RawClient::login(&weir.app())?.value("SHOW work_mem")?;
    let mut client = RawClient::login(&weir.app())?;
    client.run("PREPARE by_sql (text) AS SELECT set_config('work_mem', $1, false)")?;
    client.run("EXECUTE by_sql ('9MB')")?;
    client.run("DEALLOCATE by_sql")?;
    client.prepare("by_protocol", "SELECT set_config('work_mem', '11MB', false)")?;
    client.run("EXECUTE by_protocol")?;
    client.run("DEALLOCATE ALL")?;
    for _ in 0..12 {
        let mut other = RawClient::login(&weir.app())?;
        other.run("BEGIN")?;
        assert_eq!(other.value("SHOW work_mem")?, before);
        other.run("COMMIT")?;
    }
    assert_eq!(client.value("SHOW work_mem")?, "11MB");
    Ok(())
}

#[test]
fn what_is_set_in_one_encoding_is_not_read_in_another() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    let (mut plain, mut latin) = (RawClient::login(&weir.app())?, RawClient::login(&weir.app())?);
    plain.run("SET app.city = 'Zürich'")?;
    latin.run("SET client_encoding = 'LATIN1'")?;
    for _ in 0..3 {
        assert_eq!(latin.value("SELECT 'x', current_setting('app.city', true)")?, "x");
        assert_eq!(plain.value("SELECT current_setting('app.city')")?, "Zürich");
        assert_eq!(plain.value("SELECT length(current_setting('app.city'))")?, "6");
    }
    Ok(())
}

#[test]
fn start_up_parameters_and_search_path_follow_their_client() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    let with = |schema: &str| -> Result<RawClient, HarnessError> {
        let mut client = RawClient::login_with(
            &weir.app(),
            raw::PROTOCOL_3_0,
            &[("options", &format!("-c search_path={schema}"))],
        )?;
        client.run(&format!("CREATE SCHEMA {schema}; CREATE TABLE spot (here text)"))?;
        client.run(&format!("INSERT INTO spot VALUES ('{schema}')"))?;
        Ok(client)
    };
    let (mut north, mut south) = (with("north")?, with("south")?);
    for _ in 0..20 {
        assert_eq!(north.value("SELECT here FROM spot")?, "north");
        assert_eq!(south.value("SELECT here FROM spot")?, "south");
    }
    // A change of mind, also in a transaction that fails.
    north.run("SET search_path = south")?;
    assert_eq!(north.value("SELECT here FROM spot")?, "south");
    north.run("BEGIN; SET search_path = north; ROLLBACK")?;
    assert_eq!(north.value("SELECT here FROM spot")?, "south");
    north.run("BEGIN; SET LOCAL search_path = north")?;
    assert_eq!(north.value("SELECT here FROM spot")?, "north");
    north.run("COMMIT")?;
    assert_eq!(north.value("SELECT here FROM spot")?, "south");
    north.run("DROP SCHEMA north CASCADE; DROP SCHEMA south CASCADE")?;
    Ok(())
}

#[test]
fn a_fresh_client_finds_nothing_of_its_predecessor() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    let settings = |login: &Login| -> Result<_, HarnessError> {
        // Left out are what belongs to the client's own connection, and settings that are there once a server
        // has met their language.
        RawClient::login(login)?.run(
            "SELECT name, setting FROM pg_settings
             WHERE source NOT IN ('client') AND name NOT LIKE 'plpgsql.%' ORDER BY name",
        )
    };
    let before = settings(&weir.app())?;
    for sql in [
        "SET work_mem = '9MB'",
        "SET search_path = pg_catalog",
        "SET ROLE helper",
        "SELECT set_config('enable_seqscan', 'off', false)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET standard_conforming_strings = off",
        "CREATE TEMP TABLE left_behind (n int)",
        "PREPARE left_behind AS SELECT 1",
        "LISTEN left_behind",
        "SELECT pg_advisory_lock(99)",
        "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
        "BEGIN; CREATE TABLE never_committed (n int)",
        "DO $$ BEGIN PERFORM set_config('work_mem', '11MB', false); END $$",
    ] {
        let mut client = RawClient::login(&weir.app())?;
        client.run(sql)?;
        drop(client);
        let mut next = RawClient::login(&weir.app())?;
        assert_eq!(next.value("SELECT current_user")?, "app", "after {sql:?}");
        let left = "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_behind') \
                    + (SELECT count(*) FROM pg_cursors WHERE name = 'left_behind') \
                    + (SELECT count(*) FROM pg_listening_channels()) \
                    + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 99) \
                    + (SELECT count(*) FROM pg_class WHERE relname IN ('left_behind', 'never_committed'))";
        let deadline = Instant::now() + Duration::from_secs(5);
        // The server may need a moment to roll back what the client left open.
        while next.value(left)? != "0" {
            assert!(Instant::now() < deadline, "something is left of {sql:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(next);
        assert_eq!(settings(&weir.app())?, before, "settings left by {sql:?}");
    }
    Ok(())
}

#[test]
fn named_statements_work_on_every_server_they_meet() -> Outcome {
    let stage = stage();
    let weir = wide(&stage)?;
    let mut clients = (0..8).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    for (number, client) in clients.iter_mut().enumerate() {
        // The same name, another text for each client.
        client.prepare("same", &format!("SELECT name, {number} FROM product WHERE id = $1"))?;
        client.prepare("bump", "UPDATE counter SET n = n WHERE id = $1 RETURNING id")?;
    }
    for round in 1..30 {
        for (number, client) in clients.iter_mut().enumerate() {
            let id = round.to_string();
            let rows = client.execute("same", &[Some(&id)])?;
            assert_eq!(rows, [[Some(format!("product {id}")), Some(number.to_string())]]);
            assert_eq!(client.execute("bump", &[Some(&id)])?, [[Some(id)]]);
        }
    }
    // Prepared inside a transaction that is rolled back: protocol-level statements stay.
    let client = &mut clients[0];
    client.run("BEGIN")?;
    client.prepare("inside", "SELECT 'inside'")?;
    client.run("ROLLBACK")?;
    assert_eq!(client.execute("inside", &[])?, [[Some("inside".to_owned())]]);
    Ok(())
}

#[test]
fn thousands_of_statements_do_not_pile_up_on_a_server() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 1)
        .set("pool.server_statements_max", 50)
        .start()?;
    let mut client = RawClient::login(&weir.app())?;
    for number in 0..1000 {
        client.prepare(&format!("s{number}"), &format!("SELECT {number}"))?;
    }
    for number in (0..1000).step_by(7) {
        let rows = client.execute(&format!("s{number}"), &[])?;
        assert_eq!(rows, [[Some(number.to_string())]]);
    }
    // The view shows a client what it prepared itself...
    assert_eq!(client.value("SELECT count(*) FROM pg_prepared_statements")?, "1000");
    for number in (0..1000).step_by(7) {
        client.execute(&format!("s{number}"), &[])?;
    }
    // ...unless it is not recognised.
    let held = client.value("SELECT count(*) FROM U&\"pg\\005fprepared_statements\"")?;
    assert!(held.parse::<usize>().is_ok_and(|held| held <= 51), "{held} statements on a server");
    Ok(())
}

#[test]
fn a_temporary_table_keeps_its_server_and_is_seen_by_nobody_else() -> Outcome {
    let stage = stage();
    let weir = wide(&stage)?;
    let (mut one, mut other) = (RawClient::login(&weir.app())?, RawClient::login(&weir.app())?);
    one.run("CREATE TEMP TABLE basket (n int); INSERT INTO basket VALUES (1)")?;
    for _ in 0..5 {
        assert_eq!(one.value("SELECT count(*) FROM basket")?, "1");
        assert_eq!(other.refusal("SELECT count(*) FROM basket")?.0, "42P01");
    }
    one.run("CREATE TEMP TABLE product (only_mine int)")?;
    assert_eq!(one.value("SELECT count(*) FROM product")?, "0");
    assert_eq!(other.value("SELECT count(*) FROM product")?, "100");
    Ok(())
}

#[test]
fn an_idle_listener_is_told() -> Outcome {
    let stage = stage();
    let weir = wide(&stage)?;
    let mut listener = RawClient::login(&weir.app())?;
    listener.run("LISTEN gossip")?;
    for (number, speaker) in [weir.app(), stage.cluster.app(0)].iter().enumerate() {
        RawClient::login(speaker)?.run(&format!("NOTIFY gossip, 'rumour {number}'"))?;
        let frame = listener.frame()?;
        assert_eq!(frame.tag, b'A');
        assert_eq!(frame.body[4..], *format!("gossip\0rumour {number}\0").as_bytes());
    }
    assert_eq!(listener.value("SELECT count(*) FROM product")?, "100");
    listener.run("UNLISTEN gossip")?;
    RawClient::login(&weir.app())?.run("NOTIFY gossip, 'unheard'")?;
    assert!(listener.is_silent_for(Duration::from_millis(300))?);
    Ok(())
}

#[test]
fn advisory_locks_are_held_between_transactions_and_released_at_the_end() -> Outcome {
    let stage = stage();
    let weir = wide(&stage)?;
    let (mut one, mut other) = (RawClient::login(&weir.app())?, RawClient::login(&weir.app())?);
    one.run("SELECT pg_advisory_lock(31337)")?;
    for _ in 0..5 {
        one.run("SELECT 1")?;
        assert_eq!(other.value("SELECT pg_try_advisory_lock(31337)")?, "f");
    }
    assert_eq!(one.value("SELECT pg_advisory_unlock(31337)")?, "t");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(31337)")?, "t");
    drop(other);
    let deadline = Instant::now() + Duration::from_secs(5);
    while one.value("SELECT pg_try_advisory_lock(31337)")? != "t" {
        assert!(Instant::now() < deadline, "the lock of a client that has gone is still held");
    }
    Ok(())
}

#[test]
fn pins_are_counted_by_reason_and_end_with_their_client() -> Outcome {
    let stage = stage();
    let weir = wide(&stage)?;
    let pins = |reason| -> Result<f64, HarnessError> {
        Ok(weir.metrics()?.sum("pgweir_pinned_sessions", &[("reason", reason)]))
    };
    let mut client = RawClient::login(&weir.app())?;
    client.run("CREATE TEMP TABLE pinned (n int)")?;
    assert_eq!(pins("temporary_table")?, 1.0);
    let mut listener = RawClient::login(&weir.app())?;
    listener.run("LISTEN pinned")?;
    assert_eq!(pins("listen")?, 1.0);
    listener.run("UNLISTEN *")?;
    drop(client);
    pgweir_tests::cluster::wait_until("no session is pinned", || {
        pins("temporary_table").is_ok_and(|pins| pins == 0.0)
    })
}

#[test]
fn a_client_that_dies_in_a_transaction_leaves_no_lock_and_no_server_behind() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    RawClient::login(&weir.app())?.run("CREATE TABLE counted_alone AS SELECT 42 AS id, 0 AS n")?;
    for _ in 0..5 {
        let mut client = RawClient::login(&weir.app())?;
        client.run("BEGIN")?;
        client.run("UPDATE counted_alone SET n = n + 1000 WHERE id = 42")?;
        drop(client);
        let mut next = RawClient::login(&weir.app())?;
        // The only server must come free, and the row with it.
        assert_eq!(next.value("UPDATE counted_alone SET n = n WHERE id = 42 RETURNING n")?, "0");
    }
    // And one that dies while its statement runs.
    let mut client = RawClient::login(&weir.app())?;
    client.send(&raw::query("SELECT pg_sleep(600)"))?;
    std::thread::sleep(Duration::from_millis(300));
    drop(client);
    let start = Instant::now();
    assert_eq!(
        RawClient::login(&weir.app())?.value("UPDATE counted_alone SET n = n WHERE id = 42 RETURNING n")?,
        "0"
    );
    assert!(start.elapsed() < Duration::from_secs(10), "the sleeper kept its server");
    Ok(())
}

#[test]
fn an_open_but_idle_begin_holds_no_server() -> Outcome {
    let stage = stage();
    let weir = narrow(&stage)?;
    let mut idlers = (0..5).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    for idler in &mut idlers {
        idler.run("BEGIN")?;
    }
    // The only server is still free for others.
    let mut worker = RawClient::login(&weir.app())?;
    assert_eq!(worker.value("UPDATE counter SET n = n WHERE id = 5 RETURNING id")?, "5");
    for idler in &mut idlers {
        assert_eq!(idler.value("SELECT count(*) FROM product")?, "100");
        idler.run("COMMIT")?;
    }
    Ok(())
}

#[test]
fn who_waits_too_long_for_a_server_is_told_so() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 1)
        .set("pool.lease_wait", "500ms")
        .start()?;
    let mut holder = RawClient::login(&weir.app())?;
    holder.run("BEGIN; UPDATE counter SET n = n WHERE id = 3")?;
    let mut waiter = RawClient::login(&weir.app())?;
    let start = Instant::now();
    let (code, message) = waiter.refusal("UPDATE counter SET n = n WHERE id = 4")?;
    assert_eq!(code, "53300", "{message}");
    assert!(start.elapsed() >= Duration::from_millis(450), "after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "after {:?}", start.elapsed());
    holder.run("COMMIT")?;
    assert_eq!(waiter.value("UPDATE counter SET n = n WHERE id = 4 RETURNING id")?, "4");
    Ok(())
}

#[test]
fn in_session_mode_a_client_has_one_server_and_its_real_pid() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.mode", "session").start()?;
    let mut client = RawClient::login(&weir.app())?;
    let pid = client.key.as_ref().expect("a cancel key").0.to_string();
    for _ in 0..3 {
        assert_eq!(client.value("SELECT pg_backend_pid()")?, pid);
        client.run("UPDATE counter SET n = n WHERE id = 1")?;
    }
    Ok(())
}

#[test]
fn random_session_work_on_many_clients_equals_that_of_a_direct_twin() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 3).start()?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|seed| {
                let (stage, weir) = (&stage, &weir);
                scope.spawn(move || session_work(stage, weir, seed))
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("no panic"))
    })
}

fn session_work(stage: &Stage, weir: &Weir, seed: u64) -> Outcome {
    const STEPS: &[&str] = &[
        "SET work_mem = '{n}MB'",
        "SET TimeZone = 'Etc/GMT+{d}'",
        "SET application_name = 'name {n}'",
        "SET search_path = public, pg_catalog",
        "SET search_path = pg_catalog",
        "SET statement_timeout = {n}000",
        "RESET work_mem",
        "RESET ALL",
        "DISCARD ALL",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "SET LOCAL work_mem = '{n}MB'",
        "SELECT set_config('work_mem', '{n}MB', true)",
        "SELECT set_config('myapp.n', '{n}', false)",
        "SELECT 1/0",
        "SELECT count(*) FROM public.product",
        // Twins would wait for each other's locks if it touched a row.
        "UPDATE public.counter SET n = n WHERE false",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    ];
    const LOOK: &str = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('work_mem', \
        'TimeZone', 'application_name', 'search_path', 'statement_timeout', \
        'default_transaction_read_only', 'transaction_read_only') \
        UNION ALL SELECT 'myapp.n', nullif(current_setting('myapp.n', true), '') ORDER BY 1";
    let (mut through, mut direct) = (RawClient::login(&weir.app())?, stage.direct()?);
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut done = Vec::new();
    for _ in 0..150 {
        // xorshift: the same steps in every run.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        // A client works on rows of its own, so that nobody waits for a lock.
        let n = (seed * 12 + dice % 12 + 1).to_string();
        let step = STEPS[(dice >> 32) as usize % STEPS.len()];
        let step = step.replace("{n}", &n).replace("{d}", &(dice % 12).to_string());
        done.push(step.clone());
        for sql in [step.as_str(), LOOK] {
            let [theirs, ours] = [&mut direct, &mut through].map(|client| client.query(sql));
            let (mut theirs, mut ours) = (theirs?, ours?);
            // Of several settings that one statement resets, each major reports another first.
            for frames in [&mut theirs, &mut ours] {
                for run in frames.chunk_by_mut(|a, b| a.tag == b'S' && b.tag == b'S') {
                    run.sort_by(|a, b| a.body.cmp(&b.body));
                }
            }
            assert_eq!(ours, theirs, "seed {seed}, {sql:?} after {done:?}");
        }
    }
    Ok(())
}

#[test]
fn a_pin_whose_cause_is_over_is_let_go_when_others_wait() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 2).start()?;
    let (jit, tenant, memory) = ("SHOW jit", "SELECT current_setting('app.tenant')", "SHOW work_mem");
    let looks = [
        // As asyncpg does when it connects.
        ("SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new", jit, "off"),
        ("DO $$ BEGIN EXECUTE format('SELECT count(*) FROM %I', 'product'); END $$", "SELECT 1", "1"),
        ("SELECT set_config('app.tenant', upper('t') || '1', false)", tenant, "T1"),
        ("DO $$ BEGIN PERFORM set_config('work_mem', (7 || 'MB')::text, false); END $$", memory, "7MB"),
    ];
    let mut clients = (0..8).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.run(looks[number % looks.len()].0)?;
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.run("UPDATE counter SET n = n WHERE id = 5")?;
        let (_, sql, wanted) = looks[number % looks.len()];
        assert_eq!(client.value(sql)?, wanted, "{sql}");
    }
    let mut stranger = RawClient::login(&weir.app())?;
    for _ in 0..3 {
        assert_eq!(stranger.value("SELECT coalesce(current_setting('app.tenant', true), '')")?, "");
        assert_ne!(stranger.value(memory)?, "7MB");
    }
    Ok(())
}

#[test]
fn what_sql_put_together_at_run_time_has_left_keeps_the_pin() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 2).start()?;
    let mut keeper = RawClient::login(&weir.app())?;
    keeper.run("DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE left_here AS SELECT ' || 7 || ' AS n'; END $$")?;
    let mut others = (0..6).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        let works: Vec<_> = others
            .iter_mut()
            .map(|other| scope.spawn(|| other.run("SELECT pg_sleep(0.05)").map(drop)))
            .collect();
        works.into_iter().try_for_each(|work| work.join().expect("no panic"))
    })?;
    assert_eq!(keeper.value("SELECT n FROM left_here")?, "7");
    keeper.run("DROP TABLE left_here")?;
    // A setting of whatever name cannot be asked for: it stays with who made it.
    keeper.run("DO $$ BEGIN EXECUTE format('SET %I.%I = 1', 'app', 'hidden'); END $$")?;
    for other in &mut others {
        other.run("UPDATE counter SET n = n WHERE id = 5")?;
        assert_eq!(other.value("SELECT coalesce(current_setting('app.hidden', true), '')")?, "");
    }
    assert_eq!(keeper.value("SELECT current_setting('app.hidden')")?, "1");
    Ok(())
}

#[test]
fn a_setting_that_only_the_server_knows_is_the_sessions_through_transactions() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 1).start()?;
    let mut client = RawClient::login(&weir.app())?;
    let mut other = RawClient::login(&weir.app())?;
    let set = |to: &str| format!("SELECT set_config('app.tenant', lower('{to}'), false)");
    client.run(&set("A"))?;
    other.run("UPDATE counter SET n = n WHERE id = 5")?;
    client.run("BEGIN")?;
    client.run(&set("B"))?;
    client.run("ROLLBACK")?;
    other.run(&set("OTHER"))?;
    assert_eq!(client.value("SELECT current_setting('app.tenant')")?, "a");
    client.run("BEGIN")?;
    client.run(&set("C"))?;
    client.run("COMMIT")?;
    assert_eq!(other.value("SELECT current_setting('app.tenant')")?, "other");
    assert_eq!(client.value("SELECT current_setting('app.tenant')")?, "c");
    Ok(())
}
