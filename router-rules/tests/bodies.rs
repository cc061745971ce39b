//! Bodies of functions that only read, and those that only look so.

use router_rules::catalog::{Catalog, Function, Relation, Rows};
use router_rules::{Classifier, Reason, Scope, SessionEffect};
use std::sync::Arc;

const POSTS: &[&str] =
    &["id", "comment", "open", "load", "lock", "copy", "call", "move", "import", "prepare", "explain"];

fn function(oid: u32, name: &str, args: &[&str], language: &str, volatility: char, body: &str) -> Function {
    Function {
        oid,
        schema: "public".into(),
        name: name.into(),
        args: args.iter().map(|arg| arg.to_string()).collect(),
        returns: "integer".into(),
        volatility,
        language: language.into(),
        kind: 'f',
        body: Some(body.into()),
        ..Function::default()
    }
}

/// What a STABLE function with this body, called `f`, is taken for beside others: `g` (which calls `f`), and `writes`.
fn verdict(language: &str, body: &str) -> Result<Reason, Reason> {
    let posts = Relation {
        oid: 10,
        schema: "public".into(),
        name: "posts".into(),
        kind: 'r',
        persistence: 'p',
        columns: POSTS.iter().map(|name| (name.to_string(), "integer".to_owned())).collect(),
        ..Relation::default()
    };
    let rows = Rows {
        relations: vec![posts],
        functions: vec![
            function(1, "f", &["integer"], language, 's', body),
            function(2, "g", &["integer"], "sql", 's', "SELECT f(i - 1)"),
            function(3, "writes", &["integer"], "sql", 'v', "INSERT INTO posts VALUES (1) RETURNING 1"),
        ],
        ..Rows::default()
    };
    let scope =
        Scope::new(Some(Arc::new(Catalog::build(rows, 1))), vec!["public".into()], "app".into(), true);
    Classifier::new(1 << 20).classify(b"SELECT f(1)", &scope).verdict
}

#[test]
fn a_word_that_begins_a_statement_elsewhere_is_a_columns_name() {
    for column in POSTS {
        for body in [
            format!("SELECT {column} FROM posts WHERE id = $1"),
            format!("SELECT coalesce(max({column}), 0) FROM posts WHERE {column} > 1 ORDER BY {column}"),
            format!("SELECT CASE WHEN true THEN {column} ELSE {column} END FROM posts"),
        ] {
            assert_eq!(verdict("sql", &body), Ok(Reason::ReadOnly), "{body}");
            let body = format!("DECLARE {column} int; BEGIN {column} := ({body}); RETURN {column}; END");
            assert_eq!(verdict("plpgsql", &body), Ok(Reason::ReadOnly), "{body}");
        }
    }
}

#[test]
fn a_statement_that_no_read_contains_is_one_wherever_it_stands() {
    for body in [
        "BEGIN COMMIT; RETURN 1; END",
        "BEGIN IF true THEN LOCK TABLE posts; END IF; RETURN 1; END",
        "BEGIN IF false THEN NULL; ELSE NOTIFY x; END IF; RETURN 1; END",
        "BEGIN LOOP COPY (SELECT 1) TO '/tmp/x'; EXIT; END LOOP; RETURN 1; END",
        "BEGIN <<here>> CALL p(); RETURN 1; END",
        "DECLARE r record; BEGIN FOR r IN CALL p() LOOP NULL; END LOOP; RETURN 1; END",
        "DECLARE c CURSOR FOR SELECT 1; BEGIN OPEN c; CLOSE c; RETURN 1; END",
        "DECLARE r record; BEGIN FOR r IN FETCH ALL FROM c LOOP NULL; END LOOP; RETURN 1; END",
        "BEGIN PERFORM writes(1); RETURN 1; END",
    ] {
        assert!(verdict("plpgsql", body).is_err(), "{body}");
    }
}

