//! Writes reach the primary, proved reads reach replicas, and nobody ever sees a 25006.
//!
//! Where a statement ran is read from the nodes' own logs, not asked of pgweir.

use crate::support::{Outcome, Stage, mark, stage};
use pgweir_tests::raw;
use std::collections::BTreeSet;

const READ: &str = "SELECT count(*) FROM product";

#[test]
fn reads_are_served_by_both_replicas_and_not_by_the_primary() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let mut nodes = BTreeSet::new();
    let mut client = stage.client()?;
    for _ in 0..40 {
        nodes.extend(stage.nodes_for_client(&mut client, READ)?);
    }
    assert_eq!(nodes, BTreeSet::from([1, 2]));
    Ok(())
}

#[test]
fn proved_reads_run_on_a_replica() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    for sql in [
        "SELECT * FROM product WHERE id = 17",
        "SELECT p.name FROM product p JOIN counter c ON c.id = p.id WHERE c.n >= 0 LIMIT 1",
        "WITH few AS (SELECT * FROM product LIMIT 3) SELECT count(*) FROM few",
        "SELECT name FROM product UNION SELECT body FROM note",
        "VALUES (1), (2)",
        "TABLE product",
        "SELECT * FROM cheap",
        "SELECT pure(1)",
        "SELECT reader()",
        "SELECT now(), random()",
        "COPY (SELECT 1) TO STDOUT",
        "EXPLAIN SELECT * FROM product",
        "SELECT 1; SELECT 2",
    ] {
        let nodes = stage.nodes_for(sql)?;
        assert!(stage.is_replica(&nodes), "{sql:?} ran on {nodes:?}");
    }
    Ok(())
}

#[test]
fn whatever_writes_locks_or_is_unknown_runs_on_the_primary_only() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    for sql in [
        "INSERT INTO note (body) VALUES ('routed')",
        "UPDATE note SET body = body WHERE body = 'routed'",
        "WITH d AS (DELETE FROM note WHERE body = 'routed' RETURNING 1) SELECT count(*) FROM d",
        "SELECT * FROM product WHERE id = 1 FOR UPDATE",
        "SELECT * FROM product WHERE id = 1 FOR KEY SHARE",
        "SELECT * FROM (SELECT * FROM product WHERE id = 1 FOR SHARE) AS p",
        "SELECT nextval('ticket')",
        "SELECT writer('routed')",
        "DELETE FROM note WHERE body = 'routed'",
        "SELECT * FROM scratch",
        "SELECT id FROM writing",
        "SELECT pg_advisory_lock(1), pg_advisory_unlock(1)",
        "SELECT pg_is_in_recovery()",
        "SELECT txid_current()",
        "SELECT pg_notify('nobody', 'hears')",
        "NOTIFY nobody",
        "EXPLAIN ANALYZE DELETE FROM note WHERE false",
        "CREATE TABLE routed (n int)",
        "SELECT 1 AS n INTO routed_too",
        "DROP TABLE routed, routed_too",
        "DO $$ BEGIN NULL; END $$",
        "LOCK TABLE note IN ACCESS SHARE MODE",
        "ANALYZE note",
        "SELECT 1; UPDATE counter SET n = n WHERE id = 1",
        "BEGIN; SELECT count(*) FROM product; COMMIT",
        "SELECT * FROM pg_stat_activity",
        "SHOW transaction_read_only",
    ] {
        let mark = mark();
        let mut client = stage.client()?;
        // In a transaction-aware wrapper where LOCK needs one.
        let text = match sql.starts_with("LOCK") {
            true => format!("BEGIN; /* {mark} */ {sql}; COMMIT"),
            false => format!("/* {mark} */ {sql}"),
        };
        client.run(&text)?;
        assert_eq!(stage.cluster.nodes_that_ran(&mark), [0], "{sql:?}");
    }
    Ok(())
}

#[test]
fn explicit_transactions_stay_on_the_primary_and_read_only_ones_on_one_node() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let mut client = stage.client()?;
    client.run("BEGIN")?;
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    assert!(stage.is_primary(&nodes), "a read in a transaction ran on {nodes:?}");
    client.run("COMMIT")?;

    client.run("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ")?;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        seen.extend(stage.nodes_for_client(&mut client, READ)?);
    }
    client.run("COMMIT")?;
    assert_eq!(seen.len(), 1, "one transaction ran on {seen:?}");

    client.run("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")?;
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    client.run("COMMIT")?;
    assert!(stage.is_primary(&nodes), "a serializable read ran on {nodes:?}");
    Ok(())
}

#[test]
fn prepared_reads_run_on_replicas_and_prepared_writes_on_the_primary() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let mut client = stage.client()?;
    let (read, write) = (mark(), mark());
    client.prepare("r", &format!("/* {read} */ SELECT name FROM product WHERE id = $1"))?;
    client.prepare("w", &format!("/* {write} */ UPDATE counter SET n = n WHERE id = $1"))?;
    for id in 1..=10 {
        client.execute("r", &[Some(&id.to_string())])?;
        client.execute("w", &[Some(&id.to_string())])?;
    }
    let (reads, writes) = (stage.cluster.runs(&read), stage.cluster.runs(&write));
    assert_eq!(reads[0], 0, "prepared reads by node: {reads:?}");
    assert!(reads[1] + reads[2] >= 10, "prepared reads by node: {reads:?}");
    assert_eq!(writes[1] + writes[2], 0, "prepared writes by node: {writes:?}");
    assert!(writes[0] >= 10, "prepared writes by node: {writes:?}");
    Ok(())
}

