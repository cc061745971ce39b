//! What a statement means is fixed by its own Parse, whatever servers it meets and whoever shares them.
//!
//! Each story is a conversation of several clients, held on direct connections and through pgweir, over pools
//! of one and of three servers for each node.

use crate::assert_same;
use crate::support::{Outcome, Stage};
use crate::twin::{Batch, extended, hold, simple};
use pgweir_tests::raw::{self, Frame, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A start-up parameter: name and value.
pub(crate) type Parameter = (&'static str, &'static str);

/// What one of the clients says; the number is the client's.
pub(crate) type Step = (usize, Batch);

/// A cluster behind pools of one and of three servers. A change of the schema by somebody else would have
/// Postgres itself read statements anew: so the cluster is these stories' own, and they take turns.
pub(crate) struct Pools {
    pub(crate) stage: &'static Stage,
    pub(crate) weirs: [&'static Weir; 2],
    _turn: MutexGuard<'static, ()>,
}

pub(crate) fn pools() -> Pools {
    static STAGES: OnceLock<(Stage, Weir)> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (stage, three) = STAGES.get_or_init(|| set_up().expect("the stage is set up"));
    // A replica that replays the DDL of the story before reads its statements anew, too.
    stage.cluster.wait_caught_up().expect("the replicas catch up");
    Pools { stage, weirs: [&stage.weir, three], _turn: turn }
}

fn set_up() -> Result<(Stage, Weir), HarnessError> {
    let cluster = Cluster::builder().start()?;
    let [one, three] =
        [1, 3].map(|servers| Weir::builder(&cluster).set("pool.server_connections_max", servers).start());
    Ok((Stage { weir: one?, cluster }, three?))
}

fn talk(login: &Login, starts: &[&[Parameter]], steps: &[Step]) -> Result<Vec<Vec<Frame>>, HarnessError> {
    let open = |start: &&[Parameter]| RawClient::login_with(login, 0x3_0000, start);
    let mut clients = starts.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut answers = vec![];
    for (client, batch) in steps {
        for answer in hold(&mut clients[*client], std::slice::from_ref(batch))? {
            answers.push(answer.into_iter().map(without_line).collect());
        }
    }
    Ok(answers)
}

/// The line of Postgres's source that an error comes from is not for pgweir to know.
fn without_line(mut frame: Frame) -> Frame {
    if frame.tag == b'E'
        && let Some(line) = frame.field(b'L')
    {
        let field = format!("L{line}\0");
        if let Some(at) = frame.body.windows(field.len()).position(|bytes| bytes == field.as_bytes()) {
            frame.body.drain(at..at + field.len());
        }
    }
    frame
}

impl Pools {
    /// The conversation is the same, frame by frame. `starts`: what each client starts with.
    pub(crate) fn compare(&self, starts: &[&[Parameter]], steps: &[Step]) -> Outcome {
        let cluster = &self.stage.cluster;
        let direct = talk(&cluster.app(cluster.primary()), starts, steps)?;
        for (weir, servers) in self.weirs.iter().zip(["one server", "three servers"]) {
            // More than once: which servers have what hangs on what went before.
            for round in 0..2 {
                let through = talk(&weir.app(), starts, steps)?;
                for (number, (through, direct)) in through.iter().zip(&direct).enumerate() {
                    let (client, batch) = &steps[number];
                    let sent = String::from_utf8_lossy(&batch.bytes).into_owned();
                    assert_same!(
                        through,
                        direct,
                        "{servers}, round {round}, step {number}, client {client}: {sent:?}"
                    );
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn prepare(name: &str, sql: &str) -> Batch {
    extended(&[raw::parse(name, sql)])
}

pub(crate) fn run(name: &str) -> Batch {
    extended(&[raw::bind("", name, &[]), raw::describe(b'P', ""), raw::execute("", 0)])
}

/// What others prepare under other settings, each with a text that those settings give a meaning to.
const READ_BY_PARSE: [(&str, [&str; 2], &str); 9] = [
    ("timezone", ["'UTC'", "'Asia/Tokyo'"], "SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')"),
    ("datestyle", ["'ISO, DMY'", "'ISO, MDY'"], "SELECT date '01-02-2024' - date '2024-01-01'"),
    ("intervalstyle", ["'postgres'", "'sql_standard'"], "SELECT extract(epoch FROM interval '-1 2:00')"),
    ("array_nulls", ["on", "off"], "SELECT ('{NULL}'::text[])[1] IS NULL"),
    ("transform_null_equals", ["on", "off"], "SELECT count(*) FROM (VALUES (NULL::int)) v(a) WHERE a = NULL"),
    ("xmloption", ["content", "document"], "SELECT xml 'abc' IS DOCUMENT"),
    ("standard_conforming_strings", ["on", "off"], r"SELECT length('a\\b')"),
    ("backslash_quote", ["on", "off"], r"SELECT length(E'a\'b')"),
    (
        "timezone_abbreviations",
        ["'Default'", "'Australia'"],
        "SELECT timestamptz '2024-01-01 00:00 EST' = timestamptz '2024-01-01 05:00+00'",
    ),
];

#[test]
fn a_statement_belongs_to_the_settings_of_its_parse() -> Outcome {
    let pools = pools();
    for (name, values, text) in READ_BY_PARSE {
        let set = |value: &str| simple(&format!("SET {name} = {value}"));
        let mut steps = vec![(0, set(values[0])), (1, set(values[1]))];
        for client in [0, 1] {
            steps.push((client, prepare("st", text)));
        }
        for _ in 0..2 {
            for client in [0, 1] {
                steps.push((client, run("st")));
                steps.push((client, simple("BEGIN")));
                steps.push((client, run("st")));
                steps.push((client, simple("COMMIT")));
            }
        }
        pools.compare(&[&[], &[]], &steps)?;
    }
    Ok(())
}

/// Prepared under one setting and run under another, on whatever server.
#[test]
fn a_statement_keeps_its_meaning_when_the_settings_change() -> Outcome {
    let pools = pools();
    for (name, values, text) in READ_BY_PARSE {
        let set = |value: &str| simple(&format!("SET {name} = {value}"));
        let steps = vec![
            (0, set(values[0])),
            (0, prepare("st", text)),
            (0, prepare("", text)),
            (0, run("")),
            (0, set(values[1])),
            (0, run("st")),
            (1, simple("BEGIN")),
            (1, simple("SELECT 1")),
            (0, run("st")),
            (1, simple("COMMIT")),
            (0, simple("BEGIN")),
            (0, run("st")),
            (0, simple("COMMIT")),
            (0, run("st")),
            (0, simple(&format!("SHOW {name}"))),
        ];
        // On the pool of one the other's transaction would have to be waited for.
        let alone: Vec<_> = steps.into_iter().filter(|(client, _)| *client == 0).collect();
        pools.compare(&[&[]], &alone)?;
    }
    Ok(())
}

/// Whatever way the setting came.
#[test]
fn settings_reach_a_parse_by_every_way() -> Outcome {
    let pools = pools();
    let text = "SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')";
    let other = [(1, prepare("other", text)), (1, run("other"))];
    let ways: [(&[Parameter], Vec<Batch>); 8] = [
        (&[("TimeZone", "Asia/Tokyo")], vec![]),
        (&[("options", "-c timezone=Asia/Tokyo")], vec![]),
        (&[], vec![simple("SELECT set_config('TimeZone', 'Asia/Tokyo', false)")]),
        (&[], vec![simple("BEGIN"), simple("SET LOCAL timezone = 'Asia/Tokyo'")]),
        (&[], vec![simple("BEGIN"), simple("SELECT set_config('timezone', 'Asia/Tokyo', true)")]),
        (
            &[],
            vec![
                simple("SET timezone = 'Asia/Tokyo'"),
                simple("BEGIN"),
                simple("SET timezone = 'Australia/Perth'"),
                simple("ROLLBACK"),
            ],
        ),
        (
            &[],
            vec![
                simple("BEGIN"),
                simple("SET timezone = 'Asia/Tokyo'"),
                simple("SAVEPOINT s"),
                simple("SET LOCAL timezone = 'Australia/Perth'"),
                simple("ROLLBACK TO s"),
            ],
        ),
        (
            &[("TimeZone", "Asia/Tokyo")],
            vec![simple("SET timezone = 'Australia/Perth'"), simple("RESET timezone")],
        ),
    ];
    for (start, way) in ways {
        let mut steps: Vec<Step> = other.iter().map(|(client, batch)| (*client, copy(batch))).collect();
        steps.extend(way.into_iter().map(|batch| (0, batch)));
        steps.push((0, prepare("st", text)));
        steps.push((0, run("st")));
        steps.push((0, simple("COMMIT")));
        steps.push((0, run("st")));
        steps.push((1, run("other")));
        pools.compare(&[start, &[]], &steps)?;
    }
    Ok(())
}

fn copy(batch: &Batch) -> Batch {
    Batch { bytes: batch.bytes.clone(), until: crate::twin::Until::Ready(1) }
}

/// A batch is looked at before any of it runs.
#[test]
fn a_parse_behind_a_set_in_its_batch_means_what_it_means_there() -> Outcome {
    let pools = pools();
    let text = "SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')";
    let inline = |sql: &str| [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)].concat();
    pools.compare(
        &[&[], &[]],
        &[
            (1, prepare("other", text)),
            (1, run("other")),
            (0, extended(&[inline("SET timezone = 'Asia/Tokyo'"), raw::parse("st", text)])),
            (0, run("st")),
            (1, prepare("again", text)),
            (1, run("again")),
            (
                0,
                extended(&[
                    inline("SET standard_conforming_strings = off"),
                    inline(r"SELECT 'a\'; SET timezone = ''UTC''; --'"),
                    raw::parse("off", r"SELECT 'a\'b'"),
                ]),
            ),
            (0, run("off")),
            (0, simple("SHOW timezone")),
            (0, simple("SET standard_conforming_strings = on")),
            (0, run("off")),
        ],
    )
}

/// What is stored is what the client's bytes mean in its encoding.
#[test]
fn a_letter_is_the_one_of_its_clients_encoding() -> Outcome {
    let pools = pools();
    let text = b"SELECT ascii('\xc3\xa9'), length('\xc3\xa9')";
    let parse = |name: &str| {
        let body = [name.as_bytes(), b"\0", text, b"\0\0\0"].concat();
        extended(&[raw::frame(b'P', &body)])
    };
    let mut steps = vec![(0, simple("SET client_encoding = 'LATIN1'"))];
    for client in [1, 0] {
        steps.push((client, parse("st")));
        steps.push((client, run("st")));
    }
    steps.push((0, simple("SET client_encoding = 'UTF8'")));
    steps.push((0, run("st")));
    pools.compare(&[&[], &[]], &steps)
}

/// The moment of a Parse is nobody else's, and the same wherever it runs.
#[test]
fn a_moment_is_that_of_its_own_parse() -> Outcome {
    let pools = pools();
    for weir in pools.weirs {
        for text in
            ["SELECT 'now'::timestamptz", "SELECT timestamptz 'NOW'", "SELECT E'n\\x6fw'::timestamptz"]
        {
            let mut clients = (0..3).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
            let mut first = vec![];
            for client in &mut clients {
                client.prepare("st", text)?;
                first.push(client.execute("st", &[])?);
            }
            assert!(first[0] < first[1] && first[1] < first[2], "{text}: {first:?}");
            for _ in 0..3 {
                for (client, first) in clients.iter_mut().zip(&first).rev() {
                    assert_eq!(&client.execute("st", &[])?, first, "{text}");
                    client.run("SELECT 1")?;
                }
            }
        }
    }
    Ok(())
}

/// Under whatever settings it runs, as long as no plan that a server keeps hangs on them.
#[test]
fn a_moment_stays_when_the_settings_change() -> Outcome {
    for weir in pools().weirs {
        let mut one = RawClient::login(&weir.app())?;
        let mut other = RawClient::login(&weir.app())?;
        one.prepare("st", "SELECT extract(epoch FROM 'now'::timestamptz)")?;
        let first = one.execute("st", &[])?;
        for setting in
            ["standard_conforming_strings = off", "client_encoding = 'LATIN1'", "backslash_quote = on"]
        {
            one.run(&format!("SET {setting}"))?;
            for _ in 0..2 {
                assert_eq!(one.execute("st", &[])?, first, "{setting}");
                other.run("BEGIN")?;
                other.run("COMMIT")?;
            }
        }
    }
    Ok(())
}

/// Postgres reads a statement anew under the settings of then where the search path is another.
#[test]
fn who_runs_a_statement_under_other_settings_changes_it_for_nobody() -> Outcome {
    let text = "SELECT extract(month FROM date '01-02-2024')";
    for weir in pools().weirs {
        let mut clients = (0..2).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
        for client in &mut clients {
            client.run("BEGIN")?;
            client.run("SET LOCAL DateStyle = 'SQL, DMY'")?;
            client.prepare("st", text)?;
            client.run("ROLLBACK")?;
        }
        let [one, other] = &mut clients[..] else { unreachable!("two of them") };
        for _ in 0..3 {
            one.run("SET search_path = pg_catalog, public")?;
            one.execute("st", &[])?;
            one.run("RESET search_path")?;
            for _ in 0..2 {
                assert_eq!(other.execute("st", &[])?, [[Some("2".to_owned())]]);
            }
            // Within a batch, where it is the path of the client's own settings that changes.
            other.run("SET DateStyle = 'SQL, DMY'")?;
            one.run("SET DateStyle = 'SQL, DMY'")?;
            let ran = |bind: Vec<u8>| [bind, raw::execute("", 0)].concat();
            let sets = |sql: &str| [raw::parse("", sql), ran(raw::bind("", "", &[]))].concat();
            one.send(
                &[
                    sets("SET DateStyle = 'ISO, MDY'"),
                    sets("SET search_path = pg_catalog, public"),
                    ran(raw::bind("", "st", &[])),
                    raw::sync(),
                ]
                .concat(),
            )?;
            one.until_ready()?;
            one.run("RESET search_path")?;
            one.run("RESET DateStyle")?;
            assert_eq!(other.execute("st", &[])?, [[Some("2".to_owned())]]);
            other.run("RESET DateStyle")?;
            for _ in 0..2 {
                assert_eq!(other.execute("st", &[])?, [[Some("2".to_owned())]]);
            }
        }
    }
    Ok(())
}

/// What makes a process read its statements anew is its own affair: other sessions have theirs elsewhere.
#[test]
fn what_makes_a_server_read_its_statements_anew_changes_them_for_nobody() -> Outcome {
    let causes: [&[&str]; 4] = [
        &["DISCARD PLANS"],
        &["BEGIN", "CREATE SCHEMA unseen", "ROLLBACK"],
        &["BEGIN", "CREATE FUNCTION unseen() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ROLLBACK"],
        &["CREATE TEMP TABLE mine (n int)", "DISCARD TEMP"],
    ];
    let pools = pools();
    for cause in causes {
        // With a server that has seen nothing yet, not even our own DISCARD.
        let weir = Weir::builder(&pools.stage.cluster).set("pool.server_connections_max", 1).start()?;
        let mut one = RawClient::login(&weir.app())?;
        let mut other = RawClient::login(&weir.app())?;
        one.run("BEGIN")?;
        one.run("SET LOCAL array_nulls = off")?;
        one.prepare("st", "SELECT '{1,null}'::text[]")?;
        one.run("COMMIT")?;
        for sql in cause {
            other.run(sql)?;
        }
        for _ in 0..2 {
            // A block is the primary's.
            one.run("BEGIN")?;
            for _ in 0..2 {
                assert_eq!(one.execute("st", &[])?, [[Some("{1,\"null\"}".to_owned())]], "{cause:?}");
            }
            one.run("COMMIT")?;
        }
    }
    Ok(())
}

/// A function's plans stay in the process that first ran it.
#[test]
fn what_a_function_means_is_nobody_elses() -> Outcome {
    let pools = pools();
    let root = pools.stage.cluster.node(pools.stage.cluster.primary()).superuser().database("app");
    root.sql(
        "CREATE FUNCTION new_year() RETURNS text LANGUAGE plpgsql STABLE AS \
            $$ BEGIN RETURN extract(hour FROM timestamptz '2024-01-01 00:00' AT TIME ZONE 'UTC'); END $$",
    )?;
    pools.stage.cluster.wait_caught_up()?;
    for weir in pools.weirs {
        let mut london = RawClient::login(&weir.app())?;
        let mut tokyo = RawClient::login(&weir.app())?;
        london.run("SET TimeZone = 'Europe/London'")?;
        tokyo.run("SET TimeZone = 'Asia/Tokyo'")?;
        for _ in 0..3 {
            assert_eq!(london.value("SELECT new_year()")?, "0");
            assert_eq!(tokyo.value("SELECT new_year()")?, "15");
            // By what a transaction sets for itself, too.
            tokyo.run("BEGIN")?;
            tokyo.run("SET LOCAL TimeZone = 'America/Lima'")?;
            tokyo.run("SELECT new_year()")?;
            tokyo.run("COMMIT")?;
        }
    }
    root.sql("DROP FUNCTION new_year()").map(drop)
}

/// USAGE of a schema is checked by the Parse.
#[test]
fn a_role_is_part_of_what_a_parse_may() -> Outcome {
    let pools = pools();
    let mut root = RawClient::login(
        &pools.stage.cluster.node(pools.stage.cluster.primary()).superuser().database("app"),
    )?;
    root.run("CREATE ROLE poor; GRANT poor TO app; CREATE SCHEMA rich AUTHORIZATION app")?;
    root.run("SET ROLE app; CREATE TABLE rich.own (a int); GRANT SELECT ON rich.own TO poor; RESET ROLE")?;
    let text = "SELECT * FROM rich.own";
    let outcome = pools.compare(
        &[&[], &[]],
        &[
            (0, prepare("st", text)),
            (0, run("st")),
            (1, simple("SET ROLE poor")),
            (1, prepare("st", text)),
            (1, run("st")),
            (0, simple("SET ROLE poor")),
            (0, run("st")),
            (0, simple("RESET ROLE")),
            (0, run("st")),
        ],
    );
    root.run("DROP SCHEMA rich CASCADE; DROP ROLE poor")?;
    outcome
}

/// What a transaction has made is there for its own Parse, and for nobody else's.
#[test]
fn a_transactions_own_objects_are_there_for_its_own_parse() -> Outcome {
    let pools = pools();
    let mut ddl = pools.stage.direct()?;
    ddl.run("CREATE SCHEMA q1; CREATE SCHEMA q2; CREATE TABLE q2.t AS SELECT 2 AS a, 'two' AS b")?;
    ddl.run("CREATE FUNCTION q2.f(bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$")?;
    let path = || simple("SET search_path = q1, q2");
    let overload = "CREATE FUNCTION q1.f(int) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$";
    let outcome = pools.compare(
        &[&[], &[]],
        &[
            (0, path()),
            (1, path()),
            (0, prepare("t", "SELECT * FROM t")),
            (0, prepare("f", "SELECT f(1)")),
            (0, run("t")),
            (0, run("f")),
            (1, simple("BEGIN")),
            (1, simple("CREATE TABLE q1.t AS SELECT 1 AS a")),
            (1, simple(overload)),
            (1, prepare("t", "SELECT * FROM t")),
            (1, prepare("f", "SELECT f(1)")),
            (1, run("t")),
            (1, run("f")),
            (1, simple("ROLLBACK")),
            (0, run("t")),
            (0, run("f")),
            (1, run("f")),
            (0, prepare("t2", "SELECT * FROM t")),
            (0, run("t2")),
            (1, prepare("t2", "SELECT * FROM t")),
            (1, run("t2")),
            (1, simple("CREATE TEMP TABLE t AS SELECT 'temporary' AS a")),
            (1, prepare("t3", "SELECT * FROM t")),
            (1, run("t3")),
            (1, simple("DROP TABLE pg_temp.t")),
            (0, prepare("t3", "SELECT * FROM t")),
            (0, run("t3")),
        ],
    );
    ddl.run("DROP SCHEMA q1 CASCADE; DROP SCHEMA q2 CASCADE")?;
    outcome
}

/// Postgres fixes what a result looks like at the Parse, for a client that asks and for one that does not.
#[test]
fn a_changed_result_is_an_error_for_a_client_that_never_asked() -> Outcome {
    let pools = pools();
    let never = || extended(&[raw::bind("", "st", &[]), raw::execute("", 0)]);
    for (make, change, runs) in [
        ("CREATE TABLE s AS SELECT 1234567 AS a", "ALTER TABLE s ALTER COLUMN a TYPE bigint", 1),
        ("CREATE TABLE s AS SELECT 1234567 AS a", "ALTER TABLE s ALTER COLUMN a TYPE bigint", 0),
        ("CREATE VIEW s AS SELECT 1 AS a, 2 AS b", "DROP VIEW s; CREATE VIEW s AS SELECT 2 AS b, 1 AS a", 1),
    ] {
        for described in [true, false] {
            let execute = || if described { run("st") } else { never() };
            let mut steps = vec![(1, simple(make)), (0, prepare("st", "SELECT * FROM s"))];
            steps.extend((0..runs).map(|_| (0, execute())));
            steps.push((1, simple(change)));
            // Another brings the text, as it is now, to the servers.
            steps.push((1, prepare("other", "SELECT * FROM s")));
            steps.push((1, run("other")));
            steps.push((0, execute()));
            steps.push((0, execute()));
            steps.push((0, extended(&[raw::close(b'S', "st")])));
            steps.push((0, prepare("st", "SELECT * FROM s")));
            steps.push((0, execute()));
            steps.push((1, run("other")));
            steps.push((1, simple(if make.contains("VIEW") { "DROP VIEW s" } else { "DROP TABLE s" })));
            pools.compare(&[&[], &[]], &steps)?;
        }
    }
    Ok(())
}

/// So that nobody fills the memory of all.
#[test]
fn a_client_has_so_many_prepared_statements_and_no_more() -> Outcome {
    let pools = pools();
    let mut client = RawClient::login(&pools.weirs[1].app())?;
    for hundred in 0..100 {
        let parses: Vec<_> =
            (0..100).map(|number| raw::parse(&format!("s{hundred}_{number}"), "SELECT 1")).collect();
        hold(&mut client, &[extended(&parses)])?;
    }
    let refused =
        hold(&mut client, &[prepare("one_more", "SELECT 1"), prepare("", "SELECT 1"), run("s0_0")])?;
    assert_eq!(refused[0][0].field(b'C').as_deref(), Some("53400"), "{refused:?}");
    assert!(refused[1..].iter().flatten().all(|frame| frame.tag != b'E'), "{refused:?}");
    hold(&mut client, &[extended(&[raw::close(b'S', "s0_1")]), prepare("one_more", "SELECT 1")])?;
    client.run("DEALLOCATE ALL")?;
    let long = format!("SELECT 1 /* {} */", "x".repeat(12 << 20));
    let mut answers = vec![];
    for number in 0..6 {
        answers.extend(hold(&mut client, &[prepare(&format!("long{number}"), &long)])?);
    }
    let codes: Vec<_> = answers.iter().map(|answer| answer[0].field(b'C')).collect();
    assert_eq!(codes[5].as_deref(), Some("53400"));
    assert!(codes[..5].iter().all(|code| code.is_none()), "{codes:?}");
    assert_eq!(client.execute("long0", &[])?.len(), 1);
    Ok(())
}

/// Nobody has read what it says: its server is kept, and knows it by the client's own name.
#[test]
fn a_parse_of_many_megabytes_streams_to_its_server() -> Outcome {
    let pools = pools();
    let long = format!("SELECT length($1), '{}' = ''", "x".repeat(17 << 20));
    let wrong = format!("SELEC '{}'", "x".repeat(17 << 20));
    let bound = |name: &str| [raw::bind("", name, &[Some("abc")]), raw::execute("", 0)].concat();
    let steps = [
        (0, extended(&[raw::parse("long", &long), bound("long")])),
        (0, extended(&[bound("long")])),
        (0, extended(&[raw::parse("", &long)])),
        (0, extended(&[bound("")])),
        (0, extended(&[raw::parse("long", "SELECT 1")])),
        (0, prepare("short", "SELECT 1")),
        (0, extended(&[raw::parse("short", &long)])),
        (0, extended(&[raw::parse("wrong", &wrong)])),
        (0, prepare("wrong", "SELECT 'free'")),
        (0, run("wrong")),
        (0, extended(&[raw::close(b'S', "long")])),
        (0, prepare("long", "SELECT 'free'")),
        (0, run("long")),
        (0, simple("SELECT 1")),
        (0, extended(&[bound("")])),
    ];
    pools.compare(&[&[]], &steps)
}

/// What ends or gives names counts from where it stands in its batch.
#[test]
fn names_end_and_begin_where_the_batch_says_so() -> Outcome {
    let pools = pools();
    let inline = |sql: &str| [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)].concat();
    let text = "SELECT 'the text'";
    let bound = |name: &str| [raw::bind("", name, &[]), raw::execute("", 0)].concat();
    let mut steps = vec![];
    for ends in ["deallocate all", "DISCARD ALL", "deallocate s1"] {
        steps.extend([
            (0, prepare("s1", text)),
            (0, extended(&[inline(ends), raw::parse("s2", text), bound("s2")])),
            (0, run("s2")),
            (0, run("s1")),
            (0, simple("deallocate all")),
            (0, prepare("s1", text)),
            (0, extended(&[inline(ends), raw::parse("s1", "SELECT 'another'"), bound("s1")])),
            (0, run("s1")),
            // Behind an error it has not happened.
            (0, extended(&[inline("SELECT 1/0"), inline(ends), raw::parse("s3", text)])),
            (0, run("s1")),
            (0, run("s3")),
            (0, prepare("s3", text)),
            (0, run("s3")),
            (0, simple("deallocate all")),
        ]);
    }
    steps.extend([
        (0, extended(&[inline("PREPARE s1 AS SELECT 'by SQL'"), raw::parse("s1", text)])),
        (0, run("s1")),
        (
            0,
            extended(&[
                inline("PREPARE s2 AS SELECT 'by SQL'"),
                bound("s2"),
                inline("DEALLOCATE s2"),
                raw::parse("s2", text),
                bound("s2"),
            ]),
        ),
        (0, run("s2")),
        (0, simple("deallocate all")),
        (0, extended(&[inline("SELECT 1/0"), inline("PREPARE s4 AS SELECT 'by SQL'")])),
        (0, prepare("s4", text)),
        (0, run("s4")),
        (0, simple("deallocate all")),
    ]);
    pools.compare(&[&[]], &steps)
}
