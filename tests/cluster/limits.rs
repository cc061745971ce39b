//! Each limit and time-out does what it says, in words, and takes effect on a reload.

use crate::support::{Outcome, Stage, stage};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until, wait_until_within};
use pgweir_tests::raw::{self, Frame, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::weir::set;
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::time::{Duration, Instant};
use toml::Value;

fn console(weir: &Weir) -> Login {
    Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir")
}

fn role(stage: &Stage, name: &str) -> Outcome {
    let root = stage.cluster.node(0).superuser();
    root.sql(&format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE app"))?;
    stage.cluster.wait_caught_up()
}

/// Process ids of a user's servers on the primary.
fn servers(stage: &Stage, user: &str) -> Result<Vec<String>, HarnessError> {
    let sql = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{user}' ORDER BY backend_start");
    let rows = stage.cluster.sql(stage.cluster.primary(), "postgres", &sql)?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// What a client hears that is ended: SQLSTATE, text and hint, and then nothing more.
fn farewell(client: &mut RawClient) -> Result<[String; 3], HarnessError> {
    let frame = client.until(b"E")?.pop().ok_or_else(|| HarnessError::failed("no farewell"))?;
    assert_eq!(frame.field(b'S').as_deref(), Some("FATAL"), "{frame:?}");
    assert_eq!(client.until_closed(Duration::from_secs(5))?, b"");
    Ok([b'C', b'M', b'H'].map(|field| frame.field(field).unwrap_or_default()))
}

fn told(frames: &[Frame], tag: u8, field: u8) -> Option<String> {
    frames.iter().find(|frame| frame.tag == tag)?.field(field)
}

#[test]
fn a_client_that_is_idle_for_too_long_is_ended_until_a_reload_says_otherwise() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("limits.client_idle", "1s").start()?;
    let mut client = RawClient::login(&weir.app())?;
    for _ in 0..4 {
        // Who does something is not idle.
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(client.value("SELECT 1")?, "1");
    }
    let [code, text, hint] = farewell(&mut client)?;
    assert_eq!((code.as_str(), text.contains("idle-session")), ("57P05", true), "{text}");
    assert!(hint.contains("limits.client_idle"), "{hint}");
    weir.reconfigure(|config| set(config, "limits.client_idle", Value::from("off")))?;
    let mut client = RawClient::login(&weir.app())?;
    client.run("SELECT 1")?;
    assert!(client.is_silent_for(Duration::from_millis(2500))?);
    assert_eq!(client.value("SELECT 1")?, "1");
    Ok(())
}

#[test]
fn a_transaction_that_is_idle_for_too_long_is_ended_and_gives_its_locks_back() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("limits.transaction_idle", "500ms")
        .set("pool.server_connections_max", 1)
        .start()?;
    RawClient::login(&weir.app())?.run("CREATE TABLE IF NOT EXISTS left_open AS SELECT 1 AS n")?;
    let mut client = RawClient::login(&weir.app())?;
    client.run("BEGIN")?;
    client.run("UPDATE left_open SET n = n + 1")?;
    let [code, text, hint] = farewell(&mut client)?;
    assert_eq!((code.as_str(), text.contains("idle-in-transaction")), ("25P03", true), "{text}");
    assert!(hint.contains("limits.transaction_idle"), "{hint}");
    // The only server and the row are free, and nothing was done.
    let mut other = RawClient::login(&weir.app())?;
    assert_eq!(other.value("UPDATE left_open SET n = n RETURNING n")?, "1");
    // Outside a transaction the limit says nothing.
    assert!(other.is_silent_for(Duration::from_millis(900))?);
    // A BEGIN that no server has heard of is a transaction all the same.
    other.run("BEGIN")?;
    assert_eq!(farewell(&mut other)?[0], "25P03");
    Ok(())
}

#[test]
fn a_statement_that_takes_too_long_is_cancelled_and_its_session_lives() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("limits.query", "400ms").start()?;
    let mut client = RawClient::login(&weir.app())?;
    // On the primary, on a replica, and prepared.
    let slow = ["SELECT pg_sleep(30)", "SELECT count(*) FROM generate_series(1, 100000000000)"];
    for sql in slow {
        let start = Instant::now();
        assert_eq!(client.refusal(sql)?.0, "57014", "{sql}");
        assert!(start.elapsed() < Duration::from_secs(15), "after {:?}", start.elapsed());
        assert_eq!(client.value("SELECT 1")?, "1");
    }
    client.prepare("nap", "SELECT pg_sleep($1)")?;
    assert_eq!(client.execute("nap", &[Some("0.01")])?.len(), 1);
    let error = client.execute("nap", &[Some("30")]).expect_err("a long nap");
    assert!(error.to_string().contains("57014"), "{error}");
    weir.reconfigure(|config| set(config, "limits.query", Value::from("off")))?;
    assert_eq!(client.execute("nap", &[Some("1")])?.len(), 1);
    Ok(())
}

