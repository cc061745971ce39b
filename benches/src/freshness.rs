//! What freshness costs: where reads go, how long they take, what they burn, at each level.
//!
//! A crowd of clients reads one table at a steady pace, and writes the same table or another one
//! at a given rate, while the replicas show commits with a delay. Each client both reads and
//! writes, so that a session has writes of its own to wait for.

mod crowd;
mod page;

use crate::bench_error::BenchError;
use crate::contestant::{Contestant, Kind};
use crate::machine::{Machine, asked, version};
use crate::statistics::percentile;
use crowd::{Orders, Tally};
use pgweir_tests::{Cluster, Usage};
use serde::Serialize;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The levels, weakest first.
const LEVELS: [&str; 4] = ["eventual", "session", "proxy", "global"];

/// What the run is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of one measurement, seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Replay delays of both replicas, milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 5, 50])]
    pub delays: Vec<u64>,
    /// Writes per second.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 100, 1000])]
    pub writes: Vec<u64>,
    /// Only these levels (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub levels: Vec<String>,
    /// Clients at once.
    #[arg(long, default_value_t = 32)]
    pub clients: usize,
    /// Pause of a client between two reads, milliseconds.
    #[arg(long, default_value_t = 20)]
    pub pause: u64,
    /// The pgweir binary; otherwise the one beside this program.
    #[arg(long)]
    pub pgweir: Option<PathBuf>,
    /// Where the results go.
    #[arg(long, default_value = "benches/RESULTS.md")]
    pub results: PathBuf,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// `routing.consistency`.
    pub level: String,
    /// `recovery_min_apply_delay`, ms.
    pub delay_ms: u64,
    /// Writes per second asked for.
    pub writes: u64,
    /// Do they go to the table that is read?
    pub same_table: bool,
    /// Reads that were measured.
    pub reads: usize,
    /// Writes that were measured.
    pub written: usize,
    /// Share of the reads that replicas served, 0 to 1.
    pub replica_share: f64,
    /// Median duration of a read, ms.
    pub p50_ms: f64,
    /// 99 % took no longer, ms.
    pub p99_ms: f64,
    /// Median duration of a write, ms.
    pub write_p50_ms: f64,
    /// CPU of pgweir per statement, µs.
    pub cpu_micros: f64,
    /// Reads that waited for a replica.
    pub waited: f64,
    /// Statements that the primary ran for the application, beyond the writes and the reads that
    /// it served; 0 means that the level adds none.
    pub statements_added: f64,
}

/// All of a run.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The arguments after the program's name.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// Clients at once.
    pub clients: usize,
    /// Pause between two reads, ms.
    pub pause_ms: u64,
    /// Seconds per line.
    pub seconds: u64,
    /// The table.
    pub lines: Vec<Line>,
    /// CPU of each node over ten idle seconds, share of a core: without pgweir, and with it.
    pub idle: Vec<(f64, f64)>,
}

/// Runs everything and writes the results.
pub fn run(options: &Options) -> Result<(), BenchError> {
    if let Some(name) = options.levels.iter().find(|name| !LEVELS.contains(&name.as_str())) {
        return Err(BenchError(format!("no such level: {name} (there are {})", LEVELS.join(", "))));
    }
    let pgweir = match &options.pgweir {
        Some(path) => path.canonicalize()?,
        None => pgweir_tests::weir::program()?,
    };
    eprintln!("starting a primary and two replicas");
    let cluster =
        Cluster::builder().count_statements().setting("shared_buffers", "128MB").setting("autovacuum", "off");
    let cluster = cluster.start()?;
    crowd::fill(&cluster.app(0))?;
    cluster.wait_caught_up()?;
    let programs = [("PostgreSQL", cluster.binaries().program("postgres")), ("pgweir", pgweir.clone())];
    let programs = programs.map(|(name, path)| {
        let mut command = Command::new(path);
        command.arg("--version");
        (name.to_owned(), version(command))
    });
    let mut results = Results {
        command: asked(),
        machine: Machine::look(programs.into()),
        clients: options.clients,
        pause_ms: options.pause,
        seconds: options.seconds,
        lines: Vec::new(),
        idle: idle(&cluster, &pgweir)?,
    };
    for delay in &options.delays {
        for index in cluster.replicas() {
            cluster.set_apply_delay(index, Duration::from_millis(*delay))?;
        }
        for (writes, same_table) in loads(&options.writes) {
            // The levels side by side: what the machine does falls on all of them alike.
            for level in LEVELS.iter().filter(|level| chosen(options, level)) {
                let line = measure(options, &cluster, &pgweir, level, *delay, writes, same_table)?;
                eprintln!(
                    "{level:9} delay {delay:>2} ms, {writes:>4} writes/s {:5}: {:>5.1} % on replicas, p50 {:.2} \
                     p99 {:.2} ms, {:.1} µs",
                    if same_table { "same" } else { "other" },
                    line.replica_share * 100.0,
                    line.p50_ms,
                    line.p99_ms,
                    line.cpu_micros
                );
                results.lines.push(line);
            }
            page::write(&options.results, &results)?;
        }
    }
    eprintln!("written: {}", options.results.display());
    Ok(())
}

