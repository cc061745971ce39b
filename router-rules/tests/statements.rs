//! Every kind of statement has its rule.

use router_rules::catalog::{Catalog, Function, Operator, Relation, Rows, Type, Unknown};
use router_rules::statement::{Footprint, Isolation, Kind};
use router_rules::temporary::Keeps;
use router_rules::{Classified, Classifier, PinReason, Reason, Scope, SessionEffect, TransactionStep};
use std::sync::Arc;

fn table(oid: u32, name: &str) -> Relation {
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: 'r',
        persistence: 'p',
        columns: vec![("id".into(), "integer".into())],
        ..Relation::default()
    }
}

fn function(oid: u32, schema: &str, name: &str, args: &[&str], volatility: char, body: &str) -> Function {
    Function {
        oid,
        schema: schema.into(),
        name: name.into(),
        args: args.iter().map(|a| a.to_string()).collect(),
        volatility,
        language: "plpgsql".into(),
        kind: 'f',
        body: Some(body.into()),
        ..Function::default()
    }
}

/// A small shop with something of each kind.
fn shop() -> Arc<Catalog> {
    let view = |oid, name, definition: &str| Relation {
        kind: 'v',
        definition: Some(definition.into()),
        ..table(oid, name)
    };
    let relations = vec![
        table(100, "books"),
        Relation { cascades: vec![102], ..table(101, "orders") },
        table(102, "items"),
        Relation { persistence: 'u', ..table(103, "cache") },
        Relation { kind: 'S', ..table(104, "ticket") },
        Relation { kind: 'f', ..table(105, "far") },
        view(106, "cheap", " SELECT books.id FROM public.books"),
        view(107, "sneaky", " SELECT public.writes('x'::text) AS w"),
        view(108, "nested", " SELECT sneaky.w FROM public.sneaky"),
        Relation { kind: 'p', children: vec![110, 111], ..table(109, "events") },
        table(110, "events_1"),
        Relation { persistence: 'u', ..table(111, "events_2") },
        Relation { policies: vec!["public.writes(id::text)".into()], ..table(112, "guarded") },
        Relation { triggers: vec![203], ..table(113, "touched") },
        Relation { triggers: vec![201], ..table(114, "audited") },
        Relation { schema: "app".into(), ..table(115, "hidden") },
    ];
    let functions = vec![
        function(200, "public", "pure", &["integer"], 'i', "BEGIN RETURN $1 * 2; END"),
        function(
            201,
            "public",
            "writes",
            &["text"],
            'v',
            "BEGIN INSERT INTO audit VALUES ($1); RETURN NEW; END",
        ),
        function(202, "public", "lies", &[], 's', "BEGIN RETURN public.writes('x'); END"),
        function(203, "public", "stamps", &[], 'v', "BEGIN NEW.at := now(); RETURN NEW; END"),
        function(204, "public", "overloaded", &["integer"], 'i', "BEGIN RETURN 1; END"),
        function(205, "public", "overloaded", &["text"], 'v', "BEGIN RETURN 1; END"),
        function(
            206,
            "public",
            "reads",
            &["integer"],
            's',
            "DECLARE r int; BEGIN SELECT id INTO r FROM books WHERE id = $1; RETURN r; END",
        ),
        function(207, "app", "lower", &["text"], 'v', "BEGIN RETURN public.writes($1); END"),
        function(
            208,
            "public",
            "swallows",
            &[],
            's',
            "BEGIN PERFORM 1; EXCEPTION WHEN OTHERS THEN RETURN 1; END",
        ),
        function(
            209,
            "public",
            "tenant",
            &["text"],
            'v',
            "BEGIN PERFORM set_config('app.tenant', $1, false); END",
        ),
        function(
            210,
            "public",
            "local_tenant",
            &["text"],
            'v',
            "BEGIN PERFORM set_config('app.tenant', $1, true); END",
        ),
        function(211, "public", "first", &["integer"], 'v', "BEGIN RETURN 1; END"),
        function(212, "public", "of_row", &["books"], 'v', "BEGIN RETURN 1; END"),
    ];
    let operators = vec![Operator {
        schema: "public".into(),
        name: "+".into(),
        left: Some("text".into()),
        right: Some("text".into()),
        function: 201,
        partners: vec![],
    }];
    let types = vec![
        Type {
            schema: "public".into(),
            name: "positive".into(),
            kind: 'd',
            checks: vec!["CHECK ((VALUE > 0))".into()],
            ..Type::default()
        },
        Type {
            schema: "public".into(),
            name: "watched".into(),
            kind: 'd',
            checks: vec!["CHECK (public.writes(VALUE::text))".into()],
            ..Type::default()
        },
        Type { schema: "public".into(), name: "mood".into(), kind: 'e', ..Type::default() },
    ];
    Arc::new(Catalog::build(Rows { functions, relations, operators, types, ..Rows::default() }, 1))
}

