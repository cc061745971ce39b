//! One Postgres server: its data directory, port and process.

use crate::binaries::Binaries;
use crate::error::{Doing, HarnessError};
use crate::identity::Identity;
use crate::ports::free_port;
use crate::process::{self, Process};
use crate::sql::Login;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";
/// Its password.
pub const SUPERUSER_PASSWORD: &str = "superuser-secret";
/// The role that replicas stream as.
pub const REPLICATOR: &str = "replicator";
/// Its password.
pub const REPLICATOR_PASSWORD: &str = "replicator-secret";

/// How long a node may take to accept connections.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// What all nodes of a cluster share.
#[derive(Debug)]
pub struct Site {
    /// The PostgreSQL programs.
    pub binaries: Binaries,
    /// Whom servers run as.
    pub identity: Identity,
    /// The cluster's directory; sockets live in it, too.
    pub directory: PathBuf,
}

impl Site {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        self.identity.apply(&mut command);
        // Whatever the person at the keyboard has set for psql must not reach our servers.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// One server of a cluster. It keeps its port while it is down.
#[derive(Debug)]
pub struct Node {
    name: String,
    data: PathBuf,
    log: PathBuf,
    running: Mutex<Running>,
    /// Its processes' own, from the next start on.
    environment: Mutex<Vec<(String, String)>>,
}

#[derive(Debug)]
struct Running {
    port: u16,
    process: Option<Process>,
}

impl Node {
    fn new(site: &Site, index: usize) -> Self {
        let name = format!("node{index}");
        Node {
            data: site.directory.join(&name),
            log: site.directory.join(format!("{name}.log")),
            name,
            running: Mutex::new(Running { port: 0, process: None }),
            environment: Mutex::default(),
        }
    }

    /// `initdb` with SCRAM passwords and `settings`, then started: a primary.
    pub fn create(site: &Site, settings: &[(String, String)]) -> Result<Self, HarnessError> {
        let node = Node::new(site, 0);
        let password_file = site.directory.join("password");
        std::fs::write(&password_file, SUPERUSER_PASSWORD)
            .doing(|| "writing initdb's password file".into())?;
        site.identity.own(&password_file)?;
        node.init(site, &password_file, "C.UTF-8").or_else(|_| node.init(site, &password_file, "C"))?;
        std::fs::remove_file(&password_file).doing(|| "removing the password file".into())?;
        node.append_settings(settings)?;
        node.start(site)?;
        Ok(node)
    }

    fn init(&self, site: &Site, password_file: &Path, locale: &str) -> Result<(), HarnessError> {
        let mut initdb = site.command("initdb");
        initdb.arg("-D").arg(&self.data).args(["-U", SUPERUSER, "-E", "UTF8", "--no-sync"]);
        initdb.args(["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"]);
        initdb.arg(format!("--locale={locale}"));
        initdb.arg(format!("--pwfile={}", password_file.display()));
        // Its servers have shared memory by then, which they would leave behind if they were killed.
        process::run_alone(initdb).map(drop)
    }

    fn append_settings(&self, settings: &[(String, String)]) -> Result<(), HarnessError> {
        let path = self.data.join("postgresql.conf");
        let mut file = std::fs::File::options()
            .append(true)
            .open(&path)
            .doing(|| format!("opening {}", path.display()))?;
        let text: String = settings
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
            .collect();
        file.write_all(text.as_bytes()).doing(|| format!("writing {}", path.display()))
    }

    /// A copy of `primary` made by `pg_basebackup -R`, not started yet.
    pub fn copy_of(site: &Site, index: usize, primary: &Node) -> Result<Self, HarnessError> {
        let node = Node::new(site, index);
        node.copy_from(site, primary)?;
        Ok(node)
    }

    /// Throws the data away and copies `primary`'s, as a replica of it with a slot of its own.
    pub fn copy_from(&self, site: &Site, primary: &Node) -> Result<(), HarnessError> {
        if self.data.exists() {
            std::fs::remove_dir_all(&self.data).doing(|| format!("removing {}", self.data.display()))?;
        }
        self.make_slot(primary)?;
        let mut backup = site.command("pg_basebackup");
        backup.arg("-D").arg(&self.data).args(["-R", "--checkpoint=fast", "--no-sync"]);
        backup.args(["-X", "stream", "-S", &self.name]);
        backup.args(["-d", &self.connection_to(primary)]);
        process::run(backup)?;
        let port = self.port();
        match port {
            0 => Ok(()),
            _ => self.append_settings(&[("port".into(), port.to_string())]),
        }
    }

