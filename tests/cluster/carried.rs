//! What a session takes along to another server means there what it meant to the client, and nothing else.

use crate::meaning::{Step, pools};
use crate::support::{Outcome, Stage, stage};
use crate::twin::{compare, extended, simple, simples};
use pgweir_tests::Weir;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::{self, RawClient};
use std::time::Duration;

/// A conversation in which the first client has set this, and all of them go on over each other's servers.
fn after(first: &str, then: &[(usize, &str)]) -> Vec<Step> {
    let mut steps = vec![(0, simple(first))];
    let again = || then.iter().map(|(client, sql)| (*client, simple(sql)));
    for _ in 0..3 {
        steps.extend(again());
        steps.push((0, simple("SELECT count(*) FROM pg_catalog.pg_am")));
        steps.push((0, simple("SELECT txid_current_if_assigned() IS NULL")));
    }
    steps
}

#[test]
fn a_value_is_read_as_it_was_written_whatever_the_next_server_makes_of_backslashes() -> Outcome {
    let pools = pools();
    let root = pools.stage.cluster.node(pools.stage.cluster.primary()).superuser().database("app");
    root.sql("CREATE TABLE victim (a int); GRANT ALL ON victim TO app")?;
    let show = |name: &str| format!("SELECT current_setting('{name}'), count(*) FROM pg_catalog.pg_am");
    for first in ["SET standard_conforming_strings = off", "SET backslash_quote = off"] {
        for (name, set) in [
            ("app.x", r"SET app.x = '\''; INSERT INTO victim VALUES (1); --'"),
            ("app.x", r"SET app.x = 'a\b'"),
            ("app.x", r"SET app.x = '\'"),
            ("app.x", r"SET app.x = E'a\'b'"),
            ("application_name", r"SET application_name = 'a\b'"),
            ("search_path", r"SET search_path = 'a\b', public"),
            ("timezone", "SET TIME ZONE 5"),
            ("timezone", "SET TIME ZONE INTERVAL '-03:30' HOUR TO MINUTE"),
        ] {
            let show = show(name);
            pools.compare(&[&[], &[]], &after(first, &[(1, set), (1, &show), (1, &show)]))?;
        }
    }
    assert_eq!(root.value("SELECT count(*) FROM victim")?, "0");
    root.sql("DROP TABLE victim")?;
    Ok(())
}

#[test]
fn what_transactions_are_by_default_stands_in_nobodys_way() -> Outcome {
    let pools = pools();
    let show = "SELECT current_setting('timezone'), current_setting('transaction_read_only'), \
        current_setting('transaction_isolation'), count(*) FROM pg_catalog.pg_am";
    let set = "SET default_transaction_isolation = 'serializable'";
    let zone = "SET timezone = 'Asia/Tokyo'";
    let tokyo = [("TimeZone", "Asia/Tokyo")];
    pools.compare(&[&[], &tokyo], &after(set, &[(0, "RESET timezone"), (1, show), (1, show)]))?;
    for set in [
        "SET default_transaction_isolation = 'serializable'; SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
    ] {
        let then = [(0, zone), (1, show), (0, show), (1, zone), (0, "SET TRANSACTION READ ONLY"), (1, show)];
        pools.compare(&[&[], &tokyo], &after(set, &then))?;
    }
    Ok(())
}

/// However they are set, the modes of a transaction end with it.
#[test]
fn the_modes_of_a_transaction_are_no_settings_of_the_session() -> Outcome {
    let pools = pools();
    let show = "SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation'), \
        count(*) FROM pg_catalog.pg_am";
    for sets in [
        &["SET transaction_read_only = off"][..],
        &["SET transaction_read_only = on"],
        &["SELECT set_config('transaction_read_only', 'off', false)"],
        &["SELECT set_config('transaction_read_only', 'on', false)"],
        &["BEGIN", "SET transaction_isolation = 'serializable'", show, "COMMIT"],
        &["BEGIN", "SET transaction_read_only = on", show, "COMMIT"],
        &["BEGIN", "SELECT set_config('transaction_isolation', 'repeatable read', false)", show, "ROLLBACK"],
    ] {
        let mut then: Vec<_> = sets.iter().map(|sql| (1, *sql)).collect();
        then.extend([(1, show), (0, show), (1, show)]);
        pools.compare(&[&[], &[]], &after("SELECT 1", &then))?;
    }
    Ok(())
}