fn classify_with(sql: &str, path: &[&str]) -> Arc<Classified> {
    let path = path.iter().map(|s| s.to_string()).collect();
    Classifier::new(1 << 16).classify(sql.as_bytes(), &Scope::new(Some(shop()), path, "app".into(), true))
}

fn classify(sql: &str) -> Arc<Classified> {
    classify_with(sql, &["$user", "public"])
}

#[track_caller]
fn replica(sql: &str) {
    assert_eq!(classify(sql).verdict, Ok(Reason::ReadOnly), "{sql}");
}

#[track_caller]
fn primary(sql: &str, reason: Reason) {
    assert_eq!(classify(sql).verdict, Err(reason), "{sql}");
}

fn effects(sql: &str) -> Vec<SessionEffect> {
    classify(sql).statements.iter().flat_map(|s| s.effects.clone()).collect()
}

#[test]
fn reads_in_every_spelling_may_go_to_a_replica() {
    for sql in [
        "SELECT * FROM books WHERE id = $1",
        "select b.id from books b join orders o using (id) left join lateral (select 1) x on true",
        "TABLE books",
        "VALUES (1), (2)",
        "(SELECT 1) UNION ALL (SELECT id FROM books) ORDER BY 1 LIMIT 3",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT sum(n) FROM t",
        "SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY[1, 2])) WITH ORDINALITY AS t(a, b, c)",
        "SELECT count(*) FILTER (WHERE id > 1) OVER (PARTITION BY id ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM books",
        "SELECT extract(year FROM now()), substring('abc' FROM 2), trim(BOTH 'x' FROM 'xax'), position('a' IN 'b')",
        "SELECT * FROM books FOR READ ONLY",
        "SELECT id AS into, id AS update FROM books",
        "SELECT * FROM cheap",
        "SELECT pure(1), reads(2)",
        "SELECT overloaded(1)",
        "SELECT 1 + 1",
        "SELECT 'x'::mood",
        "SELECT 1::positive",
        "SELECT * FROM pg_catalog.pg_class",
        "SELECT * FROM information_schema.tables",
        "COPY books TO STDOUT",
        "COPY (SELECT * FROM books) TO STDOUT WITH (FORMAT csv)",
        "EXPLAIN DELETE FROM books",
        "EXPLAIN ANALYZE SELECT * FROM books",
        "EXPLAIN (ANALYZE, ANALYZE off) DELETE FROM books",
        "SELECT now(), random(), gen_random_uuid()",
        "SELECT 1; SELECT 2;",
        "",
        ";;",
        "-- nothing",
        "SELECT a.* FROM ONLY books a, (VALUES (1)) v(x)",
        "SELECT current_setting('TimeZone')",
        "SELECT $$ DELETE FROM books $$, 'INSERT INTO'",
    ] {
        replica(sql);
    }
}

#[test]
fn locks_at_any_depth_go_to_the_primary() {
    for clause in [
        "FOR UPDATE",
        "FOR NO KEY UPDATE",
        "FOR SHARE",
        "FOR KEY SHARE SKIP LOCKED",
        "FOR UPDATE OF b NOWAIT",
    ] {
        primary(&format!("SELECT * FROM books b {clause}"), Reason::Locks);
        primary(&format!("SELECT * FROM (SELECT * FROM books b {clause}) s"), Reason::Locks);
        primary(&format!("WITH x AS (SELECT * FROM books b {clause}) SELECT 1"), Reason::Locks);
        primary(&format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM books b {clause})"), Reason::Locks);
    }
    primary("LOCK TABLE books IN ACCESS SHARE MODE", Reason::Locks);
}