#[test]
fn a_transaction_that_takes_too_long_is_ended_whether_it_works_or_waits() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("limits.transaction", "700ms").start()?;
    let mut idle = RawClient::login(&weir.app())?;
    idle.run("BEGIN; SELECT count(*) FROM product")?;
    let [code, text, hint] = farewell(&mut idle)?;
    assert_eq!((code.as_str(), text.contains("transaction timeout")), ("25P04", true), "{text}");
    assert!(hint.contains("limits.transaction"), "{hint}");
    let mut busy = RawClient::login(&weir.app())?;
    busy.run("BEGIN")?;
    assert_eq!(busy.refusal("SELECT pg_sleep(30)")?.0, "57014");
    // Many short transactions in a row are none that is too long.
    let mut brisk = RawClient::login(&weir.app())?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        brisk.run("BEGIN; UPDATE counter SET n = n WHERE id = 90; COMMIT")?;
    }
    Ok(())
}

#[test]
fn clients_are_counted_per_user_and_per_database() -> Outcome {
    let stage = stage();
    role(&stage, "counted")?;
    let weir = Weir::builder(&stage.cluster).set("limits.user_clients_max", 2).start()?;
    let counted = weir.app().user("counted", "x");
    let _first = (RawClient::login(&counted)?, RawClient::login(&counted)?);
    let refused = |login: &Login| -> Result<[String; 3], HarnessError> {
        let mut client = RawClient::connect(login.port)?;
        client.startup(raw::PROTOCOL_3_0, &[("user", &login.user), ("database", &login.database)])?;
        let frames = client.authenticate(&login.password)?;
        let field = |field| told(&frames, b'E', field).unwrap_or_default();
        Ok([field(b'C'), field(b'M'), field(b'H')])
    };
    let [code, text, hint] = refused(&counted)?;
    assert_eq!((code.as_str(), text.contains("too many clients")), ("53300", true), "{text}");
    assert!(hint.contains("limits.user_clients_max"), "{hint}");
    // Others are not concerned; nor is this one after a reload.
    RawClient::login(&weir.app())?.run("SELECT 1")?;
    weir.reconfigure(|config| {
        set(config, "limits.user_clients_max", Value::Integer(0));
        set(config, "limits.database_clients_max", Value::Integer(3));
    })?;
    // The one before it may take a moment to be gone.
    let mut third = RawClient::login(&counted);
    wait_until("there is room for a third", || {
        if third.is_err() {
            third = RawClient::login(&counted);
        }
        third.is_ok()
    })?;
    let [code, _, hint] = refused(&weir.app())?;
    assert_eq!(code, "53300");
    assert!(hint.contains("limits.database_clients_max"), "{hint}");
    Ok(())
}

#[test]
fn who_waits_for_a_server_is_told_so_after_a_while_and_then_given_advice() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 1)
        .set("pool.lease_wait", "900ms")
        .set("pool.lease_wait_notice", "200ms")
        .start()?;
    let mut holder = RawClient::login(&weir.app())?;
    holder.run("BEGIN; UPDATE counter SET n = n WHERE id = 91")?;
    let mut waiter = RawClient::login(&weir.app())?;
    let frames = waiter.query("UPDATE counter SET n = n WHERE id = 92")?;
    assert_eq!(raw::tags(&frames), "NEZ");
    assert!(told(&frames, b'N', b'M').is_some_and(|notice| notice.contains("waiting")));
    assert_eq!(told(&frames, b'E', b'C').as_deref(), Some("53300"));
    let hint = told(&frames, b'E', b'H').unwrap_or_default();
    assert!(hint.contains("All 1 server connections") && hint.contains("server_connections_max"), "{hint}");
    holder.run("ROLLBACK")?;
    assert_eq!(waiter.value("UPDATE counter SET n = n WHERE id = 92 RETURNING id")?, "92");
    Ok(())
}

#[test]
fn who_waits_gets_a_server_when_a_reload_raises_the_limit() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 1)
        .set("pool.lease_wait", "60s")
        .start()?;
    let mut holder = RawClient::login(&weir.app())?;
    holder.run("BEGIN; UPDATE counter SET n = n WHERE id = 93")?;
    let mut waiter = RawClient::login(&weir.app())?;
    waiter.send(&raw::query("UPDATE counter SET n = n WHERE id = 94 RETURNING id"))?;
    assert!(waiter.is_silent_for(Duration::from_millis(300))?);
    weir.reconfigure(|config| set(config, "pool.server_connections_max", Value::Integer(2)))?;
    assert_eq!(raw::tags(&waiter.until_ready()?), "TDCZ");
    holder.run("ROLLBACK")?;
    Ok(())
}

