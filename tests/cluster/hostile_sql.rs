//! SQL and catalogs that mean harm: pgweir stays up, is not blinded, and its rules hold.

use crate::support::{Outcome, stage};
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir, cluster::wait_until_within};
use std::time::Duration;

fn route(client: &mut RawClient, sql: &str) -> Result<String, HarnessError> {
    client.run(sql)?;
    client.value("SHOW pgweir.last_route")
}

fn wait_for_replica(login: &Login, sql: &str) -> Outcome {
    let mut client = RawClient::login(login)?;
    wait_until_within(Duration::from_secs(20), &format!("a replica runs {sql:?}"), || {
        route(&mut client, sql).is_ok_and(|route| route.contains("role=replica"))
    })
}

#[test]
fn texts_that_nest_without_end_end_nobodys_session() -> Outcome {
    let stage = stage();
    let mut witness = stage.client()?;
    for text in [
        format!("{}SELECT 1", "EXPLAIN ".repeat(100_000)),
        format!("{}SELECT 1", "COPY (".repeat(100_000)),
        format!("{}SELECT 1", "PREPARE a AS ".repeat(50_000)),
        format!("{}SELECT 1", "DECLARE c CURSOR FOR ".repeat(30_000)),
        format!("SELECT {}1", "(".repeat(100_000)),
    ] {
        let mut client = stage.client()?;
        let (sqlstate, _) = client.refusal(&text)?;
        assert!(["42601", "54001"].contains(&sqlstate.as_str()), "{text:.20}: {sqlstate}");
        assert_eq!(client.value("SELECT 1")?, "1");
        assert_eq!(witness.value("SELECT 2")?, "2");
    }
    Ok(())
}

/// A database `name` with a table that is read and one that a view reads.
fn database(stage: &crate::support::Stage, name: &str, options: &str) -> Result<Login, HarnessError> {
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql(&format!("CREATE DATABASE {name} OWNER app {options}"))?;
    root.database(name).sql(
        "SET ROLE app; CREATE TABLE busy (a int); CREATE VIEW of_busy AS SELECT a FROM busy;
         CREATE TABLE product (id int); INSERT INTO product VALUES (1)",
    )?;
    stage.cluster.wait_caught_up()?;
    Ok(stage.weir.app().database(name))
}

#[test]
fn a_catalog_that_cannot_be_read_any_more_does_not_count() -> Outcome {
    const READ: &str = "SELECT count(*) FROM product";
    let stage = stage();
    let login = database(&stage, "locked", "")?;
    wait_for_replica(&login, READ)?;
    let root = stage.cluster.node(stage.cluster.primary()).superuser().database("locked");
    let mut migration = RawClient::login(&root)?;
    migration.run("BEGIN; ALTER TABLE busy ADD b int")?;
    // What does not concern the catalog as it was read changes nothing.
    let mut client = RawClient::login(&login)?;
    wait_for_replica(&login, READ)?;
    root.sql("CREATE TABLE another (a int)")?;
    wait_until_within(Duration::from_secs(20), "reads go to the primary", || {
        route(&mut client, READ).is_ok_and(|route| route.contains("role=primary"))
    })?;
    wait_until_within(Duration::from_secs(20), "the metric tells", || {
        stage.weir.metrics().is_ok_and(|metrics| metrics.sum("pgweir_catalogs_unread", &[]) >= 1.0)
    })?;
    assert!(stage.weir.log().contains("the catalog cannot be read"));
    assert!(route(&mut client, READ)?.contains("reason=no_catalog"));
    migration.run("ROLLBACK")?;
    wait_for_replica(&login, READ)
}

#[test]
fn names_in_any_encoding_are_read_and_looked_up_as_what_they_are() -> Outcome {
    const READ: &str = "SELECT count(*) FROM product";
    let stage = stage();
    let login =
        database(&stage, "bytes", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")?;
    // `t\xe9` is no UTF-8.
    stage.cluster.node(stage.cluster.primary()).superuser().database("bytes").sql(
        "DO $$ BEGIN EXECUTE 'CREATE TABLE ' || convert_from('\\x74e9'::bytea, 'SQL_ASCII') || ' (a int)'; END $$",
    )?;
    wait_for_replica(&login, READ)?;
    // What a LATIN1 client writes as c3 a9 is not what UTF-8 calls é.
    let login = database(&stage, "accents", "ENCODING 'UTF8' TEMPLATE template0")?;
    stage
        .cluster
        .node(stage.cluster.primary())
        .superuser()
        .database("accents")
        .sql("CREATE TABLE \"é\" (); GRANT ALL ON \"é\" TO app")?;
    wait_for_replica(&login, "SELECT count(*) FROM \"é\"")?;
    let mut latin = RawClient::login(&login)?;
    latin.run("SET client_encoding = 'LATIN1'")?;
    let (sqlstate, _) = latin.refusal("SELECT count(*) FROM \"é\"")?;
    assert_eq!(sqlstate, "42P01");
    assert!(latin.value("SHOW pgweir.last_route")?.contains("role=primary"));
    Ok(())
}

#[test]
fn a_quote_that_is_half_a_character_ends_no_literal() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.run("SET client_encoding = 'SJIS'")?;
    // Two statements to Postgres; read byte by byte it would be one SELECT.
    let mut sql = b"SELECT E'\xc2\x81\\'; SET app.tenant = 'somebody'; --'\0".to_vec();
    client.send_frame(b'Q', &std::mem::take(&mut sql))?;
    let answer = client.until_ready()?;
    let commands = answer.iter().filter(|frame| frame.tag == b'C').count();
    assert_eq!(commands, 2, "{answer:?}");
    for _ in 0..5 {
        let tenant = stage
            .client()?
            .value("BEGIN; SELECT coalesce(current_setting('app.tenant', true), ''); COMMIT")?;
        assert_eq!(tenant, "");
    }
    assert_eq!(client.value("SELECT current_setting('app.tenant')")?, "somebody");
    Ok(())
}