#[test]
fn writes_hide_nowhere() {
    for sql in [
        "INSERT INTO books VALUES (1)",
        "UPDATE books SET id = 1",
        "DELETE FROM books",
        "MERGE INTO books b USING orders o ON b.id = o.id WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM books RETURNING *) SELECT * FROM d",
        "WITH a AS (WITH b AS (UPDATE books SET id = 1 RETURNING 1) SELECT 1) SELECT 1",
        "WITH a AS (SELECT 1) SEARCH DEPTH FIRST BY x SET y DELETE FROM books",
        "SELECT INTO copy FROM books",
        "SELECT * INTO copy FROM books",
        "SELECT 1 UNION SELECT 2 INTO copy",
        "EXPLAIN (ANALYSE) DELETE FROM books",
        "EXPLAIN ANALYZE VERBOSE UPDATE books SET id = 1",
        "EXPLAIN (\"analyze\") DELETE FROM books",
        "COPY books FROM STDIN",
        "COPY (DELETE FROM books RETURNING 1) TO STDOUT",
        "/* x */ DELETE /* y */ FROM books",
        "(WITH x AS (INSERT INTO books VALUES (1) RETURNING 1) SELECT * FROM x)",
    ] {
        primary(sql, Reason::Write);
    }
    primary("COPY books TO '/tmp/x'", Reason::NodeFunction);
    primary("COPY books TO PROGRAM 'cat'", Reason::NodeFunction);
    primary("TRUNCATE books", Reason::Ddl);
    primary("CREATE TABLE x AS SELECT 1", Reason::Ddl);
    primary("SELECT 1; DELETE FROM books", Reason::MultiStatement);
}

/// Each was run on a standby of PostgreSQL 18.
#[test]
fn what_postgresql_16_to_18_brought_has_its_rule() {
    for sql in [
        "SELECT 1_000_000, 0x1F, 0b11, 0o17",
        "SELECT JSON_SCALAR(1), JSON_SERIALIZE('{}' RETURNING text), JSON('{}' WITH UNIQUE KEYS)",
        "SELECT JSON_EXISTS(jsonb '{}', '$.a'), JSON_QUERY(jsonb '{}', '$.a' WITH WRAPPER)",
        "SELECT JSON_VALUE(jsonb '{}', '$.a' RETURNING int DEFAULT 3 ON ERROR)",
        "SELECT * FROM JSON_TABLE(jsonb '[]', '$[*]' COLUMNS (a int PATH '$.a', n FOR ORDINALITY)) AS t",
        "SELECT JSON_OBJECT('a': 1 ABSENT ON NULL WITH UNIQUE KEYS), JSON_ARRAYAGG(id ORDER BY id) FROM books",
        "SELECT '{}' IS JSON OBJECT WITH UNIQUE KEYS",
        "SELECT any_value(id), array_sort(array_agg(id)), casefold('A'), uuidv7(), random(1, 10) FROM books",
        "SELECT now() AT LOCAL, system_user, crc32('a'::bytea)",
        "SELECT * FROM (SELECT id FROM books)",
        "EXPLAIN (GENERIC_PLAN) SELECT * FROM books WHERE id = $1",
        "EXPLAIN (ANALYZE, SERIALIZE TEXT, MEMORY) SELECT * FROM books",
    ] {
        replica(sql);
    }
    for sql in [
        "INSERT INTO books VALUES (1) RETURNING WITH (OLD AS o, NEW AS n) o.id, n.id",
        "UPDATE books SET id = id RETURNING old.id, new.id",
        "MERGE INTO books b USING orders o ON b.id = o.id WHEN MATCHED THEN DO NOTHING RETURNING merge_action()",
        "WITH m AS (MERGE INTO books b USING orders o ON b.id = o.id WHEN NOT MATCHED BY SOURCE THEN DELETE \
         RETURNING merge_action()) SELECT * FROM m",
        "COPY books FROM STDIN (ON_ERROR ignore)",
        "EXPLAIN (ANALYZE, WAL) UPDATE books SET id = id",
    ] {
        primary(sql, Reason::Write);
    }
    primary("SELECT pg_clear_relation_stats('public', 'books')", Reason::NodeFunction);
    primary("SELECT * FROM pg_stat_io", Reason::NodeRelation);
    primary("ANALYZE ONLY books", Reason::Ddl);
}

