//! Writes that no name in the statement's text gives away.

use router_rules::catalog::{Cast, Catalog, Function, Operator, Relation, Rows, Type};
use router_rules::{Classifier, Reason, Scope};
use std::sync::Arc;

fn function(oid: u32, name: &str, args: &[&str], returns: &str, volatility: char) -> Function {
    Function {
        oid,
        schema: "public".into(),
        name: name.into(),
        args: args.iter().map(|a| a.to_string()).collect(),
        returns: returns.into(),
        volatility,
        language: "sql".into(),
        kind: 'f',
        body: Some("SELECT 1".into()),
        ..Function::default()
    }
}

fn table(oid: u32, name: &str, columns: &[(&str, &str)]) -> Relation {
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: 'r',
        persistence: 'p',
        columns: columns.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect(),
        ..Relation::default()
    }
}

/// `writes` is VOLATILE; the domain `checked` calls it.
fn rows() -> Rows {
    Rows {
        functions: vec![
            function(1, "writes", &["integer"], "integer", 'v'),
            function(2, "takes_checked", &["public.checked"], "integer", 'i'),
            function(3, "gives_checked", &["integer"], "public.checked", 'i'),
            function(4, "gives_row", &["integer"], "public.guarded", 'i'),
            function(5, "overloaded", &["integer[]"], "integer", 'i'),
            function(6, "overloaded", &["text"], "integer", 'v'),
        ],
        relations: vec![
            table(10, "plain", &[("id", "integer")]),
            table(11, "guarded", &[("id", "public.checked")]),
        ],
        types: vec![Type {
            schema: "public".into(),
            name: "checked".into(),
            kind: 'd',
            checks: vec!["CHECK (public.writes(VALUE) > 0)".into()],
            parts: vec!["integer".into()],
            functions: vec![],
        }],
        ..Rows::default()
    }
}

fn verdict(rows: Rows, sql: &str) -> Result<Reason, Reason> {
    let scope =
        Scope::new(Some(Arc::new(Catalog::build(rows, 1))), vec!["public".into()], "app".into(), true);
    Classifier::new(1 << 16).classify(sql.as_bytes(), &scope).verdict
}

#[test]
fn a_value_that_becomes_a_domains_is_checked() {
    for sql in [
        "SELECT takes_checked(1)",
        "SELECT gives_checked(1)",
        "SELECT gives_row(1)",
        "SELECT '(1)'::guarded",
        "SELECT ROW(1)::public.guarded[]",
        "SELECT * FROM jsonb_populate_record(NULL::guarded, '{}')",
        "SELECT (jsonb_populate_record(g, '{}')).id FROM guarded g",
        "SELECT * FROM json_to_record('{}') AS x(id checked)",
    ] {
        assert!(verdict(rows(), sql).is_err(), "{sql}");
    }
    // What is stored has been checked.
    assert_eq!(verdict(rows(), "SELECT * FROM guarded"), Ok(Reason::ReadOnly));
}

#[test]
fn an_implicit_cast_of_ones_own_lets_any_argument_pass() {
    let mut rows = rows();
    let sql = "SELECT overloaded(1)";
    assert_eq!(verdict(rows.clone(), sql), Ok(Reason::ReadOnly));
    rows.casts.push(Cast { source: "integer".into(), target: "text".into(), function: 0, usage: 'i' });
    assert_eq!(verdict(rows, sql), Err(Reason::WritingFunction));
}

#[test]
fn sorting_grouping_and_set_operations_call_operators() {
    let mut rows = rows();
    let operator = |name: &str| Operator {
        schema: "public".into(),
        name: name.into(),
        left: Some("public.odd".into()),
        right: Some("public.odd".into()),
        function: 1,
    };
    let sorts = ["SELECT * FROM plain ORDER BY id", "SELECT greatest(id, id) FROM plain"];
    let groups = [
        "SELECT id FROM plain GROUP BY id",
        "SELECT DISTINCT id FROM plain",
        "SELECT id FROM plain UNION SELECT id FROM plain",
        "TABLE plain EXCEPT TABLE plain",
        "SELECT count(*) OVER (PARTITION BY id) FROM plain",
    ];
    for sql in sorts.into_iter().chain(groups) {
        assert_eq!(verdict(rows.clone(), sql), Ok(Reason::ReadOnly), "{sql}");
    }
    rows.operators = vec![operator("<"), operator("=")];
    for sql in sorts.into_iter().chain(groups) {
        assert_eq!(verdict(rows.clone(), sql), Err(Reason::WritingOperator), "{sql}");
    }
    rows.operators.clear();
    rows.supports = vec![1];
    for sql in sorts.into_iter().chain(groups) {
        assert_eq!(verdict(rows.clone(), sql), Err(Reason::WritingOperator), "{sql}");
    }
}

