//! The cluster that all applications use, and the ways in which it is used.

use crate::reads::LINE_PREFIX;
use pgweir_tests::cluster::{APP, APP_PASSWORD};
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::time::Duration;

/// How late replicas are when they are late.
const LATE: Duration = Duration::from_millis(200);

/// How an application reaches its database during one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The primary, without pgweir.
    Direct,
    /// pgweir as it comes, replicas in step.
    InStep,
    /// The same with `routing.transactions = "until_first_write"`.
    BeforeWrite,
    /// The same with replicas 200 ms late; its tables are made through pgweir, too.
    Late,
    /// The same at `routing.consistency = "eventual"`: a walk that sees nothing stale there proves nothing.
    Eventual,
}

impl Mode {
    /// Its name in the table.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Direct => "direct",
            Mode::InStep => "in step",
            Mode::BeforeWrite => "in step, until_first_write",
            Mode::Late => "late, until_first_write",
            Mode::Eventual => "late, eventual (control)",
        }
    }

    fn is_late(self) -> bool {
        matches!(self, Mode::Late | Mode::Eventual)
    }
}

/// A primary and two replicas, and how long walks are.
#[derive(Debug)]
pub struct Stage {
    cluster: Cluster,
    /// How often each user goes the walk.
    pub rounds: u32,
    /// Users at once.
    pub users: u32,
}

impl Stage {
    /// Starts the cluster.
    pub fn start(rounds: u32, users: u32) -> Result<Stage, HarnessError> {
        let cluster = Cluster::builder()
            .setting("log_statement", "all")
            .setting("log_line_prefix", LINE_PREFIX)
            // Migrations of large applications lock every table at once.
            .setting("max_locks_per_transaction", "512")
            .start()?;
        if !cluster.binaries().has_module("pg_stat_statements") {
            return Err(HarnessError::failed(
                "pg_stat_statements is not installed (PostgreSQL's contrib modules)",
            ));
        }
        Ok(Stage { cluster, rounds, users })
    }

    /// PostgreSQL's version.
    pub fn version(&self) -> Result<String, HarnessError> {
        self.cluster.value(self.cluster.primary(), "postgres", "SHOW server_version")
    }

    /// pgweir in front of the cluster; none where the application goes to the primary itself.
    pub fn weir(&self, mode: Mode) -> Result<Option<Weir>, HarnessError> {
        let builder = Weir::builder(&self.cluster);
        let builder = match mode {
            Mode::Direct => return Ok(None),
            Mode::InStep => builder,
            Mode::BeforeWrite | Mode::Late => builder.set("routing.transactions", "until_first_write"),
            Mode::Eventual => builder
                .set("routing.transactions", "until_first_write")
                .set("routing.consistency", "eventual"),
        };
        builder.start().map(Some)
    }

    /// The login to this database on the primary, or through pgweir.
    pub fn login(&self, weir: Option<&Weir>, database: &str) -> Login {
        let port = weir.map_or_else(|| self.cluster.node(self.cluster.primary()).port(), Weir::port);
        Login::local(port, APP, APP_PASSWORD, database)
    }

    /// An empty database, or a copy of another.
    pub fn make_database(&self, name: &str, model: Option<&str>) -> Result<(), HarnessError> {
        let model = model.map(|model| format!(" TEMPLATE {model}")).unwrap_or_default();
        self.on_primary(&format!("CREATE DATABASE {name} OWNER {APP}{model}"))?;
        self.cluster.wait_caught_up()
    }

    /// Gone, whoever is still in it.
    pub fn drop_database(&self, name: &str) -> Result<(), HarnessError> {
        self.on_primary(&format!("DROP DATABASE {name} WITH (FORCE)"))
    }

    /// Replicas as this run wants them, from now on.
    pub fn set_replicas(&self, mode: Mode) -> Result<(), HarnessError> {
        let delay = if mode.is_late() { LATE } else { Duration::ZERO };
        for replica in self.cluster.replicas() {
            self.cluster.set_apply_delay(replica, delay)?;
        }
        self.cluster.wait_caught_up()
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn on_primary(&self, sql: &str) -> Result<(), HarnessError> {
        self.cluster.sql(self.cluster.primary(), "postgres", sql).map(drop)
    }
}