#[test]
fn a_handler_for_what_is_no_value_swallows_nothing_that_a_replica_alone_says() {
    let body =
        |conditions: &str| format!("BEGIN RETURN 1; EXCEPTION WHEN {conditions} THEN RETURN NULL; END");
    for good in ["invalid_text_representation", "division_by_zero OR no_data_found"] {
        assert_eq!(verdict("plpgsql", &body(good)), Ok(Reason::ReadOnly), "{good}");
    }
    let several = "division_by_zero THEN RETURN 1; WHEN data_exception";
    assert_eq!(verdict("plpgsql", &body(several)), Ok(Reason::ReadOnly));
    for bad in [
        "OTHERS",
        "undefined_table",
        "serialization_failure",
        "read_only_sql_transaction",
        "SQLSTATE '25006'",
        "division_by_zero OR OTHERS",
        "division_by_zero THEN RETURN 1; WHEN OTHERS",
    ] {
        assert!(verdict("plpgsql", &body(bad)).is_err(), "{bad}");
    }
    let nested = "BEGIN BEGIN RETURN 1; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN 1; \
         EXCEPTION WHEN division_by_zero THEN RETURN 2; END";
    assert!(verdict("plpgsql", nested).is_err());
}

#[test]
fn a_function_that_leads_to_itself_does_what_the_rest_of_it_does() {
    let of = |body: &str| verdict("plpgsql", body);
    assert_eq!(of("BEGIN IF $1 = 0 THEN RETURN 0; END IF; RETURN f($1 - 1); END"), Ok(Reason::ReadOnly));
    assert_eq!(of("BEGIN RETURN g($1) + (SELECT count(*) FROM posts); END"), Ok(Reason::ReadOnly));
    assert!(of("BEGIN PERFORM writes(1); RETURN f($1 - 1); END").is_err());
    assert!(of("BEGIN RETURN g($1) + f(2) + writes(1); END").is_err());
}

/// What `f` with this body leaves behind beside a table `posts` whose trigger has this body.
fn left_by(body: &str, trigger: &str) -> Vec<SessionEffect> {
    let posts = Relation {
        oid: 10,
        schema: "public".into(),
        name: "posts".into(),
        kind: 'r',
        persistence: 'p',
        triggers: vec![2],
        ..Relation::default()
    };
    let rows = Rows {
        relations: vec![posts],
        functions: vec![
            function(1, "f", &["text"], "plpgsql", 'v', body),
            Function { returns: "trigger".into(), ..function(2, "t", &[], "plpgsql", 'v', trigger) },
            function(
                3,
                "sets",
                &["text"],
                "plpgsql",
                'v',
                "BEGIN PERFORM set_config('app.x', $1, false); RETURN 1; END",
            ),
        ],
        ..Rows::default()
    };
    let catalog = Arc::new(Catalog::build(rows, 1));
    let scope = Scope::new(Some(catalog), vec!["public".into()], "app".into(), true);
    let classified = Classifier::new(1 << 20).classify(b"SELECT f('posts')", &scope);
    classified.statements.iter().flat_map(|statement| statement.effects.clone()).collect()
}

#[test]
fn rows_of_some_table_leave_behind_what_the_rows_of_any_do() {
    let audit = "BEGIN EXECUTE format('INSERT INTO %I VALUES ($1)', $1) USING 1; RETURN 1; END";
    assert_eq!(left_by(audit, "BEGIN RETURN NEW; END"), []);
    let count =
        "DECLARE n int; BEGIN EXECUTE 'SELECT count(*) FROM ' || quote_ident($1) INTO n; RETURN n; END";
    assert_eq!(left_by(count, "BEGIN RETURN NEW; END"), []);
    let sets = "BEGIN PERFORM sets('x'); RETURN NEW; END";
    let left = left_by(audit, sets);
    assert_eq!(left, [SessionEffect::SetUnknown { name: "app.x".into() }]);
    // One of its own kind, by way of a trigger.
    let again = "BEGIN EXECUTE format('UPDATE %I SET a = 1', TG_TABLE_NAME); RETURN NEW; END";
    assert_eq!(left_by(audit, again), []);
    for other in [
        "BEGIN EXECUTE format('INSERT INTO %I SELECT sets(%L)', $1, 'x'); RETURN 1; END",
        "BEGIN EXECUTE format('SELECT set_config(%L, %L, false)', 'app.x', $1); RETURN 1; END",
        "BEGIN EXECUTE format('INSERT INTO t VALUES (%s)', $1); RETURN 1; END",
        "BEGIN EXECUTE format('CREATE TEMP TABLE %I (a int)', $1); RETURN 1; END",
        "BEGIN EXECUTE format('SELECT pg_advisory_lock(1) FROM %I', $1); RETURN 1; END",
    ] {
        assert_ne!(left_by(other, "BEGIN RETURN NEW; END"), [], "{other}");
    }
}
