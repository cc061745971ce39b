//! psql, psycopg 3, asyncpg, node-postgres and JDBC: a prepared read, a write in a transaction,
//! a cancel.
//!
//! `tests/drivers/install.sh` installs them into `target/drivers`; each script runs directly
//! first, so that a failure through pgweir is pgweir's.

use crate::support::{Outcome, Seat, mark, stage};
use pgweir_tests::HarnessError;
use pgweir_tests::process::{Process, run};
use pgweir_tests::sql::Login;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `target/drivers`, beside the profile directory of this test.
fn installed() -> PathBuf {
    let me = std::env::current_exe().expect("this test has a path");
    me.ancestors().nth(3).expect("target/<profile>/deps/test").join("drivers")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers").join(name)
}

/// Runs the script directly and through pgweir; there, its reads must be the replicas'.
fn smoke(make: impl Fn() -> Command) -> Outcome {
    let stage = stage();
    run_script(make(), &stage.cluster.app(0), &mark())?;
    stage.wait_for_replica("SELECT name FROM product WHERE id = 1")?;
    let mark = mark();
    run_script(make(), &stage.weir.app(), &mark)?;
    assert_reads_and_writes_split(&stage, &mark);
    Ok(())
}

fn run_script(mut command: Command, login: &Login, mark: &str) -> Outcome {
    command.envs(login.environment()).env("MARK", mark);
    let out = run(command).map_err(|error| {
        HarnessError::failed(format!("on port {}: {error} (see tests/drivers)", login.port))
    })?;
    assert!(out.ends_with("ok\n"), "{out}");
    Ok(())
}

fn assert_reads_and_writes_split(stage: &Seat, mark: &str) {
    let reads = stage.cluster.runs(&format!("read {mark}"));
    assert_eq!(reads[0], 0, "reads by node: {reads:?}");
    assert!(reads[1] + reads[2] >= 20, "reads by node: {reads:?}");
    let writes = stage.cluster.nodes_that_ran(&format!("write {mark}"));
    assert_eq!(writes, [0], "writes");
}

#[test]
fn psycopg_works() -> Outcome {
    smoke(|| {
        let mut command = Command::new(installed().join("venv/bin/python"));
        command.arg(script("smoke_psycopg.py"));
        command
    })
}

#[test]
fn asyncpg_works() -> Outcome {
    smoke(|| {
        let mut command = Command::new(installed().join("venv/bin/python"));
        command.arg(script("smoke_asyncpg.py"));
        command
    })
}

#[test]
fn node_postgres_works() -> Outcome {
    smoke(|| {
        let mut command = Command::new("node");
        command.arg(script("smoke_node.js")).env("NODE_PATH", installed().join("node_modules"));
        command
    })
}

#[test]
fn jdbc_works() -> Outcome {
    smoke(|| {
        let mut command = Command::new("java");
        command.args(["-cp", "/usr/share/java/postgresql.jar"]).arg(script("Smoke.java"));
        command
    })
}

#[test]
fn psql_works() -> Outcome {
    let stage = stage();
    let psql = |login: &Login, arguments: &[&str]| {
        let mut command = Command::new(stage.cluster.binaries().program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).args(arguments);
        command.envs(login.environment()).current_dir(stage.cluster.directory());
        command
    };
    let mark = mark();
    let read = format!("/* read {mark} */ SELECT name FROM product WHERE id = $1");
    let (bind, transaction) = (
        stage.cluster.directory().join(format!("bind-{mark}.sql")),
        format!("BEGIN; /* write {mark} */ UPDATE counter SET n = n WHERE id = 90; COMMIT"),
    );
    std::fs::write(&bind, format!("{read} \\bind 7 \\g\n"))
        .map_err(|error| HarnessError::Io("writing a script".into(), error))?;
    let commands = |login: &Login| -> Result<String, HarnessError> {
        // psql 16 binds parameters; before, a prepared statement is SQL's own.
        let prepared = match stage.cluster.binaries().major() {
            16.. => run(psql(login, &["-f", &bind.display().to_string()]))?,
            _ => {
                let sql = format!("PREPARE r (int) AS {read}; EXECUTE r (7)");
                run(psql(login, &["-c", &sql]))?
            }
        };
        let plain = read.replace("$1", "7");
        Ok([
            prepared,
            run(psql(login, &["-c", &plain]))?,
            run(psql(login, &["-c", &transaction]))?,
            run(psql(login, &["-c", "\\d product", "-c", "\\l app", "-c", "\\dt"]))?,
            run(psql(login, &["-c", "\\copy (SELECT id FROM product ORDER BY id) TO STDOUT"]))?,
        ]
        .concat())
    };
    let direct = commands(&stage.cluster.app(0))?;
    stage.wait_for_replica("SELECT name FROM product WHERE id = 1")?;
    assert_eq!(commands(&stage.weir.app())?, direct);

    // Ctrl-C sends a CancelRequest.
    let log = stage.cluster.directory().join("psql.log");
    let sleeper = psql(&stage.weir.app(), &["-c", "SELECT pg_sleep(60)"]);
    let mut sleeper = Process::spawn(sleeper, &log, "KILL")?;
    std::thread::sleep(Duration::from_millis(700));
    let start = Instant::now();
    sleeper.signal("INT");
    assert!(sleeper.wait(Duration::from_secs(20)).is_some(), "psql goes on sleeping");
    assert!(start.elapsed() < Duration::from_secs(20));
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(text.contains("canceling statement due to user request"), "{text}");
    Ok(())
}
