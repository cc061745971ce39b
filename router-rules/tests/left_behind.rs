//! What a statement leaves behind in its session by way of what it runs without saying so.

use router_rules::catalog::{Cast, Catalog, Function, Operator, Relation, Rows, Type};
use router_rules::{Classifier, PinReason, Scope, SessionEffect, Statement};
use std::sync::Arc;

fn function(oid: u32, name: &str, args: &[&str], language: &str, body: &str) -> Function {
    Function {
        oid,
        schema: "public".into(),
        name: name.into(),
        args: args.iter().map(|a| a.to_string()).collect(),
        returns: "integer".into(),
        volatility: 'v',
        language: language.into(),
        kind: 'f',
        body: Some(body.into()),
        ..Function::default()
    }
}

fn table(oid: u32, name: &str) -> Relation {
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: 'r',
        persistence: 'p',
        columns: vec![("a".into(), "integer".into())],
        ..Relation::default()
    }
}

/// `tenant` sets something for the session; each table and type runs it, or something harmless, in one way.
fn rows() -> Rows {
    let sets = "begin perform set_config('app.tenant', 'x', false); return new; end";
    let counts = "begin update counter set a = a + 1; insert into counter values (nextval('s')); \
                  new.a := (select count(*) from counter); return new; end";
    let domain = |name: &str, check: &str| Type {
        schema: "public".into(),
        name: name.into(),
        kind: 'd',
        checks: vec![check.into()],
        parts: vec!["integer".into()],
        functions: vec![],
    };
    Rows {
        functions: vec![
            function(1, "tenant", &["integer"], "plpgsql", sets),
            function(2, "count_up", &[], "plpgsql", counts),
            function(3, "locks", &["integer"], "sql", "select pg_advisory_lock($1)"),
            function(4, "listens", &[], "plpgsql", "begin listen here; end"),
            function(5, "makes_temp", &[], "plpgsql", "begin create temp table x (a int); end"),
            function(6, "becomes", &[], "plpgsql", "begin set role other; end"),
            function(7, "runs_text", &["text"], "plpgsql", "begin execute $1; end"),
            function(8, "outer_one", &["integer"], "sql", "select inner_one($1)"),
            function(9, "inner_one", &["integer"], "sql", "select tenant($1)"),
            function(10, "in_c", &["integer"], "c", ""),
            function(11, "of_row", &["public.plain"], "sql", "select tenant(1)"),
            function(12, "harmless", &["integer"], "sql", "select $1 + 1"),
            function(13, "hides", &[], "sql", "select U&\"set_config\"('a.b', 'c', false)"),
        ],
        relations: vec![
            table(20, "plain"),
            table(21, "counter"),
            Relation { triggers: vec![1], ..table(22, "triggered") },
            Relation { triggers: vec![2], ..table(23, "counted") },
            Relation { expressions: vec!["public.tenant(1)".into()], ..table(24, "defaulted") },
            Relation { expressions: vec!["nextval('s'::regclass)".into()], ..table(25, "serial") },
            Relation {
                rules: true,
                actions: vec!["CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT public.tenant(1)".into()],
                ..table(26, "ruled")
            },
            Relation {
                kind: 'v',
                definition: Some("SELECT public.tenant(plain.a) AS a FROM public.plain".into()),
                ..table(27, "view_of_it")
            },
            Relation { policies: vec!["public.tenant(1) = 1".into()], ..table(28, "guarded") },
            Relation { cascades: vec![22], ..table(29, "parent") },
            Relation { children: vec![22], kind: 'p', ..table(30, "partitioned") },
            Relation { columns: vec![("a".into(), "public.checked".into())], ..table(31, "of_domain") },
            Relation {
                kind: 'v',
                definition: Some("SELECT a FROM public.triggered".into()),
                ..table(32, "through")
            },
        ],
        operators: vec![Operator {
            schema: "public".into(),
            name: "<#>".into(),
            left: Some("integer".into()),
            right: Some("integer".into()),
            function: 1,
            partners: vec![],
        }],
        types: vec![
            domain("checked", "CHECK (public.tenant(VALUE) > 0)"),
            domain("positive", "CHECK (VALUE > 0)"),
        ],
        ..Rows::default()
    }
}