    /// What this node's `primary_conninfo` says when it follows `primary`.
    pub fn connection_to(&self, primary: &Node) -> String {
        format!(
            "host=127.0.0.1 port={} user={REPLICATOR} password={REPLICATOR_PASSWORD} application_name={}",
            primary.port(),
            self.name
        )
    }

    /// Makes sure that `primary` keeps WAL for this node.
    pub fn make_slot(&self, primary: &Node) -> Result<(), HarnessError> {
        let name = &self.name;
        let sql = format!(
            "SELECT pg_create_physical_replication_slot('{name}', true) WHERE NOT EXISTS \
             (SELECT FROM pg_replication_slots WHERE slot_name = '{name}')"
        );
        primary.superuser().sql(&sql).map(drop)
    }

    /// The application name in `pg_stat_replication`, `node1` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.lock().port
    }

    /// The file that collects the server's log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Is its process there?
    pub fn is_running(&self) -> bool {
        self.lock().process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// A login as superuser, straight to this node.
    pub fn superuser(&self) -> Login {
        Login::local(self.port(), SUPERUSER, SUPERUSER_PASSWORD, "postgres")
    }

    /// Starts the server and waits until it takes connections.
    pub fn start(&self, site: &Site) -> Result<(), HarnessError> {
        let mut running = self.lock();
        // The first start may lose its port to somebody else and take another one; later
        // starts may not, because others have been told the port by then. They may come too soon
        // after a crash, while the last of the old processes still hold their shared memory.
        let first = running.port == 0;
        let mut result = Ok(());
        for _ in 0..5 {
            let port = if first { free_port() } else { running.port };
            result = self.start_at(site, &mut running, port);
            if result.is_ok() {
                break;
            }
            if !first {
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
        }
        result
    }

    fn start_at(&self, site: &Site, running: &mut Running, port: u16) -> Result<(), HarnessError> {
        if running.port != port {
            // In the file rather than as arguments: whoever runs pg_ctl finds them as well.
            let sockets = site.directory.to_string_lossy().into_owned();
            self.append_settings(&[
                ("port".into(), port.to_string()),
                ("unix_socket_directories".into(), sockets),
            ])?;
        }
        let mut postgres = site.command("postgres");
        postgres.arg("-D").arg(&self.data);
        postgres.envs(self.environment.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone());
        let mut process = Process::spawn(postgres, &self.log, "QUIT")?;
        // Whoever starts it again with pg_ctl may go on with its log.
        site.identity.own(&self.log)?;
        let login = Login::local(port, SUPERUSER, SUPERUSER_PASSWORD, "postgres");
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(status) = process.ended() {
                return Err(self.not_started(&format!("ended with {status}")));
            }
            if self.is_ready() && login.sql("SELECT 1").is_ok() {
                *running = Running { port, process: Some(process) };
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.not_started("takes no connections"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The status line of `postmaster.pid`: whoever else listens on our port does not count.
    fn is_ready(&self) -> bool {
        std::fs::read_to_string(self.data.join("postmaster.pid"))
            .is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
    }

    fn not_started(&self, why: &str) -> HarnessError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        HarnessError::failed(format!("{} {why}; its log ends:\n{}", self.name, tail.join("\n")))
    }

    /// What its processes find in their environment from the next start on.
    pub fn set_environment(&self, variables: Vec<(String, String)>) {
        *self.environment.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = variables;
    }

    /// Ends the server: `INT` is a fast shutdown, `QUIT` an immediate one.
    pub fn end(&self, signal: &str) {
        if let Some(mut process) = self.lock().process.take() {
            process.end(signal);
        }
    }

    /// Kills the server and all its children with SIGKILL: no farewell to any client.
    pub fn crash(&self) {
        let Some(mut process) = self.lock().process.take() else {
            return;
        };
        // Stopped first, the postmaster cannot tell its children, or start new ones.
        process.signal("STOP");
        for child in crate::usage::descendants(process.id()) {
            process::signal(child, "KILL");
        }
        process.end("KILL");
    }

    /// Stops the server's processes in their tracks (`STOP`), or lets them go on (`CONT`):
    /// a node that hangs, with its sockets open.
    pub fn signal_all(&self, signal: &str) {
        if let Some(process) = &self.lock().process {
            for pid in crate::usage::descendants(process.id()) {
                process::signal(pid, signal);
            }
            process.signal(signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
