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
        partners: vec![],
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

fn stable(oid: u32, name: &str, body: &str) -> Function {
    let mut function = function(oid, name, &["integer"], "integer", 's');
    function.body = Some(body.into());
    function
}

#[test]
fn a_body_that_a_view_leads_to_runs_under_the_sessions_path() {
    let mut rows = rows();
    // `length` of an integer is nobody's but the user's.
    rows.functions.push(function(20, "length", &["integer"], "integer", 'v'));
    rows.functions.push(stable(21, "measures", "SELECT length($1)"));
    rows.functions.push(stable(22, "reads", "SELECT id FROM plain WHERE id = $1"));
    let view = |oid, name: &str, definition: &str| Relation {
        kind: 'v',
        definition: Some(definition.into()),
        ..table(oid, name, &[("id", "integer")])
    };
    rows.relations.push(view(30, "measured", "SELECT public.measures(plain.id) AS id FROM public.plain"));
    rows.relations.push(view(31, "read", "SELECT public.reads(plain.id) AS id FROM public.plain"));
    assert!(verdict(rows.clone(), "SELECT measures(1)").is_err());
    assert!(verdict(rows.clone(), "SELECT * FROM measured").is_err());
    assert_eq!(verdict(rows, "SELECT * FROM read"), Ok(Reason::ReadOnly));
}

#[test]
fn user_in_a_functions_own_path_is_whoever_runs_it() {
    let mut rows = rows();
    let in_schema = |mut function: Function, schema: &str| {
        function.schema = schema.into();
        function
    };
    rows.functions.push(function(20, "g", &["integer"], "integer", 'i'));
    rows.functions.push(in_schema(function(21, "g", &["integer"], "integer", 'v'), "app"));
    rows.functions.push(in_schema(function(22, "h", &["integer"], "integer", 'v'), "owner"));
    rows.functions.push(function(23, "h", &["integer"], "integer", 'i'));
    let mut own_path = stable(24, "own_path", "SELECT g($1)");
    own_path.search_path = Some(vec!["$user".into(), "public".into()]);
    let mut definer = stable(25, "definer", "SELECT h($1)");
    definer.search_path = Some(vec!["$user".into(), "public".into()]);
    let mut defined = definer.clone();
    (defined.oid, defined.name, defined.definer) = (26, "defined".into(), Some("owner".into()));
    rows.functions.extend([own_path, definer, defined]);
    assert!(verdict(rows.clone(), "SELECT own_path(1)").is_err());
    assert_eq!(verdict(rows.clone(), "SELECT definer(1)"), Ok(Reason::ReadOnly));
    assert!(verdict(rows, "SELECT defined(1)").is_err());
}

#[test]
fn a_function_that_sets_more_than_taste_is_not_proved() {
    for (setting, proved) in [("work_mem", true), ("role", false), ("transaction_read_only", false)] {
        let mut rows = rows();
        let mut function = stable(20, "sets", "SELECT 1");
        function.sets = vec![setting.into()];
        rows.functions.push(function);
        assert_eq!(verdict(rows, "SELECT sets(1)").is_ok(), proved, "{setting}");
    }
}

#[test]
fn a_cte_hides_no_relation_outside_itself() {
    let inner = "(WITH pg_locks AS (SELECT 1) SELECT * FROM pg_locks) x";
    assert_eq!(verdict(rows(), &format!("SELECT * FROM pg_locks, {inner}")), Err(Reason::NodeRelation));
    assert_eq!(verdict(rows(), "WITH q AS (SELECT 1) SELECT * FROM q"), Ok(Reason::ReadOnly));
}