#[test]
fn functions_are_followed_to_what_they_do() {
    primary("SELECT writes('x')", Reason::WritingFunction);
    primary("SELECT lies()", Reason::WritingFunction);
    primary("SELECT swallows()", Reason::WritingFunction);
    primary("SELECT overloaded('x')", Reason::WritingFunction);
    primary("SELECT overloaded(id) FROM books", Reason::WritingFunction);
    primary("SELECT nowhere(1)", Reason::UnknownFunction);
    primary("SELECT public.nowhere(1)", Reason::UnknownFunction);
    primary("SELECT first(id) FROM books", Reason::WritingFunction);
    primary("SELECT DISTINCT ON (id) first(id) FROM books", Reason::WritingFunction);
    primary("SELECT b.of_row FROM books b", Reason::WritingFunction);
    primary("SELECT (b).of_row FROM books b", Reason::WritingFunction);
    primary("SELECT * FROM books WHERE id = 1 AND writes('x') LIMIT 0", Reason::WritingFunction);
    primary("SELECT nextval('ticket')", Reason::Sequence);
    primary("SELECT txid_current()", Reason::WritingFunction);
    primary("SELECT pg_is_in_recovery()", Reason::NodeFunction);
    primary("SELECT lo_create(0)", Reason::LargeObject);
    primary("SELECT pg_advisory_lock(1)", Reason::AdvisoryLock);
    primary("SELECT query_to_xml('delete from books', true, true, '')", Reason::WritingFunction);
    primary("SELECT current_setting('transaction_read_only')", Reason::NodeFunction);
}

#[test]
fn the_search_path_decides_what_a_name_means() {
    assert_eq!(classify_with("SELECT lower('X')", &["public"]).verdict, Ok(Reason::ReadOnly));
    assert_eq!(classify_with("SELECT lower('X')", &["app", "public"]).verdict, Err(Reason::WritingFunction));
    assert_eq!(classify_with("SELECT * FROM hidden", &["public"]).verdict, Err(Reason::UnknownRelation));
    assert_eq!(classify_with("SELECT * FROM hidden", &["app"]).verdict, Ok(Reason::ReadOnly));
    assert_eq!(classify_with("SELECT * FROM app.hidden", &["public"]).verdict, Ok(Reason::ReadOnly));
}

#[test]
fn relations_are_followed_to_what_they_are() {
    primary("SELECT * FROM cache", Reason::UnloggedRelation);
    primary("SELECT * FROM events", Reason::UnloggedRelation);
    replica("SELECT * FROM events_1");
    primary("SELECT * FROM ticket", Reason::Sequence);
    primary("SELECT * FROM far", Reason::ForeignTable);
    primary("SELECT * FROM sneaky", Reason::WritingView);
    primary("SELECT * FROM nested", Reason::WritingView);
    primary("SELECT * FROM guarded", Reason::WritingView);
    primary("SELECT * FROM nowhere", Reason::UnknownRelation);
    primary("SELECT * FROM pg_temp.books", Reason::TemporaryRelation);
    primary("SELECT * FROM pg_stat_activity", Reason::NodeRelation);
    primary("SELECT * FROM pg_locks, books", Reason::NodeRelation);
    primary("SELECT id, cmin FROM books", Reason::NodeRelation);
    primary("SELECT b.cmax FROM books b", Reason::NodeRelation);
    primary("WITH cache AS (SELECT 1) SELECT * FROM cache", Reason::UnloggedRelation);
    primary("SELECT 1::watched", Reason::WritingOperator);
    primary("SELECT 'x'::nowhere", Reason::UnknownType);
    primary("SELECT 'a' + 'b'", Reason::WritingOperator);
}

#[test]
fn footprints_name_what_is_read_and_written() {
    let oids = |list: &[u32]| Footprint::Relations(list.into());
    assert_eq!(classify("SELECT * FROM books, cheap").reads, oids(&[100, 106]));
    assert_eq!(classify("SELECT 1").reads, oids(&[]));
    assert_eq!(classify("INSERT INTO books VALUES (1)").writes, oids(&[100]));
    assert_eq!(classify("DELETE FROM orders").writes, oids(&[101, 102]), "a foreign key cascades");
    assert_eq!(
        classify("UPDATE touched SET id = 1").writes,
        oids(&[113]),
        "a trigger that only stamps the row"
    );
    assert_eq!(classify("UPDATE audited SET id = 1").writes, Footprint::Everything, "a trigger that writes");
    assert_eq!(classify("INSERT INTO cheap VALUES (1)").writes, oids(&[100, 106]), "through a view");
    assert_eq!(classify("SELECT writes('x')").writes, Footprint::Everything);
    assert_eq!(classify("INSERT INTO books VALUES (nextval('ticket'))").writes, oids(&[100]));
    assert_eq!(classify("SELECT * FROM books FOR UPDATE").writes, oids(&[]));
    assert_eq!(
        classify("WITH d AS (DELETE FROM items RETURNING 1) INSERT INTO books SELECT 1 FROM d").writes,
        oids(&[100, 102])
    );
    assert_eq!(classify("ALTER TABLE books ADD x int").writes, oids(&[100, 1259]));
    assert_eq!(classify("COPY books FROM STDIN").writes, oids(&[100]));
    for by_program in
        ["COPY books TO PROGRAM 'x'", "COPY books FROM PROGRAM 'x'", "COPY (SELECT 1) TO PROGRAM 'x'"]
    {
        assert_eq!(classify(by_program).writes, Footprint::Everything, "{by_program}");
    }
    assert_eq!(classify("SET work_mem = '1MB'").writes, oids(&[]));
}

