//! What a statement leaves in its session, by whatever way, is nobody else's to find.

use crate::support::{Outcome, Stage, stage};
use pgweir_tests::raw::RawClient;
use pgweir_tests::{HarnessError, Weir, cluster::wait_until_within};
use std::time::Duration;

/// Each of these sets `app.tenant` for the session of whoever uses it.
const SCHEMA: &str = "
    CREATE FUNCTION sets(int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('app.tenant', 'somebody', false); RETURN 1; END $$;
    CREATE FUNCTION sets_in_trigger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM sets(1); RETURN new; END $$;
    CREATE FUNCTION of_row(r product) RETURNS int LANGUAGE sql AS 'SELECT sets(1)';
    CREATE DOMAIN checked AS int CHECK (sets(VALUE) > 0);
    CREATE OPERATOR <#> (LEFTARG = int, RIGHTARG = int, FUNCTION = sets_two);
    CREATE TABLE triggered (a int);
    CREATE TRIGGER g BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION sets_in_trigger();
    CREATE TABLE defaulted (a int DEFAULT sets(1), b int);
    CREATE TABLE constrained (a int CHECK (sets(a) > 0));
    CREATE TABLE ruled (a int);
    CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT sets(1);
    CREATE VIEW viewed AS SELECT sets(1) AS a;
    CREATE TABLE guarded (a int);
    INSERT INTO guarded VALUES (1);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON guarded USING (sets(a) > 0);
    CREATE TABLE counted (a int, n serial);
    CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN UPDATE counter SET n = n + 1 WHERE id = 99; RETURN new; END $$;
    CREATE TRIGGER g BEFORE INSERT ON counted FOR EACH ROW EXECUTE FUNCTION counts();
";

/// A database of its own with the schema, and a pgweir with two servers per node for it.
fn set_up(stage: &Stage, name: &str) -> Result<Weir, HarnessError> {
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql(&format!("CREATE DATABASE {name} OWNER app"))?;
    let two = "CREATE FUNCTION sets_two(int, int) RETURNS int LANGUAGE sql AS 'SELECT sets_one($1)';";
    let one = "CREATE FUNCTION sets_one(int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('app.tenant', 'somebody', false); RETURN 1; END $$;";
    let product = "CREATE TABLE product (id int); INSERT INTO product VALUES (1);
        CREATE TABLE counter (id int, n int); INSERT INTO counter VALUES (99, 0);";
    root.database(name).sql(&format!("SET ROLE app; {one} {two} {product} {SCHEMA}"))?;
    stage.cluster.wait_caught_up()?;
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 2).start()?;
    let mut client = RawClient::login(&weir.app().database(name))?;
    wait_until_within(Duration::from_secs(15), "the catalog has been read", || {
        let read =
            client.run("SELECT count(*) FROM product").and_then(|_| client.value("SHOW pgweir.last_route"));
        read.is_ok_and(|route| route.contains("role=replica"))
    })?;
    Ok(weir)
}

const TENANT: &str = "SELECT coalesce(current_setting('app.tenant', true), '') FROM counter LIMIT 1";

#[test]
fn what_something_sets_unasked_stays_with_its_session() -> Outcome {
    let stage = stage();
    let weir = set_up(&stage, "left_behind")?;
    let login = weir.app().database("left_behind");
    for sql in [
        "SELECT sets(1)",
        "INSERT INTO triggered VALUES (1)",
        "INSERT INTO defaulted (b) VALUES (1)",
        "INSERT INTO constrained VALUES (1)",
        "INSERT INTO ruled VALUES (1)",
        "SELECT * FROM viewed",
        "SELECT * FROM guarded",
        "SELECT 1::checked",
        "SELECT 1 <#> 2",
        "SELECT p.of_row FROM product p",
        "CREATE TABLE made AS SELECT sets(1)",
        "CREATE INDEX ON product (sets_one(id))",
        "DO $$ BEGIN INSERT INTO triggered VALUES (1); END $$",
        "SELECT U&\"sets\"(1)",
        "SELECT query_to_xml('SELECT sets(1)', true, true, '')",
        // Nothing is known of it at first, and never once it is gone.
        "CREATE FUNCTION brief() RETURNS int LANGUAGE sql AS 'SELECT sets(1)'; SELECT brief(); DROP FUNCTION brief()",
    ] {
        // Postgres lets no function of an index be VOLATILE.
        if sql.contains("INDEX") {
            RawClient::login(&login)?.run("ALTER FUNCTION sets_one(int) IMMUTABLE")?;
        }
        let mut leaver = RawClient::login(&login)?;
        leaver.run(sql)?;
        for _ in 0..3 {
            assert_eq!(RawClient::login(&login)?.value(&format!("BEGIN; {TENANT}; COMMIT"))?, "", "{sql}");
        }
        let own = leaver.value(TENANT)?;
        assert!(own == "somebody" || sql.contains("INDEX"), "{sql} left {own:?}");
    }
    Ok(())
}

