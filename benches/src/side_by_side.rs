//! pgweir, PgBouncer, HAProxy and a direct connection under the same loads, in turns.

use crate::bench_error::BenchError;
use crate::contestant::{self, Contestant, ENTRIES, Entry, Kind, SERVERS};
use crate::crowd;
use crate::machine::{Machine, asked, version};
use crate::report::{self, Cell, Results};
use crate::sample::{Sample, Turn};
use crate::workload::{ACCOUNTS_PER_SCALE, WORKLOADS, Workload};
use pgweir_tests::Cluster;
use std::path::PathBuf;
use std::process::Command;

/// What the run is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of one turn, seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..))]
    pub seconds: u64,
    /// Turns of each contestant per load.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: u64,
    /// Clients at once.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Server connections per pool.
    #[arg(long, default_value_t = SERVERS)]
    pub servers: usize,
    /// Idle clients for the memory figure; 0 leaves it out.
    #[arg(long, default_value_t = 1_000)]
    pub idle: usize,
    /// Size of pgbench's tables, 100,000 rows each.
    #[arg(long, default_value_t = 10)]
    pub scale: u32,
    /// Only these loads (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub loads: Vec<String>,
    /// Only these contestants (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub contestants: Vec<String>,
    /// The pgweir binary; otherwise the one beside this program.
    #[arg(long)]
    pub pgweir: Option<PathBuf>,
    /// Where the results go: this file and, with the ending .json, its raw figures.
    #[arg(long, default_value = "benches/RESULTS.md")]
    pub results: PathBuf,
}

/// Runs everything and writes the results.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|word| word == name);
    let entries: Vec<Entry> =
        ENTRIES.iter().filter(|entry| wanted(&options.contestants, entry.name)).copied().collect();
    let loads: Vec<Workload> =
        WORKLOADS.iter().filter(|load| wanted(&options.loads, load.name)).copied().collect();
    check_names(&options.loads, WORKLOADS.iter().map(|load| load.name).chain(["idle"]))?;
    check_names(&options.contestants, ENTRIES.iter().map(|entry| entry.name))?;
    let pgweir = match &options.pgweir {
        Some(path) => path.canonicalize()?,
        None => pgweir_tests::weir::program().unwrap_or_default(),
    };

    eprintln!("starting a primary and two replicas, scale {}", options.scale);
    let cluster = cluster(options.idle)?;
    fill(&cluster, options.scale)?;
    let machine = machine(&cluster, &pgweir);
    let mut results = Results {
        command: asked(),
        machine,
        seconds: options.seconds,
        rounds: options.rounds,
        clients: options.clients,
        scale: options.scale,
        servers: options.servers,
        cells: Vec::new(),
        idle: Vec::new(),
        idle_clients: options.idle,
    };
    let race = Race { options, cluster: &cluster, pgweir, entries };
    for load in &loads {
        results.cells.extend(race.run(load)?);
        report::write(&options.results, &results)?;
    }
    if options.idle > 0 && wanted(&options.loads, "idle") {
        results.idle = race.idle();
    }
    report::write(&options.results, &results)?;
    eprintln!("written: {}", options.results.display());
    Ok(())
}

/// Fails on a name that nobody has.
pub(crate) fn check_names<'a>(
    given: &[String],
    known: impl Iterator<Item = &'a str>,
) -> Result<(), BenchError> {
    let known: Vec<&str> = known.collect();
    match given.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(BenchError(format!("no such name: {name} (there are {})", known.join(", ")))),
        None => Ok(()),
    }
}

/// Connections for the idle crowd behind a relay that gives each client a server of its own.
pub(crate) fn cluster(idle: usize) -> Result<Cluster, BenchError> {
    Ok(Cluster::builder()
        .setting("max_connections", &(idle + 300).to_string())
        .setting("shared_buffers", "256MB")
        .setting("max_wal_size", "4GB")
        .setting("checkpoint_timeout", "30min")
        .setting("autovacuum", "off")
        .start()?)
}

