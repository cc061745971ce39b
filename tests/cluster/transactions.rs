//! Transactions that read from a replica until they need the primary (`until_first_write`).

use crate::support::{Outcome, mark, stage};
use crate::twin::{Batch, compare, extended, simple, simples, until};
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::{HarnessError, cluster::wait_until};

const WISH: &str = "SET pgweir.transactions = 'until_first_write'";
const READ: &str = "SELECT count(*) FROM product";

fn wishing(conversation: Vec<Batch>) -> Vec<Batch> {
    std::iter::once(simple(WISH)).chain(conversation).collect()
}

/// A client that has asked for it.
fn client() -> Result<RawClient, HarnessError> {
    let mut client = stage().client()?;
    client.run(WISH)?;
    Ok(client)
}

#[test]
fn reads_run_on_a_replica_until_the_first_write_and_then_on_the_primary() -> Outcome {
    let (stage, mut client) = (stage(), client()?);
    client.run("BEGIN")?;
    for _ in 0..2 {
        let nodes = stage.nodes_for_client(&mut client, READ)?;
        assert!(stage.is_replica(&nodes), "{nodes:?}");
    }
    let nodes = stage.nodes_for_client(&mut client, "UPDATE counter SET n = n + 1 WHERE id = 90")?;
    assert!(stage.is_primary(&nodes), "{nodes:?}");
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    assert!(stage.is_primary(&nodes), "{nodes:?}");
    client.run("ROLLBACK")?;
    Ok(())
}

#[test]
fn a_transaction_that_only_reads_never_meets_the_primary() -> Outcome {
    let (stage, mut client) = (stage(), client()?);
    let mark = mark();
    client.run("BEGIN")?;
    client.run(&format!("SAVEPOINT s /* {mark} */"))?;
    client.run(&format!("{READ} /* {mark} */"))?;
    client.run(&format!("RELEASE s /* {mark} */"))?;
    client.run(&format!("COMMIT /* {mark} */"))?;
    let runs = stage.cluster.runs(&mark);
    assert_eq!(runs[stage.cluster.primary()], 0, "{runs:?}");
    assert_eq!(runs.iter().sum::<usize>(), 4, "{runs:?}");
    Ok(())
}

#[test]
fn without_the_wish_a_transaction_is_the_primarys() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.run("BEGIN")?;
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    client.run("COMMIT")?;
    assert!(stage.is_primary(&nodes), "{nodes:?}");
    Ok(())
}

#[test]
fn a_batch_that_begins_a_transaction_begins_it_on_a_replica() -> Outcome {
    let (stage, mut client) = (stage(), client()?);
    let mark = mark();
    let execute = |sql: &str| {
        let sql = format!("{sql} /* {mark} */");
        [raw::parse("", &sql), raw::bind("", "", &[]), raw::execute("", 0)].concat()
    };
    client.send(&[execute("BEGIN"), execute(READ), raw::sync()].concat())?;
    client.until_ready()?;
    let runs = stage.cluster.runs(&mark);
    assert_eq!((runs[stage.cluster.primary()], runs.iter().sum::<usize>()), (0, 2), "{runs:?}");
    let nodes = stage.nodes_for_client(&mut client, "UPDATE counter SET n = n + 1 WHERE id = 91")?;
    client.run("ROLLBACK")?;
    assert!(stage.is_primary(&nodes), "{nodes:?}");
    Ok(())
}

#[test]
fn the_time_of_the_transaction_is_one() -> Outcome {
    let mut client = client()?;
    for write in ["UPDATE counter SET n = n + 1 WHERE id = 92", "SELECT 1"] {
        client.run("BEGIN")?;
        client.run(READ)?;
        let first = client.value("SELECT now()")?;
        client.run(write)?;
        client.run(READ)?;
        assert_eq!(client.value("SELECT 'now'::timestamptz")?, first);
        assert_eq!(client.value("SELECT transaction_timestamp() FROM product LIMIT 1")?, first);
        client.run("ROLLBACK")?;
    }
    Ok(())
}

