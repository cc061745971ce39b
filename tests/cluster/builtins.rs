//! What the server brings itself is known by name: the lists hold all of it, whatever its version.

use crate::support::{Outcome, Stage, route_lines, stage};
use serde_json::json;

/// VOLATILE, and yet harmless on a replica.
const HARMLESS: &[&str] = &[
    "amvalidate",
    "array_sample",
    "array_shuffle",
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "lo_get",
    "pg_get_wal_resource_managers",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "random",
    "random_normal",
    "timeofday",
    "timezone",
    "uuidv4",
    "uuidv7",
];

#[test]
fn no_function_of_the_server_is_taken_for_one_that_nobody_has() -> Outcome {
    let stage = stage();
    let functions = names(
        &stage,
        "SELECT DISTINCT quote_ident(proname) FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace",
    )?;
    assert!(functions.len() > 2_000);
    // A call of a function that nobody has is refused on every node alike, so any may refuse it.
    let bare = targets(functions.iter().map(|name| format!("SELECT {name}(1)")));
    let named = targets(functions.iter().map(|name| format!("SELECT pg_catalog.{name}(1)")));
    let differ: Vec<_> =
        (0..functions.len()).filter(|n| bare[*n] != named[*n]).map(|n| &functions[n]).collect();
    assert!(differ.is_empty(), "on no list: {differ:?}");

    let volatile = names(
        &stage,
        "SELECT DISTINCT proname FROM pg_proc \
         WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'",
    )?;
    let asked = targets(volatile.iter().map(|name| format!("SELECT pg_catalog.\"{name}\"(1)")));
    let unseen: Vec<_> = volatile
        .iter()
        .zip(&asked)
        .filter(|(name, to)| *to == "replica" && !HARMLESS.contains(&name.as_str()))
        .collect();
    assert!(unseen.is_empty(), "VOLATILE, and nobody said that they do no harm: {unseen:?}");
    Ok(())
}

#[test]
fn operators_and_types_of_the_server_are_known() -> Outcome {
    let stage = stage();
    let operators = names(
        &stage,
        "SELECT DISTINCT oprname FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace",
    )?;
    let types = names(
        &stage,
        "SELECT quote_ident(typname) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace \
         AND typtype IN ('b', 'r', 'm') AND typelem = 0 AND typname !~ '^pg_(brin|ddl)'",
    )?;
    assert!(operators.len() > 70 && types.len() > 50);
    let operations = operators.iter().map(|name| format!("SELECT 1 OPERATOR(pg_catalog.{name}) 1"));
    let casts = types.iter().map(|name| format!("SELECT NULL::pg_catalog.{name}"));
    assert_all_go_to("replica", operations.chain(casts).collect());
    Ok(())
}

#[test]
fn what_shows_one_node_is_read_from_the_primary() -> Outcome {
    let stage = stage();
    // Views over functions that tell of memory, processes, files or statistics.
    let local = names(
        &stage,
        "WITH view AS MATERIALIZED \
           (SELECT relname AS name, pg_get_viewdef(oid) AS text FROM pg_class \
            WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'v') \
         SELECT name FROM view WHERE EXISTS \
           (SELECT FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace \
            AND p.provolatile = 'v' AND strpos(text, p.proname || '(') > 0)",
    )?;
    assert!(local.iter().any(|name| name == "pg_locks"), "{local:?}");
    assert_all_go_to("primary", local.iter().map(|name| format!("TABLE pg_catalog.{name}")).collect());
    Ok(())
}

fn names(stage: &Stage, sql: &str) -> Result<Vec<String>, pgweir_tests::HarnessError> {
    Ok(stage.cluster.node(0).superuser().sql(sql)?.into_iter().flatten().flatten().collect())
}

fn assert_all_go_to(target: &str, statements: Vec<String>) {
    let to = targets(statements.iter().cloned());
    let wrong: Vec<_> = statements.iter().zip(&to).filter(|(_, to)| *to != target).collect();
    assert!(wrong.is_empty(), "not to the {target}: {wrong:?}");
}

/// Where each would go, by `pgweir route` without a cluster.
fn targets(statements: impl Iterator<Item = String>) -> Vec<String> {
    let lines: Vec<String> = statements.map(|sql| json!({ "sql": sql }).to_string()).collect();
    let answers = route_lines(&["--offline"], lines.join("\n"));
    assert_eq!(answers.len(), lines.len());
    answers.iter().map(|answer| answer["target"].as_str().unwrap_or("nowhere").to_owned()).collect()
}
