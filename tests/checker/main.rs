//! `pgweir-checker`: which consistency does this address really give?

use clap::Parser;
use pgweir_tests::checker::verify::{Promise, Verdict, verify};
use pgweir_tests::checker::workload::{Recorded, Workload, describe, prepare, run};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio_postgres::Config;

/// Writes and reads through an address with many clients and decides from what they saw which
/// promises of consistency held. Exit status: 0 when all that --level promises held, 1 when not,
/// 2 when it could not be run.
///
/// Example: pgweir-checker --address "host=127.0.0.1 port=6432 user=app password=app dbname=app"
/// --level proxy --seconds 60
#[derive(Parser, Debug)]
#[command(name = "pgweir-checker")]
struct Arguments {
    /// What to check, as a libpq connection string.
    #[arg(long)]
    address: String,
    /// The primary itself: writers that pass the address by, for `global`.
    #[arg(long)]
    outside: Option<String>,
    /// The level whose promises must hold: eventual, session, proxy or global.
    #[arg(long, default_value = "proxy")]
    level: String,
    /// SQL that each connection begins with, such as "SET pgweir.consistency = 'session'".
    #[arg(long)]
    setup: Option<String>,
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Of them to the primary itself, beside the others.
    #[arg(long, default_value_t = 2)]
    outside_clients: u32,
    /// Tables of registers, and as many of lists.
    #[arg(long, default_value_t = 4)]
    tables: u32,
    /// Registers per table.
    #[arg(long, default_value_t = 5)]
    rows: i64,
    /// Of 100 operations, how many write.
    #[arg(long, default_value_t = 20)]
    writes: u32,
    /// Longest pause between two operations of a client, milliseconds.
    #[arg(long, default_value_t = 5)]
    think: u64,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// For repeatable dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the tables of an earlier run away from this one? They are made anew unless this is set.
    #[arg(long)]
    keep_tables: bool,
    /// Write the history here, one JSON object per operation.
    #[arg(long)]
    history: Option<PathBuf>,
}

fn main() -> ExitCode {
    match check(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pgweir-checker: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(arguments: &Arguments) -> Result<bool, String> {
    let promises = Promise::of_level(&arguments.level)
        .ok_or_else(|| format!("{:?} is not eventual, session, proxy or global", arguments.level))?;
    let workload = workload(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(text)?;
    let (history, last) = runtime.block_on(record(workload, arguments.keep_tables))?;
    if let Some(path) = &arguments.history {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(text)?);
        for operation in &history {
            writeln!(file, "{}", operation.to_json()).map_err(text)?;
        }
    }
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for error in history.iter().filter_map(|o| o.error.as_deref()) {
        *errors.entry(error).or_default() += 1;
    }
    for (error, count) in errors {
        println!("{count:>8} × {error}");
    }
    let verdict = verify(&history, &last);
    report(&verdict, history.len(), promises);
    Ok(promises.iter().all(|promise| verdict.broken(*promise) == 0))
}

async fn record(workload: Workload, keep_tables: bool) -> Result<Recorded, String> {
    if !keep_tables {
        prepare(&workload).await.map_err(|e| describe(&e))?;
        // The tables reach replicas that lag as well.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    run(workload).await.map_err(|e| describe(&e))
}

fn workload(arguments: &Arguments) -> Result<Workload, String> {
    let parse = |address: &str| address.parse::<Config>().map_err(text);
    Ok(Workload {
        address: parse(&arguments.address)?,
        outside: arguments.outside.as_deref().map(parse).transpose()?,
        setup: arguments.setup.clone(),
        clients: arguments.clients,
        outside_clients: arguments.outside_clients,
        tables: arguments.tables.clamp(1, 1000),
        rows: arguments.rows.max(1),
        writes: arguments.writes.min(100),
        think: Duration::from_millis(arguments.think),
        duration: Duration::from_secs(arguments.seconds),
        seed: arguments.seed,
    })
}

fn report(verdict: &Verdict, operations: usize, promises: &[Promise]) {
    println!(
        "{operations} operations: {} rows read, {} written, {} errors, {} acknowledged writes lost",
        verdict.reads, verdict.writes, verdict.errors, verdict.lost
    );
    for promise in Promise::ALL {
        let broken: Vec<_> = verdict.violations.iter().filter(|v| v.promise == promise).collect();
        let latest = broken.iter().map(|v| v.late).max().unwrap_or(0) as f64 / 1e6;
        println!(
            "{:<17} {:>9} tested {:>8} broken{}{}",
            promise.as_str(),
            verdict.tested.get(&promise).copied().unwrap_or(0),
            broken.len(),
            if broken.is_empty() { String::new() } else { format!(", up to {latest:.1} ms late") },
            if promises.contains(&promise) { "" } else { "  (not promised)" },
        );
        broken.iter().take(3).for_each(|violation| println!("    {violation}"));
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
