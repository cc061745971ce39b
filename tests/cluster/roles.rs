//! Changes of roles and databases end what they end on Postgres, and nothing else.

use crate::assert_same;
use crate::support::{Outcome, Stage, login_outcome, stage, twin};
use pgweir_tests::HarnessError;
use pgweir_tests::Weir;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::time::Duration;
use toml::{Table, Value};

/// So often pgweir looks at what it knows of roles.
const CENSUS_EVERY: Duration = Duration::from_millis(500);

/// Runs SQL as a superuser, straight on the primary, past pgweir.
fn direct(stage: &Stage, sql: &str) -> Outcome {
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    sql.split(';')
        .map(str::trim)
        .filter(|sql| !sql.is_empty())
        .try_for_each(|sql| root.sql(sql).map(drop))?;
    stage.cluster.wait_caught_up()
}

/// Waits until a log-in through pgweir ends as one straight to Postgres does; returns how.
fn same_in_the_end(stage: &Stage, login: &Login, what: &str) -> Result<Option<[String; 3]>, HarnessError> {
    let direct = login_outcome(&twin(stage, login), &[])?;
    let mut through = Ok(());
    let outcome = wait_until(what, || {
        through = login_outcome(login, &[]).unwrap_or(Ok(()));
        through == direct
    });
    assert!(outcome.is_ok(), "{what}\n  pgweir: {through:?}\nPostgres: {direct:?}");
    Ok(direct.err())
}

fn value(client: &mut RawClient, sql: &str) -> Result<String, String> {
    client.value(sql).map_err(|error| error.to_string())
}

/// What the last part of an error says, without what the harness adds.
fn says(outcome: &Result<String, String>, what: &str) -> bool {
    outcome.as_ref().is_err_and(|error| error.contains(what))
}

#[test]
fn whoever_postgres_shuts_out_is_shut_out_and_sessions_that_are_there_go_on() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE ROLE shut LOGIN PASSWORD 'x'; CREATE DATABASE shut_db")?;
    direct(
        &stage,
        "REVOKE CONNECT ON DATABASE shut_db FROM PUBLIC; GRANT CONNECT ON DATABASE shut_db TO shut",
    )?;
    let login = stage.weir.app().user("shut", "x").database("shut_db");
    let changes = [
        ("ALTER ROLE shut NOLOGIN", "ALTER ROLE shut LOGIN", "28000"),
        (
            "REVOKE CONNECT ON DATABASE shut_db FROM shut",
            "GRANT CONNECT ON DATABASE shut_db TO shut",
            "42501",
        ),
        (
            "ALTER DATABASE shut_db ALLOW_CONNECTIONS false",
            "ALTER DATABASE shut_db ALLOW_CONNECTIONS true",
            "55000",
        ),
        ("ALTER ROLE shut CONNECTION LIMIT 0", "ALTER ROLE shut CONNECTION LIMIT -1", "53300"),
        ("ALTER DATABASE shut_db CONNECTION LIMIT 0", "ALTER DATABASE shut_db CONNECTION LIMIT -1", "53300"),
        ("ALTER ROLE shut VALID UNTIL '2001-01-01'", "ALTER ROLE shut VALID UNTIL 'infinity'", "28P01"),
        ("ALTER ROLE shut RENAME TO shut_not", "ALTER ROLE shut_not RENAME TO shut", "28P01"),
    ];
    for (change, undo, code) in changes {
        // Servers are open and the way to log in is known: nothing has to be asked of Postgres any more.
        let mut early = RawClient::login(&login)?;
        assert_eq!(early.value("SELECT 1")?, "1");
        // Whoever is let in just before a name changes hands might be either of them, and would be ended.
        std::thread::sleep(CENSUS_EVERY * 2);
        direct(&stage, change)?;
        let refusal = same_in_the_end(&stage, &login, change)?;
        assert_eq!(refusal.map(|[_, code, _]| code).as_deref(), Some(code), "{change}");
        assert_eq!(value(&mut early, "SELECT 2"), Ok("2".into()), "a session from before {change}");
        direct(&stage, undo)?;
        assert_eq!(same_in_the_end(&stage, &login, undo)?, None, "{undo}");
        assert_eq!(
            value(&mut early, "SELECT 3"),
            Ok("3".into()),
            "a session from before {change} and {undo}"
        );
    }
    Ok(())
}

