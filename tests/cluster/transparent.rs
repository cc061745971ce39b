//! What a client sends by the simple protocol, and what is answered, is the same on a direct connection.

use crate::assert_same;
use crate::support::{Outcome, stage};
use crate::twin::{Batch, Until, compare, compare_simple, extended, hold, simple, simples, until};
use pgweir_tests::raw;

#[test]
fn reads_of_every_type_return_the_same_bytes() -> Outcome {
    compare_simple(&[
        "SELECT 1",
        "SELECT * FROM product ORDER BY id",
        "SELECT NULL, true, 1::int2, 2::int8, 1.5::float4, 1e300, 'NaN'::numeric, 'x'::\"char\"",
        "SELECT now() IS NOT NULL, date '2020-02-29', time '12:34', interval '1 year 2 days'",
        "SELECT ARRAY[1,2,NULL], '{\"a\": [1, 2]}'::jsonb, '<a/>'::xml IS NULL, point '(1,2)'",
        "SELECT '\\xdeadbeef'::bytea, uuid '00000000-0000-0000-0000-000000000001', inet '::1'",
        "SELECT name, count(*) OVER (), sum(price) FROM product GROUP BY name ORDER BY name LIMIT 3",
        "VALUES (1, 'a'), (2, NULL)",
        "TABLE cheap",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n+1 FROM t WHERE n < 100) SELECT sum(n) FROM t",
        "SELECT repeat('x', 1000000)",
        "SELECT FROM product WHERE id < 3",
        "SELECT 'Zürich – 東京 🐘', E'tab\\t', $$dollar$$",
        "EXPLAIN (COSTS OFF) SELECT * FROM product WHERE id = 5",
    ])
}

/// What is begun and pinned while a transaction that only reads is on a replica does not keep the session there.
#[test]
fn who_prepares_in_a_transaction_that_only_reads_writes_after_it() -> Outcome {
    let begin = |sql: &str| {
        let run = |sql: &str| [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)].concat();
        extended(&[run(sql), run("SELECT count(*) FROM product")])
    };
    let rest = || {
        vec![
            simple("PREPARE here AS SELECT 'by SQL'"),
            simple("EXECUTE here"),
            simple("COMMIT"),
            simple("SELECT 1"),
            simple("UPDATE note SET body = body WHERE false"),
        ]
    };
    let stage = stage();
    for sql in [
        "BEGIN READ ONLY",
        "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY, NOT DEFERRABLE",
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    ] {
        let mut talk = vec![begin(sql)];
        talk.extend(rest());
        if !sql.contains("REPEATABLE") {
            // Where the snapshot may change the statement is prepared on the primary, and stays.
            talk.extend([simple("EXECUTE here"), simple("DEALLOCATE here")]);
        }
        compare(&stage, &talk)?;
    }
    Ok(())
}

/// What stands before a BEGIN in the same text or batch belongs to its transaction.
#[test]
fn a_begin_takes_in_what_stands_before_it() -> Outcome {
    let run = |sql: &str| [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)].concat();
    // A read: on a replica it meets the settings that pgweir believes in.
    let look = "SELECT current_setting('work_mem')";
    compare(
        &stage(),
        &[
            extended(&[run("SET work_mem = '7MB'"), run("BEGIN")]),
            simple("ROLLBACK"),
            simple(look),
            simple("SET work_mem = '8MB'; BEGIN"),
            simple("ROLLBACK"),
            simple(look),
            simple("SET work_mem = '9MB'; BEGIN"),
            simple("COMMIT"),
            simple(look),
        ],
    )
}

#[test]
fn empty_and_multiple_statements_in_one_string() -> Outcome {
    compare_simple(&[
        "",
        ";",
        "  -- only a comment",
        "/* nothing */;;",
        "SELECT 1; SELECT 2; SELECT 3",
        "SELECT 1; SELECT 1/0; SELECT 3",
        "BEGIN; SELECT 1; COMMIT; SELECT 2",
        "BEGIN; SELECT 1",
        "SELECT 2; ROLLBACK; SELECT 3",
        "INSERT INTO note (body) VALUES ('gone'); SELECT 1/0",
        "SELECT count(*) FROM note WHERE body = 'gone'",
    ])
}

