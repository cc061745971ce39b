//! Settings are the client's: what it started with comes back, whatever its servers started with.

use crate::meaning::{Step, pools};
use crate::support::{Outcome, stage};
use crate::twin::{Batch, extended, simple};
use pgweir_tests::HarnessError;
use pgweir_tests::raw::{self, PROTOCOL_3_0, RawClient};
use pgweir_tests::sql::Login;
use std::time::Duration;

fn by_extended(sql: &str) -> Batch {
    extended(&[raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)])
}

fn all(client: usize, batches: impl IntoIterator<Item = Batch>) -> Vec<Step> {
    batches.into_iter().map(|batch| (client, batch)).collect()
}

/// What pools that reset on return send: asyncpg's, Npgsql's, and what else takes settings back.
#[test]
fn a_reset_goes_back_to_what_the_client_started_with() -> Outcome {
    let pools = pools();
    let start = [
        ("TimeZone", "Asia/Tokyo"),
        ("DateStyle", "German"),
        ("client_encoding", "LATIN1"),
        ("application_name", "started like this"),
        ("options", "-c work_mem=7MB"),
    ];
    let show = || {
        let text = "SELECT current_setting('timezone'), current_setting('datestyle'), current_setting('work_mem'), \
            current_setting('application_name'), current_setting('client_encoding')";
        simple(text)
    };
    for reset in [
        "RESET ALL",
        "DISCARD ALL",
        "RESET timezone",
        "SET datestyle TO DEFAULT",
        "RESET application_name",
        "SET client_encoding TO DEFAULT",
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
    ] {
        let mut steps = all(0, [simple(reset), show(), simple(reset), show()]);
        let set = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET work_mem = '9MB'; SET application_name = 'x'; \
            SET client_encoding = 'UTF8'";
        steps.extend(all(0, [simple(set), show(), simple(reset), show()]));
        if !reset.contains(';') {
            steps.extend(all(0, [simple(set), by_extended(reset), show(), by_extended(reset)]));
        }
        if !reset.starts_with("DISCARD") {
            steps.extend(all(
                0,
                [
                    simple("BEGIN"),
                    simple(set),
                    simple(reset),
                    show(),
                    simple("ROLLBACK"),
                    show(),
                    simple("BEGIN"),
                    simple(reset),
                    simple("COMMIT"),
                    show(),
                    simple("BEGIN"),
                    simple("SET LOCAL timezone = 'UTC'"),
                    simple("SET LOCAL timezone TO DEFAULT"),
                    show(),
                    simple("COMMIT"),
                    show(),
                ],
            ));
        }
        // Another client has the server meanwhile.
        steps.push((1, simple("SET timezone = 'Australia/Perth'")));
        steps.push((1, show()));
        steps.push((0, show()));
        pools.compare(&[&start, &[]], &steps)?;
    }
    Ok(())
}

/// What a client sees of a setting that ALTER has changed: one that was there before, and new ones.
fn altered(
    login: &Login,
    root: &mut RawClient,
    alter: &str,
    reset: &str,
) -> Result<Vec<String>, HarnessError> {
    let show = "SELECT current_setting('work_mem'), current_setting('timezone'), current_setting('app.tenant', true)";
    let mut seen = vec![];
    let mut look = |clients: &mut [RawClient]| -> Result<(), HarnessError> {
        for client in clients.iter_mut() {
            seen.push(format!("{:?}", client.run(show)?));
            client.run("BEGIN")?;
            seen.push(format!("{:?}", client.run(show)?));
            client.run("COMMIT")?;
        }
        Ok(())
    };
    let mut clients = vec![RawClient::login(login)?];
    look(&mut clients)?;
    root.run(alter)?;
    clients.push(RawClient::login(login)?);
    look(&mut clients)?;
    clients[0].run("SET work_mem = '1MB'")?;
    clients[1].run("SET work_mem = '1MB'")?;
    for client in &mut clients {
        client.run("RESET work_mem")?;
    }
    look(&mut clients)?;
    root.run(reset)?;
    clients.push(RawClient::login(login)?);
    look(&mut clients)?;
    Ok(seen)
}