#[test]
fn an_operator_counts_with_its_negator() {
    let mut rows = rows();
    let operator = |name: &str, function, partners| Operator {
        schema: "public".into(),
        name: name.into(),
        left: Some("integer".into()),
        right: Some("integer".into()),
        function,
        partners,
    };
    rows.operators = vec![operator("===", 3, vec![]), operator("=!=", 1, vec![])];
    rows.functions[2] = function(3, "gives_checked", &["integer"], "boolean", 'i');
    assert_eq!(verdict(rows.clone(), "SELECT NOT (1 === 2)"), Ok(Reason::ReadOnly));
    rows.operators[0].partners = vec![1];
    assert_eq!(verdict(rows, "SELECT NOT (1 === 2)"), Err(Reason::WritingOperator));
}

#[test]
fn a_function_may_compare_what_it_is_given() {
    let mut rows = rows();
    rows.supports = vec![1];
    assert_eq!(
        verdict(rows, "SELECT array_position(ARRAY[id], id) FROM plain"),
        Err(Reason::WritingOperator)
    );
}

#[test]
fn numbers_that_share_a_shape_share_a_type() {
    let mut rows = rows();
    for (oid, argument, volatility) in [(20, "integer", 'v'), (21, "bigint", 'i'), (22, "numeric", 'i')] {
        rows.functions.push(function(oid, "typed", &[argument], "integer", volatility));
    }
    let scope =
        Scope::new(Some(Arc::new(Catalog::build(rows, 1))), vec!["public".into()], "app".into(), true);
    let classifier = Classifier::new(1 << 16);
    for (number, proved) in [
        ("9999999999", true),
        ("2000000000", false),
        ("0000000000001", false),
        ("1.5", true),
        ("1000000000000000000", true),
        ("99999999999999999999", true),
        // Integers to PostgreSQL 16, something else to older ones.
        ("0x1F", false),
        ("1_000", false),
    ] {
        let sql = format!("SELECT typed({number})");
        assert_eq!(classifier.classify(sql.as_bytes(), &scope).verdict.is_ok(), proved, "{number}");
    }
}

#[test]
fn a_cast_counts_for_rows_that_hold_its_type() {
    let mut rows = rows();
    let wraps = Type {
        schema: "public".into(),
        name: "wrapped".into(),
        kind: 'c',
        checks: vec![],
        parts: vec!["integer".into()],
        functions: vec![],
    };
    let holds = Type { name: "holder".into(), parts: vec!["public.wrapped".into()], ..wraps.clone() };
    rows.types.extend([wraps, holds]);
    rows.relations.push(table(20, "held", &[("c", "public.holder")]));
    let sql = "SELECT (c).f1 + 1 FROM held";
    assert_eq!(verdict(rows.clone(), sql), Ok(Reason::ReadOnly));
    let cast = Cast { source: "public.wrapped".into(), target: "integer".into(), function: 1, usage: 'i' };
    rows.casts.push(cast);
    assert_eq!(verdict(rows, sql), Err(Reason::WritingOperator));
}

#[test]
fn a_policy_by_a_setting_of_the_applications_own_is_proved() {
    for (expression, proved) in [
        ("(tenant = current_setting('app.tenant'::text, true))", true),
        ("(tenant = current_setting('cluster_name'::text, true))", false),
        ("(tenant = current_setting(('app.'::text || 'tenant'::text), true))", false),
    ] {
        let mut rows = rows();
        rows.relations[0].policies = vec![expression.into()];
        assert_eq!(verdict(rows, "SELECT * FROM plain").is_ok(), proved, "{expression}");
    }
}

#[test]
fn an_argument_shows_its_type_through_signs_parentheses_and_casts() {
    let mut rows = rows();
    rows.functions.push(function(20, "typed", &["integer"], "integer", 'i'));
    rows.functions.push(function(21, "typed", &["text"], "integer", 'v'));
    for argument in ["-1", "(1)", "((-1))", "int '1'", "CAST('1' AS int)", "(CAST(id + 1 AS integer))"] {
        assert_eq!(
            verdict(rows.clone(), &format!("SELECT typed({argument})")),
            Ok(Reason::ReadOnly),
            "{argument}"
        );
    }
    for argument in [
        "'1'",
        "text '1'",
        "CAST(1 AS text)",
        "(1)::text",
        "CAST(1 AS int) || CAST(1 AS int)",
        "(1) || (1)",
        "- 'x'",
        "(SELECT 'x')",
    ] {
        assert!(verdict(rows.clone(), &format!("SELECT typed({argument})")).is_err(), "{argument}");
    }
}