fn pins(rows: Rows, sql: &str) -> Vec<PinReason> {
    let catalog = Arc::new(Catalog::build(rows, 1));
    let scope = Scope::new(Some(catalog), vec!["public".into()], "app".into(), true);
    let classified = Classifier::new(1 << 16).classify(sql.as_bytes(), &scope);
    let effects = classified.statements.iter().flat_map(|s: &Statement| &s.effects);
    effects
        .filter_map(|effect| match effect {
            SessionEffect::Pin(PinReason::MayHaveChanged) | SessionEffect::SetUnknown { .. } => {
                // The server is asked.
                Some(PinReason::Unfollowable)
            }
            SessionEffect::Pin(reason) => Some(*reason),
            _ => None,
        })
        .collect()
}

#[test]
fn whatever_a_statement_runs_counts() {
    for sql in [
        "SELECT tenant(1)",
        "SELECT outer_one(1)",
        "SELECT in_c(1)",
        "SELECT runs_text('x')",
        "SELECT becomes()",
        "SELECT hides()",
        "SELECT U&\"tenant\"(1)",
        "SELECT U&\"set_config\"('a.b', 'c', false)",
        "SELECT p.of_row FROM plain p",
        "SELECT (p).of_row FROM plain p",
        "SELECT 1 <#> 2",
        "SELECT 1 OPERATOR(public.<#>) 2",
        "SELECT 1::checked",
        "SELECT CAST(1 AS checked)",
        "SELECT * FROM view_of_it",
        "SELECT * FROM guarded",
        "SELECT query_to_xml('select tenant(1)', true, true, '')",
        "INSERT INTO triggered VALUES (1)",
        "INSERT INTO public.triggered VALUES (1)",
        "UPDATE triggered SET a = 1",
        "DELETE FROM triggered",
        "MERGE INTO triggered USING plain ON true WHEN MATCHED THEN DELETE",
        "COPY triggered FROM STDIN",
        "TRUNCATE triggered",
        "WITH w AS (INSERT INTO triggered VALUES (1) RETURNING 1) SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO triggered VALUES (1)",
        "PREPARE p AS INSERT INTO triggered VALUES (1)",
        "INSERT INTO defaulted DEFAULT VALUES",
        "INSERT INTO ruled VALUES (1)",
        "INSERT INTO through VALUES (1)",
        "DELETE FROM parent",
        "INSERT INTO partitioned VALUES (1)",
        "INSERT INTO of_domain VALUES (1)",
        "INSERT INTO plain SELECT tenant(1)",
        "UPDATE plain SET a = tenant(a)",
        "INSERT INTO plain VALUES (1) RETURNING tenant(a)",
        "CREATE TABLE n AS SELECT tenant(1)",
        "CREATE MATERIALIZED VIEW n AS SELECT tenant(1)",
        "ALTER TABLE plain ADD b int DEFAULT tenant(1)",
        "CREATE INDEX i ON plain (tenant(a))",
        "CALL tenant(1)",
        "DO $$ BEGIN PERFORM tenant(1); END $$",
        "DO $$ BEGIN INSERT INTO triggered VALUES (1); END $$",
        "DECLARE c CURSOR FOR SELECT tenant(1)",
        "COPY (SELECT tenant(1)) TO STDOUT",
    ] {
        assert!(pins(rows(), sql).contains(&PinReason::Unfollowable), "{sql}");
    }
    for (sql, pin) in [
        ("SELECT locks(1)", PinReason::AdvisoryLock),
        ("SELECT listens()", PinReason::Listen),
        ("SELECT makes_temp()", PinReason::TemporaryTable),
    ] {
        assert!(pins(rows(), sql).contains(&pin), "{sql}");
    }
}

