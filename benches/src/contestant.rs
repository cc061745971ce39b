//! Who stands before the cluster: nobody, a peer, or one variant of pgweir.

use crate::bench_error::BenchError;
use crate::workload::Variants;
use pgweir_tests::cluster::{APP, APP_PASSWORD, Cluster, wait_until};
use pgweir_tests::identity::Identity;
use pgweir_tests::ports::free_port;
use pgweir_tests::process::Process;
use pgweir_tests::sql::Login;
use pgweir_tests::{Usage, Weir};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Server connections per pool, for everybody that pools, unless told otherwise.
pub const SERVERS: usize = 20;
/// More than any run opens.
const CLIENTS_MAX: usize = 5_000;

/// What kind of contestant, with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The primary itself.
    Direct,
    /// A TCP relay to the primary.
    Haproxy,
    /// The pooler that does not parse, before the primary.
    Pgbouncer {
        /// One server per client for as long as the client stays.
        session: bool,
    },
    /// Ours.
    Pgweir(Settings),
}

/// What one pgweir is told that another is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Do reads go to the replicas?
    pub split: bool,
    /// `routing.consistency`.
    pub consistency: &'static str,
    /// `routing.transactions`.
    pub transactions: &'static str,
}

/// A contestant's name and kind.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// In the results and on the command line.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// It runs only under loads that compare these.
    pub only: Option<Variants>,
}

/// The ratio's denominator.
pub const REFERENCE: &str = "pgbouncer";

/// Everybody, in the order in which they take their turns.
pub const ENTRIES: &[Entry] = &[
    Entry { name: "direct", kind: Kind::Direct, only: None },
    Entry { name: "haproxy", kind: Kind::Haproxy, only: None },
    Entry { name: REFERENCE, kind: Kind::Pgbouncer { session: false }, only: None },
    pgweir("pgweir", PGWEIR, None),
    pgweir("pgweir-unsplit", Settings { split: false, ..PGWEIR }, None),
    pgweir("pgweir-eventual", Settings { consistency: "eventual", ..PGWEIR }, Some(Variants::Levels)),
    pgweir("pgweir-session", Settings { consistency: "session", ..PGWEIR }, Some(Variants::Levels)),
    pgweir("pgweir-global", Settings { consistency: "global", ..PGWEIR }, Some(Variants::Levels)),
    pgweir(
        "pgweir-moving",
        Settings { transactions: "until_first_write", ..PGWEIR },
        Some(Variants::Transactions),
    ),
];

/// As it comes.
pub const PGWEIR: Settings = Settings { split: true, consistency: "proxy", transactions: "primary" };

const fn pgweir(name: &'static str, settings: Settings, only: Option<Variants>) -> Entry {
    Entry { name, kind: Kind::Pgweir(settings), only }
}

#[derive(Debug)]
enum Running {
    Nobody,
    Peer(Process),
    Ours(Weir),
}

/// One that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Contestant {
    login: Login,
    running: Running,
}

impl Kind {
    /// Starts it before the cluster, with pools of `servers`, and waits until it answers.
    pub fn start(self, cluster: &Cluster, pgweir: &Path, servers: usize) -> Result<Contestant, BenchError> {
        let primary = cluster.app(cluster.primary());
        let contestant = match self {
            Kind::Direct => Contestant { login: primary, running: Running::Nobody },
            Kind::Haproxy => Contestant::peer(|directory, port| haproxy(directory, port, primary.port))?,
            Kind::Pgbouncer { session } => {
                let verifier = verifier(cluster)?;
                Contestant::peer(|directory, port| {
                    pgbouncer(directory, port, primary.port, &verifier, session, servers)
                })?
            }
            Kind::Pgweir(Settings { split, consistency, transactions }) => {
                let weir = Weir::builder(cluster)
                    .program(pgweir)
                    .set("pool.server_connections_max", servers as i64)
                    .set("routing.split", split)
                    .set("routing.consistency", consistency)
                    .set("routing.transactions", transactions)
                    .start()?;
                Contestant { login: weir.app(), running: Running::Ours(weir) }
            }
        };
        contestant.login.sql("SELECT 1")?;
        Ok(contestant)
    }
}

