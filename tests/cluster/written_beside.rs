//! What a statement writes by what it leads to is as much a write as what its own words say.

use crate::support::{Outcome, Stage};
use pgweir_tests::HarnessError;
use pgweir_tests::raw::{self, RawClient};
use std::time::Duration;

/// What each story finds: a table that `writes`, a view, an operator and a domain lead to.
const SCHEMA: &str = "\
    CREATE TABLE log (a int);
    CREATE TABLE t (a int, b int);
    CREATE TABLE kept (a int);
    CREATE FUNCTION writes(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING a';
    CREATE FUNCTION writes2(int, int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING a';
    CREATE FUNCTION is_fine(int) RETURNS bool LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO log VALUES ($1); RETURN true; END$$;
    CREATE FUNCTION lies(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        $$BEGIN PERFORM writes($1); RETURN 1; END$$;
    CREATE VIEW view_that_writes AS SELECT writes(1) AS a;
    CREATE OPERATOR @@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = writes2);
    CREATE DOMAIN checked AS int CHECK (is_fine(value));
    CREATE FUNCTION of_row(t) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING a';
    CREATE SEQUENCE numbers;
    CREATE UNLOGGED TABLE unlogged (a int);
    INSERT INTO unlogged VALUES (1);
    INSERT INTO t VALUES (1, 1)";

/// A stage whose replicas are late, with a schema of the application's own.
fn stage() -> Result<Stage, HarnessError> {
    let stage = Stage::own(|weir| weir.set("routing.freshness_wait", "3s"))?;
    let root = stage.cluster.node(0).superuser().database("app");
    root.sql("CREATE SCHEMA one AUTHORIZATION app; CREATE SCHEMA two AUTHORIZATION app; GRANT CREATE ON DATABASE app TO app")?;
    root.sql("ALTER ROLE app SET search_path = one, public")?;
    stage.client()?.run(SCHEMA)?;
    for replica in stage.cluster.replicas() {
        stage.cluster.set_apply_delay(replica, Duration::from_millis(400))?;
    }
    Ok(stage)
}

/// After each statement everybody sees what it has written to `table`.
fn each_is_seen(stage: &Stage, table: &str, statements: &[(&str, &str)]) -> Outcome {
    let count = format!("SELECT count(*) FROM {table}");
    let mut reader = stage.client()?;
    for (prepare, statement) in statements {
        let mut writer = stage.client()?;
        if !prepare.is_empty() {
            writer.run(prepare)?;
        }
        // Whatever that has written is on the replicas by now.
        stage.wait_for_replica(&count)?;
        let before = reader.value(&count)?;
        writer.run(statement)?;
        let seen = reader.value(&count)?;
        let is = RawClient::login(&stage.cluster.app(stage.cluster.primary()))?.value(&count)?;
        assert_eq!(seen, is, "{statement}");
        assert_ne!(seen, before, "{statement} writes nothing");
    }
    Ok(())
}

#[test]
fn what_a_write_evaluates_may_write_elsewhere() -> Outcome {
    let stage = stage()?;
    each_is_seen(
        &stage,
        "one.log",
        &[
            ("", "INSERT INTO t (a) SELECT * FROM view_that_writes"),
            ("", "UPDATE t SET b = v.a FROM view_that_writes v"),
            ("INSERT INTO kept VALUES (1)", "DELETE FROM kept USING view_that_writes"),
            (
                "",
                "MERGE INTO t USING view_that_writes v ON t.a = v.a + 9 WHEN NOT MATCHED THEN INSERT VALUES (v.a)",
            ),
            ("", "WITH x AS (SELECT * FROM view_that_writes) INSERT INTO t (a) SELECT a FROM x"),
            ("", "CREATE TABLE made AS SELECT * FROM view_that_writes"),
            ("", "EXPLAIN ANALYZE INSERT INTO t (a) SELECT * FROM view_that_writes"),
            ("", "EXPLAIN SELECT lies(1)"),
            ("", "INSERT INTO t VALUES (1 @@@@ 2)"),
            ("", "UPDATE t SET b = 1 WHERE (a @@@@ 2) = 1"),
            ("", "INSERT INTO t VALUES (1) RETURNING a @@@@ 1"),
            ("", "INSERT INTO t VALUES (1::checked)"),
            ("", "INSERT INTO kept SELECT t.of_row FROM t"),
            ("", "SELECT t.of_row FROM t FOR UPDATE"),
            ("CREATE TABLE c (a checked)", "INSERT INTO c VALUES (1)"),
            ("CREATE TABLE d (a int DEFAULT (1 @@@@ 2))", "INSERT INTO d DEFAULT VALUES"),
            ("CREATE TEMP TABLE own (LIKE c)", "INSERT INTO own VALUES (1)"),
            ("CREATE TEMP TABLE own AS SELECT * FROM c LIMIT 0", "INSERT INTO own VALUES (1)"),
            ("CREATE TABLE e (a int CHECK ((a @@@@ 1) IS NOT NULL))", "INSERT INTO e VALUES (1)"),
            (
                "CREATE TABLE f (a int); INSERT INTO f VALUES (1); ALTER TABLE f ENABLE ROW LEVEL SECURITY; \
                 ALTER TABLE f FORCE ROW LEVEL SECURITY; CREATE POLICY p ON f USING (writes(a) IS NOT NULL)",
                "INSERT INTO kept SELECT a FROM f",
            ),
        ],
    )
}

#[test]
fn what_is_for_the_primary_for_one_reason_may_write_for_another() -> Outcome {
    let stage = stage()?;
    each_is_seen(
        &stage,
        "one.log",
        &[
            ("", "SELECT * FROM t, view_that_writes FOR UPDATE OF t"),
            ("", "SELECT pg_advisory_xact_lock(1), a FROM view_that_writes"),
            ("", "SELECT nextval('numbers'), 1 @@@@ 2"),
            ("", "SELECT * FROM unlogged, view_that_writes"),
            ("CREATE TEMP TABLE own AS SELECT 1 AS a", "SELECT * FROM own, view_that_writes"),
            ("", "SELECT (SELECT count(*) FROM pg_settings), a FROM view_that_writes"),
        ],
    )
}

/// A path that the text itself sets, or that only the server knows, leads to other tables of the same name.
#[test]
fn a_write_along_another_path_is_seen() -> Outcome {
    let stage = stage()?;
    let mut maker = stage.client()?;
    maker.run("CREATE TABLE two.t (a int, b int)")?;
    maker.run(
        "CREATE FUNCTION go_two() RETURNS void LANGUAGE plpgsql AS \
            $$BEGIN PERFORM set_config('search_path', 'two', false); END$$",
    )?;
    each_is_seen(
        &stage,
        "two.t",
        &[
            ("", "SET search_path = two; INSERT INTO t VALUES (1)"),
            ("", "BEGIN; SET LOCAL search_path = two; INSERT INTO t VALUES (1); COMMIT"),
            ("", "SELECT set_config('search_path', 'two', false); INSERT INTO t VALUES (1)"),
            ("SELECT set_config('search_' || 'path', 'two', false)", "INSERT INTO t VALUES (1)"),
            ("SELECT \"set_config\"('search_path', 'two', false)", "INSERT INTO t VALUES (1)"),
            ("SELECT one.go_two()", "INSERT INTO t VALUES (1)"),
        ],
    )?;
    // What hides the table goes within the batch, or passes a write on.
    for (prepare, batch) in [
        ("CREATE TEMP TABLE t (a int)", vec!["DROP TABLE t", "INSERT INTO t VALUES (1)"]),
        ("CREATE TEMP TABLE t (a int)", vec!["DISCARD TEMP", "INSERT INTO t VALUES (1)"]),
        ("", vec!["BEGIN", "CREATE TEMP TABLE t (a int)", "ROLLBACK", "INSERT INTO t VALUES (1)"]),
        ("CREATE TEMP VIEW t AS SELECT * FROM two.t", vec!["INSERT INTO t VALUES (1)"]),
    ] {
        let (mut writer, mut reader) = (stage.client()?, stage.client()?);
        writer.run("SET search_path = two, one")?;
        if !prepare.is_empty() {
            writer.run(prepare)?;
        }
        stage.wait_for_replica("SELECT count(*) FROM two.t")?;
        let before: u32 = reader.value("SELECT count(*) FROM two.t")?.parse().expect("a number");
        let mut messages = vec![];
        for sql in &batch {
            messages.extend([raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)]);
        }
        messages.push(raw::sync());
        writer.send(&messages.concat())?;
        writer.until_ready()?;
        assert_eq!(reader.value("SELECT count(*) FROM two.t")?, (before + 1).to_string(), "{batch:?}");
    }
    // By a parameter, for the transaction.
    let (mut writer, mut reader) = (stage.client()?, stage.client()?);
    stage.wait_for_replica("SELECT count(*) FROM two.t")?;
    writer.run("BEGIN")?;
    writer.prepare("go", "SELECT set_config('search_path', $1, true)")?;
    writer.execute("go", &[Some("two")])?;
    writer.run("INSERT INTO t VALUES (1)")?;
    writer.run("COMMIT")?;
    assert_eq!(reader.value("SELECT count(*) FROM two.t")?, "11");
    Ok(())
}

/// What EXPLAIN says, and `current_schema`, hangs on the catalog.
#[test]
fn what_the_catalog_tells_is_as_new_as_what_was_acknowledged() -> Outcome {
    let stage = stage()?;
    let (mut writer, mut reader) = (stage.client()?, stage.client()?);
    reader.run("SET search_path = three, one")?;
    writer.run("CREATE TABLE one.k AS SELECT generate_series(1, 5000) AS a")?;
    writer.run("CREATE INDEX k_a ON one.k (a); ANALYZE one.k")?;
    let explain = "EXPLAIN SELECT * FROM one.k WHERE a = 1";
    let mut uses_index = || reader.query(explain).map(|plan| format!("{plan:?}").contains("k_a"));
    assert!(uses_index()?);
    stage.wait_for_replica("SELECT count(*) FROM one.k")?;
    writer.run("DROP INDEX one.k_a")?;
    assert!(!uses_index()?);
    stage.wait_for_replica("SELECT current_schema")?;
    writer.run("CREATE SCHEMA three")?;
    assert_eq!(reader.value("SELECT current_schema")?, "three");
    Ok(())
}
