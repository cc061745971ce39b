//! PostgreSQL's test programs: what they need, how they are started, what they leave behind.

use crate::verdict::Verdicts;
use clap::ValueEnum;
use pgweir_tests::error::Doing;
use pgweir_tests::identity::Identity;
use pgweir_tests::process::{Process, run};
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The database that the suites expect.
pub const DATABASE: &str = "regression";
/// A suite that hangs is ended after this, and judged by what it has printed. (A debug build on a machine that
/// is busy with something else takes most of it.)
const RUN_TIME_MAX: Duration = Duration::from_secs(3600);
/// How long one step of an isolation spec may take, in seconds; the tester gives up after twice that.
const STEP_SECONDS_MAX: &str = "20";

/// One of PostgreSQL's suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// `src/test/regress`, the parallel schedule.
    Regress,
    /// `src/test/isolation`.
    Isolation,
}

impl Suite {
    /// Its word in options, in the output and in the list of explained losses.
    pub fn word(self) -> &'static str {
        match self {
            Suite::Regress => "regress",
            Suite::Isolation => "isolation",
        }
    }
}

/// The unpacked sources and the compiled modules, readable by the server's user.
#[derive(Debug)]
pub struct Material {
    sources: PathBuf,
    modules: PathBuf,
}

impl Material {
    /// Unpacks the sources and compiles what the tests load.
    ///
    /// # Errors
    /// No sources, no compiler, or no server headers.
    pub fn prepare(cluster: &Cluster, sources: &Path) -> Result<Self, HarnessError> {
        let material = Material {
            sources: cluster.directory().join("sources"),
            modules: cluster.directory().join("modules"),
        };
        for directory in [&material.sources, &material.modules] {
            std::fs::create_dir(directory).doing(|| format!("making {}", directory.display()))?;
        }
        if sources.is_dir() {
            let mut copy = Command::new("cp");
            copy.arg("-R").arg(sources.join(".")).arg(&material.sources);
            run(copy)?;
        } else {
            let mut unpack = Command::new("tar");
            unpack.arg("-xf").arg(sources).arg("-C").arg(&material.sources);
            run(unpack)?;
        }
        for module in ["regress/regress", "spi/refint", "spi/autoinc"] {
            material.compile(cluster, module)?;
        }
        let mut open = Command::new("chmod");
        open.args(["-R", "a+rX"]).arg(&material.sources).arg(&material.modules);
        run(open)?;
        Ok(material)
    }

    fn compile(&self, cluster: &Cluster, module: &str) -> Result<(), HarnessError> {
        let mut ask = Command::new(cluster.binaries().program("pg_config"));
        ask.arg("--includedir-server");
        let headers = run(ask)?;
        let source = self.sources.join(module).with_extension("c");
        let name = source.file_stem().unwrap_or_default();
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-w", "-fPIC", "-shared", "-I"]).arg(headers.trim());
        compile.arg("-o").arg(self.modules.join(name).with_extension("so")).arg(&source);
        run(compile).map(drop)
    }
}

/// Makes the database as `pg_regress` would.
///
/// # Errors
/// What the server says.
pub fn make_database(cluster: &Cluster) -> Result<(), HarnessError> {
    let primary = cluster.primary();
    let sql = format!("CREATE DATABASE {DATABASE} TEMPLATE template0");
    cluster.sql(primary, "postgres", &sql)?;
    let settings = [
        ("lc_messages", "C"),
        ("lc_monetary", "C"),
        ("lc_numeric", "C"),
        ("lc_time", "C"),
        ("bytea_output", "hex"),
        ("timezone_abbreviations", "Default"),
    ];
    for (name, value) in settings {
        cluster.sql(primary, "postgres", &format!("ALTER DATABASE {DATABASE} SET {name} = '{value}'"))?;
    }
    cluster.wait_caught_up()
}

/// One run of one suite by one way to the server.
#[derive(Debug)]
pub struct Run<'a> {
    /// Where the servers are.
    pub cluster: &'a Cluster,
    /// What they run.
    pub material: &'a Material,
    /// Which suite.
    pub suite: Suite,
    /// Where the tests connect.
    pub login: &'a Login,
}

impl Run<'_> {
    /// Runs it to its end; leaves output and differences in `results`.
    ///
    /// # Errors
    /// The program cannot be started, or has judged no test.
    pub fn verdicts(&self, results: &Path) -> Result<Verdicts, HarnessError> {
        let output = self.cluster.directory().join("output");
        std::fs::create_dir(&output).doing(|| format!("making {}", output.display()))?;
        let identity = Identity::find()?;
        identity.own(&output)?;
        let log = output.join("pgweir-regress.log");
        let mut process = Process::spawn(self.command(&identity, &output)?, &log, "TERM")?;
        let ended = process.wait(RUN_TIME_MAX);
        process.end("TERM");
        let printed = std::fs::read(&log).doing(|| format!("reading {}", log.display()))?;
        let printed = String::from_utf8_lossy(&printed);
        keep(&output, results)?;
        let mut verdicts = Verdicts::read(&printed);
        verdicts.hung = ended.is_none();
        if verdicts.is_empty() {
            return Err(HarnessError::failed(format!("no test was judged:\n{printed}")));
        }
        Ok(verdicts)
    }

    fn command(&self, identity: &Identity, output: &Path) -> Result<Command, HarnessError> {
        let mut ask = Command::new(self.cluster.binaries().program("pg_config"));
        ask.arg("--pgxs");
        // …/lib/pgxs/src/makefiles/pgxs.mk
        let makefile = PathBuf::from(run(ask)?.trim());
        let tests = makefile.ancestors().nth(2).unwrap_or(Path::new("/")).join("test");
        let (program, schedule) = match self.suite {
            Suite::Regress => ("regress/pg_regress", "parallel_schedule"),
            Suite::Isolation => ("isolation/pg_isolation_regress", "isolation_schedule"),
        };
        let input = self.material.sources.join(self.suite.word());
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let mut command = Command::new(tests.join(program));
        command
            .arg("--use-existing")
            .arg(format!("--dbname={DATABASE}"))
            .arg("--host=127.0.0.1")
            .arg(format!("--port={}", self.login.port))
            .arg(format!("--user={}", self.login.user))
            .args(["--max-concurrent-tests=20", "--max-connections=4"])
            .arg(option("schedule", &input.join(schedule)))
            .arg(option("inputdir", &input))
            .arg(option("outputdir", output))
            .arg(option("dlpath", &self.material.modules))
            .arg(format!("--bindir={}", self.cluster.binaries().program("").display()));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("PGPASSWORD", &self.login.password);
        command.env("PGISOLATIONTIMEOUT", STEP_SECONDS_MAX);
        identity.apply(&mut command);
        command.current_dir(output);
        Ok(command)
    }
}

/// Keeps what a person wants to read of a run after its cluster is gone.
fn keep(output: &Path, results: &Path) -> Result<(), HarnessError> {
    let _ = std::fs::remove_dir_all(results);
    let parent = results.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).doing(|| format!("making {}", parent.display()))?;
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(output).arg(results);
    run(copy).map(drop)
}