#[test]
fn the_search_path_goes_ahead_of_what_is_looked_up_along_it() -> Outcome {
    let pools = pools();
    let root = pools.stage.cluster.node(pools.stage.cluster.primary()).superuser().database("app");
    root.sql(
        "CREATE SCHEMA words; GRANT USAGE ON SCHEMA words TO app; \
         CREATE TEXT SEARCH CONFIGURATION words.plain (COPY = pg_catalog.simple)",
    )?;
    pools.stage.cluster.wait_caught_up()?;
    let set = "SET search_path = words, public; SET default_text_search_config = 'plain'";
    let show = "SELECT current_setting('default_text_search_config'), count(*) FROM pg_catalog.pg_am";
    pools
        .compare(&[&[], &[]], &after("SET work_mem = '5MB'", &[(1, set), (1, show), (0, show), (1, show)]))?;
    root.sql("DROP SCHEMA words CASCADE")?;
    Ok(())
}

#[test]
fn a_reset_is_told_to_a_client_that_started_with_wishes_too() -> Outcome {
    let pools = pools();
    let start = [("pgweir.consistency", "session")];
    let through = |weir: &Weir, reset: &str| -> Result<Vec<String>, pgweir_tests::HarnessError> {
        let mut client = RawClient::login_with(&weir.app(), 0x3_0000, &start)?;
        client.run("SET timezone = 'Asia/Tokyo'")?;
        Ok(client.query(reset)?.iter().filter(|f| f.tag == b'S').map(|f| format!("{f:?}")).collect())
    };
    for weir in pools.weirs {
        for reset in ["RESET ALL", "DISCARD ALL", "RESET timezone"] {
            let told = through(weir, reset)?;
            assert!(told.iter().any(|told| told.contains("TimeZone")), "{reset}: {told:?}");
        }
    }
    Ok(())
}

/// A procedure, or a DO block, commits what it has done so far, and fails behind that.
#[test]
fn what_was_committed_on_the_way_to_an_error_is_nobody_elses() -> Outcome {
    let pools = pools();
    for weir in pools.weirs {
        // By way of each, so that each knows of it at once.
        weir.superuser().database("app").sql(
            "CREATE OR REPLACE PROCEDURE half_way() LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM set_config('app.tenant', 'b', false); COMMIT; PERFORM 1 / 0; END $$",
        )?;
    }
    let show = "SELECT current_setting('app.tenant', true), current_setting('timezone'), count(*) FROM pg_catalog.pg_am";
    for body in [
        "DO $$ BEGIN PERFORM set_config('app.tenant', 'b', false); COMMIT; PERFORM 1 / 0; END $$",
        "DO $$ BEGIN PERFORM set_config('timezone', 'Asia/Tokyo', false); COMMIT; PERFORM 1 / 0; END $$",
        "DO $$ BEGIN SET timezone = 'Asia/Tokyo'; COMMIT; PERFORM 1 / 0; END $$",
        "CALL half_way()",
    ] {
        let set = "SET app.tenant = 'a'";
        let then = [(1, set), (0, body), (1, show), (0, show), (1, show), (0, "RESET ALL")];
        pools.compare(&[&[], &[]], &after(set, &then))?;
    }
    Ok(())
}

