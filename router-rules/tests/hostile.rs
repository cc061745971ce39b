//! Whatever comes from the network: no panic, no overflow, linear time.

use proptest::prelude::*;
use router_rules::catalog::{Catalog, Unknown};
use router_rules::statement::Footprint;
use router_rules::{Classifier, Reason, Scope, SessionEffect, Statement};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn scope(conforming: bool) -> Scope {
    let catalog = Catalog::from_short_form([], ["public.t:r:p"], Unknown::Primary);
    Scope::new(Some(Arc::new(catalog)), vec!["public".into()], "app".into(), conforming)
}

/// As little stack as a runtime's worker has.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread =
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread can be spawned");
    thread.join().expect("it does not panic");
}

#[test]
fn a_megabyte_of_anything_is_read_in_linear_time_and_without_recursion() {
    let n = 100_000;
    let texts = [
        format!("SELECT {}", "(".repeat(n)),
        format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT {}1{}", "(SELECT ".repeat(n / 10), ")".repeat(n / 10)),
        format!("SELECT 1{}", " + 1".repeat(n)),
        format!("SELECT a{}", " AND a = 1".repeat(n)),
        format!("SELECT 1{}", "::int".repeat(n)),
        format!("SELECT * FROM t WHERE id IN ({}1)", "1, ".repeat(n)),
        format!("INSERT INTO t VALUES {}(1, 'x')", "(1, 'x'), ".repeat(n)),
        "SELECT 1;".repeat(n),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n / 2)),
        format!("SELECT * FROM t{}", " JOIN t ON true".repeat(n / 2)),
        format!("SELECT {}", "CASE WHEN ".repeat(n)),
        format!("SELECT a{}", "[1]".repeat(n)),
        format!("SELECT a{}", ".a".repeat(n)),
        format!("SELECT 1{}", ", rollup(1)".repeat(n / 10)),
        "/*".repeat(n),
        "'".repeat(2 * n + 1),
        "\"".repeat(2 * n + 1),
        "$a".repeat(n),
        "$".repeat(n),
        "E'\\".repeat(n),
        "- ".repeat(n),
        "+".repeat(n),
        "\0".repeat(n),
        "é".repeat(n),
        "WITH a AS (".repeat(n / 10),
        ",".repeat(n),
        "select f(".repeat(n / 10),
        "DO $$ set_config(".repeat(n / 20),
        "set_config( ".repeat(n / 10),
        format!("SELECT '{}'", "x".repeat(1 << 20)),
    ];
    on_a_small_stack(move || {
        let classifier = Classifier::new(1 << 20);
        for text in texts {
            let started = Instant::now();
            let classified = classifier.classify(text.as_bytes(), &scope(true));
            assert!(!classified.statements.is_empty());
            // Generous for a debug build on a busy machine; quadratic time would take minutes.
            assert!(started.elapsed() < Duration::from_secs(20), "{:.40}: {:?}", text, started.elapsed());
        }
    });
}

