//! The results as a page for people and as JSON for programs.

use crate::bench_error::BenchError;
use crate::chart::{Table, figure};
use crate::contestant::{Entry, REFERENCE};
use crate::machine::Machine;
use crate::sample::Sample;
use crate::statistics::Spread;
use crate::workload::{WORKLOADS, Workload};
use serde::Serialize;
use std::path::Path;

/// The page's part that this run owns; the rest of the file is left as it is.
const SECTION: &str = "side-by-side";

/// All figures of one run.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The arguments after the program's name.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// Length of a turn.
    pub seconds: u64,
    /// Turns.
    pub rounds: u64,
    /// Clients at once.
    pub clients: usize,
    /// pgbench's scale.
    pub scale: u32,
    /// Server connections per pool.
    pub servers: usize,
    /// One per load and contestant.
    pub cells: Vec<Cell>,
    /// Memory per idle client.
    pub idle: Vec<Idle>,
    /// How many idle clients there were.
    pub idle_clients: usize,
}

/// One contestant under one load.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// The load's name.
    pub load: &'static str,
    /// The contestant's name.
    pub contestant: &'static str,
    /// CPU time per statement, µs.
    pub cpu_micros: Option<Spread>,
    /// The kernel's part of it, 0 to 1.
    pub system_share: Option<Spread>,
    /// Transactions per second.
    pub transactions_per_second: Option<Spread>,
    /// Milliseconds.
    pub p50_ms: Option<Spread>,
    /// Milliseconds.
    pub p99_ms: Option<Spread>,
    /// What went wrong last, if anything did.
    pub trouble: Option<String>,
}

impl Cell {
    /// Sums the turns up.
    pub fn new(load: &Workload, entry: Entry, samples: &[Sample], trouble: Option<String>) -> Cell {
        let of = |pick: fn(&Sample) -> Option<f64>| Spread::of(samples.iter().filter_map(pick));
        Cell {
            load: load.name,
            contestant: entry.name,
            cpu_micros: of(|sample| sample.cpu_micros),
            system_share: of(|sample| sample.system_share),
            transactions_per_second: of(|sample| Some(sample.transactions_per_second)),
            p50_ms: of(|sample| Some(sample.p50_ms)),
            p99_ms: of(|sample| Some(sample.p99_ms)),
            trouble,
        }
    }
}

/// Memory per idle client of one contestant.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// Its name.
    pub contestant: &'static str,
    /// Resident memory, KiB.
    pub kib_per_client: Option<f64>,
    /// What went wrong, if anything did.
    pub trouble: Option<String>,
}

/// Writes `path` and, beside it, the same as JSON.
pub fn write(path: &Path, results: &Results) -> Result<(), BenchError> {
    crate::chart::write_section(path, SECTION, &page(results))?;
    let json = serde_json::to_string_pretty(results).map_err(|error| BenchError(error.to_string()))?;
    std::fs::write(path.with_extension("side-by-side.json"), json + "\n")?;
    Ok(())
}

fn page(results: &Results) -> String {
    let mut page = String::from("## Side by side\n\n");
    page += &format!(
        "{} clients, {} server connections per pool, pgbench scale {}, {} rounds of {} s per contestant \
         and load, contestants in turns. Each figure is the median of the rounds, with the lowest and the \
         highest. CPU is user and system time of the proxy's process, its threads and children, between two \
         readings, divided by the statements that ended between them. PgBouncer before version 1.21 knows no \
         prepared statements in transaction mode: under the loads that need them it runs in session mode, \
         with less to do. PgBouncer, HAProxy and `direct` lead to the primary; `pgweir` splits at the level \
         `proxy`, `pgweir-unsplit` sends everything to the primary, `pgweir-moving` moves a transaction there with \
         its first write.\n\n\
         `{}`\n\n",
        results.clients,
        results.servers,
        results.scale,
        results.rounds,
        results.seconds,
        command(results)
    );
    page += &machine(&results.machine);
    page += "### CPU per statement against PgBouncer\n\n";
    page += &ratios(results);
    for load in WORKLOADS {
        let cells: Vec<&Cell> = results.cells.iter().filter(|cell| cell.load == load.name).collect();
        if !cells.is_empty() {
            page += &format!("\n### {}: {}\n\n{}", load.name, load.title, load_table(&cells));
        }
    }
    if !results.idle.is_empty() {
        page += &format!("\n### Memory per idle client ({} clients)\n\n", results.idle_clients);
        page += &idle_table(&results.idle);
    }
    page
}

fn command(results: &Results) -> String {
    format!("cargo run --release -p pgweir-benches -- {}", results.command)
}

/// The machine in a few lines.
pub fn machine(machine: &Machine) -> String {
    let programs: Vec<String> =
        machine.programs.iter().map(|(name, version)| format!("{name}: {version}")).collect();
    format!(
        "{}, {} cores, {} GiB; {}, Linux {}. {}.\n\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.system,
        machine.kernel,
        programs.join("; ")
    )
}

fn ratios(results: &Results) -> String {
    let mut names: Vec<&str> = Vec::new();
    for cell in &results.cells {
        if cell.contestant != "direct" && !names.contains(&cell.contestant) {
            names.push(cell.contestant);
        }
    }
    let mut table = Table::new(["load"].into_iter().chain(names.iter().copied()));
    for load in WORKLOADS {
        let of = |name: &str| {
            let found = results.cells.iter().find(|cell| cell.load == load.name && cell.contestant == name);
            found.and_then(|cell| cell.cpu_micros).map(|cpu| cpu.median)
        };
        let reference = of(REFERENCE);
        let ratio = |name: &&str| match (of(name), reference) {
            (Some(cpu), Some(reference)) if reference > 0.0 => format!("{:.2}", cpu / reference),
            _ => "–".into(),
        };
        if results.cells.iter().any(|cell| cell.load == load.name) {
            table.row([load.name.to_owned()].into_iter().chain(names.iter().map(ratio)));
        }
    }
    table.text()
}

fn load_table(cells: &[&Cell]) -> String {
    let columns = ["contestant", "CPU µs/statement", "in the kernel", "transactions/s", "p50 ms", "p99 ms"];
    let mut table = Table::new(columns);
    let mut notes = String::new();
    for cell in cells {
        let share = cell.system_share.map_or("–".into(), |share| format!("{:.0} %", share.median * 100.0));
        table.row([
            cell.contestant.to_owned(),
            figure(cell.cpu_micros, 1),
            share,
            figure(cell.transactions_per_second, 0),
            figure(cell.p50_ms, 2),
            figure(cell.p99_ms, 2),
        ]);
        if let Some(trouble) = &cell.trouble {
            notes +=
                &format!("\n{} failed: {}\n", cell.contestant, trouble.lines().next().unwrap_or_default());
        }
    }
    table.text() + &notes
}

fn idle_table(idle: &[Idle]) -> String {
    let mut table = Table::new(["contestant", "KiB per client"]);
    for line in idle {
        let text = match (&line.kib_per_client, &line.trouble) {
            (Some(kib), _) => format!("{kib:.1}"),
            (None, Some(trouble)) => trouble.lines().next().unwrap_or_default().to_owned(),
            (None, None) => "–".into(),
        };
        table.row([line.contestant.to_owned(), text]);
    }
    table.text()
}
