//! A throw-away cluster: one primary, its streaming replicas, the roles that tests use.

use crate::binaries::Binaries;
use crate::door::Door;
use crate::error::{Doing, HarnessError};
use crate::identity::Identity;
use crate::node::{Node, REPLICATOR, REPLICATOR_PASSWORD, Site};
use crate::scratch;
use crate::sql::{Login, Rows};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The application's role; it owns the database of the same name.
pub const APP: &str = "app";
/// Its password.
pub const APP_PASSWORD: &str = "app-secret";
/// The role that pgweir uses for itself.
pub const WEIR: &str = "pgweir";
/// Its password.
pub const WEIR_PASSWORD: &str = "pgweir-secret";

/// The role's SQL as shipped to users: what they run is what is tested.
const ROLE_SQL: &str = include_str!("../../deploy/config/pgweir-role.sql");

/// What a cluster shall be like.
#[derive(Debug)]
pub struct ClusterBuilder {
    replicas: usize,
    settings: Vec<(String, String)>,
    binaries: Option<PathBuf>,
    doors: bool,
    log_statements: bool,
    count_statements: bool,
}

impl ClusterBuilder {
    /// The number of streaming replicas; two if nobody says otherwise.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// One line of `postgresql.conf`, on all nodes.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// PostgreSQL programs from this directory instead of those that are found.
    pub fn binaries(mut self, directory: &Path) -> Self {
        self.binaries = Some(directory.to_owned());
        self
    }

    /// A TCP door in front of each node, so that its network can be broken.
    pub fn doors(mut self) -> Self {
        self.doors = true;
        self
    }

    /// Nodes log each statement of the database `app`, for [`Cluster::nodes_that_ran`].
    pub fn log_statements(mut self) -> Self {
        self.log_statements = true;
        self
    }

    /// Nodes count statements with `pg_stat_statements`, where the module is installed.
    pub fn count_statements(mut self) -> Self {
        self.count_statements = true;
        self
    }

    /// Makes and starts it; takes some seconds.
    pub fn start(self) -> Result<Cluster, HarnessError> {
        let binaries = match &self.binaries {
            Some(directory) => Binaries::at(directory)?,
            None => Binaries::find()?,
        };
        let counts = self.count_statements && binaries.has_module("pg_stat_statements");
        let mut settings = default_settings();
        if counts {
            settings.push(("shared_preload_libraries".into(), "pg_stat_statements".into()));
        }
        settings.extend(self.settings);

        let site = Site { binaries, identity: Identity::find()?, directory: scratch::directory()? };
        site.identity.own(&site.directory)?;
        let primary = Node::create(&site, &settings)?;
        make_roles(&primary, self.log_statements, counts)?;
        let mut nodes = vec![primary];
        for index in 1..=self.replicas {
            nodes.push(Node::copy_of(&site, index, &nodes[0])?);
        }
        for node in &nodes[1..] {
            node.start(&site)?;
        }
        let doors = match self.doors {
            true => nodes.iter().map(|node| Door::open(node.port())).collect::<Result<_, _>>(),
            false => Ok(Vec::new()),
        };
        let doors = doors.doing(|| "opening a door".into())?;
        let cluster = Cluster { nodes, doors, primary: AtomicUsize::new(0), site };
        cluster.wait_caught_up()?;
        Ok(cluster)
    }
}