/// Every way in which one thing may stand within another, so deep that each level of recursion would tell.
#[test]
fn whatever_nests_in_a_text_nests_without_end() {
    let n = 100_000;
    let nested = [
        ("EXPLAIN ", "SELECT 1", ""),
        ("EXPLAIN (ANALYZE) ", "SELECT 1", ""),
        ("COPY (", "SELECT 1", ") TO STDOUT"),
        ("COPY (", "SELECT 1", ""),
        ("PREPARE a AS ", "SELECT 1", ""),
        ("DECLARE c CURSOR FOR ", "SELECT 1", ""),
        ("DECLARE c CURSOR WITH HOLD FOR ", "SELECT 1", ""),
        ("CREATE VIEW v AS ", "SELECT 1", ""),
        ("CREATE TABLE t AS EXPLAIN ", "SELECT 1", ""),
        ("CREATE RULE r AS ON INSERT TO t DO (", "SELECT 1", ")"),
        ("CREATE SCHEMA s ", "", ""),
        ("WITH a AS (", "SELECT 1", ") SELECT 1"),
        ("WITH RECURSIVE a(b) AS (SELECT 1 UNION ALL ", "SELECT 1", ") SELECT 1"),
        ("SELECT (", "1", ")"),
        ("SELECT (SELECT ", "1", ")"),
        ("SELECT EXISTS (", "SELECT 1", ")"),
        ("SELECT * FROM (", "SELECT 1", ") x"),
        ("SELECT * FROM t JOIN (", "t", ") ON true"),
        ("SELECT * FROM ROWS FROM (f(", "1", "))"),
        ("INSERT INTO t SELECT (", "1", ")"),
        ("INSERT INTO t VALUES ((", "1", "))"),
        ("UPDATE t SET a = (", "1", ")"),
        ("DELETE FROM t USING (", "t", ")"),
        ("MERGE INTO t USING (", "t", ") ON true"),
        ("CASE WHEN ", "1", " THEN 1 END"),
        ("SELECT CASE ", "1", " WHEN 1 THEN 1 END"),
        ("SELECT f(", "1", ")"),
        ("SELECT set_config(", "1", ")"),
        ("SELECT CAST(", "1", " AS int)"),
        ("SELECT ARRAY[", "1", "]"),
        ("SELECT a[", "1", "]"),
        ("SELECT ROW(", "1", ")"),
        ("SELECT NOT ", "true", ""),
        ("SELECT - ", "1", ""),
        ("SELECT COALESCE(", "1", ")"),
        ("SELECT OPERATOR(pg_catalog.+) ", "1", ""),
        ("SELECT json_object('a': ", "1", ")"),
        ("SELECT * FROM JSON_TABLE(j, '$' COLUMNS (NESTED PATH '$' COLUMNS (", "a int", ")))"),
        ("SELECT x FILTER (WHERE ", "true", ")"),
        ("SELECT f() OVER (PARTITION BY ", "1", ")"),
        ("SELECT extract(year FROM ", "1", ")"),
        ("SELECT interval(", "1", ")"),
        ("CALL p(", "1", ")"),
        ("DO $$ BEGIN ", "", " END $$"),
        ("/* ", "", " */"),
        ("SELECT 1; ", "", ""),
        ("GRANT ", "a", ""),
        ("SET x = ", "1", ""),
        ("U&\"", "a", "\""),
    ];
    let chains = [
        " + 1",
        " || a",
        "::int",
        "[1]",
        ".a",
        " COLLATE c",
        " AT TIME ZONE 'x'",
        " IS NULL",
        " AND a",
        " UNION SELECT 1",
        " EXCEPT (SELECT 1)",
        " JOIN t ON true",
        ", LATERAL t",
        " NOT IN (1)",
        " LIKE 'a' ESCAPE 'b'",
        " BETWEEN 1 AND 2",
        " ORDER BY 1",
        "; SELECT 1",
        " -- c\n",
        " $a$ $a$",
    ];
    on_a_small_stack(move || {
        let classifier = Classifier::new(1 << 20);
        for (open, middle, close) in nested {
            let text = format!("{}{middle}{}", open.repeat(n), close.repeat(n));
            assert!(!classifier.classify(text.as_bytes(), &scope(true)).statements.is_empty());
        }
        for chain in chains {
            let text = format!("SELECT a{}", chain.repeat(n));
            assert!(!classifier.classify(text.as_bytes(), &scope(true)).statements.is_empty());
        }
    });
}

#[test]
fn what_nests_too_deep_is_known_to_do_nothing_harmless() {
    for text in [
        format!("{}SELECT 1", "EXPLAIN ".repeat(2_000)),
        format!("{}SELECT 1", "PREPARE a AS ".repeat(2_000)),
        format!("{}SELECT 1", "DECLARE c CURSOR FOR ".repeat(2_000)),
        format!("{}SELECT 1{}", "COPY (".repeat(2_000), ") TO STDOUT".repeat(2_000)),
    ] {
        let classified = Classifier::new(1 << 20).classify(text.as_bytes(), &scope(true));
        assert_eq!(classified.verdict, Err(Reason::TooComplex), "{text:.20}");
        assert_eq!(classified.writes, Footprint::Everything);
        assert_eq!(classified.reads, Footprint::Everything);
        let pins = |s: &Statement| s.effects.iter().any(|e| matches!(e, SessionEffect::Pin(_)));
        assert!(classified.statements.iter().any(pins));
    }
}

#[test]
fn trees_as_deep_as_the_parser_may_build_fit_the_stack() {
    on_a_small_stack(|| {
        let classifier = Classifier::new(1 << 20);
        for (open, close) in
            [("(", ")"), ("(SELECT ", ")"), ("f(", ")"), ("CASE WHEN ", " THEN 1 END"), ("NOT ", "")]
        {
            for depth in [20, 40, 60, 100, 150, 190] {
                let text = format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
                classifier.classify(text.as_bytes(), &scope(true));
            }
        }
        for chain in [" + 1", " AND a", " || 'x'", "::int", " IS NULL", "[1]", " UNION SELECT 1"] {
            let text = format!("SELECT a{}", chain.repeat(330));
            classifier.classify(text.as_bytes(), &scope(true));
        }
    });
}

#[test]
fn a_large_insert_pins_nothing_and_a_large_list_is_still_a_read() {
    let classifier = Classifier::new(1 << 20);
    let insert = format!("INSERT INTO t VALUES {}(1)", "('set_config'), ".repeat(200_000));
    let classified = classifier.classify(insert.as_bytes(), &scope(true));
    assert!(classified.verdict.is_err());
    assert!(
        !classified.statements.iter().flat_map(|s| &s.effects).any(|e| matches!(e, SessionEffect::Pin(_)))
    );
    let list = format!("SELECT * FROM t WHERE id IN ({}1)", "1, ".repeat(100_000));
    assert_eq!(classifier.classify(list.as_bytes(), &scope(true)).verdict, Ok(Reason::ReadOnly));
}