impl Contestant {
    fn peer(command: impl FnOnce(&Path, u16) -> Result<Command, BenchError>) -> Result<Self, BenchError> {
        let directory = pgweir_tests::scratch::directory()?;
        let identity = Identity::find()?;
        identity.own(&directory)?;
        let login = Login::local(free_port(), APP, APP_PASSWORD, APP);
        let mut command = command(&directory, login.port)?;
        identity.apply(&mut command);
        let log = directory.join("log");
        let process = Process::spawn(command, &log, "TERM")?;
        wait_until("the peer listens", || std::net::TcpStream::connect(("127.0.0.1", login.port)).is_ok())
            .map_err(|error| {
                BenchError(format!("{error}:\n{}", std::fs::read_to_string(&log).unwrap_or_default()))
            })?;
        Ok(Contestant { login, running: Running::Peer(process) })
    }

    /// How clients log in.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// CPU time and memory of the process, threads and children included; `None` if there is none.
    pub fn usage(&self) -> Option<Usage> {
        match &self.running {
            Running::Nobody => None,
            Running::Peer(process) => Some(Usage::of_tree(process.id())),
            Running::Ours(weir) => Some(weir.usage()),
        }
    }

    /// pgweir, if it is.
    pub fn weir(&self) -> Option<&Weir> {
        match &self.running {
            Running::Ours(weir) => Some(weir),
            _ => None,
        }
    }
}

/// <https://docs.haproxy.org/2.6/configuration.html>
fn haproxy(directory: &Path, port: u16, primary: u16) -> Result<Command, BenchError> {
    let config = format!(
        "global\n  maxconn {CLIENTS_MAX}\n  nbthread 2\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         frontend clients\n  bind 127.0.0.1:{port}\n  default_backend primary\n\
         backend primary\n  server primary 127.0.0.1:{primary}\n"
    );
    let file = write(directory, "haproxy.cfg", &config)?;
    let mut command = Command::new(program("haproxy"));
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

/// What Postgres keeps of the application's password.
fn verifier(cluster: &Cluster) -> Result<String, BenchError> {
    let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{APP}'");
    Ok(cluster.value(cluster.primary(), "postgres", &sql)?)
}

/// The user list holds the SCRAM verifier: with the password itself each log-in would cost ten
/// times as much. <https://www.pgbouncer.org/config.html>
fn pgbouncer(
    directory: &Path,
    port: u16,
    primary: u16,
    verifier: &str,
    session: bool,
    servers: usize,
) -> Result<Command, BenchError> {
    let users = write(directory, "userlist.txt", &format!("\"{APP}\" \"{verifier}\"\n"))?;
    let mode = if session { "session" } else { "transaction" };
    let config = format!(
        "[databases]\n* = host=127.0.0.1 port={primary}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n\
         max_client_conn = {CLIENTS_MAX}\ndefault_pool_size = {servers}\n\
         ignore_startup_parameters = extra_float_digits\n\
         log_connections = 0\nlog_disconnections = 0\n",
        users.display()
    );
    let file = write(directory, "pgbouncer.ini", &config)?;
    let mut command = Command::new(program("pgbouncer"));
    command.arg(file);
    Ok(command)
}

/// Readable by the peer's user, whoever that is; it is gone with the run.
fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf, BenchError> {
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    Identity::find()?.own(&path)?;
    Ok(path)
}

/// Debian keeps servers where an ordinary user's PATH does not look.
pub fn program(name: &str) -> PathBuf {
    let fixed = Path::new("/usr/sbin").join(name);
    if fixed.is_file() { fixed } else { name.into() }
}
