//! Two levels of consistency beside each other in one process, so that only the level differs.
//!
//! The same connections read as fast as they are answered, and change their level every second. What
//! else the machine does falls on neighbours alike, so a pair's ratio is worth more than two averages.

use super::crowd;
use crate::bench_error::BenchError;
use pgweir_tests::sql::Login;
use pgweir_tests::usage::on_cpu;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio_postgres::Client;

/// Not measured after a change of level.
const SETTLE: Duration = Duration::from_millis(200);
/// Measured after that.
const SLICE: Duration = Duration::from_millis(800);
/// Connections.
const CLIENTS: usize = 16;

/// CPU per read at one level relative to another.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// The level.
    pub level: String,
    /// What it is compared with.
    pub base: String,
    /// CPU per read at `base`, µs.
    pub base_micros: f64,
    /// The mean ratio.
    pub mean: f64,
    /// Half of the interval that holds the truth in 95 of 100 runs.
    pub margin: f64,
    /// How many pairs.
    pub pairs: usize,
}

/// Measures `levels[1]` relative to `levels[0]` over so many pairs of slices; `pid` is pgweir's.
pub fn compare(
    login: &Login,
    pid: u32,
    levels: [&'static str; 2],
    pairs: usize,
) -> Result<Ratio, BenchError> {
    let (now, reads, over) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let costs = runtime.block_on(async {
        let mut tasks = Vec::new();
        for index in 0..CLIENTS {
            let client = crowd::connect(login, levels[0]).await?;
            tasks.push(tokio::spawn(read(client, index, levels, now.clone(), reads.clone(), over.clone())));
        }
        let mut costs = [Vec::new(), Vec::new()];
        for pair in 0..pairs {
            // a b, b a, a b: whatever grows or shrinks with time falls on both.
            for turn in [pair % 2, 1 - pair % 2] {
                now.store(turn, Ordering::Relaxed);
                tokio::time::sleep(SETTLE).await;
                let (cpu, count) = (on_cpu(pid), reads.load(Ordering::Relaxed));
                tokio::time::sleep(SLICE).await;
                let spent = on_cpu(pid).saturating_sub(cpu).as_secs_f64() * 1e6;
                costs[turn].push(spent / (reads.load(Ordering::Relaxed) - count).max(1) as f64);
            }
        }
        over.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.map_err(|error| BenchError(error.to_string()))??;
        }
        Ok::<_, BenchError>(costs)
    })?;
    let logs: Vec<f64> = costs[0].iter().zip(&costs[1]).map(|(base, level)| (level / base).ln()).collect();
    let count = logs.len().max(1) as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Ok(Ratio {
        level: levels[1].into(),
        base: levels[0].into(),
        base_micros: costs[0].iter().sum::<f64>() / count,
        mean: mean.exp(),
        // Student's t for twenty pairs and more is 2.09 at most.
        margin: mean.exp() * 2.09 * (variance / count).sqrt(),
        pairs,
    })
}

async fn read(
    client: Client,
    index: usize,
    levels: [&'static str; 2],
    now: Arc<AtomicUsize>,
    reads: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> Result<(), BenchError> {
    let statement = client.prepare("SELECT value FROM looked_at WHERE id = $1").await?;
    let mut level = 0;
    let mut row = index as i32 + 1;
    while !over.load(Ordering::Relaxed) {
        let wanted = now.load(Ordering::Relaxed);
        if level != wanted {
            level = wanted;
            client.batch_execute(&format!("SET pgweir.consistency = '{}'", levels[level])).await?;
        }
        row = row % 9_000 + 37;
        client.query_one(&statement, &[&row]).await?;
        reads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