#[test]
fn bytes_that_are_no_utf8_prove_nothing() {
    let classified = Classifier::new(1 << 20).classify(b"SELECT '\xe9' FROM t", &scope(true));
    assert_eq!(classified.verdict, Err(Reason::NotParsed));
}

/// Pieces of SQL that are stuck together at random.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "SELECT",
        "INTO",
        "FROM",
        "t",
        "u",
        "(",
        ")",
        ",",
        ";",
        "WITH",
        "AS",
        "INSERT",
        "UPDATE",
        "DELETE",
        "FOR",
        "SHARE",
        "'a'",
        "1",
        "WHERE",
        "JOIN",
        "ON",
        "VALUES",
        "TABLE",
        "UNION",
        "EXPLAIN",
        "ANALYZE",
        "COPY",
        "TO",
        "STDOUT",
        "nextval",
        "f",
        ".",
        "*",
        "::",
        "int",
        "--\n",
        "/*",
        "*/",
        "$$",
        "E'\\'",
        "\"q\"",
        "ONLY",
        "LATERAL",
        "SET",
        "x",
        "=",
        "CASE",
        "WHEN",
        "END",
        "[",
        "]",
        "OVER",
        "ORDER",
        "BY",
        "GROUP",
        "RETURNING",
        "MERGE",
        "BEGIN",
        "COMMIT",
        "DO",
        "set_config",
        "TEMP",
        "CREATE",
        "U&\"x\"",
        "operator",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(sql in prop::collection::vec(any::<u8>(), 0..300), conforming: bool) {
        Classifier::new(1 << 16).classify(&sql, &scope(conforming));
    }

    #[test]
    fn no_words_make_it_panic_and_the_caches_do_not_change_the_answer(sql in pieces(), conforming: bool) {
        let classifier = Classifier::new(1 << 16);
        let scope = scope(conforming);
        let first = classifier.classify(sql.as_bytes(), &scope);
        for _ in 0..3 {
            let again = classifier.classify(sql.as_bytes(), &scope);
            prop_assert_eq!(again.verdict, first.verdict);
            prop_assert_eq!(again.shape, first.shape);
        }
    }

    /// A statement that begins with a word that writes is never proved read-only, whatever follows.
    #[test]
    fn what_begins_as_a_write_is_never_proved(sql in pieces(), verb in prop::sample::select(vec![
        "INSERT INTO t", "UPDATE t SET a = 1", "DELETE FROM t", "TRUNCATE t", "DROP TABLE t", "VACUUM", "CALL p()", "LOCK t",
        "SELECT * INTO x", "SELECT * FROM t FOR UPDATE", "SELECT nextval('s')", "WITH a AS (DELETE FROM t RETURNING 1) SELECT 1",
    ])) {
        let text = format!("{verb} {sql}");
        let classified = Classifier::new(1 << 16).classify(text.as_bytes(), &scope(true));
        // A quote or comment that swallows nothing before it cannot hide the verb.
        prop_assert!(classified.verdict.is_err(), "{}", text);
    }

    /// Two texts that differ in their literals only are classified alike.
    #[test]
    fn literals_do_not_change_the_verdict(a in "[a-z;' ]{0,20}", b in "[a-z;' ]{0,20}", n in 0u32.., m in 0u32..) {
        let text = |s: &str, n: u32| format!("SELECT * FROM t WHERE a = '{}' AND n = {}", s.replace('\'', "''"), n % 1_000_000);
        let classifier = Classifier::new(1 << 20);
        let one = classifier.classify(text(&a, n).as_bytes(), &scope(true));
        let two = classifier.classify(text(&b, m).as_bytes(), &scope(true));
        prop_assert_eq!(one.verdict, two.verdict);
        prop_assert_eq!(one.shape, two.shape);
    }
}

#[test]
fn a_text_that_is_not_utf8_shares_no_shape_with_one_that_is() {
    let (classifier, scope) = (Classifier::new(1 << 20), scope(true));
    let read = classifier.classify(b"SELECT 'a'", &scope);
    assert!(read.verdict.is_ok());
    // In GBK the backslash is the second half of a character, and the quote behind it ends the literal.
    let sql = b"SELECT E'\xbf\\'; DELETE FROM t; --'";
    let plain = classifier.classify(b"SELECT E'a'", &scope);
    assert!(plain.verdict.is_ok());
    assert!(classifier.classify(sql, &scope).verdict.is_err());
    // Nor does it spoil the shape for others.
    assert!(classifier.classify(b"SELECT '\xff'", &scope).verdict.is_err());
    assert!(classifier.classify(b"SELECT 'b'", &scope).verdict.is_ok());
}