/// New log-ins get what is set for them now, old sessions keep what they had, whatever servers they meet.
#[test]
fn alter_role_and_database_are_for_new_clients_only() -> Outcome {
    let pools = pools();
    let cluster = &pools.stage.cluster;
    let mut root = RawClient::login(&cluster.node(cluster.primary()).superuser().database("app"))?;
    for form in ["ROLE app", "DATABASE app", "ROLE app IN DATABASE app", "ROLE ALL"] {
        let alter = format!(
            "ALTER {form} SET work_mem = '5MB'; ALTER {form} SET timezone = 'Asia/Tokyo'; ALTER {form} SET app.tenant = 'x'"
        );
        let reset = format!("ALTER {form} RESET ALL");
        let direct = altered(&cluster.app(cluster.primary()), &mut root, &alter, &reset)?;
        for weir in pools.weirs {
            let through = altered(&weir.app(), &mut root, &alter, &reset)?;
            let rest = |seen: &[String]| -> Vec<String> {
                // Once set on a server, a placeholder is empty there, and not unknown.
                seen.iter().map(|row| row.replace("Some(\"\")", "None")).collect()
            };
            assert_eq!(rest(&through), rest(&direct), "{form}");
        }
    }
    root.run("ALTER ROLE app SET default_transaction_read_only = on")?;
    let outcome = (|| {
        for weir in pools.weirs {
            let mut client = RawClient::login(&weir.app())?;
            assert_eq!(client.refusal("CREATE TABLE never (a int)")?.0, "25006");
        }
        Ok(())
    })();
    root.run("ALTER ROLE app RESET ALL")?;
    outcome
}

/// Also while no server of the primary counts for the session.
#[test]
fn idle_timeouts_end_a_session_wherever_it_is() -> Outcome {
    let pools = pools();
    let cluster = &pools.stage.cluster;
    for login in [cluster.app(cluster.primary()), pools.weirs[0].app(), pools.weirs[1].app()] {
        for (steps, code) in [
            (vec!["SET idle_session_timeout = '400ms'"], "57P05"),
            (vec!["SET idle_session_timeout = 400", "SELECT 1"], "57P05"),
            (vec!["SET idle_in_transaction_session_timeout = '400ms'", "BEGIN"], "25P03"),
            (vec!["BEGIN", "SET idle_in_transaction_session_timeout = '400ms'"], "25P03"),
            (
                vec!["SET idle_in_transaction_session_timeout = '400ms'", "BEGIN READ ONLY", "SELECT 1"],
                "25P03",
            ),
            (
                vec!["BEGIN READ ONLY", "SELECT 1", "SET idle_in_transaction_session_timeout = '400ms'"],
                "25P03",
            ),
        ] {
            let mut client = RawClient::login(&login)?;
            for sql in &steps {
                client.run(sql)?;
            }
            let farewell = client.until_closed(Duration::from_secs(10))?;
            assert!(String::from_utf8_lossy(&farewell).contains(code), "{steps:?}");
        }
    }
    Ok(())
}