#[test]
fn a_function_made_a_moment_ago_is_not_trusted() -> Outcome {
    let stage = stage();
    let weir = set_up(&stage, "left_at_once")?;
    let login = weir.app().database("left_at_once");
    for round in 0..5 {
        let mut leaver = RawClient::login(&login)?;
        leaver.run(&format!("CREATE FUNCTION new_{round}() RETURNS int LANGUAGE sql AS 'SELECT sets(1)'"))?;
        leaver.run(&format!("SELECT new_{round}()"))?;
        assert_eq!(
            RawClient::login(&login)?.value(&format!("BEGIN; {TENANT}; COMMIT"))?,
            "",
            "round {round}"
        );
        drop(leaver);
        // And within the transaction that makes it.
        let mut leaver = RawClient::login(&login)?;
        leaver.run("BEGIN")?;
        leaver
            .run(&format!("CREATE FUNCTION inner_{round}() RETURNS int LANGUAGE sql AS 'SELECT sets(1)'"))?;
        leaver.run(&format!("SELECT inner_{round}()"))?;
        leaver.run(&format!("DROP FUNCTION inner_{round}()"))?;
        leaver.run("COMMIT")?;
        assert_eq!(
            RawClient::login(&login)?.value(&format!("BEGIN; {TENANT}; COMMIT"))?,
            "",
            "round {round}"
        );
    }
    Ok(())
}

#[test]
fn a_function_called_by_a_message_counts_as_one_called_by_sql() -> Outcome {
    let stage = stage();
    let weir = set_up(&stage, "left_by_message")?;
    let login = weir.app().database("left_by_message");
    let mut leaver = RawClient::login(&login)?;
    let oid: u32 = leaver.value("SELECT 'sets'::regproc::oid")?.parse().unwrap_or(0);
    let mut call = oid.to_be_bytes().to_vec();
    // One argument in binary, four bytes of it; the result in binary.
    call.extend([0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 1]);
    leaver.send_frame(b'F', &call)?;
    let answer = leaver.until_ready()?;
    assert_eq!(answer.first().map(|frame| frame.tag), Some(b'V'), "{answer:?}");
    for _ in 0..3 {
        assert_eq!(RawClient::login(&login)?.value(&format!("BEGIN; {TENANT}; COMMIT"))?, "");
    }
    assert_eq!(leaver.value(TENANT)?, "somebody");
    Ok(())
}

#[test]
fn ordinary_writes_keep_no_server_and_currval_works_at_once() -> Outcome {
    let stage = stage();
    let weir = set_up(&stage, "left_nothing")?;
    let login = weir.app().database("left_nothing");
    // More clients than servers: were one of them pinned, the others would wait in vain.
    let mut clients = (0..6).map(|_| RawClient::login(&login)).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.run("INSERT INTO counted (a) VALUES (1)")?;
        client.run("UPDATE product SET id = id")?;
        client.run("SELECT count(*) FROM counted")?;
    }
    let client = &mut clients[0];
    for round in 0..5 {
        client.run(&format!("CREATE TABLE fresh_{round} (n serial, a int)"))?;
        client.run(&format!("INSERT INTO fresh_{round} (a) VALUES (7)"))?;
        assert_eq!(client.value(&format!("SELECT currval('fresh_{round}_n_seq')"))?, "1");
    }
    // What was in doubt is settled, and nobody waits for ever.
    for client in &mut clients {
        client.run("INSERT INTO counted (a) VALUES (2)")?;
    }
    Ok(())
}

#[test]
fn in_session_mode_nothing_is_left_of_who_had_the_server_before() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("pool.mode", "session")
        .set("pool.server_connections_max", 1)
        .start()?;
    for round in 0..3 {
        let mut client = RawClient::login(&weir.app())?;
        let found = client.value("SELECT current_setting('seen.behind', true) IS NULL")?;
        assert_eq!(found, "t", "round {round}");
        assert_eq!(client.refusal("SELECT lastval()")?.0, "55000", "round {round}");
        // What makes the schema of temporary objects cannot be prepared: here it is made.
        client.run("SET search_path TO 'pg_temp'; BEGIN; SELECT current_schema()")?;
        assert_eq!(client.refusal("PREPARE TRANSACTION 'left_behind'")?.0, "0A000", "round {round}");
        client.run("SELECT nextval('public.ticket'); CREATE TEMP TABLE left_over (a int)")?;
        client.run("SET seen.behind = 'x'; PREPARE left_over AS SELECT 1; LISTEN left_over")?;
    }
    Ok(())
}