#[test]
fn errors_come_with_every_field_and_the_session_goes_on() -> Outcome {
    compare_simple(&[
        "SELEC 1",
        "SELECT * FROM nothing_here",
        "SELECT nothing FROM product",
        "SELECT 1/0",
        "SELECT 'x'::int",
        "INSERT INTO product (id) VALUES (1)",
        "INSERT INTO product VALUES (1, 'twice', 1, now())",
        "UPDATE product SET id = NULL",
        "SELECT unknown_function(1)",
        "DO $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'ABCDE', HINT = 'a hint', DETAIL = 'more', COLUMN = 'c', TABLE = 't'; END $$",
        "DROP TABLE nothing_here",
        "SET nothing_here = 1",
        "SET work_mem = 'much'",
        "SELECT 1",
    ])
}

#[test]
fn notices_and_warnings_come_where_they_came() -> Outcome {
    compare_simple(&[
        "DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; RAISE INFO 'three'; END $$",
        "DROP TABLE IF EXISTS nothing_here",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "SET client_min_messages = error",
        "DROP TABLE IF EXISTS nothing_here",
        "SET LOCAL work_mem = '5MB'",
        "RESET client_min_messages",
        "SET LOCAL work_mem = '5MB'",
    ])
}

#[test]
fn transactions_savepoints_and_failed_transactions() -> Outcome {
    compare_simple(&[
        "BEGIN",
        "SELECT 1",
        "SELECT 1/0",
        "SELECT 2",
        "COMMIT",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SHOW transaction_isolation",
        "SAVEPOINT a",
        "INSERT INTO counter VALUES (1, 1)",
        "ROLLBACK TO a",
        "SELECT 1",
        "RELEASE a",
        "RELEASE a",
        "END",
        "BEGIN READ ONLY",
        "SELECT count(*) FROM product",
        "INSERT INTO counter VALUES (1000, 1)",
        "ABORT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        "SELECT count(*) FROM product",
        "COMMIT AND CHAIN",
        "ROLLBACK",
        "BEGIN ISOLATION LEVEL NONSENSE",
        "SELECT 1",
        "SAVEPOINT outside",
        "PREPARE TRANSACTION 'outside'",
        "BEGIN",
        "INSERT INTO counter VALUES (1001, 1)",
        "PREPARE TRANSACTION 'two-phase'",
        "ROLLBACK PREPARED 'two-phase'",
        "SET TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "DELETE FROM counter",
        "SHOW transaction_read_only",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    ])
}

#[test]
fn writes_return_their_tags_and_rows() -> Outcome {
    compare_simple(&[
        "CREATE TABLE made_here (id int PRIMARY KEY, v text)",
        "INSERT INTO made_here VALUES (1, 'a'), (2, 'b') RETURNING *",
        "UPDATE made_here SET v = v || v WHERE id > 0 RETURNING id, v",
        "WITH gone AS (DELETE FROM made_here WHERE id = 1 RETURNING *) SELECT * FROM gone",
        "INSERT INTO made_here VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *",
        "MERGE INTO made_here USING (VALUES (2), (3)) AS s(id) ON made_here.id = s.id \
         WHEN MATCHED THEN UPDATE SET v = 'merged' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'new')",
        "SELECT * FROM made_here ORDER BY id",
        "SELECT * FROM made_here WHERE id = 2 FOR UPDATE",
        "CREATE INDEX ON made_here (v)",
        "ALTER TABLE made_here ADD COLUMN extra int DEFAULT 7",
        "SELECT * FROM made_here ORDER BY id",
        "TRUNCATE made_here",
        "VACUUM made_here",
        "DROP TABLE made_here",
        "SELECT * FROM made_here",
    ])
}

