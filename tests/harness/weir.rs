//! The pgweir process under test.

use crate::cluster::{APP, APP_PASSWORD, Cluster, WEIR, WEIR_PASSWORD};
use crate::error::{Doing, HarnessError};
use crate::http::{self, Answer};
use crate::metrics::Metrics;
use crate::ports::free_port;
use crate::process::Process;
use crate::scratch;
use crate::sql::Login;
use crate::usage::Usage;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// How long pgweir may take to be ready.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// What the configuration says beyond the minimal file.
#[derive(Debug)]
pub struct WeirBuilder {
    config: Table,
    program: Option<PathBuf>,
    environment: Vec<(String, String)>,
    wait_ready: bool,
}

impl WeirBuilder {
    /// Sets a key by its dotted path, such as `pool.server_connections_max`.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.config, path, value.into());
        self
    }

    /// Adds a `[[user]]`; without any, users log in as they do on Postgres.
    pub fn user(self, name: &str, password: &str) -> Self {
        let entry = Table::from_iter([
            ("name".to_owned(), Value::from(name)),
            ("password".to_owned(), Value::from(password)),
        ]);
        self.push("user", entry)
    }

    /// Adds an entry to an array of tables, such as `rule`.
    pub fn push(mut self, array: &str, entry: Table) -> Self {
        let entries = self.config.entry(array).or_insert(Value::Array(Vec::new()));
        if let Value::Array(entries) = entries {
            entries.push(Value::Table(entry));
        }
        self
    }

    /// Another program than the one that was built with the tests.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// An environment variable of the process.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Returns as soon as it listens, though it may not be ready (a cluster that is down, say).
    pub fn without_waiting(mut self) -> Self {
        self.wait_ready = false;
        self
    }

    /// Starts it and waits until `/readyz` says yes.
    pub fn start(self) -> Result<Weir, HarnessError> {
        let directory = scratch::directory()?;
        let mut result = Err(HarnessError::failed("never started"));
        // A port may be lost to somebody else between the choice and the bind.
        for _ in 0..5 {
            result = self.start_once(&directory);
            match &result {
                Err(error) if error.to_string().to_lowercase().contains("address already in use") => {}
                _ => break,
            }
        }
        result
    }

    fn start_once(&self, directory: &Path) -> Result<Weir, HarnessError> {
        let (port, http_port) = (free_port(), free_port());
        let mut config = self.config.clone();
        set(&mut config, "listen.address", format!("127.0.0.1:{port}").into());
        set(&mut config, "http.address", format!("127.0.0.1:{http_port}").into());
        let file = directory.join("pgweir.toml");
        write_config(&file, &config)?;
        let log = directory.join("pgweir.log");
        let _ = std::fs::remove_file(&log);
        let program = match &self.program {
            Some(path) => path.clone(),
            None => program()?,
        };
        let mut command = Command::new(&program);
        command.arg("run").arg("--config").arg(&file);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn(command, &log, "KILL")?;
        let weir = Weir {
            port,
            http_port,
            directory: directory.to_owned(),
            config: Mutex::new(config),
            process: Mutex::new(process),
            program,
        };
        weir.wait_started(self.wait_ready)?;
        Ok(weir)
    }
}

/// A running pgweir. Dropping it kills it, and fails the test if its log shows a panic.
#[derive(Debug)]
pub struct Weir {
    port: u16,
    http_port: u16,
    directory: PathBuf,
    config: Mutex<Table>,
    process: Mutex<Process>,
    program: PathBuf,
}

impl Weir {
    /// The minimal configuration for this cluster.
    pub fn builder(cluster: &Cluster) -> WeirBuilder {
        Self::builder_for(&cluster.addresses())
    }

    /// The minimal configuration for these nodes.
    pub fn builder_for(nodes: &[String]) -> WeirBuilder {
        let mut config = Table::new();
        let nodes: Vec<Value> = nodes.iter().map(|node| Value::from(node.as_str())).collect();
        set(&mut config, "cluster.nodes", Value::Array(nodes));
        set(&mut config, "cluster.user", WEIR.into());
        set(&mut config, "cluster.password", WEIR_PASSWORD.into());
        set(&mut config, "pool.server_connections_max", 20.into());
        set(&mut config, "runtime.threads", 2.into());
        WeirBuilder { config, program: None, environment: Vec::new(), wait_ready: true }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of `/metrics` and the status page.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("pgweir.toml")
    }

    /// The application's login, through pgweir.
    pub fn app(&self) -> Login {
        Login::local(self.port, APP, APP_PASSWORD, APP)
    }

    /// The superuser's login, through pgweir.
    pub fn superuser(&self) -> Login {
        use crate::node::{SUPERUSER, SUPERUSER_PASSWORD};
        Login::local(self.port, SUPERUSER, SUPERUSER_PASSWORD, "postgres")
    }

    /// GETs a path of the HTTP address.
    pub fn get(&self, path: &str) -> Result<Answer, HarnessError> {
        http::get(&self.http_address(), path)
    }