#[test]
fn a_change_that_passes_through_pgweir_counts_for_the_next_log_in() -> Outcome {
    let stage = stage();
    direct(
        &stage,
        "CREATE ROLE soon LOGIN PASSWORD 'x'; CREATE ROLE soon_root SUPERUSER LOGIN PASSWORD 'x'",
    )?;
    let login = stage.weir.app().user("soon", "x");
    let mut root = RawClient::login(&stage.weir.app().user("soon_root", "x"))?;
    RawClient::login(&login)?.run("SELECT 1")?;
    for _ in 0..3 {
        root.run("ALTER ROLE soon NOLOGIN")?;
        let refused = login_outcome(&login, &[])?;
        assert_eq!(refused.err().map(|[_, code, _]| code).as_deref(), Some("28000"));
        root.run("ALTER ROLE soon LOGIN")?;
        assert_eq!(login_outcome(&login, &[])?, Ok(()));
    }
    Ok(())
}

#[test]
fn the_new_owner_of_a_name_is_not_the_old_one() -> Outcome {
    let stage = stage();
    let oid = "SELECT oid FROM pg_roles WHERE rolname = session_user";
    let may = "SELECT has_table_privilege('heirloom', 'SELECT')::text";
    direct(&stage, "CREATE ROLE heir LOGIN PASSWORD 'x'")?;
    let root = stage.cluster.node(stage.cluster.primary()).superuser().database("app");
    root.sql("CREATE TABLE heirloom (n int)")?;
    root.sql("GRANT SELECT ON heirloom TO heir")?;
    stage.cluster.wait_caught_up()?;
    let login = stage.weir.app().user("heir", "x");
    let mut early = RawClient::login(&login)?;
    let mut early_twin = RawClient::login(&twin(&stage, &login))?;
    assert_eq!(early.value(may)?, "true");
    let before = early.value(oid)?;
    // Whoever is let in just before a name changes hands might be either of them, and would be ended.
    std::thread::sleep(CENSUS_EVERY * 2);
    root.sql("DROP OWNED BY heir")?;
    direct(&stage, "DROP ROLE heir; CREATE ROLE heir LOGIN PASSWORD 'x'")?;
    let mut seen = String::new();
    wait_until("a new session is the new role's", || {
        let session = RawClient::login(&login);
        seen = session.and_then(|mut session| session.value(oid)).unwrap_or_default();
        !seen.is_empty() && seen != before
    })?;
    let mut late = RawClient::login(&login)?;
    for _ in 0..5 {
        assert_eq!(late.value(may)?, "false");
        assert_eq!(late.value(oid)?, seen);
        // What the old one may still do, directly and here.
        for sql in ["SELECT 1", "SELECT current_user", "SELECT count(*) FROM heirloom"] {
            let (through, direct) = (value(&mut early, sql), value(&mut early_twin, sql));
            assert_same!(through, direct, "a session of the former role: {sql}");
        }
    }
    Ok(())
}