#[test]
fn transaction_control_is_told_step_by_step() {
    let step = |sql: &str| classify(sql).statements[0].transaction.clone();
    for sql in ["BEGIN", "BEGIN WORK", "BEGIN TRANSACTION", "START TRANSACTION"] {
        assert!(matches!(step(sql), Some(TransactionStep::Begin(m)) if m == Default::default()), "{sql}");
    }
    let Some(TransactionStep::Begin(modes)) =
        step("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
    else {
        panic!()
    };
    assert_eq!(
        (modes.isolation, modes.read_only, modes.deferrable),
        (Some(Isolation::Serializable), Some(true), Some(true))
    );
    let Some(TransactionStep::Begin(modes)) = step("start transaction read write not deferrable") else {
        panic!()
    };
    assert_eq!((modes.read_only, modes.deferrable), (Some(false), Some(false)));
    assert_eq!(step("COMMIT AND CHAIN"), Some(TransactionStep::Commit { chain: true }));
    assert_eq!(step("END"), Some(TransactionStep::Commit { chain: false }));
    assert_eq!(step("ABORT WORK AND NO CHAIN"), Some(TransactionStep::Rollback { chain: false }));
    assert_eq!(step("ROLLBACK TO SAVEPOINT a"), Some(TransactionStep::RollbackTo("a".into())));
    assert_eq!(step("ROLLBACK WORK TO a"), Some(TransactionStep::RollbackTo("a".into())));
    assert_eq!(step("SAVEPOINT \"A\""), Some(TransactionStep::Savepoint("A".into())));
    assert_eq!(step("RELEASE SAVEPOINT a"), Some(TransactionStep::Release("a".into())));
    assert_eq!(step("PREPARE TRANSACTION 'x'"), Some(TransactionStep::PrepareTransaction));
    assert_eq!(step("COMMIT PREPARED 'x'"), None);
    assert_eq!(classify("ROLLBACK PREPARED 'x'").writes, Footprint::Everything);
    let all = classify("BEGIN; INSERT INTO books VALUES (1); COMMIT");
    assert_eq!(all.statements.len(), 3);
    assert_eq!(all.verdict, Err(Reason::MultiStatement));
}

#[test]
fn settings_are_followed() {
    let set = |sql: &str| match effects(sql).remove(0) {
        SessionEffect::Set { name, value, replay, local } => {
            (name, value.unwrap_or("?".into()), replay.to_string(), local)
        }
        other => panic!("{sql}: {other:?}"),
    };
    let owned = |a: &str, b: &str, c: &str, d| (a.to_string(), b.to_string(), c.to_string(), d);
    assert_eq!(
        set("SET search_path TO App, \"My S\""),
        owned(
            "search_path",
            "app, \"My S\"",
            "SELECT pg_catalog.set_config('search_path','app, \"My S\"',false)",
            false
        )
    );
    assert_eq!(
        set("SET LOCAL app.tenant = '7'"),
        owned("app.tenant", "7", "SET \"app\".\"tenant\" = '7'", true)
    );
    assert_eq!(set("SET SESSION work_mem = 64"), owned("work_mem", "64", "SET \"work_mem\" = '64'", false));
    assert_eq!(set("SET TIME ZONE 'UTC'"), owned("timezone", "UTC", "SET \"timezone\" = 'UTC'", false));
    // A server that reads literals in another way is given the value.
    let told = set(r"SET a.b = E'it\'s \\'");
    assert_eq!((told.1.as_str(), told.2.contains(r"E'it''s \\'")), (r"it's \", true), "{told:?}");
    assert!(effects(r"SET a.b = U&'\0061'").iter().all(|e| matches!(e, SessionEffect::Pin(_))));
    let zone = "INTERVAL '-03:30' HOUR TO MINUTE";
    assert_eq!(set(&format!("SET TIME ZONE {zone}")).2, format!("SET TIME ZONE {zone}"));
    assert_eq!(set("SET NAMES 'latin1'").0, "client_encoding");
    assert_eq!(set("SET SCHEMA 'x'").0, "search_path");
    assert_eq!(set("SET ROLE bob"), owned("role", "bob", "SET \"role\" = 'bob'", false));
    assert_eq!(
        set("SET SESSION AUTHORIZATION 'bob'"),
        owned("session_authorization", "bob", "SET \"session_authorization\" = 'bob'", false)
    );
    assert_eq!(
        set("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").0,
        "default_transaction_read_only"
    );
    assert_eq!(
        set("SELECT set_config('app.t', '7', false)").2,
        "SELECT pg_catalog.set_config('app.t', '7', false)"
    );
    assert_eq!(
        effects("SELECT set_config('a.b', '1', false), pg_catalog.set_config('c.d', '2', true) AS x").len(),
        2
    );
    assert_eq!(effects("RESET ALL"), [SessionEffect::ResetAll]);
    assert_eq!(effects("RESET TIME ZONE"), [SessionEffect::Reset { name: "timezone".into(), local: false }]);
    assert_eq!(
        effects("SET work_mem TO DEFAULT"),
        [SessionEffect::Reset { name: "work_mem".into(), local: false }]
    );
    assert!(
        matches!(effects("SET TRANSACTION READ ONLY")[..], [SessionEffect::SetTransaction(m)] if m.read_only == Some(true))
    );
    assert_eq!(effects("SET CONSTRAINTS ALL DEFERRED"), []);
    assert_eq!(effects("DISCARD ALL"), [SessionEffect::DiscardAll]);
}

#[test]
fn what_one_server_connection_has_pins_the_session_to_it() {
    let pin = |sql: &str, reason| {
        assert!(effects(sql).contains(&SessionEffect::Pin(reason)), "{sql}: {:?}", effects(sql))
    };
    pin("CREATE TEMP TABLE t (a int)", PinReason::TemporaryTable);
    pin("CREATE LOCAL TEMPORARY VIEW v AS SELECT 1", PinReason::TemporaryTable);
    pin("CREATE TABLE pg_temp.t (a int)", PinReason::TemporaryTable);
    pin("SELECT 1 INTO TEMP t", PinReason::TemporaryTable);
    pin("LISTEN c", PinReason::Listen);
    pin("LOAD 'x'", PinReason::Load);
    pin("PREPARE p AS SELECT 1", PinReason::SqlPrepare);
    pin("DECLARE c CURSOR WITH HOLD FOR SELECT 1", PinReason::HoldCursor);
    pin("SELECT pg_try_advisory_lock(1)", PinReason::AdvisoryLock);
    pin("SELECT nextval('ticket')", PinReason::SequenceState);
    pin("SELECT currval('ticket')", PinReason::SequenceState);
    pin("SELECT set_config('pgweir.route', $1, false)", PinReason::Unfollowable);
    pin("SELECT set_config('transaction_read_only', $1, false)", PinReason::Unfollowable);
    pin("SELECT set_config($1, 'x', false)", PinReason::Unfollowable);
    pin("SELECT set_config('a.b', $1, $2)", PinReason::Unfollowable);
    pin("PREPARE p (text) AS SELECT set_config('a.b', $1, false)", PinReason::Unfollowable);
    pin("PREPARE p AS SELECT set_config('a.b', 'x', false)", PinReason::Unfollowable);
    pin("PREPARE p AS SELECT pg_advisory_lock(1)", PinReason::AdvisoryLock);
    pin("SELECT set_config(name, 'x', false) FROM books", PinReason::Unfollowable);
    pin("DO $$ BEGIN EXECUTE 'x'; END $$", PinReason::MayHaveChanged);
    pin("DO $$ BEGIN EXECUTE x; END $$", PinReason::Unfollowable);
    // The server knows to what.
    for sql in [
        "SELECT set_config('a.b', $1 || 'x', false)",
        // Postgres prints neither of them as they are written.
        "SELECT set_config('a.b', 007::text, false)",
        "SELECT set_config('a.b', 1e3::text, false)",
        "SELECT set_config('a.b', 'x', false) FROM books",
        "SELECT 1, coalesce(set_config('A.b', 'x', false), '')",
    ] {
        assert_eq!(effects(sql), [SessionEffect::SetUnknown { name: "a.b".into() }], "{sql}");
    }
    for sql in [
        "SELECT set_config('a.b', $1, true)",
        "SELECT local_tenant('x')",
        "INSERT INTO books VALUES (1)",
        "NOTIFY c",
        "SELECT pg_advisory_xact_lock(1)",
        "CREATE TABLE t (a int)",
        "DECLARE c CURSOR FOR SELECT 1",
        "SELECT writes('x')",
    ] {
        assert!(!effects(sql).iter().any(|e| matches!(e, SessionEffect::Pin(_))), "{sql}");
    }
    assert_eq!(effects("UNLISTEN *"), [SessionEffect::MayUnpin]);
    assert_eq!(effects("SELECT pg_advisory_unlock_all()"), [SessionEffect::MayUnpin]);
    let [_, SessionEffect::MayUnpin, SessionEffect::MakesTemporary(made)] =
        &effects("CREATE TEMP TABLE t (a int) ON COMMIT DROP")[..]
    else {
        panic!()
    };
    assert!(&*made.name == "t" && made.until_commit && made.keeps == Keeps::Writes && !made.unless_exists);
}

#[test]
fn nothing_is_proved_without_a_catalog() {
    let scope = Scope::new(None, vec!["public".into()], "app".into(), true);
    let classified = Classifier::new(1 << 16).classify(b"SELECT 1", &scope);
    assert_eq!(classified.verdict, Err(Reason::NoCatalog));
    assert_eq!(classified.statements[0].kind, Kind::Select);
}

#[test]
fn backslashes_prove_nothing_where_they_may_escape() {
    let scope = Scope::new(Some(shop()), vec!["public".into()], "app".into(), false);
    let classifier = Classifier::new(1 << 16);
    assert_eq!(
        classifier.classify(b"SELECT 'a\\'; DELETE FROM books; --'", &scope).verdict,
        Err(Reason::NotParsed)
    );
    assert_eq!(classifier.classify(b"SELECT 'a'", &scope).verdict, Ok(Reason::ReadOnly));
}

#[test]
fn a_lesson_holds_for_every_text_of_the_shape() {
    let scope = Scope::new(Some(shop()), vec!["public".into()], "app".into(), true);
    let classifier = Classifier::new(1 << 20);
    let shape = classifier.classify(b"SELECT * FROM books WHERE id = 1", &scope).shape;
    classifier.learn(shape);
    assert_eq!(classifier.classify(b"SELECT * FROM books WHERE id = 2", &scope).verdict, Err(Reason::Learnt));
    classifier.on_catalog(1);
    assert_eq!(
        classifier.classify(b"SELECT * FROM books WHERE id = 2", &scope).verdict,
        Ok(Reason::ReadOnly)
    );
    // A catalog that was known before teaches nothing new.
    classifier.learn(shape);
    classifier.on_catalog(1);
    assert_eq!(classifier.classify(b"SELECT * FROM books WHERE id = 2", &scope).verdict, Err(Reason::Learnt));
    classifier.on_catalog(2);
    assert_eq!(
        classifier.classify(b"SELECT * FROM books WHERE id = 2", &scope).verdict,
        Ok(Reason::ReadOnly)
    );
}

#[test]
fn literals_that_matter_are_not_shared_by_shape() {
    let scope = Scope::new(
        Some(Arc::new(Catalog::offline(Unknown::Primary))),
        vec!["public".into()],
        "app".into(),
        true,
    );
    let classifier = Classifier::new(1 << 20);
    let verdict = |sql: &str| classifier.classify(sql.as_bytes(), &scope).verdict;
    assert_eq!(verdict("SELECT current_setting('search_path')"), Ok(Reason::ReadOnly));
    assert_eq!(verdict("SELECT current_setting('in_hot_standby')"), Err(Reason::NodeFunction));
    let effects = |sql: &str| classifier.classify(sql.as_bytes(), &scope).statements[0].effects.clone();
    assert_ne!(effects("SET work_mem = '1MB'"), effects("SET work_mem = '2MB'"));
}

#[test]
fn set_config_is_followed_with_casts_that_change_nothing() {
    for sql in [
        "SELECT set_config('app.tenant', '7', false)",
        "SELECT set_config('app.tenant'::text, '7'::text, false::bool) AS x",
        "SELECT set_config('app.tenant', 7::text, false)",
        "SELECT pg_catalog.set_config('work_mem', NULL, 'f')",
    ] {
        let found = effects(sql);
        let [SessionEffect::Set { .. } | SessionEffect::Reset { .. }] = found.as_slice() else {
            panic!("{sql}: {found:?}");
        };
    }
    let of_parameters =
        effects("SELECT set_config('App.tenant', $2::text, false), set_config('a.b', $1, 'f')");
    let to_parameter =
        |name: &str, parameter| SessionEffect::SetToParameter { name: name.to_owned(), parameter };
    assert_eq!(of_parameters, [to_parameter("app.tenant", 2), to_parameter("a.b", 1)]);
    let found = effects("SELECT set_config('app.tenant', lower('A')::text, false)");
    assert_eq!(found, [SessionEffect::SetUnknown { name: "app.tenant".into() }]);
    // As asyncpg asks, beside other columns.
    let found = effects("SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new");
    let [SessionEffect::Set { name, value: Some(value), local: false, .. }] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((&**name, &**value), ("jit", "off"));
}

#[test]
fn ddl_and_maintenance_touch_what_they_name() {
    use router_rules::Alters;
    let of = |sql: &str| {
        let statement = classify(sql).statements[0].clone();
        (statement.writes, statement.alters)
    };
    for sql in [
        "CREATE TABLE made (id serial PRIMARY KEY, n int REFERENCES books, body text)",
        "CREATE INDEX made_index ON books (id)",
        "CREATE INDEX CONCURRENTLY ON books USING btree (md5(title)) WHERE id > 5",
        "ALTER TABLE books ADD COLUMN more text DEFAULT 'x'",
        "ALTER TABLE books ALTER title TYPE varchar(20)",
        "CREATE VIEW made_view AS SELECT id FROM books",
        "DROP VIEW IF EXISTS cheap",
        "ALTER TABLE books RENAME TO made",
        "DROP TABLE books CASCADE",
        "CREATE FUNCTION made(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ] {
        let (writes, alters) = of(sql);
        assert_ne!(writes, Footprint::Everything, "{sql}");
        assert!(matches!(&alters, Alters::Names(names) if !names.is_empty()), "{sql}: {alters:?}");
    }
    for sql in [
        "GRANT SELECT ON books TO PUBLIC",
        "COMMENT ON TABLE books IS 'made'",
        "ANALYZE",
        "ANALYZE books",
        "VACUUM FULL books",
        "REINDEX TABLE books",
        "CLUSTER books USING books_pkey",
        "TRUNCATE books RESTART IDENTITY CASCADE",
        "CREATE TEMP TABLE made (id int)",
        "CREATE TEMP TABLE made AS SELECT * FROM books",
        "SELECT * INTO TEMP made FROM books",
    ] {
        let (writes, alters) = of(sql);
        assert_ne!(writes, Footprint::Everything, "{sql}");
        assert!(!alters.changes_meanings(), "{sql}: {alters:?}");
    }
    for sql in [
        "CREATE TYPE made AS ENUM ('a')",
        "ALTER TYPE mood ADD VALUE 'b'",
        "CREATE TABLE readings (temp int)",
        "CREATE TABLE pg_temporary (temporary int)",
        "DROP FUNCTION made(int) CASCADE",
        "DROP SCHEMA made CASCADE",
        "CREATE EXTENSION hstore",
        "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b",
    ] {
        let (_, alters) = of(sql);
        assert!(alters.changes_meanings(), "{sql}: {alters:?}");
    }
    for sql in [
        "CREATE TABLE made AS SELECT writes('x')",
        "CREATE TEMP TABLE made AS SELECT writes('x')",
        "ALTER TABLE books ADD COLUMN n int DEFAULT writes('x')",
        "CREATE INDEX ON books (writes(title))",
        "ALTER TYPE mood ADD VALUE 'b'",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC",
        "GRANT helper TO app",
        "TRUNCATE unheard_of",
        "ANALYZE unheard_of",
    ] {
        assert_eq!(of(sql).0, Footprint::Everything, "{sql}");
    }
}