#[test]
fn a_move_is_not_seen() -> Outcome {
    let write = "UPDATE counter SET n = n + 1 WHERE id = 93 RETURNING id";
    let conversations: &[&[&str]] = &[
        &["BEGIN", READ, write, READ, "ROLLBACK"],
        &[
            "BEGIN",
            "SAVEPOINT a",
            READ,
            "SAVEPOINT b",
            write,
            "ROLLBACK TO b",
            write,
            "ROLLBACK TO a",
            READ,
            "ROLLBACK",
        ],
        &[
            "BEGIN",
            READ,
            "SAVEPOINT a",
            "SELECT 1/0",
            "SELECT 1",
            "ROLLBACK TO a",
            write,
            "RELEASE a",
            "ROLLBACK",
        ],
        &["BEGIN", READ, "SELECT 1/0", write, "COMMIT", READ],
        &[
            "BEGIN",
            READ,
            "SET LOCAL work_mem = '1MB'",
            "SHOW work_mem",
            write,
            "SHOW work_mem",
            "SELECT current_setting('work_mem')",
            "ROLLBACK",
            "SHOW work_mem",
        ],
        &[
            "BEGIN",
            "SET LOCAL search_path = pg_catalog",
            "SELECT count(*) FROM public.product",
            "SAVEPOINT a",
            "SET statement_timeout = '9s'",
            READ,
            "ROLLBACK TO a",
            "UPDATE public.counter SET n = n WHERE id = 93",
            "SHOW statement_timeout",
            "SHOW search_path",
            "ROLLBACK",
        ],
        &["BEGIN", "SET work_mem = '2MB'", READ, write, "ROLLBACK", "SHOW work_mem"],
        &["BEGIN", "SET work_mem = '2MB'", READ, write, "COMMIT", "SHOW work_mem", "RESET work_mem"],
        &[
            "BEGIN",
            "SELECT set_config('work_mem', '3MB', true)",
            READ,
            write,
            "SHOW work_mem",
            "COMMIT",
            "SHOW work_mem",
        ],
        &[
            "BEGIN",
            READ,
            "DECLARE c CURSOR FOR SELECT id FROM product ORDER BY id",
            "FETCH 2 FROM c",
            write,
            "FETCH 2 FROM c",
            "ROLLBACK",
        ],
        &["BEGIN", READ, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"],
        &[
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            READ,
            "SHOW transaction_isolation",
            write,
            "ROLLBACK",
        ],
        &["BEGIN", READ, "SHOW transaction_read_only", "SHOW transaction_isolation", "ROLLBACK"],
        &["BEGIN", READ, "COMMIT AND CHAIN", READ, write, "ROLLBACK AND CHAIN", write, "ROLLBACK"],
        &["BEGIN", READ, "LOCK TABLE product IN ACCESS SHARE MODE", READ, "COMMIT"],
        &["BEGIN", READ, "SELECT pg_is_in_recovery()", "COMMIT"],
        &["BEGIN", READ, "BEGIN", "COMMIT", "COMMIT"],
        &["BEGIN", READ, "SELECT * FROM nowhere", "ROLLBACK"],
        &["BEGIN", READ, "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "COMMIT"],
        &["BEGIN", "SELECT id FROM product WHERE id = 1 FOR UPDATE", READ, "COMMIT"],
        &[
            "BEGIN",
            READ,
            "SET LOCAL ROLE helper",
            "SELECT current_user",
            write,
            "ROLLBACK",
            "SELECT current_user",
        ],
    ];
    for conversation in conversations {
        compare(&stage(), &wishing(simples(conversation)))?;
    }
    Ok(())
}

#[test]
fn a_move_is_not_seen_by_the_extended_protocol() -> Outcome {
    let run = |sql: &str| {
        [raw::parse("", sql), raw::bind("", "", &[]), raw::describe(b'P', ""), raw::execute("", 0)].concat()
    };
    let write = "UPDATE counter SET n = n + 1 WHERE id = 94 RETURNING id";
    let named = [raw::parse("ids", "SELECT id FROM product WHERE id < 4 ORDER BY id")];
    let fetch = |portal: &str, rows: i32| raw::execute(portal, rows);
    let conversations = vec![
        vec![
            extended(&[run("BEGIN"), run(READ)]),
            extended(&[run(READ)]),
            extended(&[run(write)]),
            extended(&[run("ROLLBACK")]),
        ],
        vec![
            extended(&named),
            simple("BEGIN"),
            extended(&[raw::bind("", "ids", &[]), fetch("", 0)]),
            extended(&[run(write)]),
            extended(&[raw::bind("", "ids", &[]), fetch("", 0)]),
            simple("ROLLBACK"),
        ],
        vec![
            extended(&named),
            simple("BEGIN"),
            simple(READ),
            extended(&[raw::bind("rows", "ids", &[]), fetch("rows", 1)]),
            simple(write),
            extended(&[fetch("rows", 1)]),
            simple("ROLLBACK"),
        ],
        vec![
            extended(&named),
            simple("BEGIN"),
            simple(READ),
            until(&[raw::bind("", "ids", &[]), fetch("", 2), raw::flush()], b's'),
            extended(&[fetch("", 2)]),
            simple(write),
            simple("ROLLBACK"),
        ],
        vec![
            simple("BEGIN"),
            extended(&[run(READ), run("SAVEPOINT x"), run(READ)]),
            extended(&[run(write), run("ROLLBACK TO x"), run(READ)]),
            simple("ROLLBACK"),
        ],
        vec![
            simple("BEGIN"),
            extended(&[]),
            extended(&[run(READ)]),
            extended(&[]),
            extended(&[run("SELECT 1/0")]),
            extended(&[run(write)]),
            simple("COMMIT"),
        ],
    ];
    for conversation in conversations {
        compare(&stage(), &wishing(conversation))?;
    }
    Ok(())
}

#[test]
fn a_later_read_sees_what_was_acknowledged_before_it() -> Outcome {
    let (stage, mut client) = (stage(), client()?);
    let mut other = stage.client()?;
    client.run("BEGIN")?;
    for _ in 0..20 {
        let written = other.value("UPDATE counter SET n = n + 1 WHERE id = 95 RETURNING n")?;
        assert_eq!(client.value("SELECT n FROM counter WHERE id = 95")?, written);
    }
    client.run("COMMIT")?;
    Ok(())
}

#[test]
fn a_table_that_the_replica_does_not_know_yet_is_read_on_the_primary() -> Outcome {
    let (stage, mut client) = (stage(), client()?);
    for replica in stage.cluster.replicas() {
        stage.cluster.sql(replica, "postgres", "SELECT pg_wal_replay_pause()")?;
    }
    let told = (|| {
        client.run("BEGIN")?;
        client.run("SELECT 1")?;
        stage.direct()?.run("CREATE TABLE brand_new AS SELECT 7 AS n")?;
        client.run("SAVEPOINT s")?;
        let value = client.value("SELECT n FROM brand_new");
        client.run("COMMIT")?;
        value
    })();
    for replica in stage.cluster.replicas() {
        stage.cluster.sql(replica, "postgres", "SELECT pg_wal_replay_resume()")?;
    }
    stage.direct()?.run("DROP TABLE IF EXISTS brand_new")?;
    wait_until("replicas have caught up", || stage.cluster.wait_caught_up().is_ok())?;
    assert_eq!(told?, "7");
    Ok(())
}

/// Which nodes ran each of these, in one transaction.
fn where_run(client: &mut RawClient, statements: &[&str]) -> Result<Vec<Vec<usize>>, HarnessError> {
    statements.iter().map(|sql| stage().nodes_for_client(client, sql)).collect()
}

#[test]
fn a_read_only_transaction_stays_on_its_replica_from_start_to_end() -> Outcome {
    let stage = stage();
    let begins: [&[&str]; 5] = [
        &["BEGIN READ ONLY"],
        &["BEGIN", "SET TRANSACTION READ ONLY"],
        &["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"],
        &["BEGIN ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION READ ONLY"],
        &["SET default_transaction_read_only = on", "BEGIN"],
    ];
    for begin in begins {
        let mut client = stage.client()?;
        for sql in begin {
            client.run(sql)?;
        }
        let ran = where_run(
            &mut client,
            &[
                "SET LOCAL work_mem = '1MB'",
                "SELECT set_config('app.tenant', '7', true)",
                READ,
                "SAVEPOINT s",
                "DECLARE c CURSOR FOR SELECT id FROM product",
                "FETCH 2 FROM c",
                "CLOSE c",
                "ROLLBACK TO s",
                "RELEASE s",
                "SHOW work_mem",
                "COMMIT",
            ],
        )?;
        assert!(ran.iter().all(|nodes| *nodes == ran[0] && stage.is_replica(nodes)), "{begin:?}: {ran:?}");
    }
    Ok(())
}

#[test]
fn a_read_only_transaction_moves_only_while_nothing_shows_it() -> Outcome {
    let conversations: &[&[&str]] = &[
        &["BEGIN READ ONLY", "DECLARE c CURSOR FOR SELECT 1", "FETCH 1 FROM c", "COMMIT"],
        &["BEGIN READ ONLY", READ, "DECLARE c CURSOR FOR SELECT 1", "SELECT nextval('ticket')", "ROLLBACK"],
        &[
            "BEGIN",
            "SET TRANSACTION READ ONLY",
            "SET LOCAL work_mem = '1MB'",
            READ,
            "SHOW work_mem",
            "COMMIT",
            "SHOW work_mem",
        ],
        &["BEGIN READ ONLY", "SAVEPOINT a", "SELECT 1/0", "ROLLBACK TO a", READ, "COMMIT"],
        &["BEGIN", "SET TRANSACTION READ ONLY", "UPDATE counter SET n = n WHERE id = 96", "ROLLBACK"],
        &["BEGIN", READ, "SET TRANSACTION READ ONLY", "UPDATE counter SET n = n WHERE id = 96", "ROLLBACK"],
        &[
            "BEGIN",
            "SET TRANSACTION READ ONLY",
            "SET TRANSACTION READ WRITE",
            "UPDATE counter SET n = n WHERE id = 96",
            "ROLLBACK",
        ],
        &["BEGIN READ ONLY", "SET LOCAL ROLE helper", "SELECT current_user", "COMMIT", "SELECT current_user"],
        &["BEGIN READ ONLY", READ, "LOCK TABLE product IN ACCESS SHARE MODE", READ, "COMMIT"],
        &["BEGIN", "SET transaction_read_only = on", READ, "SHOW transaction_read_only", "COMMIT"],
    ];
    for conversation in conversations {
        compare(&stage(), &simples(conversation))?;
    }
    let mut client = stage().client()?;
    client.run("BEGIN READ ONLY")?;
    let first = client.value("SELECT now() FROM product LIMIT 1")?;
    client.run("SHOW work_mem")?;
    assert_eq!(client.value("SELECT now()")?, first);
    client.run("COMMIT")?;
    Ok(())
}
