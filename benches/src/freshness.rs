//! What freshness costs: where reads go, how long they take, what they burn, at each level.
//!
//! A crowd of clients reads one table at a steady pace, and writes the same table or another one
//! at a given rate, while the replicas show commits with a delay. Each client both reads and
//! writes, so that a session has writes of its own to wait for.

mod aims;
mod crowd;
mod floor;
mod page;
mod pair;

use crate::bench_error::BenchError;
use crate::contestant::{Kind, PGWEIR, SERVERS};
use crate::machine::{Machine, asked, version};
use crate::statistics::percentile;
use crowd::{Orders, Tally};
use floor::Floor;
use pair::Ratio;
use pgweir_tests::metrics::Metrics;
use pgweir_tests::usage::on_cpu;
use pgweir_tests::{Cluster, Weir};
use serde::Serialize;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The levels, weakest first.
const LEVELS: [&str; 4] = ["eventual", "session", "proxy", "global"];

/// What the run is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of one line's measurement, seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
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
    /// Pairs of slices, two seconds each, in which `proxy` is compared with `eventual`; 0: none.
    #[arg(long, default_value_t = 40)]
    pub pairs: usize,
    /// How long the idle prober is watched, seconds.
    #[arg(long, default_value_t = 30)]
    pub idle: u64,
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
    /// 99 % of the reads waited no longer for a replica, ms, by pgweir's histogram.
    pub wait_p99_ms: f64,
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
    /// How late the replicas themselves are, by delay.
    pub floors: Vec<Floor>,
    /// `proxy` beside `eventual` while nothing is written.
    pub ratio: Option<Ratio>,
    /// CPU of an idle pgweir's own connections on each node, share of a core.
    pub idle: Vec<f64>,
    /// How long that was watched, seconds.
    pub idle_seconds: u64,
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
    let contestant = Kind::Pgweir(PGWEIR).start(&cluster, &pgweir, SERVERS)?;
    let weir = contestant.weir().ok_or_else(|| BenchError("not pgweir".into()))?;
    let idle = idle(&cluster, options.idle)?;
    let ratio = match options.pairs {
        0 => None,
        pairs => Some(pair::compare(contestant.login(), weir.pid(), ["eventual", "proxy"], pairs)?),
    };
    let mut results = Results {
        command: asked(),
        machine: Machine::look(programs.into()),
        clients: options.clients,
        pause_ms: options.pause,
        seconds: options.seconds,
        lines: Vec::new(),
        floors: Vec::new(),
        ratio,
        idle,
        idle_seconds: options.idle,
    };
    for delay in &options.delays {
        for index in cluster.replicas() {
            cluster.set_apply_delay(index, Duration::from_millis(*delay))?;
        }
        if options.writes.contains(&aims::WAITED_WRITES) {
            let orders = orders(options, weir, "eventual", aims::WAITED_WRITES, true);
            let replicas: Vec<_> = cluster.replicas().into_iter().map(|index| cluster.app(index)).collect();
            let floor = floor::measure(&orders, *delay, &cluster.app(cluster.primary()), &replicas)?;
            eprintln!(
                "replicas themselves, delay {delay:>2} ms: p50 {:.2} p99 {:.2} ms",
                floor.p50_ms, floor.p99_ms
            );
            results.floors.push(floor);
        }
        for (writes, same_table) in loads(&options.writes) {
            // The levels side by side: what the machine does falls on all of them alike.
            for level in LEVELS.into_iter().filter(|level| chosen(options, level)) {
                let line = measure(options, &cluster, weir, level, *delay, writes, same_table)?;
                eprintln!(
                    "{level:9} delay {delay:>2} ms, {writes:>4} writes/s {:5}: {:>5.1} % on replicas, p50 {:.2} \
                     p99 {:.2} ms, wait p99 {:.2} ms, {:.1} µs, {:+} statements",
                    if same_table { "same" } else { "other" },
                    line.replica_share * 100.0,
                    line.p50_ms,
                    line.p99_ms,
                    line.wait_p99_ms,
                    line.cpu_micros,
                    line.statements_added
                );
                results.lines.push(line);
            }
            page::write(&options.results, &results)?;
        }
    }
    for aims::Aim { text, measured, verdict } in aims::of(&results) {
        eprintln!("{verdict:9} {text}: {measured}");
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

fn orders(options: &Options, weir: &Weir, level: &'static str, writes: u64, same_table: bool) -> Orders {
    Orders {
        login: weir.app(),
        level,
        clients: options.clients,
        pause: Duration::from_millis(options.pause),
        writes_per_second: writes,
        same_table,
        warm_up: Duration::from_millis(700),
        length: Duration::from_secs(options.seconds),
    }
}

fn measure(
    options: &Options,
    cluster: &Cluster,
    weir: &Weir,
    level: &'static str,
    delay_ms: u64,
    writes: u64,
    same_table: bool,
) -> Result<Line, BenchError> {
    let orders = orders(options, weir, level, writes, same_table);
    // Statements are counted while nobody is there, before and after, so that not one is missed.
    let (quiet, calls) = (weir.metrics()?, calls(cluster)?);
    let before = crowd::Probe::default();
    let probe = before.clone();
    let running = std::thread::spawn(move || crowd::run(&orders, &probe));
    before.wait_begun();
    let first = (on_cpu(weir.pid()), weir.metrics()?);
    before.wait_ended();
    let last = (on_cpu(weir.pid()), weir.metrics()?);
    let tally = running.join().map_err(|_| BenchError("the crowd panicked".into()))??;
    let asked = statements(&weir.metrics()?, "primary") - statements(&quiet, "primary");
    let added = self::calls(cluster)? - calls - asked;
    Ok(line((level, delay_ms, writes, same_table), &tally, &first, &last, added))
}

fn statements(metrics: &Metrics, target: &str) -> f64 {
    metrics.sum("pgweir_statements_total", &[("target", target)])
}

/// Statements that the application has run on the primary so far.
fn calls(cluster: &Cluster) -> Result<f64, BenchError> {
    Ok(cluster.value(cluster.primary(), "postgres", crowd::CALLS_SQL)?.parse().unwrap_or(0.0))
}

type Reading = (Duration, Metrics);

fn line(
    (level, delay_ms, writes, same_table): (&str, u64, u64, bool),
    tally: &Tally,
    (cpu_first, first): &Reading,
    (cpu_last, last): &Reading,
    statements_added: f64,
) -> Line {
    let (reads, written) = (tally.reads.len() as f64, tally.writes.len() as f64);
    let (replica, primary) = (
        statements(last, "replica") - statements(first, "replica"),
        statements(last, "primary") - statements(first, "primary"),
    );
    let sorted = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times
    };
    let (read_times, write_times) = (sorted(&tally.reads), sorted(&tally.writes));
    let cpu = cpu_last.saturating_sub(*cpu_first).as_secs_f64() * 1e6;
    let waited = |metrics: &Metrics| metrics.sum("pgweir_freshness_waits_total", &[]);
    Line {
        level: level.into(),
        delay_ms,
        writes,
        same_table,
        reads: tally.reads.len(),
        written: tally.writes.len(),
        // Of what pgweir counted between the same two readings; all writes went to the primary.
        replica_share: (replica / (replica + (primary - written).max(0.0)).max(1.0)).min(1.0),
        p50_ms: percentile(&read_times, 0.5) / 1e3,
        p99_ms: percentile(&read_times, 0.99) / 1e3,
        wait_p99_ms: wait_p99(first, last, reads),
        write_p50_ms: percentile(&write_times, 0.5) / 1e3,
        cpu_micros: cpu / (reads + written).max(1.0),
        waited: waited(last) - waited(first),
        statements_added,
    }
}

