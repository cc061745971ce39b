//! One contestant's turn: a load of some seconds, and what it took.

use crate::bench_error::BenchError;
use crate::contestant::Contestant;
use crate::pgbench::{self, Run, Transaction};
use crate::statistics::percentile;
use crate::workload::Workload;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Left out at the beginning of a run: log-ins, first statements.
const WARM_UP: Duration = Duration::from_millis(700);
/// Left out at its end: pgbench's clients do not stop all at once.
const TAIL: Duration = Duration::from_millis(200);

/// What one turn showed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// CPU time of the proxy process per statement, µs, user and system; `None` without a proxy.
    pub cpu_micros: Option<f64>,
    /// The part of it that was spent in the kernel, 0 to 1.
    pub system_share: Option<f64>,
    /// Transactions per second.
    pub transactions_per_second: f64,
    /// Median duration of a transaction, ms.
    pub p50_ms: f64,
    /// 99 % took no longer, ms.
    pub p99_ms: f64,
}

/// What every turn of a run has in common.
#[derive(Debug)]
pub struct Turn<'a> {
    /// pgbench itself.
    pub program: &'a Path,
    /// `-c`.
    pub clients: usize,
    /// How long each turn takes.
    pub seconds: u64,
    /// Size of the tables.
    pub scale: u32,
    /// For scripts and logs.
    pub directory: &'a Path,
}

impl Turn<'_> {
    /// Puts a contestant under a load.
    pub fn take(&self, contestant: &Contestant, workload: &Workload) -> Result<Sample, BenchError> {
        let arguments = workload.arguments(self.directory)?;
        let run = Run {
            program: self.program,
            login: contestant.login(),
            arguments: &arguments,
            clients: self.clients,
            seconds: self.seconds,
            scale: self.scale,
            directory: self.directory,
        };
        let started = Instant::now();
        let child = run.start()?;
        std::thread::sleep(WARM_UP);
        let (from, before) = (pgbench::now(), contestant.usage());
        std::thread::sleep((Duration::from_secs(self.seconds) - TAIL).saturating_sub(started.elapsed()));
        let (to, after) = (pgbench::now(), contestant.usage());
        let mut transactions = run.finish(child)?;
        transactions.sort_by(|a, b| a.ended.total_cmp(&b.ended));
        transactions.retain(|transaction| (from..to).contains(&transaction.ended));
        let times = durations(&transactions, workload.reconnect);
        let statements = transactions.len() as f64 * workload.statements;
        let cpu = before.zip(after).map(|(before, after)| {
            let user = after.user.saturating_sub(before.user).as_secs_f64();
            let system = after.system.saturating_sub(before.system).as_secs_f64();
            (user + system, system)
        });
        if transactions.is_empty() {
            return Err(BenchError("no transaction ended".into()));
        }
        Ok(Sample {
            cpu_micros: cpu.map(|(all, _)| all * 1e6 / statements),
            system_share: cpu.map(|(all, system)| if all > 0.0 { system / all } else { 0.0 }),
            transactions_per_second: transactions.len() as f64 / (to - from),
            p50_ms: percentile(&times, 0.50) / 1e3,
            p99_ms: percentile(&times, 0.99) / 1e3,
        })
    }
}

fn durations(transactions: &[Transaction], reconnect: bool) -> Vec<f64> {
    let mut times: Vec<f64> = match reconnect {
        true => pgbench::cycles(transactions),
        false => transactions.iter().map(|transaction| transaction.micros).collect(),
    };
    times.sort_by(f64::total_cmp);
    times
}