#[test]
fn a_backslash_in_a_body_means_what_the_session_says() {
    let mut rows = rows();
    // With standard_conforming_strings off, this calls writes().
    rows.functions.push(stable(20, "hides", "SELECT length('\\'' || writes(1) -- '\n)"));
    let catalog = Arc::new(Catalog::build(rows, 1));
    let scope =
        |conforming| Scope::new(Some(catalog.clone()), vec!["public".into()], "app".into(), conforming);
    let classifier = Classifier::new(1 << 16);
    assert!(classifier.classify(b"SELECT hides(1)", &scope(true)).verdict.is_ok());
    assert!(classifier.classify(b"SELECT hides(1)", &scope(false)).verdict.is_err());
    assert!(classifier.classify(b"SELECT 1 FROM plain", &scope(true)).verdict.is_ok());
}

#[test]
fn words_of_the_grammar_are_calls_where_the_grammar_has_no_place_for_them() {
    for word in ["second", "over", "set"] {
        let mut rows = rows();
        rows.functions.push(function(20, word, &["integer"], "integer", 'v'));
        for sql in [
            format!("SELECT 1 OFFSET {word}(2)"),
            format!("SELECT DISTINCT ON ('') {word}(2)"),
            format!("SELECT {word}(2) UPDATE"),
        ] {
            assert!(verdict(rows.clone(), &sql).is_err(), "{sql}");
        }
    }
    // What nobody has told of may have come a moment ago.
    for sql in [
        "SELECT 1 OFFSET second(2)",
        "SELECT DISTINCT ON ('') over(2)",
        "SELECT set(2) UPDATE",
        "SELECT count(*) FROM plain GROUP BY(rollup(id), id)",
        "SELECT count(*) FROM plain GROUP BY abs(id, rollup(id))",
        "SELECT count(*) FROM plain GROUP BY id ORDER BY id, rollup(id)",
    ] {
        assert_eq!(verdict(rows(), sql), Err(Reason::UnknownFunction), "{sql}");
    }
    for sql in [
        "SELECT interval '1.234' second(2)",
        "SELECT interval second(2) '1.234'",
        "SELECT CAST('1' AS interval day to second(2))",
        "SELECT DISTINCT ON (id) count(*) OVER (ORDER BY id) FROM plain",
        "SELECT sum(id) FILTER (WHERE id > 1) FROM plain",
        "SELECT count(*) FROM plain GROUP BY rollup(id), cube(id), (id)",
        "SELECT count(*) FROM plain GROUP BY GROUPING SETS (rollup(id), cube(id), (id), ())",
        "SELECT count(*) FROM plain GROUP BY DISTINCT rollup(id), GROUPING SETS (GROUPING SETS (cube(id)))",
        "SELECT (SELECT count(*) FROM plain GROUP BY id, rollup(id) LIMIT 1)",
    ] {
        assert_eq!(verdict(rows(), sql), Ok(Reason::ReadOnly), "{sql}");
    }
}

#[test]
fn an_operator_that_nobody_knows_is_for_the_primary() {
    for sql in ["SELECT 1 @@@@ 2", "SELECT 1 OPERATOR(public.+) 2", "SELECT 1 OPERATOR(pg_catalog.@@@@) 2"] {
        assert_eq!(verdict(rows(), sql), Err(Reason::UnknownFunction), "{sql}");
    }
    for sql in [
        "SELECT 1 OPERATOR(pg_catalog.+) 2",
        "SELECT 2*-1, 1 != 2, 2<-1, @ -5",
        "SELECT make_date(year => 1, month => 2, day => 3)",
    ] {
        assert_eq!(verdict(rows(), sql), Ok(Reason::ReadOnly), "{sql}");
    }
}