/// Neither on the way to a replica nor on the way back.
#[test]
fn a_block_declared_read_write_is_a_block() -> Outcome {
    let write = "INSERT INTO note (body) VALUES ('never')";
    for begin in [
        "BEGIN READ WRITE",
        "START TRANSACTION READ WRITE",
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    ] {
        for wish in ["primary", "until_first_write"] {
            let wish = format!("SET pgweir.transactions = '{wish}'");
            let read = "SELECT count(*) FROM note WHERE body = 'never'";
            compare(&stage(), &simples(&[&wish, begin, read, write, read, "ROLLBACK", read]))?;
        }
    }
    // It begins on a replica and moves with the mode that it has been given, which no query may come before.
    for set in
        ["SET transaction_isolation = 'repeatable read'", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"]
    {
        let then = ["SHOW transaction_isolation", "SELECT last_value > 0 FROM ticket", "COMMIT"];
        compare(&stage(), &simples(&[&["BEGIN READ ONLY", set][..], &then].concat()))?;
    }
    compare(&stage(), &simples(&["BEGIN;\x0b", "SELECT 1", "ROLLBACK", "BEGIN \u{a0}", "ROLLBACK"]))
}

/// What stands behind a message that fails, and has no Sync between, is skipped up to the next one.
#[test]
fn a_query_behind_a_message_that_failed_is_skipped() -> Outcome {
    let fails = [
        raw::parse("", "selekt"),
        [raw::parse("", "SELECT 1 / 0"), raw::bind("", "", &[]), raw::execute("", 0)].concat(),
    ];
    for failing in fails {
        for behind in [
            raw::query("SELECT 6"),
            raw::query("SELECT 6; SELECT 7"),
            raw::query("INSERT INTO note (body) VALUES ('no')"),
        ] {
            let batch = extended(&[failing.clone(), behind, raw::parse("", "SELECT 9")]);
            compare(
                &stage(),
                &[batch, simple("SELECT 8"), simple("SELECT count(*) FROM note WHERE body = 'no'")],
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_snapshot_is_taken_with_the_first_parse() -> Outcome {
    let pools = pools();
    let read = "SELECT count(*) FROM taken";
    let root = pools.stage.cluster.node(pools.stage.cluster.primary()).superuser().database("app");
    root.sql("CREATE TABLE taken (a int); INSERT INTO taken VALUES (1); GRANT ALL ON taken TO app")?;
    pools.stage.cluster.wait_caught_up()?;
    let run = || extended(&[raw::bind("", "s", &[]), raw::execute("", 0)]);
    let mut steps =
        vec![(1, simple("DELETE FROM taken")), (0, extended(&[raw::parse("s", read)])), (0, run())];
    for begin in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"] {
        steps.extend([(1, simple("TRUNCATE taken")), (2, simple(begin))]);
        steps.extend([(2, extended(&[raw::parse("s", read)])), (1, simple("INSERT INTO taken VALUES (1)"))]);
        steps.extend([(2, run()), (2, simple("COMMIT")), (2, simple("DEALLOCATE s")), (0, run())]);
    }
    // Three clients, two of them at work at once: a pool of one server is too small for that.
    let weir = pools.weirs[1];
    let answers = |login| -> Result<Vec<_>, pgweir_tests::HarnessError> {
        let mut clients = (0..3).map(|_| RawClient::login(&login)).collect::<Result<Vec<_>, _>>()?;
        let mut all = vec![];
        for (client, batch) in &steps {
            all.extend(crate::twin::hold(&mut clients[*client], std::slice::from_ref(batch))?);
        }
        Ok(all)
    };
    let cluster = &pools.stage.cluster;
    for (number, (through, direct)) in
        answers(weir.app())?.iter().zip(&answers(cluster.app(cluster.primary()))?).enumerate()
    {
        crate::assert_same!(through, direct, "step {number}");
    }
    root.sql("DROP TABLE taken")?;
    Ok(())
}

/// As pgjdbc's `setFetchSize` does it.
#[test]
fn an_open_portal_keeps_its_transaction_where_it_is() -> Outcome {
    let open = || {
        extended(&[
            raw::parse("", "SELECT id FROM product ORDER BY id"),
            raw::bind("pp", "", &[]),
            raw::execute("pp", 5),
        ])
    };
    let more = || extended(&[raw::execute("pp", 5)]);
    for between in
        ["SELECT pg_backend_pid() > 0", "SELECT last_value > 0 FROM ticket", "SELECT count(*) FROM product"]
    {
        for begin in ["BEGIN READ ONLY", "BEGIN"] {
            compare(&stage(), &[simple(begin), open(), simple(between), more(), simple("COMMIT")])?;
            let wish = simple("SET pgweir.transactions = 'until_first_write'");
            compare(&stage(), &[wish, simple(begin), open(), simple(between), more(), simple("COMMIT")])?;
        }
    }
    Ok(())
}

/// No replica is fresh enough, and the session keeps the only server that the pool may have.
#[test]
fn a_session_does_not_wait_for_the_server_that_it_keeps() -> Outcome {
    let stage = Stage::own(|weir| {
        weir.set("pool.server_connections_max", 1)
            .set("pool.lease_wait", "5s")
            .set("routing.freshness_wait", "50ms")
    })?;
    stage.cluster.node(0).superuser().database("app").sql(crate::support::SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    let mut client = stage.client()?;
    wait_until("a replica serves reads", || client.run("SELECT count(*) FROM note").is_ok())?;
    for replica in stage.cluster.replicas() {
        stage.cluster.pause_replay(replica)?;
    }
    client.run("INSERT INTO note (body) VALUES ('kept')")?;
    let id = client.value("SELECT currval('note_id_seq')")?;
    client.run("INSERT INTO note (body) VALUES ('kept')")?;
    assert_eq!(client.value("SELECT count(*) FROM note WHERE body = 'kept'")?, "2");
    assert!(client.value("SELECT currval('note_id_seq')")? > id);
    assert!(client.is_silent_for(Duration::from_millis(10))?);
    Ok(())
}

/// No catalog will ever show it: its client's server goes to whoever needs one.
#[test]
fn a_procedure_that_is_not_there_keeps_no_server_from_others() -> Outcome {
    let pools = pools();
    let mistaken = |client| (client, simple("CALL no_such_procedure()"));
    let read = |client| (client, simple("SELECT txid_current_if_assigned() IS NULL"));
    pools.compare(&[&[], &[]], &[mistaken(0), read(1), mistaken(1), read(0), read(1), mistaken(0), read(1)])
}

/// However the name of what sets is written, and by an UPDATE of `pg_settings`, too.
#[test]
fn a_setting_is_nobody_elses_whatever_words_set_it() -> Outcome {
    let pools = pools();
    for weir in pools.weirs {
        // By way of each, so that each knows of it at once.
        weir.superuser().database("app").sql(
            "CREATE OR REPLACE VIEW public.shown AS SELECT * FROM pg_settings; GRANT ALL ON public.shown TO app",
        )?;
    }
    for set in [
        "SELECT \"set_config\"('search_path', 'elsewhere', false)",
        "SELECT \"pg_catalog\".\"set_config\"('search_path', 'elsewhere', false)",
        "SELECT count(\"set_config\"('search_path', 'elsewhere', false)) FROM pg_class LIMIT 1",
        "UPDATE pg_settings SET setting = 'elsewhere' WHERE name = 'search_path'",
        "WITH x AS (SELECT 'elsewhere' AS path) UPDATE pg_catalog.pg_settings SET setting = path FROM x \
         WHERE name = 'search_path'",
        "DO $$ BEGIN UPDATE pg_settings SET setting = 'elsewhere' WHERE name = 'search_path'; END $$",
        "UPDATE public.shown SET setting = 'elsewhere' WHERE name = 'search_path'",
        "DO $$ BEGIN UPDATE public.shown SET setting = 'elsewhere' WHERE name = 'search_path'; END $$",
    ] {
        for weir in pools.weirs {
            let mut client = RawClient::login(&weir.app())?;
            client.run(set)?;
            assert_eq!(client.value("SHOW search_path")?, "elsewhere", "{set}");
            drop(client);
            for _ in 0..4 {
                let mut other = RawClient::login(&weir.app())?;
                assert_eq!(other.value("BEGIN; SHOW search_path; COMMIT")?, "\"$user\", public", "{set}");
            }
        }
    }
    pools.weirs[0].superuser().database("app").sql("DROP VIEW public.shown").map(drop)
}

/// Made past pgweir, and used before it can have seen it: what it leaves behind is nobody else's all the same.
#[test]
fn what_was_made_a_moment_ago_leaves_nothing_to_others() -> Outcome {
    let pools = pools();
    let mut ddl = RawClient::login(
        &pools.stage.cluster.node(pools.stage.cluster.primary()).superuser().database("app"),
    )?;
    let sets = "SELECT set_config('search_path', 'elsewhere', false)";
    for (number, weir) in [0, 1].into_iter().zip(pools.weirs) {
        for (kind, make, work) in [
            (
                "function",
                format!("CREATE FUNCTION n.f() RETURNS text LANGUAGE sql AS $${sets}$$"),
                "SELECT n.f()",
            ),
            ("view", format!("CREATE VIEW n.v AS {sets} AS a"), "SELECT * FROM n.v"),
            (
                "trigger",
                "CREATE TABLE n.t (a int); CREATE FUNCTION n.g() RETURNS trigger LANGUAGE plpgsql AS \
                 $$BEGIN PERFORM set_config('search_path', 'elsewhere', false); RETURN new; END$$; \
                 CREATE TRIGGER g BEFORE INSERT ON n.t FOR EACH ROW EXECUTE FUNCTION n.g()"
                    .to_owned(),
                "INSERT INTO n.t VALUES (1)",
            ),
        ] {
            let schema = format!("new_{kind}_{number}");
            let named = |sql: &str| sql.replace("n.", &format!("{schema}."));
            ddl.run(&format!("CREATE SCHEMA {schema}; {}", named(&make)))?;
            ddl.run(&format!("GRANT USAGE ON SCHEMA {schema} TO app"))?;
            ddl.run(&format!("GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO app"))?;
            let mut client = RawClient::login(&weir.app())?;
            client.run(&named(work))?;
            drop(client);
            for _ in 0..4 {
                let mut other = RawClient::login(&weir.app())?;
                assert_eq!(other.value("BEGIN; SHOW search_path; COMMIT")?, "\"$user\", public", "{kind}");
            }
            ddl.run(&format!("DROP SCHEMA {schema} CASCADE"))?;
        }
    }
    Ok(())
}
