//! The freshness table as a part of the results page.

use super::aims::{self, Aim};
use super::{Line, Results};
use crate::bench_error::BenchError;
use crate::chart::{Table, write_section};
use crate::report;
use std::path::Path;

/// Writes the part of `path` that is this run's, and its figures as JSON beside it.
pub fn write(path: &Path, results: &Results) -> Result<(), BenchError> {
    write_section(path, "freshness", &page(results))?;
    let json = serde_json::to_string_pretty(results).map_err(|error| BenchError(error.to_string()))?;
    std::fs::write(path.with_extension("freshness.json"), json + "\n")?;
    Ok(())
}

fn page(results: &Results) -> String {
    let mut page = format!(
        "## Freshness\n\n{} clients; each reads one row of a table by a prepared statement, every {} ms, and \
         all together write the same table or another one at the given rate, for {} s per line, once: a line is one measurement and has no spread. `delay` is \
         `recovery_min_apply_delay` of both replicas. `added` is the difference to `eventual` under the same \
         load; `wait p99` is what 99 % of all reads did not exceed in waiting for a replica, by pgweir's own \
         histogram. CPU is pgweir's, per statement. The last column is what the primary ran for the application \
         (`pg_stat_statements`) beyond the statements that clients sent there. Beside the aims about waits stands what the replicas \
         themselves allow: a connection of its own writes to the primary and asks a replica every millisecond \
         whether it has that, under the same load at `eventual`.\n\n`cargo run --release -p \
         pgweir-benches -- {}`\n\n",
        results.clients, results.pause_ms, results.seconds, results.command
    );
    page += &report::machine(&results.machine);
    page += "\n";
    let mut aims = Table::new(["aim", "measured", "verdict"]);
    for Aim { text, measured, verdict } in aims::of(results) {
        aims.row([text, measured, verdict.to_owned()]);
    }
    page += &aims.text();
    page += "\n";
    page += &table(&results.lines);
    page += &format!(
        "\nIdle: CPU of pgweir's connections on each node, share of a core, over {} s: ",
        results.idle_seconds
    );
    let idle: Vec<String> = results.idle.iter().map(|share| percent(*share, 3)).collect();
    page + &idle.join(", ") + ".\n"
}

fn table(lines: &[Line]) -> String {
    let mut table = Table::new([
        "level",
        "delay ms",
        "writes/s",
        "to",
        "reads on replicas",
        "read p50 ms",
        "read p99 ms",
        "added p50 ms",
        "added p99 ms",
        "waited",
        "wait p99 ms",
        "write p50 ms",
        "CPU µs",
        "statements added",
    ]);
    for line in lines {
        let base = lines.iter().find(|base| {
            base.level == "eventual"
                && (base.delay_ms, base.writes, base.same_table)
                    == (line.delay_ms, line.writes, line.same_table)
        });
        let added = |pick: fn(&Line) -> f64| {
            base.map_or("–".into(), |base| format!("{:+.2}", pick(line) - pick(base)))
        };
        let target = match (line.writes, line.same_table) {
            (0, _) => "–",
            (_, true) => "same table",
            (_, false) => "another",
        };
        table.row([
            line.level.clone(),
            line.delay_ms.to_string(),
            line.writes.to_string(),
            target.to_owned(),
            percent(line.replica_share, 1),
            format!("{:.2}", line.p50_ms),
            format!("{:.2}", line.p99_ms),
            added(|line| line.p50_ms),
            added(|line| line.p99_ms),
            percent(line.waited / line.reads.max(1) as f64, 1),
            format!("{:.2}", line.wait_p99_ms),
            format!("{:.2}", line.write_p50_ms),
            format!("{:.1}", line.cpu_micros),
            format!("{:+.0}", line.statements_added),
        ]);
    }
    table.text()
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}