#[test]
fn settings_are_set_shown_reset_and_reported() -> Outcome {
    compare_simple(&[
        "SET application_name = 'conversation'",
        "SHOW application_name",
        "SET TimeZone = 'Asia/Tokyo'",
        "SELECT timestamptz '2020-01-01 00:00+00'",
        "SET DateStyle = 'German, DMY'",
        "SELECT date '2020-02-01'",
        "SET client_encoding = 'LATIN1'",
        "SELECT length('\u{e9}')",
        "RESET client_encoding",
        "BEGIN",
        "SET LOCAL TimeZone = 'UTC'",
        "SHOW TimeZone",
        "COMMIT",
        "SHOW TimeZone",
        "BEGIN",
        "SET TimeZone = 'UTC'",
        "ROLLBACK",
        "SHOW TimeZone",
        "SELECT set_config('work_mem', '7MB', false)",
        "SHOW work_mem",
        "SET search_path = pg_catalog",
        "SELECT * FROM product",
        "SET search_path = public, pg_catalog",
        "SELECT count(*) FROM product",
        "SET standard_conforming_strings = off",
        "SELECT 'a\\nb'",
        "SET myapp.user_id = '42'",
        "SELECT current_setting('myapp.user_id')",
        "RESET ALL",
        "SHOW work_mem",
        "SHOW TimeZone",
        "DISCARD ALL",
        "SHOW application_name",
        "SET ROLE helper",
        "SET ROLE app",
        "RESET ROLE",
        "SHOW transaction_read_only",
        "SHOW server_version",
    ])
}

#[test]
fn sql_level_prepare_cursors_temporary_tables_and_locks_work() -> Outcome {
    compare_simple(&[
        "PREPARE p (int) AS SELECT name FROM product WHERE id = $1",
        "EXECUTE p (3)",
        "EXECUTE p (4)",
        "SELECT name, statement FROM pg_prepared_statements WHERE name = 'p'",
        "DEALLOCATE p",
        "EXECUTE p (3)",
        "BEGIN",
        "DECLARE c SCROLL CURSOR FOR SELECT id FROM product ORDER BY id",
        "FETCH 2 FROM c",
        "FETCH BACKWARD 1 FROM c",
        "MOVE 3 FROM c",
        "FETCH c",
        "CLOSE c",
        "COMMIT",
        "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM product ORDER BY id",
        "FETCH 2 FROM h",
        "SELECT 1",
        "FETCH 2 FROM h",
        "CLOSE h",
        "CREATE TEMP TABLE mine (n int)",
        "INSERT INTO mine VALUES (1)",
        "SELECT * FROM mine",
        "CREATE TEMP TABLE product (n int)",
        "SELECT * FROM product",
        "DROP TABLE pg_temp.product",
        "SELECT count(*) FROM product",
        "SELECT pg_advisory_lock(4711)",
        "SELECT pg_advisory_unlock(4711)",
        "SELECT pg_advisory_unlock(4711)",
        "SELECT nextval('ticket') IS NOT NULL",
        "SELECT currval('ticket') IS NOT NULL",
        "SELECT lastval() IS NOT NULL",
        "DISCARD TEMP",
        "SELECT * FROM mine",
    ])
}

#[test]
fn functions_that_write_write_once() -> Outcome {
    compare_simple(&[
        "BEGIN",
        "SELECT writer('by a function') IS NOT NULL",
        "ROLLBACK",
        "SELECT pure(1), reader()",
        "SELECT liar('by a liar') IS NOT NULL",
        "SELECT count(*) FROM note WHERE body = 'by a liar'",
        "DELETE FROM note WHERE body = 'by a liar'",
        "SELECT id IS NOT NULL FROM writing_for_twins",
        "DELETE FROM note WHERE body = 'by twins through a view'",
        "DO $$ BEGIN PERFORM writer('by a block'); END $$",
        "DELETE FROM note WHERE body = 'by a block'",
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) DELETE FROM note WHERE body = 'none'",
    ])
}

#[test]
fn listen_and_notify_to_oneself() -> Outcome {
    // The notifying process's number differs: only the order of frames is compared.
    let stage = stage();
    let sql = ["LISTEN news", "SELECT 1", "NOTIFY news, 'first'", "UNLISTEN *", "NOTIFY news"];
    let mut tags = Vec::new();
    for mut client in [stage.client()?, stage.direct()?] {
        let answers = hold(&mut client, &simples(&sql))?;
        tags.push(answers.iter().map(|frames| raw::tags(frames)).collect::<Vec<_>>());
    }
    assert_same!(tags[0], tags[1], "LISTEN and NOTIFY");
    Ok(())
}