/// The wait, ms, that 99 % of so many reads did not exceed; most of them did not wait at all. Within a
/// bucket as Prometheus' `histogram_quantile` has it.
fn wait_p99(first: &Metrics, last: &Metrics, reads: f64) -> f64 {
    const NAME: &str = "pgweir_freshness_wait_seconds_bucket";
    let counts = |metrics: &Metrics| metrics.by_label(NAME, "le");
    let before = counts(first);
    let mut buckets: Vec<(f64, f64)> = counts(last)
        .into_iter()
        .map(|(le, count)| (le.parse().unwrap_or(f64::INFINITY), count - before.get(&le).unwrap_or(&0.0)))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let waited = buckets.last().map_or(0.0, |last| last.1);
    // So many waits are longer than it.
    let rank = waited - reads.max(waited) * 0.01;
    let (mut low, mut below) = (0.0, 0.0);
    for (le, count) in buckets {
        if count >= rank {
            return if rank <= 0.0 {
                0.0
            } else {
                (low + (le - low) * (rank - below) / (count - below)) * 1e3
            };
        }
        (low, below) = (le, count);
    }
    low * 1e3
}

/// CPU of pgweir's own connections on each node while nothing happens, share of a core.
fn idle(cluster: &Cluster, seconds: u64) -> Result<Vec<f64>, BenchError> {
    // Catalogs that were asked for at the start are not looked after any longer.
    std::thread::sleep(Duration::from_secs(3));
    let own = "SELECT pid FROM pg_stat_activity WHERE usename = 'pgweir'";
    let mut servers = Vec::new();
    for node in 0..cluster.nodes().len() {
        let rows = cluster.sql(node, "postgres", own)?;
        let pids = rows.iter().filter_map(|row| row[0].as_deref()?.parse::<u32>().ok());
        servers.push(pids.collect::<Vec<_>>());
    }
    let spent = || servers.iter().map(|pids| pids.iter().map(|pid| on_cpu(*pid)).sum::<Duration>());
    let before: Vec<Duration> = spent().collect();
    std::thread::sleep(Duration::from_secs(seconds));
    let share = |(after, before): (Duration, &Duration)| {
        after.saturating_sub(*before).as_secs_f64() / seconds.max(1) as f64
    };
    Ok(spent().zip(&before).map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_of_waits_counts_those_who_did_not_wait() {
        let metrics = |counts: [u32; 3]| {
            let names = ["0.005", "0.01", "+Inf"].into_iter().zip(counts);
            let lines = names
                .map(|(le, count)| format!("pgweir_freshness_wait_seconds_bucket{{le=\"{le}\"}} {count}\n"));
            Metrics::parse(&lines.collect::<String>())
        };
        let p99 = |counts, reads| wait_p99(&metrics([5, 5, 5]), &metrics(counts), reads);
        assert_eq!(p99([5, 5, 5], 1_000.0), 0.0, "nobody waited");
        assert_eq!(p99([10, 15, 15], 1_000.0), 0.0, "one in a hundred waited");
        assert!((p99([25, 45, 45], 1_000.0) - 7.5).abs() < 1e-9, "thirty waited no longer");
        assert!((p99([105, 105, 105], 100.0) - 4.95).abs() < 1e-9, "everybody waited");
    }
}
