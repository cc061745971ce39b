//! What the stories share: a stage with a cluster and a pgweir, and ways to look behind it.

use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::process::Process;
use pgweir_tests::raw::{Frame, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir, scratch};
use serde_json::Value;
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub type Outcome = Result<(), HarnessError>;

/// One cluster with one pgweir, for all stories that break nothing.
pub struct Stage {
    pub cluster: Cluster,
    pub weir: Weir,
}

impl Stage {
    /// A stage of one's own, with doors and a configuration to choose.
    pub fn own(change: impl Fn(WeirChoice) -> WeirChoice) -> Result<Stage, HarnessError> {
        let cluster = Cluster::builder().log_statements().doors().start()?;
        let weir = change(Weir::builder(&cluster)).start()?;
        Ok(Stage { cluster, weir })
    }

    /// Runs SQL through pgweir on a fresh connection and tells which nodes' logs show it.
    pub fn nodes_for(&self, sql: &str) -> Result<Vec<usize>, HarnessError> {
        let mut client = RawClient::login(&self.weir.app())?;
        self.nodes_for_client(&mut client, sql)
    }

    /// The same on a given connection.
    pub fn nodes_for_client(&self, client: &mut RawClient, sql: &str) -> Result<Vec<usize>, HarnessError> {
        let mark = mark();
        client.run(&format!("/* {mark} */ {sql}"))?;
        Ok(self.cluster.nodes_that_ran(&mark))
    }

    /// Did the primary, and nobody else, run it?
    pub fn is_primary(&self, nodes: &[usize]) -> bool {
        nodes == [self.cluster.primary()]
    }

    /// Did one replica, and nobody else, run it?
    pub fn is_replica(&self, nodes: &[usize]) -> bool {
        nodes.len() == 1 && !self.is_primary(nodes)
    }

    /// Waits until the statement runs on a replica: the catalog has been read, say.
    pub fn wait_for_replica(&self, sql: &str) -> Outcome {
        let mut client = RawClient::login(&self.weir.app())?;
        wait_until_within(Duration::from_secs(15), &format!("a replica runs {sql:?}"), || {
            self.nodes_for_client(&mut client, sql).is_ok_and(|nodes| self.is_replica(&nodes))
        })
    }

    /// A raw client, logged in through pgweir as the application.
    pub fn client(&self) -> Result<RawClient, HarnessError> {
        RawClient::login(&self.weir.app())
    }

    /// A raw client, logged in straight to the primary as the application.
    pub fn direct(&self) -> Result<RawClient, HarnessError> {
        RawClient::login(&self.cluster.app(self.cluster.primary()))
    }
}

pub type WeirChoice = pgweir_tests::WeirBuilder;

/// A story's claim on the shared stage; at its end pgweir must still be sound.
pub struct Seat(&'static Stage);

impl Deref for Seat {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.0.weir.assert_sound();
    }
}

/// The shared stage, set up by whoever comes first.
pub fn stage() -> Seat {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    Seat(STAGE.get_or_init(|| set_up().expect("the shared stage is set up")))
}

fn set_up() -> Result<Stage, HarnessError> {
    let cluster = Cluster::builder().log_statements().start()?;
    let root = cluster.node(0).superuser();
    root.database("app").sql(SCHEMA)?;
    cluster.wait_caught_up()?;
    // Many stories write at once here: a read waits rather than falls back to the primary.
    let weir = Weir::builder(&cluster).set("routing.freshness_wait", "5s").start()?;
    let stage = Stage { cluster, weir };
    // Until the catalog has been read everything runs on the primary, and proves little.
    stage.wait_for_replica("SELECT count(*) FROM product")?;
    Ok(stage)
}

