//! Prepared statements keep the promises of a direct connection, whatever server they meet.

use crate::assert_same;
use crate::support::{Outcome, Stage, stage};
use crate::twin::{Batch, Until, compare, extended, hold, simple};
use pgweir_tests::HarnessError;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::{self, Frame, RawClient};

fn codes(answers: &[Vec<Frame>]) -> Vec<String> {
    answers.iter().flatten().filter(|f| f.tag == b'E').filter_map(|f| f.field(b'C')).collect()
}

/// The shape of a result changes behind a client that was told it: on a direct connection that is
/// an error by which drivers prepare anew, and rows of another shape would be misread by them.
#[test]
fn a_result_that_changed_its_shape_is_an_error_and_never_other_rows() -> Outcome {
    let stage = stage();
    let read = "SELECT * FROM shapes";
    let steps = |client: &mut RawClient, ddl: &mut RawClient| -> Result<Vec<Vec<Frame>>, HarnessError> {
        ddl.run("DROP TABLE IF EXISTS shapes; CREATE TABLE shapes (a int); INSERT INTO shapes VALUES (7)")?;
        let prepare = [extended(&[raw::parse("s", read), raw::describe(b'S', "s")])];
        let execute = [extended(&[raw::bind("", "s", &[]), raw::execute("", 0)])];
        let mut answers = hold(client, &prepare)?;
        answers.extend(hold(client, &execute)?);
        ddl.run("ALTER TABLE shapes ALTER COLUMN a TYPE text")?;
        answers.extend(hold(client, &execute)?);
        // Closed and prepared anew, as drivers do.
        answers.extend(hold(client, &[extended(&[raw::close(b'S', "s")])])?);
        answers.extend(hold(client, &prepare)?);
        answers.extend(hold(client, &execute)?);
        Ok(answers)
    };
    let direct = steps(&mut stage.direct()?, &mut stage.direct()?)?;
    assert_eq!(codes(&direct), ["0A000"]);
    let mut others = (0..4).map(|_| stage.client()).collect::<Result<Vec<_>, _>>()?;
    let mut ddl = stage.client()?;
    for _ in 0..4 {
        let through = steps(&mut stage.client()?, &mut ddl)?;
        assert_same!(
            through.iter().map(|a| raw::tags(a)).collect::<Vec<_>>(),
            direct.iter().map(|a| raw::tags(a)).collect::<Vec<_>>(),
            "messages"
        );
        assert_eq!(codes(&through), codes(&direct));
        // Others bring the text, in its new shape, to servers that the next round meets.
        for other in &mut others {
            let _ = other.prepare("other", read);
            other.execute("other", &[])?;
            hold(other, &[extended(&[raw::close(b'S', "other")])])?;
        }
    }
    ddl.run("DROP TABLE shapes")?;
    Ok(())
}

/// The same inside a transaction, which the error fails as it does on a direct connection.
#[test]
fn a_changed_shape_fails_the_transaction_that_it_meets() -> Outcome {
    let stage = stage();
    let mut tags = vec![];
    for through in [false, true] {
        let open = || if through { stage.client() } else { stage.direct() };
        let (mut client, mut ddl) = (open()?, open()?);
        ddl.run("DROP TABLE IF EXISTS shaped; CREATE TABLE shaped (a int)")?;
        let mut talk = hold(
            &mut client,
            &[extended(&[
                raw::parse("s", "INSERT INTO shaped VALUES ($1) RETURNING a"),
                raw::describe(b'S', "s"),
            ])],
        )?;
        ddl.run("ALTER TABLE shaped ALTER COLUMN a TYPE text")?;
        talk.extend(hold(
            &mut client,
            &[
                simple("BEGIN"),
                extended(&[raw::bind("", "s", &[Some("1")]), raw::execute("", 0)]),
                simple("SELECT 1"),
                simple("ROLLBACK"),
                simple("SELECT count(*) FROM shaped"),
            ],
        )?);
        ddl.run("DROP TABLE shaped")?;
        let codes = codes(&talk);
        assert_eq!(codes[1..], ["25P02".to_owned()], "behind {}", codes[0]);
        tags.push(talk.iter().map(|answer| raw::tags(answer)).collect::<Vec<_>>());
    }
    assert_same!(tags[1], tags[0], "messages");
    Ok(())
}

