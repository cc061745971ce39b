//! BEGIN and COMMIT sent by the extended protocol, each in a batch of its own, as PostgREST and others do.

use crate::support::{Outcome, mark, stage};
use crate::twin::{Batch, compare, extended, simple};
use pgweir_tests::raw;

const READ: &str = "SELECT count(*) FROM product";

/// By the unnamed statement; `described`: `S` and `P` for what is described on the way.
fn run(sql: &str, described: &str) -> Vec<u8> {
    let describe = |kind| if described.contains(kind) { raw::describe(kind as u8, "") } else { vec![] };
    let (parse, bind, execute) = (raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0));
    [parse, describe('S'), bind, describe('P'), execute].concat()
}

#[test]
fn a_read_only_transaction_begun_by_itself_is_a_replicas() -> Outcome {
    let stage = stage();
    for begin in ["BEGIN READ ONLY", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"] {
        for described in ["", "S", "P", "SP"] {
            let (mut client, mark) = (stage.client()?, mark());
            for sql in [begin, READ, READ, "COMMIT"] {
                let marked = format!("{sql} /* {mark} */");
                client.send(&[run(&marked, described), raw::sync()].concat())?;
                client.until_ready()?;
            }
            let runs = stage.cluster.runs(&mark);
            assert_eq!(runs[stage.cluster.primary()], 0, "{begin} {described}: {runs:?}");
        }
    }
    Ok(())
}

#[test]
fn what_is_declared_read_write_reads_on_a_replica_until_it_writes() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.run("SET pgweir.transactions = 'until_first_write'")?;
    for begin in ["BEGIN READ WRITE", "START TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE"] {
        client.run(begin)?;
        let nodes = stage.nodes_for_client(&mut client, READ)?;
        assert!(stage.is_replica(&nodes), "{begin}: {nodes:?}");
        assert_eq!(client.value("SHOW transaction_read_only")?, "off");
        let nodes = stage.nodes_for_client(&mut client, "UPDATE counter SET n = n + 1 WHERE id = 95")?;
        assert!(stage.is_primary(&nodes), "{begin}: {nodes:?}");
        client.run("ROLLBACK")?;
    }
    client.run("SET default_transaction_read_only = on")?;
    client.run("BEGIN READ WRITE")?;
    client.run(READ)?;
    client.run("UPDATE counter SET n = n + 1 WHERE id = 95")?;
    client.run("ROLLBACK")?;
    Ok(())
}

#[test]
fn such_a_transaction_looks_as_on_a_direct_connection() -> Outcome {
    let alone = |sql: &str, described: &str| extended(&[run(sql, described)]);
    let write = "UPDATE counter SET n = n + 1 WHERE id = 96";
    let named = |name: &str| extended(&[raw::bind("", name, &[]), raw::execute("", 0)]);
    let prepared = |name: &str, sql: &str| extended(&[raw::parse(name, sql), raw::describe(b'S', name)]);
    let conversations: Vec<Vec<Batch>> = vec![
        vec![alone("BEGIN", "SP"), alone(READ, "SP"), alone("COMMIT", "SP")],
        vec![alone("BEGIN", ""), alone("COMMIT", "P"), alone("COMMIT", "")],
        vec![alone("begin;", "S"), alone("ROLLBACK", "S"), alone(READ, "")],
        vec![alone("BEGIN READ ONLY", "P"), alone(write, ""), alone(READ, ""), alone("COMMIT", "P")],
        vec![alone("BEGIN", "P"), alone("BEGIN", "P"), alone(write, "P"), alone("ROLLBACK", "P")],
        // The unnamed statement is there still.
        vec![alone("BEGIN", ""), named(""), alone("ROLLBACK", ""), named("")],
        vec![alone("BEGIN", ""), simple("ROLLBACK"), named("")],
        vec![
            prepared("b", "BEGIN READ ONLY"),
            prepared("c", "COMMIT"),
            named("b"),
            alone(READ, ""),
            named("c"),
            named("b"),
            named("c"),
        ],
        vec![extended(&[raw::parse("b", "BEGIN"), raw::bind("", "b", &[]), raw::execute("", 1)]), named("b")],
        // The name is taken.
        vec![
            prepared("b", READ),
            extended(&[raw::parse("b", "BEGIN"), raw::bind("", "b", &[]), raw::execute("", 0)]),
            alone(READ, ""),
        ],
        vec![extended(&[raw::parse("", "BEGIN"), raw::bind("", "", &[Some("1")]), raw::execute("", 0)])],
        vec![extended(&[raw::parse("", "BEGIN"), raw::bind("", "other", &[]), raw::execute("", 0)])],
        vec![extended(&[raw::parse("", "BEGIN"), raw::bind("", "", &[])]), alone(READ, "")],
        vec![
            extended(&[raw::parse("", "BEGIN"), raw::bind("", "", &[]), raw::execute("p", 0)]),
            alone(READ, ""),
        ],
    ];
    for conversation in conversations {
        compare(&stage(), &conversation)?;
    }
    Ok(())
}

/// Modes that are declared first and changed before the first query.
#[test]
fn a_block_whose_modes_change_before_its_first_query_is_a_block() -> Outcome {
    let write = "UPDATE counter SET n = n + 1 WHERE id = 97";
    let conversations: &[&[&str]] = &[
        &["BEGIN READ WRITE", "SET TRANSACTION READ ONLY", READ, "SET TRANSACTION READ WRITE", "ROLLBACK"],
        &[
            "BEGIN READ WRITE",
            "SET TRANSACTION READ ONLY",
            "SET TRANSACTION READ WRITE",
            write,
            "ROLLBACK",
            READ,
        ],
        &["START TRANSACTION READ WRITE, READ ONLY", READ, write, "ROLLBACK"],
        &["BEGIN READ ONLY, READ WRITE", READ, write, "ROLLBACK"],
        &["BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE", "SET TRANSACTION READ ONLY", READ, "COMMIT"],
        &[
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            READ,
            "SHOW transaction_isolation",
            "COMMIT",
        ],
        &["BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", READ, "COMMIT"],
    ];
    for conversation in conversations {
        compare(&stage(), &conversation.iter().map(|sql| simple(sql)).collect::<Vec<_>>())?;
    }
    Ok(())
}

#[test]
fn a_session_that_is_serializable_by_default_reads_on_replicas_where_its_block_says_otherwise() -> Outcome {
    let stage = stage();
    for declare in [
        "SET default_transaction_isolation = 'serializable'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        let mut conversation = vec![simple(declare)];
        for (set, begin) in [
            ("SET timezone = 'CET'", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            ("SET app.q = '1'", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"),
            ("SET work_mem = '7MB'", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            ("SET default_transaction_read_only = on", "BEGIN ISOLATION LEVEL REPEATABLE READ"),
        ] {
            for sql in [set, begin, READ, "SHOW transaction_isolation", "COMMIT", READ] {
                conversation.push(simple(sql));
            }
        }
        // Whoever has such a server next.
        for _ in 0..4 {
            compare(&stage, &conversation)?;
            let other = ["SET app.z = '5'", "SHOW default_transaction_isolation", READ, READ];
            compare(&stage, &other.map(simple))?;
        }
    }
    let mut client = stage.client()?;
    client.run("SET default_transaction_isolation = 'serializable'")?;
    client.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    assert!(stage.is_replica(&nodes), "{nodes:?}");
    Ok(())
}