#[test]
fn the_reserve_is_for_who_has_waited_and_goes_when_nobody_waits() -> Outcome {
    let stage = stage();
    role(&stage, "reserved")?;
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 1)
        .set("pool.server_connections_reserve", 1)
        .set("pool.reserve_after", "400ms")
        .set("pool.lease_wait", "2s")
        .start()?;
    let login = weir.app().user("reserved", "x");
    let mut clients = (0..3).map(|_| RawClient::login(&login)).collect::<Result<Vec<_>, _>>()?;
    clients[0].run("BEGIN; UPDATE counter SET n = n WHERE id = 95")?;
    let start = Instant::now();
    clients[1].run("BEGIN; UPDATE counter SET n = n WHERE id = 96")?;
    assert!(start.elapsed() >= Duration::from_millis(350), "after {:?}", start.elapsed());
    assert_eq!(servers(&stage, "reserved")?.len(), 2);
    // There is no more than the reserve.
    assert_eq!(clients[2].refusal("UPDATE counter SET n = n WHERE id = 97")?.0, "53300");
    clients[1].run("COMMIT")?;
    clients[0].run("COMMIT")?;
    wait_until("the reserve is closed", || servers(&stage, "reserved").is_ok_and(|all| all.len() == 1))
}

#[test]
fn a_node_has_no_more_servers_than_it_may_have_and_nobody_starves() -> Outcome {
    let stage = stage();
    const MAX: usize = 4;
    let users = ["budget_a", "budget_b", "budget_c", "budget_d", "budget_e", "budget_f"];
    for user in users {
        role(&stage, user)?;
    }
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 3)
        .set("pool.node_connections_max", MAX as i64)
        .set("pool.lease_wait", "20s")
        .set("routing.split", false)
        .start()?;
    let count = || -> Result<usize, HarnessError> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'budget%'";
        Ok(stage.cluster.value(stage.cluster.primary(), "postgres", sql)?.parse().unwrap_or(usize::MAX))
    };
    let most = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..18)
            .map(|number| {
                let login = weir.app().user(users[number % users.len()], "x");
                scope.spawn(move || -> Outcome {
                    let mut client = RawClient::login(&login)?;
                    for _ in 0..15 {
                        assert_eq!(client.value("SELECT current_user, pg_sleep(0.01)")?, login.user);
                    }
                    Ok(())
                })
            })
            .collect();
        let mut most = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            most = most.max(count()?);
            std::thread::sleep(Duration::from_millis(5));
        }
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))?;
        Ok::<_, HarnessError>(most)
    })?;
    // A server that was closed is gone from the node's list a moment later.
    assert!((1..=MAX + 2).contains(&most), "{most} servers on the primary");
    // What is idle for one is closed for another at once; what is in use is not.
    let mut holders = users[..MAX]
        .iter()
        .map(|user| RawClient::login(&weir.app().user(user, "x")))
        .collect::<Result<Vec<_>, _>>()?;
    for holder in &mut holders {
        holder.run("BEGIN; UPDATE counter SET n = n WHERE false")?;
    }
    // A reload makes the next log-in ask a server what it reports: this one is in before.
    let mut last = RawClient::login(&weir.app().user(users[5], "x"))?;
    weir.reconfigure(|config| set(config, "pool.lease_wait", Value::from("500ms")))?;
    let frames = last.query("SELECT 1")?;
    assert_eq!(told(&frames, b'E', b'C').as_deref(), Some("53300"));
    let hint = told(&frames, b'E', b'H').unwrap_or_default();
    assert!(hint.contains("pool.node_connections_max"), "{hint}");
    holders[0].run("COMMIT")?;
    assert_eq!(last.value("SELECT 1")?, "1");
    // Without the bound everybody has one again.
    weir.reconfigure(|config| set(config, "pool.node_connections_max", Value::Integer(0)))?;
    assert_eq!(holders[0].value("SELECT 1")?, "1");
    Ok(())
}