#[test]
fn a_function_that_lies_about_writing_still_writes_once_and_unseen() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let mut client = stage.client()?;
    for round in 0..3 {
        let body = format!("liar {}", mark());
        // Whether the body was looked into or a replica's refusal was caught: no error, one row.
        let id = client.value(&format!("SELECT liar('{body}')"))?;
        assert!(!id.is_empty(), "round {round}");
        let count = format!("SELECT count(*) FROM note WHERE body = '{body}'");
        assert_eq!(stage.cluster.value(0, "app", &count)?, "1");
    }
    Ok(())
}

#[test]
fn ddl_that_passes_by_is_known_at_once_and_other_ddl_soon() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let mut client = stage.client()?;
    client.run("CREATE TABLE brand_new (n int)")?;
    assert_eq!(client.value("SELECT count(*) FROM brand_new")?, "0");
    // It becomes volatile behind pgweir's back: at most a refusal that nobody sees.
    client.run("CREATE FUNCTION shifty() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'")?;
    assert_eq!(client.value("SELECT shifty()")?, "1");
    stage.cluster.node(0).superuser().database("app").sql(
        "CREATE OR REPLACE FUNCTION shifty() RETURNS int LANGUAGE sql AS \
         'INSERT INTO brand_new VALUES (1) RETURNING n'",
    )?;
    // Before its replay a replica would rightly run the old one.
    stage.cluster.wait_caught_up()?;
    for round in 1..=10 {
        client.run("SELECT shifty()")?;
        let count = stage.cluster.value(0, "app", "SELECT count(*) FROM brand_new")?;
        assert_eq!(count, round.to_string());
    }
    client.run("DROP FUNCTION shifty(); DROP TABLE brand_new")?;
    assert_eq!(client.refusal("SELECT * FROM brand_new")?.0, "42P01");
    Ok(())
}

#[test]
fn hints_and_settings_choose_a_node_but_never_send_a_write_to_a_replica() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let nodes = stage.nodes_for(&format!("/* pgweir: primary */ {READ}"))?;
    assert!(stage.is_primary(&nodes), "hinted to the primary, ran on {nodes:?}");
    let nodes = stage.nodes_for("/* pgweir: replica */ UPDATE counter SET n = n WHERE id = 1")?;
    assert!(stage.is_primary(&nodes), "a write hinted to a replica ran on {nodes:?}");

    let mut client = stage.client()?;
    client.run("SET pgweir.route = 'primary'")?;
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    assert!(stage.is_primary(&nodes), "set to the primary, ran on {nodes:?}");
    client.run("SET pgweir.route = 'replica'")?;
    let nodes = stage.nodes_for_client(&mut client, "UPDATE counter SET n = n WHERE id = 1")?;
    assert!(stage.is_primary(&nodes), "a write set to a replica ran on {nodes:?}");
    client.run("RESET pgweir.route")?;
    let nodes = stage.nodes_for_client(&mut client, READ)?;
    assert!(stage.is_replica(&nodes), "after RESET, ran on {nodes:?}");
    Ok(())
}

#[test]
fn odd_texts_get_postgres_answer_from_the_primary() -> Outcome {
    let stage = stage();
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    let long = format!("SELECT {}1", "1+".repeat(20_000));
    let list = format!("SELECT 1 IN ({}1)", "1,".repeat(50_000));
    for sql in [
        "SELECT 'unterminated",
        "SELECT \"unterminated",
        "SELECT $a$ unterminated",
        "/* unterminated",
        "SELECT 1 /* nested /* twice */ */",
        "\u{feff}SELECT 1",
        "SELECT 1 WHERE 'x' = ANY ('{}'::text[])",
        &deep,
        &long,
        &list,
        &format!("SELECT '{}'", "x".repeat(2_000_000)),
    ] {
        let through = stage.client()?.query(sql)?;
        let direct = stage.direct()?.query(sql)?;
        let name: String = sql.chars().take(60).collect();
        assert_eq!(raw::tags(&through), raw::tags(&direct), "{name:?}");
        assert!(through == direct, "{name:?} is answered differently");
    }
    Ok(())
}

#[test]
fn a_mixed_load_has_no_error_and_no_write_on_a_replica() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let (read, write) = (mark(), mark());
    let work = |stage: &Stage, number: usize| -> Outcome {
        let mut client = stage.client()?;
        for round in 0..50 {
            client.run(&format!("/* {read} */ SELECT * FROM product WHERE id = {round}"))?;
            client.run(&format!("/* {write} */ UPDATE counter SET n = n WHERE id = {}", number + 50))?;
            client.run("BEGIN")?;
            client.run(&format!("/* {write} */ SELECT * FROM counter WHERE id = 1 FOR SHARE"))?;
            client.run("COMMIT")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (stage, work): (&Stage, _) = (&stage, &work);
                scope.spawn(move || work(stage, number))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let (reads, writes) = (stage.cluster.runs(&read), stage.cluster.runs(&write));
    assert_eq!(writes, [800, 0, 0], "writes by node");
    assert!(reads[1] > 0 && reads[2] > 0, "reads by node: {reads:?}");
    assert_eq!(reads.iter().sum::<usize>(), 400, "reads by node: {reads:?}");
    Ok(())
}