#[test]
fn a_rule_that_refuses_a_table_is_walked_around_by_nobody() -> Outcome {
    let stage = stage();
    let login = database(&stage, "ruled", "")?;
    stage.cluster.node(stage.cluster.primary()).superuser().database("ruled").sql(
        "SET ROLE app; CREATE TABLE secret (a int); CREATE VIEW seen AS SELECT * FROM secret;
         CREATE FUNCTION peeks() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM secret';
         CREATE FUNCTION runs(t text) RETURNS int LANGUAGE plpgsql AS 'BEGIN EXECUTE t; RETURN 1; END';",
    )?;
    stage.cluster.wait_caught_up()?;
    let rule = toml::toml! {
        table = ["secret"]
        refuse = "secret is secret"
    };
    let weir = Weir::builder(&stage.cluster).push("rule", rule).start()?;
    let login = Login { port: weir.port(), ..login };
    wait_until_within(Duration::from_secs(15), "the catalog has been read", || {
        RawClient::login(&login).and_then(|mut c| c.run("SELECT count(*) FROM product")).is_ok()
    })?;
    let mut client = RawClient::login(&login)?;
    let too_long = format!("SELECT count(*) FROM secret /* {} */", "x".repeat(17 << 20));
    for sql in [
        "SELECT * FROM secret",
        "SELECT * FROM public.secret",
        "TABLE secret",
        "SELECT * FROM U&\"secr\\0065t\"",
        "SELECT * FROM seen",
        "SELECT peeks()",
        "SELECT runs('DELETE FROM secret')",
        "INSERT INTO secret VALUES (1)",
        "UPDATE secret SET a = 1",
        "UPDATE U&\"secr\\0065t\" SET a = 1",
        "DELETE FROM secret",
        "TRUNCATE secret",
        "TRUNCATE product, secret",
        "LOCK secret",
        "DROP TABLE secret",
        "ALTER TABLE secret ADD b int",
        "COPY secret TO STDOUT",
        "COPY (SELECT * FROM secret) TO STDOUT",
        "COPY secret FROM STDIN",
        "PREPARE p AS SELECT * FROM secret",
        "EXPLAIN SELECT * FROM secret",
        "DECLARE c CURSOR FOR SELECT * FROM secret",
        "DO $$ BEGIN PERFORM count(*) FROM secret; END $$",
        "DO $$ BEGIN EXECUTE 'SELECT 1'; END $$",
        "SELECT query_to_xml('SELECT * FROM secret', true, true, '')",
        "SELECT table_to_xml('secret', true, true, '')",
        "CREATE TABLE copied AS SELECT * FROM secret",
        "WITH w AS (SELECT * FROM secret) SELECT 1",
        "CREATE VIEW new_view AS SELECT * FROM secret",
        "DELETE FROM product USING secret RETURNING secret.a",
        "DELETE FROM product USING (secret CROSS JOIN product b)",
        "WITH d AS (DELETE FROM product USING ONLY secret RETURNING secret.a) TABLE d",
        "MERGE INTO product p USING secret s ON p.id = s.a WHEN NOT MATCHED THEN INSERT VALUES (s.a)",
        "DO $$ BEGIN DELETE FROM product USING secret; END $$",
        "DO E'BEGIN PERFORM * FROM s\\145cret; END'",
        "DO U&'BEGIN PERFORM * FROM s\\0065cret; END'",
        too_long.as_str(),
    ] {
        let (sqlstate, message) = client.refusal(sql)?;
        assert_eq!((sqlstate.as_str(), message.as_str()), ("42501", "secret is secret"), "{sql:.60}");
    }
    // The fast path: whatever is not known to work on large objects.
    let oid: u32 = stage.cluster.value(0, "ruled", "SELECT 'peeks'::regproc::oid")?.parse().unwrap_or(0);
    let mut call = oid.to_be_bytes().to_vec();
    call.extend([0, 0, 0, 0, 0, 0]);
    client.send_frame(b'F', &call)?;
    assert_eq!(client.until_ready()?[0].field(b'C').as_deref(), Some("42501"));
    // Whatever does not lead there is let through.
    for sql in [
        "SELECT * FROM product",
        "INSERT INTO product VALUES (2)",
        "SELECT now()",
        "CREATE TABLE made (a int)",
        "DELETE FROM product USING made m JOIN made n USING (a)",
    ] {
        client.run(sql)?;
    }
    Ok(())
}

#[test]
fn names_are_as_long_as_postgres_lets_them_be() -> Outcome {
    let stage = stage();
    let name = "n".repeat(63);
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD 'x'"))?;
    stage.cluster.wait_caught_up()?;
    let mut reject = toml::Table::from_iter([("method".to_owned(), toml::Value::from("reject"))]);
    reject.insert("user".into(), toml::Value::from(vec![name.clone()]));
    let others = toml::Table::from_iter([("method".to_owned(), toml::Value::from("scram-sha-256"))]);
    let rules = toml::Value::from(vec![reject, others]);
    let weir = Weir::builder(&stage.cluster).set("auth.rule", rules).start()?;
    for longer in [name.clone(), format!("{name}x"), format!("{name}xyz")] {
        let login = weir.app().user(&longer, "x");
        assert!(RawClient::login(&login).is_err(), "{longer} was let in");
    }
    Ok(())
}