    /// Scrapes `/metrics`.
    pub fn metrics(&self) -> Result<Metrics, HarnessError> {
        Ok(Metrics::parse(&self.get("/metrics")?.body))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.join("pgweir.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// So many lines at its end.
    pub fn log_end(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process().id()
    }

    /// CPU time and memory so far, children included.
    pub fn usage(&self) -> Usage {
        Usage::of_tree(self.pid())
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process().signal(name);
    }

    /// Waits for the process to end.
    pub fn wait(&self, at_most: Duration) -> Option<ExitStatus> {
        self.process().wait(at_most)
    }

    /// Kills the process and starts it anew, with the same configuration and on the same addresses.
    pub fn restart(&self) -> Result<(), HarnessError> {
        self.process().end("KILL");
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.config_file());
        *self.process() = Process::spawn(command, &self.directory.join("pgweir.log"), "KILL")?;
        self.wait_started(false)
    }

    /// A new process with the same configuration takes the place of the running one, which ends when its clients
    /// have left it, after half a minute at the latest.
    pub fn replace(&self) -> Result<(), HarnessError> {
        let pid = self.pid();
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.config_file());
        command.args(["--replace", &pid.to_string()]);
        let takeovers = || self.log().matches("taken over").count();
        let before = takeovers();
        let next = Process::spawn(command, &self.directory.join("pgweir.log"), "KILL")?;
        crate::cluster::wait_until("the new process has taken over", || takeovers() > before)?;
        let mut former = std::mem::replace(&mut *self.process(), next);
        former.wait(Duration::from_secs(30));
        Ok(())
    }

    /// Changes the configuration file, sends SIGHUP, and waits until the change is in force.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Table)) -> Result<(), HarnessError> {
        let mut config = self.config.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut config);
        // pgweir may see the file itself before the signal comes: either way it is applied once.
        self.reload("applied", || write_config(&self.config_file(), &config))
    }

    /// Writes this text as the configuration file, right or wrong, sends SIGHUP, and waits for
    /// one more reload with this result in `/metrics`.
    pub fn overwrite_config(&self, text: &str, result: &str) -> Result<(), HarnessError> {
        self.reload(result, || {
            std::fs::write(self.config_file(), text).doing(|| "writing the configuration".into())
        })
    }

    /// The text of the configuration file.
    pub fn config_text(&self) -> String {
        std::fs::read_to_string(self.config_file()).unwrap_or_default()
    }

    fn reload(
        &self,
        result: &str,
        change: impl FnOnce() -> Result<(), HarnessError>,
    ) -> Result<(), HarnessError> {
        let count = || {
            let labels = [("result", result)];
            self.metrics().map(|metrics| metrics.sum("pgweir_config_reloads_total", &labels))
        };
        let before = count()?;
        change()?;
        self.signal("HUP");
        crate::cluster::wait_until(&format!("a reload has ended with {result:?}"), || {
            count().is_ok_and(|now| now > before)
        })
    }

    /// Runs the same program with other arguments: exit status, standard output and error.
    pub fn command(&self, arguments: &[&str]) -> Result<(ExitStatus, String, String), HarnessError> {
        let output = Command::new(&self.program)
            .args(arguments)
            .output()
            .doing(|| format!("running pgweir {arguments:?}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status, text(&output.stdout), text(&output.stderr)))
    }

    /// Fails if the process has died or panicked.
    pub fn assert_sound(&self) {
        let log = self.log();
        let panic = log.lines().find(|line| line.contains("panicked at"));
        assert!(panic.is_none(), "pgweir panicked: {}", panic.unwrap_or_default());
    }

    fn wait_started(&self, ready: bool) -> Result<(), HarnessError> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(status) = self.process().ended() {
                let log = self.log();
                return Err(HarnessError::failed(format!("pgweir ended with {status}:\n{log}")));
            }
            let listening = TcpStream::connect(self.address()).is_ok();
            let answer = self.get("/readyz").map_or(0, |answer| answer.status);
            if listening && (!ready || answer == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.log();
                return Err(HarnessError::failed(format!("pgweir is not ready (/readyz: {answer}):\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        self.process().end("KILL");
        let panicking = std::thread::panicking();
        if panicking {
            // What has failed stands above it, and is to be found there.
            eprintln!("--- pgweir's log ends:\n{}\n---", self.log_end(60));
        } else {
            self.assert_sound();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// `PGWEIR_BIN`, or the binary beside the running test or program.
pub fn program() -> Result<PathBuf, HarnessError> {
    if let Some(path) = std::env::var_os("PGWEIR_BIN") {
        return Ok(path.into());
    }
    let me = std::env::current_exe().doing(|| "finding this program".into())?;
    // Tests run in target/<profile>/deps, programs in target/<profile>.
    let found = me.ancestors().skip(1).take(2).map(|place| place.join("pgweir"));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        HarnessError::failed("no pgweir binary: run `cargo build -p pgweir`, or set PGWEIR_BIN")
    })
}

fn write_config(file: &Path, config: &Table) -> Result<(), HarnessError> {
    // Renamed into place, as editors do: a reload in between sees the old file or the new one.
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, config.to_string()).doing(|| "writing the configuration".into())?;
    std::fs::rename(&fresh, file).doing(|| "renaming the configuration".into())
}

/// Sets a value by its dotted path, making tables on the way.
pub fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}