fn chosen(options: &Options, level: &str) -> bool {
    options.levels.is_empty() || options.levels.iter().any(|name| name == level)
}

/// Without writes there is no table that they go to.
fn loads(writes: &[u64]) -> Vec<(u64, bool)> {
    let both = |rate: &u64| match rate {
        0 => vec![(0, true)],
        rate => vec![(*rate, true), (*rate, false)],
    };
    writes.iter().flat_map(both).collect()
}

fn measure(
    options: &Options,
    cluster: &Cluster,
    pgweir: &std::path::Path,
    level: &str,
    delay_ms: u64,
    writes: u64,
    same_table: bool,
) -> Result<Line, BenchError> {
    let level_word = LEVELS.into_iter().find(|word| *word == level).unwrap_or("proxy");
    let contestant = Kind::Pgweir { split: true, consistency: level_word }.start(cluster, pgweir)?;
    let orders = Orders {
        login: contestant.login().clone(),
        clients: options.clients,
        pause: Duration::from_millis(options.pause),
        writes_per_second: writes,
        same_table,
        warm_up: Duration::from_millis(700),
        length: Duration::from_secs(options.seconds),
    };
    let before = crowd::Probe::default();
    let probe = before.clone();
    let read = |contestant: &Contestant| -> Result<Reading, BenchError> {
        let statements = cluster.value(cluster.primary(), "postgres", crowd::CALLS_SQL)?;
        let weir = contestant.weir().ok_or_else(|| BenchError("not pgweir".into()))?;
        let metrics = weir.metrics()?;
        let served = |target| metrics.sum("pgweir_statements_total", &[("target", target)]);
        Ok(Reading {
            usage: weir.usage(),
            primary: served("primary"),
            replica: served("replica"),
            waited: metrics.sum("pgweir_freshness_waits_total", &[]),
            calls: statements.parse().unwrap_or(0.0),
        })
    };
    let running = std::thread::spawn(move || crowd::run(&orders, &probe));
    before.wait_begun();
    let first = read(&contestant)?;
    before.wait_ended();
    let last = read(&contestant)?;
    let tally = running.join().map_err(|_| BenchError("the crowd panicked".into()))??;
    Ok(line(level, delay_ms, writes, same_table, &tally, &first, &last))
}

struct Reading {
    usage: Usage,
    primary: f64,
    replica: f64,
    waited: f64,
    calls: f64,
}

fn line(
    level: &str,
    delay_ms: u64,
    writes: u64,
    same_table: bool,
    tally: &Tally,
    first: &Reading,
    last: &Reading,
) -> Line {
    let (reads, written) = (tally.reads.len() as f64, tally.writes.len() as f64);
    let replica = last.replica - first.replica;
    let sorted = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times
    };
    let (read_times, write_times) = (sorted(&tally.reads), sorted(&tally.writes));
    let cpu = last.usage.cpu().saturating_sub(first.usage.cpu()).as_secs_f64() * 1e6;
    Line {
        level: level.into(),
        delay_ms,
        writes,
        same_table,
        reads: tally.reads.len(),
        written: tally.writes.len(),
        replica_share: (replica / reads.max(1.0)).min(1.0),
        p50_ms: percentile(&read_times, 0.5) / 1e3,
        p99_ms: percentile(&read_times, 0.99) / 1e3,
        write_p50_ms: percentile(&write_times, 0.5) / 1e3,
        cpu_micros: cpu / (reads + written).max(1.0),
        waited: last.waited - first.waited,
        statements_added: (last.calls - first.calls) - (last.primary - first.primary),
    }
}

/// CPU of each node in ten idle seconds, without pgweir and with it.
fn idle(cluster: &Cluster, pgweir: &std::path::Path) -> Result<Vec<(f64, f64)>, BenchError> {
    let rest = || -> Result<Vec<f64>, BenchError> {
        std::thread::sleep(Duration::from_secs(3));
        let pids: Vec<u32> =
            (0..cluster.nodes().len()).map(|index| postmaster(cluster, index)).collect::<Result<_, _>>()?;
        let before: Vec<Usage> = pids.iter().map(|pid| Usage::of_tree(*pid)).collect();
        std::thread::sleep(Duration::from_secs(10));
        let spent = |(pid, before): (&u32, &Usage)| {
            Usage::of_tree(*pid).cpu().saturating_sub(before.cpu()).as_secs_f64() / 10.0
        };
        Ok(pids.iter().zip(&before).map(spent).collect())
    };
    let without = rest()?;
    let contestant = Kind::Pgweir { split: true, consistency: "proxy" }.start(cluster, pgweir)?;
    let with = rest()?;
    drop(contestant);
    Ok(without.into_iter().zip(with).collect())
}

fn postmaster(cluster: &Cluster, index: usize) -> Result<u32, BenchError> {
    let file = cluster.directory().join(cluster.node(index).name()).join("postmaster.pid");
    let text = std::fs::read_to_string(file)?;
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    pid.ok_or_else(|| BenchError("no pid in postmaster.pid".into()))
}