#[test]
fn a_word_of_the_grammar_where_the_grammar_has_none_is_a_call() {
    for sql in [
        "SELECT filter(1)",
        "SELECT first(id) FROM plain",
        "SELECT 1 + over(2)",
        "SELECT set(2)",
        "SELECT range(1, 2), rows()",
        "SELECT * FROM nested(1)",
        "SELECT columns((SELECT 1))",
    ] {
        assert_eq!(verdict(rows(), sql), Err(Reason::UnknownFunction), "{sql}");
    }
    for sql in [
        "SELECT count(*) FILTER (WHERE id > 1) OVER (ORDER BY id) FROM plain",
        "SELECT id FROM plain WHERE id::text LIKE ('a') ESCAPE ('b') OR id::text NOT ILIKE ('x')",
        "SELECT id FROM plain GROUP BY GROUPING SETS ((id), ()), CUBE (id), ROLLUP (id)",
        "SELECT id FROM plain ORDER BY (id) FETCH FIRST (1) ROWS ONLY",
        "WITH q AS MATERIALIZED (SELECT 1) SELECT * FROM q NATURAL JOIN (SELECT 2) r",
        "SELECT * FROM plain p JOIN (plain q JOIN plain r ON true) ON true",
    ] {
        assert_eq!(verdict(rows(), sql), Ok(Reason::ReadOnly), "{sql}");
    }
}

#[test]
fn explain_options_are_not_shared_by_the_shape() {
    let catalog = Arc::new(Catalog::build(rows(), 1));
    let scope = Scope::new(Some(catalog), vec!["public".into()], "app".into(), true);
    let classifier = Classifier::new(1 << 16);
    for (off, on) in [("0", "1"), ("'off'", "'on'")] {
        let text = |value: &str| format!("EXPLAIN (ANALYZE {value}) DELETE FROM plain");
        assert!(classifier.classify(text(off).as_bytes(), &scope).verdict.is_ok());
        assert!(classifier.classify(text(on).as_bytes(), &scope).verdict.is_err());
    }
}

#[test]
fn views_of_statistics_may_be_asked_for_names_only() {
    for sql in [
        "SELECT d.description FROM pg_catalog.pg_statio_all_tables AS st JOIN pg_description d ON d.objoid = st.relid WHERE st.schemaname = 'x'",
        "SELECT count(*) FROM plain CROSS JOIN pg_stat_user_tables s WHERE s.relname LIKE 'a%'",
    ] {
        assert_eq!(verdict(rows(), sql), Ok(Reason::ReadOnly), "{sql}");
    }
    for sql in [
        "SELECT relname FROM pg_stat_user_tables",
        "SELECT * FROM pg_stat_user_tables",
        "SELECT s FROM plain CROSS JOIN pg_stat_user_tables s",
        "SELECT s.* FROM plain CROSS JOIN pg_stat_user_tables s",
        "SELECT row_to_json(s) FROM plain CROSS JOIN pg_stat_user_tables AS s",
        "SELECT row_to_json(pg_stat_user_tables) FROM plain CROSS JOIN pg_stat_user_tables",
        "SELECT s.seq_scan FROM plain CROSS JOIN pg_stat_user_tables s",
        "SELECT s.anything FROM plain CROSS JOIN pg_stat_user_tables s",
        "SELECT n_live_tup FROM plain CROSS JOIN pg_stat_user_tables",
        "SELECT relid FROM pg_stat_user_tables NATURAL JOIN plain",
        "TABLE pg_stat_user_tables",
        "SELECT relname FROM pg_stat_user_tables, pg_stat_activity",
        "SELECT relid FROM plain CROSS JOIN pg_stat_user_tables s WHERE (s).seq_scan > 0",
    ] {
        assert_eq!(verdict(rows(), sql), Err(Reason::NodeRelation), "{sql}");
    }
}