#[test]
fn a_session_of_a_former_role_ends_when_its_servers_have() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE ROLE ghost LOGIN PASSWORD 'x'")?;
    let login = stage.weir.app().user("ghost", "x");
    let mut early = RawClient::login(&login)?;
    assert_eq!(early.value("SELECT 1")?, "1");
    direct(&stage, "DROP ROLE ghost; CREATE ROLE ghost LOGIN PASSWORD 'x'")?;
    // By its number: the name is another's now.
    for node in stage.cluster.nodes() {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid IS NOT NULL \
            AND NOT EXISTS (SELECT FROM pg_authid a WHERE a.oid = usesysid)";
        node.superuser().sql(end)?;
    }
    // By what it knows it cannot get at servers of the new role, nor by what the new one shows later.
    let mut outcome = Ok(String::new());
    wait_until("it has no server left", || {
        outcome = value(&mut early, "SELECT 2");
        outcome.is_err()
    })?;
    // The first that comes may be taken for the former role, and end with it.
    wait_until("the new role is served", || {
        RawClient::login(&login).is_ok_and(|mut late| value(&mut late, "SELECT 3") == Ok("3".into()))
    })?;
    wait_until("it is told so", || {
        outcome = value(&mut early, "SELECT 4");
        !says(&outcome, "password authentication failed")
    })?;
    assert!(outcome.is_err(), "it runs as somebody else: {outcome:?}");
    Ok(())
}

#[test]
fn a_superuser_of_yesterday_is_none_for_new_sessions() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE ROLE fallen SUPERUSER LOGIN PASSWORD 'x'")?;
    let login = stage.weir.app().user("fallen", "x");
    let mut early = RawClient::login(&login)?;
    assert_eq!(early.value("SHOW is_superuser")?, "on");
    direct(&stage, "ALTER ROLE fallen NOSUPERUSER")?;
    wait_until("new sessions are ordinary", || {
        let session = RawClient::login(&login);
        session.is_ok_and(|mut s| s.value("SHOW is_superuser").is_ok_and(|on| on == "off"))
    })?;
    for _ in 0..5 {
        let mut late = RawClient::login(&login)?;
        let outcome = value(&mut late, "SET SESSION AUTHORIZATION app; SELECT current_user");
        assert!(says(&outcome, "permission denied to set session authorization"), "{outcome:?}");
    }
    Ok(())
}

#[test]
fn sessions_end_with_their_database() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE DATABASE short_lived OWNER app")?;
    let login = stage.weir.app().database("short_lived");
    let mut early = RawClient::login(&login)?;
    early.run("CREATE TABLE mine (n int)")?;
    direct(&stage, "DROP DATABASE short_lived WITH (FORCE); CREATE DATABASE short_lived OWNER app")?;
    wait_until("new sessions are in the new database", || {
        let session = RawClient::login(&login);
        session.is_ok_and(|mut s| s.value("SELECT to_regclass('mine') IS NULL").is_ok_and(|gone| gone == "t"))
    })?;
    let outcome = value(&mut early, "SELECT to_regclass('mine') IS NULL");
    assert!(outcome.is_err(), "a session of the former database goes on in the new one: {outcome:?}");
    // Where nobody has it any more, as on Postgres.
    direct(&stage, "DROP DATABASE short_lived WITH (FORCE)")?;
    let refusal = same_in_the_end(&stage, &login, "the database is gone")?;
    assert_eq!(refusal.map(|[_, code, _]| code).as_deref(), Some("3D000"));
    Ok(())
}

#[test]
fn a_password_of_the_configuration_ends_when_postgres_says_so() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE ROLE listed LOGIN PASSWORD 'x'")?;
    let user =
        [("name", "listed"), ("password", "x")].map(|(key, value)| (key.to_owned(), Value::from(value)));
    let weir =
        Weir::builder(&stage.cluster).set("user", vec![Value::from(Table::from_iter(user))]).start()?;
    let login = weir.app().user("listed", "x");
    assert_eq!(login_outcome(&login, &[])?, Ok(()));
    direct(&stage, "ALTER ROLE listed VALID UNTIL '2001-01-01'")?;
    wait_until("the password has expired", || {
        login_outcome(&login, &[]).is_ok_and(|outcome| outcome.is_err_and(|[_, code, _]| code == "28P01"))
    })
}