/// On a direct connection a placeholder that nobody has set there is unknown, and row security may hang on it.
#[test]
fn a_placeholder_is_unknown_to_those_who_have_not_set_it() -> Outcome {
    let pools = pools();
    let mut ddl = pools.stage.direct()?;
    ddl.run("CREATE TABLE rows_of (tenant text); INSERT INTO rows_of VALUES ('a'), ('b')")?;
    ddl.run("ALTER TABLE rows_of ENABLE ROW LEVEL SECURITY; ALTER TABLE rows_of FORCE ROW LEVEL SECURITY")?;
    let shown = "coalesce(current_setting('app.tenant', true), 'b')";
    ddl.run(&format!("CREATE POLICY own ON rows_of USING (tenant = {shown})"))?;
    ddl.run(
        "CREATE FUNCTION sets_within() RETURNS text LANGUAGE plpgsql AS \
         $$BEGIN SET LOCAL app.within = 'x'; RETURN current_setting('app.within'); END$$",
    )?;
    let look = || simple("SELECT current_setting('app.tenant', true) IS NULL AS unknown");
    let read = || simple("SELECT * FROM rows_of");
    let mut steps = vec![];
    for _ in 0..2 {
        steps.extend(all(0, [simple("SET app.tenant = 'a'"), read(), look()]));
        steps.extend(all(
            1,
            [read(), look(), by_extended("SELECT * FROM rows_of"), simple("SHOW app.tenant")],
        ));
        steps.extend(all(
            2,
            [
                simple("BEGIN"),
                simple("SELECT set_config('app.tenant', 'a', true)"),
                read(),
                extended(&[
                    raw::parse("", "SELECT set_config('app.role', $1, true), set_config($2, $1, true)"),
                    raw::bind("", "", &[Some("r"), Some("app.computed")]),
                    raw::execute("", 0),
                ]),
                simple("COMMIT"),
                look(),
                simple("SET app.other = 'x'"),
                look(),
            ],
        ));
        for name in ["other", "role", "computed", "within"] {
            let look = || simple(&format!("SELECT current_setting('app.{name}', true) IS NULL"));
            steps.extend(all(0, [look(), read()]));
            // A name that is computed is not known elsewhere.
            if name != "computed" {
                steps.extend(all(2, [look()]));
            }
        }
        steps.extend(all(1, [simple("SELECT sets_within()")]));
    }
    steps.extend(all(0, [simple("RESET app.tenant"), look(), read()]));
    let outcome = pools.compare(&[&[], &[], &[]], &steps);
    ddl.run("DROP TABLE rows_of; DROP FUNCTION sets_within")?;
    outcome
}

/// The schema of temporary objects is made where it is first looked for, and its transaction cannot be prepared.
#[test]
fn a_server_that_has_a_temporary_schema_is_not_for_a_session_that_would_make_it() -> Outcome {
    let pools = pools();
    let is_temporary = || simple("SELECT current_schema() LIKE 'pg_temp%' AS temporary");
    let prepare =
        || [simple("BEGIN"), is_temporary(), simple("PREPARE TRANSACTION 'never'"), simple("ROLLBACK")];
    let mut steps = all(0, ["CREATE TEMP TABLE seen (a int)", "DROP TABLE seen"].map(simple));
    steps.extend(all(1, [simple("SET search_path = pg_temp, public")]));
    steps.extend(all(1, prepare()));
    steps.extend(all(0, [simple("SELECT 1")]));
    steps.extend(all(1, prepare()));
    steps.extend(all(1, ["RESET search_path", "DISCARD TEMP"].map(simple)));
    steps.extend(all(0, [simple("SELECT 1"), is_temporary()]));
    steps.extend(all(1, [is_temporary()]));
    pools.compare(&[&[], &[]], &steps)
}

/// Postgres takes the values of a start-up packet as they are, whatever encoding it asks for.
#[test]
fn a_start_up_value_beyond_ascii_is_taken_as_it_is_in_any_encoding() -> Outcome {
    let stage = stage();
    let ask = "SELECT length(current_setting('app.word')), current_setting('client_encoding')";
    for round in 0..3 {
        for encoding in ["LATIN1", "UTF8", "WIN1252"] {
            let parameters = [("client_encoding", encoding), ("app.word", "schéma")];
            let mut client = RawClient::login_with(&stage.weir.app(), PROTOCOL_3_0, &parameters)?;
            let row = client.run(ask)?.remove(0);
            assert_eq!(row, [Some("6".to_owned()), Some(encoding.to_owned())], "round {round}");
        }
    }
    Ok(())
}