/// Safe to lose, quick to start, small; but commits wait as in production.
fn default_settings() -> Vec<(String, String)> {
    [
        ("listen_addresses", "127.0.0.1"),
        ("max_connections", "200"),
        ("shared_buffers", "32MB"),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("wal_log_hints", "on"),
        ("wal_level", "replica"),
        ("max_wal_size", "512MB"),
        ("max_wal_senders", "20"),
        ("max_replication_slots", "20"),
        ("max_prepared_transactions", "10"),
        ("hot_standby_feedback", "off"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_retrieve_retry_interval", "200ms"),
        ("password_encryption", "scram-sha-256"),
        ("log_line_prefix", "%m [%p] %u@%d "),
        // Files, which go with the data directory, rather than objects in /dev/shm.
        ("dynamic_shared_memory_type", "mmap"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn make_roles(primary: &Node, log_statements: bool, counts: bool) -> Result<(), HarnessError> {
    let root = primary.superuser();
    root.sql(&format!("CREATE ROLE {REPLICATOR} LOGIN REPLICATION PASSWORD '{REPLICATOR_PASSWORD}'"))?;
    make_users(&root)?;
    if log_statements {
        root.sql(&format!("ALTER DATABASE {APP} SET log_statement = 'all'"))?;
    }
    if counts {
        root.sql("CREATE EXTENSION pg_stat_statements")?;
    }
    Ok(())
}

/// Makes pgweir's role, the application's and its database, as this superuser.
pub fn make_users(root: &Login) -> Result<(), HarnessError> {
    root.sql(ROLE_SQL)?;
    root.sql(&format!("ALTER ROLE {WEIR} PASSWORD '{WEIR_PASSWORD}'"))?;
    root.sql(&format!("CREATE ROLE {APP} LOGIN PASSWORD '{APP_PASSWORD}'"))?;
    root.sql(&format!("CREATE DATABASE {APP} OWNER {APP}")).map(drop)
}

/// A running cluster. Node 0 was born as the primary. Dropping it removes everything.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    doors: Vec<Door>,
    primary: AtomicUsize,
    site: Site,
}

impl Cluster {
    /// A primary and two replicas unless told otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            replicas: 2,
            settings: Vec::new(),
            binaries: None,
            doors: false,
            log_statements: false,
            count_statements: false,
        }
    }

    /// All nodes; the index is the node's number everywhere in the harness.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The number of the node that takes writes now.
    pub fn primary(&self) -> usize {
        self.primary.load(Ordering::Relaxed)
    }

    /// The numbers of the others.
    pub fn replicas(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| *index != self.primary()).collect()
    }

    pub(crate) fn set_primary(&self, index: usize) {
        self.primary.store(index, Ordering::Relaxed);
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// The door of a node, if the cluster was built with doors.
    pub fn door(&self, index: usize) -> Option<&Door> {
        self.doors.get(index)
    }

    /// Where the programs come from.
    pub fn binaries(&self) -> &Binaries {
        &self.site.binaries
    }

    /// The user that the servers run as, if it is another than ours.
    pub fn server_user(&self) -> Option<&'static str> {
        self.site.identity.name()
    }

    /// The cluster's directory: readable by the server's user, removed at the end.
    pub fn directory(&self) -> &Path {
        &self.site.directory
    }

    /// `host:port` of each node as pgweir shall see it, through the doors where there are any.
    pub fn addresses(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|index| self.address(index)).collect()
    }

    /// `host:port` of one node as pgweir shall see it.
    pub fn address(&self, index: usize) -> String {
        let port = self.doors.get(index).map_or_else(|| self.nodes[index].port(), Door::port);
        format!("127.0.0.1:{port}")
    }

    /// The application's login, straight to a node.
    pub fn app(&self, index: usize) -> Login {
        Login::local(self.nodes[index].port(), APP, APP_PASSWORD, APP)
    }

    /// Runs SQL as superuser on one node.
    pub fn sql(&self, index: usize, database: &str, sql: &str) -> Result<Rows, HarnessError> {
        self.nodes[index].superuser().database(database).sql(sql)
    }

    /// The first value that SQL returns as superuser on one node.
    pub fn value(&self, index: usize, database: &str, sql: &str) -> Result<String, HarnessError> {
        self.nodes[index].superuser().database(database).value(sql)
    }

    /// The nodes whose log shows a statement with this text in it, whatever pgweir says.
    ///
    /// Needs [`ClusterBuilder::log_statements`] and a text that nobody else uses.
    pub fn nodes_that_ran(&self, text: &str) -> Vec<usize> {
        let ran = |node: &Node| count_in_log(node, text) > 0;
        (0..self.nodes.len()).filter(|index| ran(&self.nodes[*index])).collect()
    }

    /// How often each node ran a statement with this text in it.
    pub fn runs(&self, text: &str) -> Vec<usize> {
        self.nodes.iter().map(|node| count_in_log(node, text)).collect()
    }

    /// Waits until all running replicas have replayed all that is committed now.
    pub fn wait_caught_up(&self) -> Result<(), HarnessError> {
        let wanted = self.value(self.primary(), "postgres", "SELECT pg_current_wal_flush_lsn()")?;
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{wanted}'::pg_lsn");
        for index in self.replicas() {
            if self.nodes[index].is_running() {
                wait_until(&format!("node{index} has replayed {wanted}"), || {
                    self.value(index, "postgres", &sql).is_ok_and(|value| value == "t")
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Replicas first: a primary's shutdown waits for them otherwise.
        for node in self.nodes.iter().rev() {
            node.signal_all("CONT");
            node.end("QUIT");
        }
        let _ = std::fs::remove_dir_all(&self.site.directory);
    }
}

/// Statements begin with `LOG:  statement: ` or `LOG:  execute name: `; the text may follow
/// on a later line of the same entry, which has no prefix and is counted all the same.
fn count_in_log(node: &Node, text: &str) -> usize {
    let log = std::fs::read(node.log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    // An error repeats its statement; a statement is not run twice because of that.
    log.lines().filter(|line| line.contains(text) && !line.contains("STATEMENT:  ")).count()
}

/// Looks every 20 ms, for a minute at most.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Result<(), HarnessError> {
    wait_until_within(Duration::from_secs(60), what, condition)
}

/// Looks every 20 ms, for as long as this at most.
pub fn wait_until_within(
    at_most: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Result<(), HarnessError> {
    let deadline = Instant::now() + at_most;
    while !condition() {
        if Instant::now() > deadline {
            let text = format!("waited {at_most:?} in vain until {what}");
            return Err(HarnessError::failed(text));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