#[test]
fn what_is_harmless_pins_nobody() {
    for sql in [
        "SELECT harmless(1), a + 1 FROM plain",
        "INSERT INTO plain VALUES (1)",
        "INSERT INTO counted VALUES (1)",
        "UPDATE counted SET a = 2",
        "INSERT INTO serial DEFAULT VALUES",
        "SELECT 1::positive",
        "DELETE FROM plain WHERE a IN (SELECT a FROM counter)",
        "COPY plain FROM STDIN",
        "TRUNCATE plain",
        "CREATE TABLE n (a int)",
        "CREATE INDEX ON plain (a)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select tenant(1)'",
        "CREATE TRIGGER t BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION tenant()",
        "DO $$ BEGIN UPDATE plain SET a = 1; END $$",
    ] {
        assert_eq!(pins(rows(), sql), [], "{sql}");
    }
}

#[test]
fn casts_and_event_triggers_are_named_by_nobody() {
    let cast = Cast { source: "integer".into(), target: "public.positive".into(), function: 1, usage: 'i' };
    let with_cast = Rows { casts: vec![cast], ..rows() };
    assert!(pins(with_cast, "SELECT a FROM plain").contains(&PinReason::Unfollowable));
    let with_event = Rows { event_triggers: vec![1], ..rows() };
    for sql in ["CREATE TABLE n (a int)", "DROP TABLE plain", "COMMENT ON TABLE plain IS 'x'"] {
        assert!(pins(with_event.clone(), sql).contains(&PinReason::Unfollowable), "{sql}");
    }
    assert_eq!(pins(with_event, "INSERT INTO plain VALUES (1)"), []);
}

#[test]
fn without_a_catalog_only_what_is_built_in_is_known() {
    let scope = Scope::new(None, vec!["public".into()], "app".into(), true);
    let classifier = Classifier::new(1 << 16);
    let pins = |sql: &str| {
        let classified = classifier.classify(sql.as_bytes(), &scope);
        let effects = classified.statements.iter().flat_map(|s| s.effects.clone());
        effects.filter(|e| matches!(e, SessionEffect::Pin(_))).collect::<Vec<_>>()
    };
    for sql in [
        "SELECT f()",
        "SELECT * FROM t",
        "INSERT INTO t VALUES (1)",
        "SELECT 1::d",
        "CALL p()",
        "CREATE TABLE t ()",
    ] {
        assert!(pins(sql).contains(&SessionEffect::Pin(PinReason::NoCatalog)), "{sql}");
        assert!(pins(sql).contains(&SessionEffect::Pin(PinReason::SequenceState)), "{sql}");
    }
    for sql in [
        "SELECT 1 + 1",
        "SELECT version(), now()",
        "SELECT 'a'::text",
        "SELECT relname FROM pg_catalog.pg_class",
        "BEGIN",
        "SHOW x",
    ] {
        assert_eq!(pins(sql), [], "{sql}");
    }
}

#[test]
fn what_follows_a_change_of_the_schema_in_its_own_text_is_not_known() {
    let catalog = Arc::new(Catalog::build(rows(), 1));
    let scope = Scope::new(Some(catalog), vec!["public".into()], "app".into(), true);
    let classifier = Classifier::new(1 << 16);
    let sql = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'; SELECT f()";
    let classified = classifier.classify(sql.as_bytes(), &scope);
    assert!(classified.statements[1].is_doubtful());
    // Nor will it ever be, once it is gone.
    let classified = classifier.classify(format!("{sql}; DROP FUNCTION f()").as_bytes(), &scope);
    assert!(classified.statements[2].effects.contains(&SessionEffect::Pin(PinReason::Unfollowable)));
    assert_eq!(classifier.left_behind(b"CREATE TABLE x (); INSERT INTO plain VALUES (1)", &scope), []);
    assert!(classifier.left_behind(b"SELECT 1; SELECT tenant(1)", &scope).contains(&PinReason::Unfollowable));
}