/// Tables that the stories read, write, and put back as they were.
pub const SCHEMA: &str = "
    CREATE ROLE helper;
    GRANT helper TO app;
    SET ROLE app;
    CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2), made date);
    INSERT INTO product SELECT n, 'product ' || n, n * 1.25, date '2020-01-01' + n
        FROM generate_series(1, 100) AS n;
    CREATE TABLE note (id serial PRIMARY KEY, body text, at timestamptz DEFAULT now());
    CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO counter SELECT n, 0 FROM generate_series(1, 100) AS n;
    CREATE UNLOGGED TABLE scratch (n int);
    CREATE VIEW cheap AS SELECT * FROM product WHERE price < 50;
    CREATE SEQUENCE ticket;
    CREATE FUNCTION pure(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n + 1';
    CREATE FUNCTION reader() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM product';
    CREATE FUNCTION writer(b text) RETURNS int LANGUAGE sql AS
        'INSERT INTO note (body) VALUES (b) RETURNING id';
    CREATE FUNCTION liar(b text) RETURNS int LANGUAGE plpgsql STABLE AS
        'DECLARE r int; BEGIN EXECUTE format($f$SELECT writer(%L)$f$, b) INTO r; RETURN r; END';
    CREATE VIEW writing_for_twins AS SELECT writer('by twins through a view') AS id;
    CREATE VIEW writing AS SELECT writer('through a view') AS id;
    RESET ROLE;
";

/// A load under way, and what it says.
pub struct Load {
    process: Process,
    log: PathBuf,
}

/// pgbench in the application's own tables, in the background.
pub fn load(
    cluster: &Cluster,
    login: &Login,
    arguments: &[&str],
    seconds: u32,
) -> Result<Load, HarnessError> {
    let directory = scratch::directory()?;
    let script = directory.join("load.sql");
    std::fs::write(
        &script,
        "\\set id random(1, 50)\nSELECT name FROM product WHERE id = :id;\nUPDATE counter SET n = n + 1 WHERE id = :id;\n",
    )
    .map_err(|e| HarnessError::failed(e.to_string()))?;
    let mut command = Command::new(cluster.binaries().program("pgbench"));
    command.args(["-n", "-c", "8", "-j", "1", "-T", &seconds.to_string(), "-f"]).arg(&script);
    command.envs(login.environment()).args(arguments);
    let log = directory.join("load.log");
    Ok(Load { process: Process::spawn(command, &log, "KILL")?, log })
}

/// Waits for the end of a load; no client of it may have seen an error.
pub fn ends_well(mut load: Load) {
    let status = load.process.wait(Duration::from_secs(60));
    let said = std::fs::read_to_string(&load.log).unwrap_or_default();
    assert_eq!(status.and_then(|s| s.code()), Some(0), "a client of the load saw an error:\n{said}");
}

/// What `pgweir route --json` answers to lines of JSON, one each.
pub fn route_lines(arguments: &[&str], lines: String) -> Vec<Value> {
    let mut route = Command::new(pgweir_tests::weir::program().expect("pgweir is built"))
        .args(["route", "--json"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pgweir starts");
    let mut stdin = route.stdin.take().expect("a pipe");
    // Written from a thread of its own: both pipes are smaller than some inputs.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = route.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends").expect("it reads its input");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A text that nobody else uses.
pub fn mark() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("mark-{}-{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// What a log-in ends with: `Ok`, or severity, SQLSTATE and message of the error.
pub fn login_outcome(
    login: &Login,
    parameters: &[(&str, &str)],
) -> Result<Result<(), [String; 3]>, HarnessError> {
    let mut client = RawClient::connect(login.port)?;
    let mut all = vec![("user", login.user.as_str()), ("database", login.database.as_str())];
    all.extend(parameters);
    client.startup(pgweir_tests::raw::PROTOCOL_3_0, &all)?;
    let frames = client.authenticate(&login.password)?;
    Ok(match frames.last() {
        Some(frame) if frame.tag == b'E' => Err(error(frame)),
        _ => Ok(()),
    })
}

/// Severity, SQLSTATE and message.
pub fn error(frame: &Frame) -> [String; 3] {
    [b'V', b'C', b'M'].map(|code| frame.field(code).unwrap_or_default())
}

/// The login of the direct twin: the same user and database, on the primary.
pub fn twin(stage: &Stage, login: &Login) -> Login {
    Login { port: stage.cluster.node(stage.cluster.primary()).port(), ..login.clone() }
}

/// Fails with both sides if they differ.
#[macro_export]
macro_rules! assert_same {
    ($through:expr, $direct:expr, $($what:tt)+) => {{
        let (through, direct) = (&$through, &$direct);
        assert!(
            through == direct,
            "{}\n  pgweir: {through:?}\nPostgres: {direct:?}",
            format!($($what)+)
        );
    }};
}