/// On a server that has never met the statement it is pgweir that says so. asyncpg and JDBC know the
/// error by its routine.
#[test]
fn a_changed_shape_has_the_routine_of_postgres_on_any_server() -> Outcome {
    let stage = stage();
    let mut ddl = stage.client()?;
    ddl.run("CREATE TABLE routed (a int)")?;
    stage.wait_for_replica("SELECT count(*) FROM routed")?;
    let mut client = stage.client()?;
    hold(&mut client, &[extended(&[raw::parse("s", "SELECT a FROM routed"), raw::describe(b'S', "s")])])?;
    ddl.run("ALTER TABLE routed ALTER COLUMN a TYPE text")?;
    // A transaction runs on the primary.
    let execute = extended(&[raw::bind("", "s", &[]), raw::execute("", 0)]);
    let talk = hold(&mut client, &[simple("BEGIN"), execute, simple("ROLLBACK")])?;
    ddl.run("DROP TABLE routed")?;
    let refused: Vec<_> = talk.iter().flatten().filter(|frame| frame.tag == b'E').collect();
    assert_eq!(codes(&talk), ["0A000"]);
    assert_eq!(refused[0].field(b'R').as_deref(), Some("RevalidateCachedQuery"));
    Ok(())
}

/// Who prepares today gets the parameter types of today, whatever the servers still hold for others.
#[test]
fn parameter_types_are_those_of_the_schema_as_it_is_now() -> Outcome {
    let stage = stage();
    let mut ddl = stage.client()?;
    for kind in ["int", "date", "text", "interval"] {
        ddl.run(&format!("CREATE TABLE typed (v {kind})"))?;
        let talk = [extended(&[raw::parse("s", "INSERT INTO typed VALUES ($1)"), raw::describe(b'S', "s")])];
        let direct = hold(&mut stage.direct()?, &talk)?;
        for _ in 0..3 {
            assert_same!(hold(&mut stage.client()?, &talk)?, direct, "a column of type {kind}");
        }
        ddl.run("DROP TABLE typed")?;
    }
    Ok(())
}

#[test]
fn sql_execute_reaches_a_statement_of_the_protocol_by_either_protocol() -> Outcome {
    compare(
        &stage(),
        &[
            extended(&[raw::parse("foobar", "SELECT $1::int + 1")]),
            extended(&[
                raw::parse("", "EXECUTE foobar(41)"),
                raw::bind("", "", &[]),
                raw::describe(b'P', ""),
                raw::execute("", 0),
            ]),
            simple("EXECUTE foobar(1)"),
            extended(&[raw::parse("again", "EXECUTE foobar(2)"), raw::describe(b'S', "again")]),
            extended(&[raw::bind("", "again", &[]), raw::execute("", 0)]),
            extended(&[raw::parse("", "DEALLOCATE foobar"), raw::bind("", "", &[]), raw::execute("", 0)]),
            extended(&[raw::parse("", "EXECUTE foobar(3)"), raw::bind("", "", &[]), raw::execute("", 0)]),
        ],
    )
}

/// Postgres still knows the name of what was prepared, and says what is wrong with its text.
#[test]
fn sql_names_a_statement_whose_text_is_out_of_date() -> Outcome {
    let gone = |name: &str| extended(&[raw::parse(name, "SELECT n FROM going")]);
    compare(
        &stage(),
        &[
            simple("CREATE TEMP TABLE going (n int)"),
            gone("one"),
            gone("two"),
            gone("three"),
            simple("DROP TABLE going"),
            simple("EXECUTE one"),
            simple("EXECUTE one"),
            simple("BEGIN"),
            simple("EXECUTE one"),
            simple("SELECT 1"),
            simple("ROLLBACK"),
            simple("DEALLOCATE two"),
            simple("DEALLOCATE two"),
            simple("SELECT 1; EXECUTE three"),
            extended(&[raw::parse("", "DEALLOCATE three"), raw::bind("", "", &[]), raw::execute("", 0)]),
            simple("CREATE TEMP TABLE going (n int)"),
            simple("EXECUTE one"),
        ],
    )
}