/// As test suites that make a database per module do it, and tenants that have one each.
#[test]
fn many_databases_share_a_node_that_says_that_it_is_full() -> Outcome {
    let cluster = Cluster::builder().replicas(0).setting("max_connections", "24").start()?;
    let weir = Weir::builder(&cluster).start()?;
    let databases: Vec<_> = (0..36).map(|number| format!("tenant_{number}")).collect();
    for database in &databases {
        cluster.sql(0, "postgres", &format!("CREATE DATABASE {database} OWNER app"))?;
    }
    let count = || -> Result<usize, HarnessError> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'tenant%' AND usename = 'app'";
        Ok(cluster.value(0, "postgres", sql)?.parse().unwrap_or(usize::MAX))
    };
    let visit = |database: &String| -> Outcome {
        let mut client = RawClient::login(&weir.app().database(database))?;
        client.run("CREATE TABLE IF NOT EXISTS visited (n int)")?;
        assert_eq!(client.value("SELECT count(*) FROM visited")?, "0");
        Ok(())
    };
    databases.iter().try_for_each(visit)?;
    // Several at once, too.
    std::thread::scope(|scope| {
        let visitors: Vec<_> =
            databases.chunks(9).map(|part| scope.spawn(move || part.iter().try_for_each(visit))).collect();
        visitors.into_iter().try_for_each(|visitor| visitor.join().expect("a visitor does not panic"))
    })?;
    // Who may have few connections has them where it is.
    cluster.sql(0, "postgres", "CREATE ROLE few LOGIN PASSWORD 'x' CONNECTION LIMIT 2")?;
    for database in &databases[..5] {
        let mut client = RawClient::login(&weir.app().database(database).user("few", "x"))?;
        assert_eq!(client.value("SELECT current_user")?, "few");
    }
    assert!(count()? > 4, "{} servers are kept", count()?);
    // A bound that is lowered is kept at once, by closing what is idle.
    weir.reconfigure(|config| set(config, "pool.node_connections_max", Value::Integer(4)))?;
    databases[..3].iter().try_for_each(visit)?;
    wait_until("no more servers than there may be", || count().is_ok_and(|open| open <= 4))
}

#[test]
fn servers_are_closed_when_idle_or_old_and_a_few_are_kept() -> Outcome {
    let stage = stage();
    role(&stage, "aging")?;
    let weir =
        Weir::builder(&stage.cluster).set("pool.server_idle", "1s").set("routing.split", false).start()?;
    let login = weir.app().user("aging", "x");
    RawClient::login(&login)?.run("SELECT 1")?;
    assert_eq!(servers(&stage, "aging")?.len(), 1);
    wait_until("an idle server is closed", || servers(&stage, "aging").is_ok_and(|all| all.is_empty()))?;
    // A few are kept warm, from the first use on.
    weir.reconfigure(|config| set(config, "pool.server_connections_min", Value::Integer(3)))?;
    let mut client = RawClient::login(&login)?;
    client.run("SELECT 1")?;
    wait_until("a few are kept", || servers(&stage, "aging").is_ok_and(|all| all.len() == 3))?;
    let before = servers(&stage, "aging")?;
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(servers(&stage, "aging")?, before, "they were closed while idle");
    // Old ones are replaced, though not while a transaction needs them.
    client.run("BEGIN; UPDATE counter SET n = n WHERE id = 98")?;
    weir.reconfigure(|config| set(config, "pool.server_lifetime", Value::from("1s")))?;
    wait_until("idle servers are replaced", || {
        let old = |all: &[String]| all.iter().filter(|pid| before.contains(pid)).count();
        servers(&stage, "aging").is_ok_and(|all| all.len() == 3 && old(&all) == 1)
    })?;
    client.run("COMMIT")?;
    wait_until("and the one in use afterwards", || {
        servers(&stage, "aging").is_ok_and(|all| before.iter().all(|old| !all.contains(old)))
    })
}

#[test]
fn warm_fills_the_pools_by_command_and_by_the_clock() -> Outcome {
    let stage = stage();
    role(&stage, "peak")?;
    // One of the next minutes: whichever the clock shows when nobody is there any more.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at = |minute: u64| {
        let minute = now.as_secs() / 60 + minute;
        Value::from(format!("{:02}:{:02}", minute / 60 % 24, minute % 60))
    };
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 4)
        .set("pool.server_idle", "1s")
        .set("pool.warm_at", vec![at(1), at(2), at(3)])
        .start()?;
    let login = weir.app().user("peak", "x");
    RawClient::login(&login)?.run("SELECT 1")?;
    console(&weir).sql("WARM app")?;
    assert_eq!(servers(&stage, "peak")?.len(), 4);
    wait_until("they are closed when nobody comes", || {
        servers(&stage, "peak").is_ok_and(|all| all.is_empty())
    })?;
    wait_until_within(Duration::from_secs(200), "the clock fills the pool", || {
        servers(&stage, "peak").is_ok_and(|all| all.len() == 4)
    })
}