#[test]
fn a_limit_of_a_role_is_one_on_servers_and_its_clients_share_them() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE ROLE meagre LOGIN PASSWORD 'x' CONNECTION LIMIT 2")?;
    let weir = Weir::builder(&stage.cluster).set("routing.split", false).start()?;
    let login = weir.app().user("meagre", "x");
    let clients = (0..6).map(|_| {
        let login = login.clone();
        std::thread::spawn(move || -> Result<String, HarnessError> {
            RawClient::login(&login)?.value("SELECT pg_sleep(0.1) IS NOT NULL")
        })
    });
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.join().expect("a client does not panic")?, "t");
    }
    Ok(())
}

/// What may become of a role and a database.
const FATES: &[&str] = &[
    "ALTER ROLE life NOLOGIN",
    "ALTER ROLE life LOGIN",
    "ALTER ROLE life PASSWORD 'y'",
    "ALTER ROLE life PASSWORD 'x'",
    "ALTER ROLE life VALID UNTIL '2001-01-01'",
    "ALTER ROLE life VALID UNTIL 'infinity'",
    "ALTER ROLE life CONNECTION LIMIT 0",
    "ALTER ROLE life CONNECTION LIMIT -1",
    "ALTER ROLE life RENAME TO afterlife",
    "ALTER ROLE afterlife RENAME TO life",
    "DROP ROLE afterlife",
    "CREATE ROLE life LOGIN PASSWORD 'x'",
    "CREATE ROLE afterlife LOGIN PASSWORD 'x'",
    "GRANT CONNECT ON DATABASE life_db TO PUBLIC",
    "REVOKE CONNECT ON DATABASE life_db FROM PUBLIC",
    "ALTER DATABASE life_db ALLOW_CONNECTIONS false",
    "ALTER DATABASE life_db ALLOW_CONNECTIONS true",
    "ALTER DATABASE life_db RENAME TO life_db_before",
    "CREATE DATABASE life_db",
];

#[test]
fn whatever_becomes_of_a_role_in_whatever_order_ends_as_directly() -> Outcome {
    let stage = stage();
    direct(&stage, "CREATE ROLE life LOGIN PASSWORD 'x'; CREATE DATABASE life_db")?;
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    let app = stage.weir.app();
    let logins = [("life", "x"), ("life", "y"), ("afterlife", "x")]
        .map(|(user, password)| app.user(user, password).database("life_db"));
    let who = "SELECT r.oid || ' in ' || d.oid FROM pg_roles r, pg_database d \
         WHERE r.rolname = session_user AND d.datname = current_database()";
    let identity = |login: &Login| RawClient::login(login).and_then(|mut client| client.value(who)).ok();
    let mut random = StdRng::seed_from_u64(18);
    let mut story = vec![];
    for _ in 0..24 {
        let fate = FATES.choose(&mut random).expect("there are some");
        // What cannot be done as things are changes nothing.
        if root.sql(fate).is_err() {
            continue;
        }
        stage.cluster.wait_caught_up()?;
        story.push(*fate);
        for login in &logins {
            let what = format!("{} after {story:?}", login.user);
            if same_in_the_end(&stage, login, &what)?.is_none() {
                let is = identity(&twin(&stage, login));
                wait_until(&format!("it is the same role and database: {what}"), || identity(login) == is)?;
            }
        }
    }
    assert!(story.len() > 8, "little has become of it: {story:?}");
    Ok(())
}

/// As test suites do it before each run.
#[test]
fn the_first_client_of_a_database_that_was_made_anew_stays() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let beside = weir.app().database("made_anew");
    for round in 0..4 {
        direct(&stage, "CREATE DATABASE made_anew OWNER app")?;
        let mut client = RawClient::login(&beside)?;
        for _ in 0..6 {
            assert_eq!(client.value("SELECT 1")?, "1", "round {round}");
            std::thread::sleep(CENSUS_EVERY / 3);
        }
        client.run("CREATE TABLE t (a int)")?;
        drop(client);
        direct(&stage, "DROP DATABASE made_anew WITH (FORCE)")?;
        std::thread::sleep(CENSUS_EVERY);
    }
    Ok(())
}
