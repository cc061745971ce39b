//! What drivers' pools send between two users of a connection costs the primary nothing.

use crate::support::{Outcome, stage};
use crate::twin::compare_simple;

/// What asyncpg sends when a connection goes back to its pool.
const ASYNCPG: &str = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;";

#[test]
fn a_reset_of_a_session_that_keeps_no_server_runs_on_a_replica() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    for sql in ["SET work_mem = '1MB'", ASYNCPG, "DISCARD ALL", "RESET ALL", "UNLISTEN *"] {
        let nodes = stage.nodes_for_client(&mut client, sql)?;
        assert!(stage.is_replica(&nodes), "{sql}: {nodes:?}");
    }
    Ok(())
}

#[test]
fn a_reset_of_a_session_that_keeps_a_server_reaches_that_server() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.run("SELECT pg_advisory_lock(4711)")?;
    let nodes = stage.nodes_for_client(&mut client, ASYNCPG)?;
    assert!(stage.is_primary(&nodes), "{nodes:?}");
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711";
    assert_eq!(stage.cluster.value(stage.cluster.primary(), "app", held)?, "0");
    Ok(())
}

#[test]
fn housekeeping_is_answered_as_directly() -> Outcome {
    compare_simple(&[
        "SET work_mem = '1MB'",
        "SHOW work_mem",
        "SET nonsense = 1",
        "SET work_mem = 'much'",
        "SET app.tenant = '7'",
        "SELECT current_setting('app.tenant')",
        "RESET work_mem",
        "SHOW work_mem",
        "SET DateStyle = 'German'",
        "SELECT date '2026-01-02'",
        ASYNCPG,
        "SELECT date '2026-01-02'",
        "CLOSE nothing",
        "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
        "SHOW jit",
        "DISCARD ALL",
        "SHOW jit",
        "SET application_name = 'someone'",
        "SHOW application_name",
        "RESET ALL",
    ])
}
