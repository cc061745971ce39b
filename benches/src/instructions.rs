//! Instructions of pgweir's own per statement, as valgrind counts them: a figure that no neighbour disturbs.
//!
//! One client runs a load of so many transactions, and then another of twice as many; what both have in common
//! (log-in, what pgbench asks ahead) drops out of the difference. The kernel's side of a system call is not seen.

use crate::bench_error::BenchError;
use crate::callgrind::Counted;
use crate::chart::Table;
use crate::side_by_side;
use crate::statistics::Spread;
use crate::workload::{WORKLOADS, Workload};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::{Cluster, Weir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is counted, by the names of the loads.
const LOADS: &[&str] =
    &["select-simple", "select-extended", "select-prepared", "pipeline", "mixed", "tpcb", "login"];
/// A figure may be this much above the one that is kept.
const GROWTH_MAX: f64 = 0.05;
/// So often each load is counted. Now and then pgweir does something beside it, such as opening a connection,
/// which is as dear as a thousand statements: the median knows nothing of that.
const ROUNDS: usize = 3;
/// Size of pgbench's tables.
const SCALE: u32 = 1;

/// Instructions per statement, by load.
type Figures = BTreeMap<String, f64>;

/// What the run is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Transactions in the shorter of the two runs of each load.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub transactions: u64,
    /// Only these loads (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub loads: Vec<String>,
    /// The pgweir binary; otherwise the one beside this program.
    #[arg(long)]
    pub pgweir: Option<PathBuf>,
    /// The figures that are kept.
    #[arg(long, default_value = "benches/INSTRUCTIONS.json")]
    pub figures: PathBuf,
    /// Keep what is measured now, instead of failing where it has grown.
    #[arg(long)]
    pub update: bool,
    /// Leave valgrind's profiles here, for callgrind_annotate.
    #[arg(long)]
    pub profiles: Option<PathBuf>,
}

/// Counts, and compares with what is kept.
pub fn run(options: &Options) -> Result<(), BenchError> {
    side_by_side::check_names(&options.loads, LOADS.iter().copied())?;
    if !Counted::is_possible() {
        println!("left out: valgrind and its vgdb are not installed");
        return Ok(());
    }
    let kept = read(&options.figures)?;
    let measured = measure(options)?;
    println!("{}", table(&measured, &kept).text());
    if options.update {
        return write(&options.figures, kept.into_iter().chain(measured).collect());
    }
    match grown(&measured, &kept) {
        grown if grown.is_empty() => Ok(()),
        grown => Err(BenchError(format!(
            "more than {:.0} % above {}: {}",
            GROWTH_MAX * 100.0,
            options.figures.display(),
            grown.join(", ")
        ))),
    }
}

fn measure(options: &Options) -> Result<Figures, BenchError> {
    let pgweir = match &options.pgweir {
        Some(path) => path.canonicalize()?,
        None => pgweir_tests::weir::program()?,
    };
    let cluster = side_by_side::cluster(0)?;
    side_by_side::fill(&cluster, SCALE)?;
    let directory = match &options.profiles {
        Some(path) => {
            std::fs::create_dir_all(path)?;
            path.canonicalize()?
        }
        None => pgweir_tests::scratch::directory()?,
    };
    let program = Counted::program(&pgweir, &directory)?;
    let weir = Weir::builder(&cluster).program(&program).set("runtime.threads", 1).start()?;
    // So slowed down it may need several tries to reach the nodes.
    wait_until("pgweir answers", || weir.app().sql("SELECT 1").is_ok())?;
    let counted = Counted::of(weir.pid(), &directory);
    let wanted = |name: &str| options.loads.is_empty() || options.loads.iter().any(|load| load == name);
    let mut figures = Figures::new();
    for name in LOADS.iter().filter(|name| wanted(name)) {
        let Some(load) = WORKLOADS.iter().find(|load| load.name == *name) else { continue };
        let rounds = (options.transactions as f64 / load.statements).ceil().max(10.0) as u64;
        let run = |times: u64| pgbench(&cluster, &weir, load, rounds * times);
        // Connections are opened and caches filled.
        run(1)?;
        counted.dump("before")?;
        let mut seen = vec![];
        for round in 1..=ROUNDS {
            run(1)?;
            let once = counted.dump(&format!("{name}.{round}.once"))?;
            run(2)?;
            let twice = counted.dump(&format!("{name}.{round}.twice"))?;
            seen.push(twice.saturating_sub(once) as f64 / (rounds as f64 * load.statements));
        }
        let Some(spread) = Spread::of(seen) else { continue };
        eprintln!("{name}: {:.0} ({:.0}–{:.0})", spread.median, spread.low, spread.high);
        figures.insert((*name).to_owned(), spread.median.round());
    }
    Ok(figures)
}

fn pgbench(cluster: &Cluster, weir: &Weir, load: &Workload, transactions: u64) -> Result<(), BenchError> {
    let directory = pgweir_tests::scratch::directory()?;
    let output = Command::new(cluster.binaries().program("pgbench"))
        .envs(weir.app().environment())
        .env("PGSSLMODE", "disable")
        .args(load.arguments(&directory)?)
        .args(["-n", "-c", "1", "-j", "1", "--random-seed", "1"])
        .args(["-t", &transactions.to_string(), "-D", &format!("scale={SCALE}")])
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(BenchError(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

fn table(measured: &Figures, kept: &Figures) -> Table {
    let mut table = Table::new(["load", "instructions per statement", "kept"]);
    for (name, now) in measured {
        let before = kept.get(name).map_or("–".into(), |before| format!("{before:.0}"));
        table.row([name.clone(), format!("{now:.0}"), before]);
    }
    table
}

/// The loads that have become dearer than they may.
fn grown(measured: &Figures, kept: &Figures) -> Vec<String> {
    let has_grown = |name: &str, now: f64| kept.get(name).is_some_and(|kept| now > kept * (1.0 + GROWTH_MAX));
    measured.iter().filter(|(name, now)| has_grown(name, **now)).map(|(name, _)| name.clone()).collect()
}

fn read(path: &Path) -> Result<Figures, BenchError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|error| BenchError(format!("{}: {error}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Figures::new()),
        Err(error) => Err(BenchError(format!("{}: {error}", path.display()))),
    }
}

fn write(path: &Path, figures: Figures) -> Result<(), BenchError> {
    let text = serde_json::to_string_pretty(&figures).map_err(|error| BenchError(error.to_string()))?;
    Ok(std::fs::write(path, text + "\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, f64)]) -> Figures {
        of.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect()
    }

    #[test]
    fn what_has_grown_by_more_than_a_twentieth_is_named_and_what_is_new_is_not() {
        let kept = figures(&[("a", 100.0), ("b", 100.0), ("c", 100.0)]);
        let now = figures(&[("a", 104.0), ("b", 106.0), ("d", 1.0)]);
        assert_eq!(grown(&now, &kept), ["b"]);
    }

    #[test]
    fn every_load_that_is_counted_is_one() {
        assert!(LOADS.iter().all(|name| WORKLOADS.iter().any(|load| load.name == *name)));
    }
}