#[test]
fn copy_in_every_direction_and_every_failure() -> Outcome {
    let data = |text: &str| raw::frame(b'd', text.as_bytes());
    let done = || raw::frame(b'c', b"");
    let mut talk = simples(&[
        "CREATE TABLE copied (n int, t text)",
        "COPY product TO STDOUT",
        "COPY (SELECT id, name FROM product WHERE id < 4 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)",
        "COPY (SELECT id FROM product WHERE id < 4 ORDER BY id) TO STDOUT (FORMAT binary)",
        "COPY nothing_here TO STDOUT",
        "COPY (SELECT 1/0) TO STDOUT",
    ]);
    // Into the table: done well, failed by the client, failed by the data, failed at once.
    talk.push(until(&[raw::query("COPY copied FROM STDIN")], b'G'));
    talk.push(Batch { bytes: [data("1\tone\n2\t"), data("two\n"), done()].concat(), until: Until::Ready(1) });
    talk.push(until(&[raw::query("COPY copied FROM STDIN")], b'G'));
    let fail = raw::frame(b'f', b"the client changed its mind\0");
    talk.push(Batch { bytes: [data("3\tthree\n"), fail].concat(), until: Until::Ready(1) });
    talk.push(until(&[raw::query("COPY copied FROM STDIN")], b'G'));
    talk.push(Batch {
        bytes: [data("no number\tx\n"), data("4\tfour\n"), done()].concat(),
        until: Until::Ready(1),
    });
    talk.push(simple("COPY nothing_here FROM STDIN"));
    // Sent in one go, before the server has answered at all.
    let eager = [raw::query("COPY copied FROM STDIN"), data("5\tfive\n"), done()].concat();
    talk.push(Batch { bytes: eager, until: Until::Ready(1) });
    // By the extended protocol.
    let copy = [raw::parse("", "COPY copied FROM STDIN"), raw::bind("", "", &[])];
    talk.push(Batch {
        bytes: [copy.concat(), raw::execute("", 0), data("6\tsix\n"), done(), raw::sync()].concat(),
        until: Until::Ready(1),
    });
    talk.push(extended(&[
        raw::parse("", "COPY copied TO STDOUT"),
        raw::bind("", "", &[]),
        raw::describe(b'P', ""),
        raw::execute("", 0),
    ]));
    talk.extend(simples(&[
        "COPY copied TO STDOUT; SELECT 1; COPY copied TO STDOUT (FORMAT csv)",
        "BEGIN",
        "COPY copied TO STDOUT",
        "ROLLBACK",
        "DROP TABLE copied",
    ]));
    compare(&stage(), &talk)
}

#[test]
fn the_fast_path_function_call_and_large_objects_work() -> Outcome {
    // FunctionCall of int4pl(2, 3), text formats: <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-FUNCTIONCALL>
    let mut call = 177_i32.to_be_bytes().to_vec();
    call.extend([0, 1, 0, 0, 0, 2, 0, 0, 0, 1, b'2', 0, 0, 0, 1, b'3', 0, 0]);
    let mut unknown = 1_i32.to_be_bytes().to_vec();
    unknown.extend([0, 0, 0, 0, 0, 0]);
    let talk = [
        Batch { bytes: raw::frame(b'F', &call), until: Until::Ready(1) },
        Batch { bytes: raw::frame(b'F', &unknown), until: Until::Ready(1) },
        simple("BEGIN"),
        Batch { bytes: raw::frame(b'F', &call), until: Until::Ready(1) },
        simple("SELECT lo_from_bytea(987654, 'hello')"),
        simple("SELECT lo_get(987654)"),
        simple("ROLLBACK"),
        simple("SELECT lo_get(987654)"),
    ];
    compare(&stage(), &talk)
}

#[test]
fn a_client_of_another_encoding_sends_bytes_that_are_not_utf8() -> Outcome {
    let mut latin = b"SELECT '".to_vec();
    latin.extend([0xe9, 0xe8, 0xfc]);
    latin.extend(b"', length('");
    latin.push(0xe9);
    latin.extend(b"')\0");
    let talk = [
        Batch { bytes: raw::frame(b'Q', &latin), until: Until::Ready(1) },
        simple("SET client_encoding = 'LATIN1'"),
        Batch { bytes: raw::frame(b'Q', &latin), until: Until::Ready(1) },
        simple("SELECT name FROM product WHERE id = 1"),
    ];
    compare(&stage(), &talk)
}