/// As compile-time checks of queries do it; nothing is left behind that would keep the server.
#[test]
fn sql_that_names_a_statement_of_the_protocol_in_its_midst_finds_it() -> Outcome {
    let stage = stage();
    let table = "CREATE TEMP TABLE made ON COMMIT DROP AS EXECUTE plan(2)";
    compare(
        &stage,
        &[
            extended(&[raw::parse("plan", "SELECT $1::int + 1 AS n"), raw::describe(b'S', "plan")]),
            simple("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE plan(NULL)"),
            extended(&[
                raw::parse("", "EXPLAIN EXECUTE plan(1)"),
                raw::bind("", "", &[]),
                raw::execute("", 0),
            ]),
            simple("BEGIN"),
            simple(table),
            simple("SELECT n FROM made"),
            simple("COMMIT"),
            extended(&[raw::parse("", table), raw::bind("", "", &[]), raw::execute("", 0)]),
            simple("SELECT name FROM pg_prepared_statements"),
            simple("EXECUTE plan(4)"),
            simple("DEALLOCATE plan; PREPARE plan AS SELECT 'another'"),
            simple("EXECUTE plan"),
            simple("SELECT 1"),
            simple("EXECUTE plan"),
        ],
    )?;
    let mut client = stage.client()?;
    client.prepare("plan", "SELECT 41 + $1::int")?;
    client.run("EXPLAIN EXECUTE plan(1)")?;
    client.run("EXECUTE plan(1)")?;
    wait_until("it is free to read on a replica", || {
        stage.nodes_for_client(&mut client, "SELECT 1").is_ok_and(|nodes| stage.is_replica(&nodes))
    })
}

/// What a text means is settled when it is parsed: SQL that names the statement later, under other settings,
/// runs what was prepared, and the view shows it.
#[test]
fn sql_that_names_a_statement_finds_it_as_it_was_parsed() -> Outcome {
    let shown = "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY name";
    // Where others change the schema beside it, Postgres reads a statement anew, under what is in force by then.
    compare(
        &Stage::own(|weir| weir)?,
        &[
            simple("SET TimeZone = 'UTC'"),
            extended(&[raw::parse("at", "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)")]),
            extended(&[raw::parse("sum", "SELECT $1::int + 1")]),
            simple("SET TimeZone = 'Asia/Tokyo'"),
            simple("EXECUTE at"),
            simple("EXPLAIN (VERBOSE, COSTS OFF) EXECUTE at"),
            extended(&[raw::parse("", "EXECUTE at"), raw::bind("", "", &[]), raw::execute("", 0)]),
            simple("SELECT 1; EXECUTE sum(1); EXECUTE at"),
            simple("BEGIN"),
            simple("SET LOCAL client_encoding = LATIN1"),
            extended(&[raw::parse("word", "SELECT length('\u{e4}')")]),
            simple("EXECUTE word"),
            simple("EXECUTE at"),
            simple("ROLLBACK"),
            simple("EXECUTE word"),
            simple(shown),
            extended(&[raw::parse("", shown), raw::bind("", "", &[]), raw::execute("", 0)]),
            simple("PREPARE word AS SELECT 'taken'"),
            simple("DEALLOCATE at"),
            simple("EXECUTE at"),
            simple("BEGIN; SELECT 1/0"),
            simple("EXECUTE word"),
            simple("ROLLBACK"),
            simple("EXECUTE word"),
            simple(shown),
        ],
    )
}

/// The same for other settings that a text is read by, and for those that Postgres looks at when it runs.
#[test]
fn sql_that_names_a_statement_knows_which_settings_are_the_texts_own() -> Outcome {
    compare(
        &stage(),
        &[
            simple("CREATE TEMP TABLE named (v text); INSERT INTO named VALUES ('temporary')"),
            simple("SET DateStyle = 'ISO, DMY'"),
            extended(&[raw::parse(
                "day",
                "SELECT extract(month FROM '01/02/2024'::date), date '2024-02-01'",
            )]),
            simple("SET standard_conforming_strings = off; SET escape_string_warning = off"),
            extended(&[raw::parse("slash", "SELECT length('\\n')")]),
            simple("SET search_path = pg_temp, public"),
            extended(&[raw::parse("who", "SELECT v, current_user, current_schemas(false) FROM named")]),
            extended(&[raw::parse("nobody", "SELECT $1::text || 'x'"), raw::describe(b'S', "nobody")]),
            simple("RESET ALL"),
            simple("EXECUTE day"),
            simple("EXECUTE slash"),
            simple("EXECUTE who"),
            simple("EXECUTE nobody('a')"),
            simple("SET DateStyle = 'German'; EXECUTE day"),
            simple("BEGIN READ ONLY"),
            simple("EXECUTE day"),
            simple("SAVEPOINT s; SET LOCAL DateStyle = 'SQL, MDY'"),
            simple("EXECUTE day"),
            simple("EXECUTE missing"),
            simple("ROLLBACK TO s"),
            simple("EXECUTE day; EXECUTE day"),
            simple("COMMIT"),
            simple("SELECT name, statement FROM pg_prepared_statements ORDER BY name"),
        ],
    )
}