/// pgbench's tables, on every node and in every cache.
pub(crate) fn fill(cluster: &Cluster, scale: u32) -> Result<(), BenchError> {
    let output = Command::new(cluster.binaries().program("pgbench"))
        .envs(cluster.app(cluster.primary()).environment())
        .args(["-i", "-q", "-I", "dtgvp", "-s", &scale.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(BenchError(format!("pgbench -i: {}", String::from_utf8_lossy(&output.stderr))));
    }
    eprintln!("{} accounts; replicas catch up", ACCOUNTS_PER_SCALE * scale);
    cluster.wait_caught_up()?;
    // Hint bits and caches: no contestant shall be the first to read a page.
    for index in 0..cluster.nodes().len() {
        cluster.app(index).sql("SELECT sum(abalance), count(filler) FROM pgbench_accounts")?;
    }
    Ok(())
}

fn machine(cluster: &Cluster, pgweir: &std::path::Path) -> Machine {
    let of = |path: PathBuf, argument: &str| {
        let mut command = Command::new(path);
        command.arg(argument);
        version(command)
    };
    Machine::look(vec![
        ("PostgreSQL, pgbench".into(), of(cluster.binaries().program("postgres"), "--version")),
        ("PgBouncer".into(), of(contestant::program("pgbouncer"), "--version")),
        ("HAProxy".into(), of(contestant::program("haproxy"), "-v")),
        ("pgweir".into(), of(pgweir.to_owned(), "--version")),
    ])
}

struct Race<'a> {
    options: &'a Options,
    cluster: &'a Cluster,
    pgweir: PathBuf,
    entries: Vec<Entry>,
}

impl Race<'_> {
    /// One load: all contestants at the start, then turn by turn.
    fn run(&self, load: &Workload) -> Result<Vec<Cell>, BenchError> {
        eprintln!("{}: {}", load.name, load.title);
        let directory = pgweir_tests::scratch::directory()?;
        let program = self.cluster.binaries().program("pgbench");
        let turn = Turn {
            program: &program,
            clients: self.options.clients,
            seconds: self.options.seconds,
            scale: self.options.scale,
            directory: &directory,
        };
        let entries =
            self.entries.iter().filter(|entry| entry.only.is_none_or(|only| load.compares == Some(only)));
        let mut lanes: Vec<Lane> = entries.map(|entry| self.lane(entry, load)).collect();
        for round in 1..=self.options.rounds {
            for lane in &mut lanes {
                lane.take(&turn, load, round);
            }
        }
        Ok(lanes.into_iter().map(|lane| Cell::new(load, lane.entry, &lane.samples, lane.trouble)).collect())
    }

    fn lane(&self, entry: &Entry, load: &Workload) -> Lane {
        let kind = match entry.kind {
            Kind::Pgbouncer { .. } => Kind::Pgbouncer { session: load.keeps_statements },
            other => other,
        };
        let started = kind.start(self.cluster, &self.pgweir, self.options.servers);
        let trouble = started.as_ref().err().map(ToString::to_string);
        Lane { entry: *entry, contestant: started.ok(), samples: Vec::new(), trouble }
    }

    /// Memory per idle client, everybody fresh and for themselves.
    fn idle(&self) -> Vec<report::Idle> {
        let entries = self.entries.iter().filter(|entry| entry.only.is_none() && entry.kind != Kind::Direct);
        let mut found = Vec::new();
        for entry in entries {
            eprintln!("idle clients: {}", entry.name);
            let measured = entry
                .kind
                .start(self.cluster, &self.pgweir, self.options.servers)
                .and_then(|contestant| crowd::memory_per_client(&contestant, self.options.idle));
            let (kib, trouble) = match measured {
                Ok(kib) => (kib, None),
                Err(error) => (None, Some(error.to_string())),
            };
            found.push(report::Idle { contestant: entry.name, kib_per_client: kib, trouble });
        }
        found
    }
}

/// One contestant on one load.
struct Lane {
    entry: Entry,
    contestant: Option<Contestant>,
    samples: Vec<Sample>,
    trouble: Option<String>,
}

impl Lane {
    fn take(&mut self, turn: &Turn<'_>, load: &Workload, round: u64) {
        let Some(contestant) = &self.contestant else { return };
        match turn.take(contestant, load) {
            Ok(sample) => {
                eprintln!(
                    "  round {round} {:16} {:>8.1} µs/statement {:>8.0} tps  p50 {:.3} ms  p99 {:.3} ms",
                    self.entry.name,
                    sample.cpu_micros.unwrap_or(0.0),
                    sample.transactions_per_second,
                    sample.p50_ms,
                    sample.p99_ms
                );
                self.samples.push(sample);
            }
            Err(error) => {
                eprintln!("  round {round} {:16} failed: {error}", self.entry.name);
                self.trouble = Some(error.to_string());
            }
        }
    }
}
