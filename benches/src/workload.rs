//! The loads that contestants are put under.

use crate::bench_error::BenchError;
use std::path::Path;

/// Rows of `pgbench_accounts`: pgbench's own unit.
pub const ACCOUNTS_PER_SCALE: u32 = 100_000;

/// How statements travel; pgbench's `-M`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    /// One Query message, literals in its text.
    Simple,
    /// Parse, Bind, Execute, each time.
    Extended,
    /// Parse once per connection.
    Prepared,
}

impl Protocol {
    /// As pgbench spells it.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
            Protocol::Prepared => "prepared",
        }
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// pgbench's built-in of this name.
    Builtin(&'static str),
    /// Files of ours with their weights: (name, weight, text).
    Files(&'static [(&'static str, u32, &'static str)]),
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// pgbench's `-M`.
    pub protocol: Protocol,
    /// What runs.
    pub script: Script,
    /// Statements per transaction, by which CPU time is divided.
    pub statements: f64,
    /// A new connection for each transaction (`-C`).
    pub reconnect: bool,
    /// Transactions per second that all clients together begin (`-R`); otherwise as many as can be. CPU per
    /// statement depends on it: the busier a machine, the more one wake-up of a process serves.
    pub rate: Option<u32>,
    /// Do server-side statements outlive a transaction? A pooler without support for them must
    /// then keep one server per client.
    pub keeps_statements: bool,
    /// What is compared under it.
    pub compares: Option<Variants>,
}

/// Variants of pgweir that are compared with one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variants {
    /// `routing.consistency`.
    Levels,
    /// `routing.transactions`.
    Transactions,
}

const SELECT: Workload = Workload {
    name: "select-simple",
    title: "one-row SELECT, simple protocol",
    protocol: Protocol::Simple,
    script: Script::Builtin("select-only"),
    statements: 1.0,
    reconnect: false,
    rate: None,
    keeps_statements: false,
    compares: Some(Variants::Levels),
};

const MIXED: Workload = Workload {
    name: "mixed",
    title: "90 % SELECT, 10 % UPDATE, literals in the text, simple protocol",
    script: Script::Files(&[("read", 9, MIXED_READ), ("write", 1, MIXED_WRITE)]),
    ..SELECT
};

/// All loads, in the order of the results.
pub const WORKLOADS: &[Workload] = &[
    SELECT,
    Workload {
        name: "select-extended",
        title: "one-row SELECT, extended protocol",
        protocol: Protocol::Extended,
        compares: None,
        ..SELECT
    },
    Workload {
        name: "select-prepared",
        title: "one-row SELECT, prepared once per client",
        protocol: Protocol::Prepared,
        keeps_statements: true,
        ..SELECT
    },
    Workload {
        name: "tpcb",
        title: "TPC-B-like transactions of seven statements, simple protocol",
        script: Script::Builtin("tpcb-like"),
        statements: 7.0,
        compares: None,
        ..SELECT
    },
    Workload {
        name: "transaction",
        title: "transactions of three SELECTs and an UPDATE, simple protocol",
        script: Script::Files(&[("transaction", 1, TRANSACTION)]),
        statements: 6.0,
        compares: Some(Variants::Transactions),
        ..SELECT
    },
    MIXED,
    Workload {
        name: "mixed-paced",
        title: "the same at 2,000 statements per second, whoever serves them",
        rate: Some(2_000),
        ..MIXED
    },
    Workload {
        name: "pipeline",
        title: "pipelines of twenty prepared SELECTs",
        protocol: Protocol::Prepared,
        script: Script::Files(&[("pipeline", 1, PIPELINE)]),
        statements: 20.0,
        keeps_statements: true,
        compares: None,
        ..SELECT
    },
    Workload {
        name: "rows",
        title: "results of 10,000 rows (1.1 MB), simple protocol",
        script: Script::Files(&[("rows", 1, ROWS)]),
        compares: None,
        ..SELECT
    },
    Workload {
        name: "login",
        title: "log-in (SCRAM), one SELECT, good-bye",
        reconnect: true,
        compares: None,
        ..SELECT
    },
];

const MIXED_READ: &str = "\
\\set aid random(1, 100000 * :scale)
SELECT a.abalance, b.bbalance FROM pgbench_accounts AS a JOIN pgbench_branches AS b ON b.bid = a.bid \
WHERE a.aid = :aid AND a.filler <> 'void';
";

const MIXED_WRITE: &str = "\
\\set aid random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
";

const TRANSACTION: &str = "\
\\set aid random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
SELECT tbalance FROM pgbench_tellers WHERE tid = 1 + :aid % 10;
SELECT bbalance FROM pgbench_branches WHERE bid = 1;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
COMMIT;
";

const PIPELINE: &str = "\
\\set aid random(1, 100000 * :scale - 20)
\\startpipeline
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 1;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 2;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 3;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 4;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 5;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 6;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 7;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 8;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 9;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 10;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 11;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 12;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 13;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 14;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 15;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 16;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 17;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 18;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 19;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 20;
\\endpipeline
";

const ROWS: &str = "\
SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid <= 10000;
";

impl Workload {
    /// pgbench's arguments for it; its files are written into `directory`.
    pub fn arguments(&self, directory: &Path) -> Result<Vec<String>, BenchError> {
        let mut arguments = vec!["-M".to_owned(), self.protocol.word().to_owned()];
        if self.reconnect {
            arguments.push("-C".into());
        }
        if let Some(rate) = self.rate {
            arguments.extend(["-R".to_owned(), rate.to_string()]);
        }
        match self.script {
            Script::Builtin(name) => arguments.extend(["-b".to_owned(), name.to_owned()]),
            Script::Files(files) => {
                for (name, weight, text) in files {
                    let path = directory.join(format!("{name}.sql"));
                    std::fs::write(&path, text)?;
                    arguments.extend(["-f".to_owned(), format!("{}@{weight}", path.display())]);
                }
            }
        }
        Ok(arguments)
    }
}