/// As caches of drivers do it.
#[test]
fn sql_deallocate_ends_a_statement_of_the_protocol_and_nothing_else() -> Outcome {
    let bind = |name: &str| extended(&[raw::bind("", name, &[]), raw::execute("", 0)]);
    let parse = |name: &str| extended(&[raw::parse(name, "SELECT 1")]);
    compare(
        &stage(),
        &[
            parse("first"),
            parse(""),
            simple("DEALLOCATE first"),
            bind("first"),
            bind(""),
            simple("DEALLOCATE first"),
            parse("first"),
            simple("BEGIN"),
            simple("DEALLOCATE PREPARE \"first\""),
            bind("first"),
            parse("second"),
            simple("ROLLBACK"),
            parse("second"),
            simple("BEGIN"),
            simple("SELECT 1/0"),
            simple("DEALLOCATE second"),
            simple("ROLLBACK"),
            bind("second"),
            simple("EXECUTE second"),
            simple("DEALLOCATE second"),
            simple("PREPARE second AS SELECT 2"),
            simple("EXECUTE second"),
        ],
    )
}

/// A server keeps its unnamed statement for the next client, who has none.
#[test]
fn the_unnamed_statement_of_another_is_out_of_reach() -> Outcome {
    let stage = stage();
    let unnamed = || extended(&[raw::bind("", "", &[]), raw::execute("", 0)]);
    for _ in 0..10 {
        let mut another = stage.client()?;
        // A transaction runs on the primary, as whatever is unknown does.
        hold(
            &mut another,
            &[extended(&[
                raw::parse("", "BEGIN"),
                raw::bind("", "", &[]),
                raw::execute("", 0),
                raw::parse("", "COMMIT"),
                raw::bind("", "", &[]),
                raw::execute("", 0),
                raw::parse("", "SELECT 'of another'"),
            ])],
        )?;
        compare(
            &stage,
            &[unnamed(), extended(&[raw::describe(b'S', "")]), simple("BEGIN"), unnamed(), unnamed()],
        )?;
    }
    Ok(())
}

/// Also by one that pgweir answers by itself, and not by one that is skipped.
#[test]
fn a_query_ends_the_unnamed_statement() -> Outcome {
    let parse = || extended(&[raw::parse("", "SELECT 1")]);
    let bind = || extended(&[raw::bind("", "", &[]), raw::execute("", 0)]);
    compare(
        &stage(),
        &[
            parse(),
            bind(),
            simple("BEGIN"),
            bind(),
            simple("ROLLBACK"),
            simple("BEGIN"),
            parse(),
            simple("COMMIT"),
            bind(),
            parse(),
            Batch { bytes: [raw::bind("", "none", &[]), raw::flush()].concat(), until: Until::Tag(b'E') },
            Batch { bytes: [raw::query("SELECT 'skipped'"), raw::sync()].concat(), until: Until::Ready(1) },
            bind(),
        ],
    )
}

#[test]
fn a_client_sees_its_own_prepared_statements_and_nobody_elses() -> Outcome {
    let stage = stage();
    let mut neighbour = stage.client()?;
    for number in 0..20 {
        neighbour.prepare(&format!("n{number}"), &format!("SELECT {number} AS of_a_neighbour"))?;
        neighbour.execute(&format!("n{number}"), &[])?;
    }
    let list = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name";
    compare(
        &stage,
        &[
            simple(list),
            extended(&[raw::parse("mine", "SELECT $1::int")]),
            simple(list),
            simple("PREPARE by_sql AS SELECT 2"),
            simple(list),
            extended(&[raw::parse("", list), raw::bind("", "", &[]), raw::execute("", 0)]),
            extended(&[raw::bind("", "mine", &[Some("5")]), raw::execute("", 0)]),
            simple("BEGIN"),
            simple(list),
            simple("COMMIT"),
            simple("DEALLOCATE by_sql"),
            extended(&[raw::close(b'S', "mine")]),
            simple(list),
        ],
    )?;
    for number in 0..20 {
        let rows = neighbour.execute(&format!("n{number}"), &[])?;
        assert_eq!(rows, [[Some(number.to_string())]]);
    }
    Ok(())
}

/// What an error skips has not happened, also where pgweir would have answered by itself.
#[test]
fn names_given_behind_an_error_in_a_pipeline_are_free_again() -> Outcome {
    let stage = stage();
    let mut other = stage.client()?;
    other.prepare("known", "SELECT 'known to every server'")?;
    other.execute("known", &[])?;
    compare(
        &stage,
        &[
            extended(&[raw::parse("kept", "SELECT 'kept'")]),
            extended(&[
                raw::parse("", "SELECT 1/0"),
                raw::bind("", "", &[]),
                raw::execute("", 0),
                raw::parse("p", "SELECT 'known to every server'"),
                raw::close(b'S', "kept"),
            ]),
            extended(&[raw::bind("", "p", &[]), raw::execute("", 0)]),
            extended(&[raw::parse("p", "SELECT 'known to every server'")]),
            extended(&[raw::bind("", "p", &[]), raw::execute("", 0)]),
            extended(&[raw::bind("", "kept", &[]), raw::execute("", 0)]),
            // A Parse that fails takes the old unnamed statement with it.
            extended(&[raw::parse("", "SELECT 'old'")]),
            extended(&[raw::parse("", "SELEC")]),
            extended(&[raw::bind("", "", &[]), raw::execute("", 0)]),
        ],
    )
}

#[test]
fn tenants_with_tables_of_other_shapes_share_texts_without_harm() -> Outcome {
    let stage = stage();
    let mut clients = vec![];
    for (number, kind) in ["int", "text", "date"].iter().enumerate() {
        let mut client = stage.client()?;
        client.run(&format!("CREATE SCHEMA tenant{number}; CREATE TABLE tenant{number}.own (v {kind})"))?;
        client.run(&format!("SET search_path = tenant{number}"))?;
        client.prepare("own", "SELECT * FROM own")?;
        hold(&mut client, &[extended(&[raw::describe(b'S', "own")])])?;
        clients.push(client);
    }
    for _ in 0..10 {
        for client in &mut clients {
            assert_eq!(client.execute("own", &[])?.len(), 0);
            client.run("BEGIN")?;
            assert_eq!(client.execute("own", &[])?.len(), 0);
            client.run("COMMIT")?;
        }
    }
    for number in 0..3 {
        clients[0].run(&format!("DROP SCHEMA tenant{number} CASCADE"))?;
    }
    Ok(())
}

/// A client that reads its answers by Flush only, as some drivers do.
#[test]
fn shapes_are_agreed_on_behind_a_flush_too() -> Outcome {
    let stage = stage();
    let mut ddl = stage.client()?;
    ddl.run("CREATE TABLE flushed (a int); INSERT INTO flushed VALUES (1)")?;
    let parse = raw::parse("f", "SELECT a FROM flushed WHERE a = $1");
    let talk = [
        Batch { bytes: [parse, raw::describe(b'S', "f"), raw::flush()].concat(), until: Until::Tag(b'T') },
        Batch {
            bytes: [raw::bind("", "f", &[Some("1")]), raw::execute("", 0), raw::flush()].concat(),
            until: Until::Tag(b'C'),
        },
        extended(&[]),
        simple("BEGIN"),
        Batch {
            bytes: [raw::bind("", "f", &[Some("1")]), raw::execute("", 0), raw::flush()].concat(),
            until: Until::Tag(b'C'),
        },
        extended(&[]),
        simple("COMMIT"),
        extended(&[raw::bind("", "f", &[Some("1")]), raw::execute("", 0)]),
    ];
    compare(&stage, &talk)?;
    ddl.run("DROP TABLE flushed")?;
    Ok(())
}

/// Behind an error everything is skipped up to the Sync, a Query too.
#[test]
fn a_query_behind_an_error_is_skipped_up_to_the_sync() -> Outcome {
    let flush = || raw::flush();
    let talk = [
        Batch { bytes: [raw::parse("", "SELEC"), flush()].concat(), until: Until::Tag(b'E') },
        Batch { bytes: [raw::query("SELECT 'skipped'"), raw::sync()].concat(), until: Until::Ready(1) },
        simple("SELECT 'heard'"),
        Batch { bytes: [raw::parse("", "SELEC"), flush()].concat(), until: Until::Tag(b'E') },
        Batch { bytes: raw::query("SELECT 'skipped'"), until: Until::Nothing },
        extended(&[raw::parse("", "SELECT 'skipped too'")]),
        simple("SELECT 'heard'"),
    ];
    compare(&stage(), &talk)
}

/// SQL and the protocol share one set of names.
#[test]
fn a_name_is_given_once_whether_by_sql_or_by_the_protocol() -> Outcome {
    let bind = |name: &str| extended(&[raw::bind("", name, &[]), raw::execute("", 0)]);
    let by_sql = |name: &str| simple(&format!("PREPARE {name} AS SELECT 'by SQL'"));
    compare(
        &stage(),
        &[
            extended(&[raw::parse("one", "SELECT 'by the protocol'")]),
            by_sql("one"),
            bind("one"),
            by_sql("two"),
            extended(&[raw::parse("two", "SELECT 1")]),
            extended(&[raw::parse("two", "SELEC")]),
            bind("two"),
            extended(&[raw::parse("again", "PREPARE one AS SELECT 3")]),
            bind("again"),
            extended(&[raw::close(b'S', "one")]),
            bind("again"),
            simple("EXECUTE one"),
            // What an error skips leaves the name to SQL.
            extended(&[raw::bind("", "none", &[]), raw::close(b'S', "two"), raw::parse("two", "SELECT 2")]),
            simple("EXECUTE two"),
            simple("DEALLOCATE two"),
            extended(&[raw::parse("two", "SELECT 'free'")]),
            bind("two"),
        ],
    )
}

/// The part of a batch behind a Flush would run on another node than the part ahead of it; behind an error
/// it runs nowhere.
#[test]
fn the_rest_of_a_failed_batch_is_skipped_also_where_it_needs_the_primary() -> Outcome {
    compare(
        &stage(),
        &[
            extended(&[raw::parse("writes", "UPDATE product SET name = name WHERE false")]),
            Batch {
                bytes: [
                    raw::parse("", "SELECT 1/0"),
                    raw::bind("", "", &[]),
                    raw::execute("", 0),
                    raw::flush(),
                ]
                .concat(),
                until: Until::Tag(b'E'),
            },
            extended(&[raw::bind("", "writes", &[]), raw::execute("", 0)]),
            simple("SELECT 1"),
        ],
    )
}

/// Postgres refuses in a failed transaction to parse what does not end it, known to the server or not.
#[test]
fn nothing_is_parsed_in_a_failed_transaction() -> Outcome {
    let text = "SELECT count(*) FROM note";
    compare(
        &stage(),
        &[
            simple("BEGIN"),
            simple("SELECT 1"),
            extended(&[raw::parse("known", text)]),
            simple("SELECT 1/0"),
            extended(&[raw::parse("s", text)]),
            extended(&[raw::parse("end", "ROLLBACK"), raw::bind("", "end", &[]), raw::execute("", 0)]),
            extended(&[raw::bind("", "s", &[]), raw::execute("", 0)]),
        ],
    )
}

/// What FETCH returns is not for its text to say.
#[test]
fn a_described_fetch_runs_on_other_cursors_too() -> Outcome {
    let stage = stage();
    let fetch = || extended(&[raw::bind("", "f", &[]), raw::execute("", 0)]);
    let mut tags = vec![];
    for through in [false, true] {
        let open = || if through { stage.client() } else { stage.direct() };
        let (mut client, mut other) = (open()?, open()?);
        let first = [
            simple("BEGIN"),
            simple("DECLARE c CURSOR FOR SELECT 1"),
            extended(&[raw::parse("f", "FETCH ALL FROM c"), raw::describe(b'S', "f")]),
            fetch(),
            simple("COMMIT"),
        ];
        let mut talk = hold(&mut client, &first)?;
        // Takes the server that has just been given back.
        other.run("BEGIN")?;
        other.run("SELECT 1")?;
        let second =
            [simple("BEGIN"), simple("DECLARE c CURSOR FOR SELECT 'text', 2"), fetch(), simple("COMMIT")];
        talk.extend(hold(&mut client, &second)?);
        tags.push(talk.iter().map(|answer| raw::tags(answer)).collect::<Vec<_>>());
    }
    assert_same!(tags[1], tags[0], "messages");
    Ok(())
}
