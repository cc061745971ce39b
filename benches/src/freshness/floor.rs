//! How late the replicas themselves are: what no proxy could do better than.
//!
//! While a crowd reads and writes at the level `eventual`, which never waits, one connection writes to
//! the primary itself and then asks a replica itself, every millisecond, whether it has that.

use super::crowd::{self, Orders};
use crate::bench_error::BenchError;
use crate::statistics::percentile;
use pgweir_tests::sql::Login;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Between two questions to the replica.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two writes.
const REST: Duration = Duration::from_millis(5);

/// How long a write took to be seen on a replica, from its acknowledgement on.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// `recovery_min_apply_delay`, ms.
    pub delay_ms: u64,
    /// Writes that were followed.
    pub writes: usize,
    /// The median, ms.
    pub p50_ms: f64,
    /// 99 % took no longer, ms.
    pub p99_ms: f64,
}

/// Measures as long as the crowd is there.
pub fn measure(
    orders: &Orders,
    delay_ms: u64,
    primary: &Login,
    replicas: &[Login],
) -> Result<Floor, BenchError> {
    let probe = crowd::Probe::default();
    let crowd = {
        let (orders, probe) = (orders.clone(), probe.clone());
        std::thread::spawn(move || crowd::run(&orders, &probe))
    };
    probe.wait_begun();
    let end = Instant::now() + orders.length;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut times = runtime.block_on(async {
        let follow = |replica: &Login| tokio::spawn(follow(primary.clone(), replica.clone(), end));
        let followers: Vec<_> = replicas.iter().map(follow).collect();
        let mut times = Vec::new();
        for follower in followers {
            times.extend(follower.await.map_err(|error| BenchError(error.to_string()))??);
        }
        Ok::<_, BenchError>(times)
    })?;
    crowd.join().map_err(|_| BenchError("the crowd panicked".into()))??;
    times.sort_by(f64::total_cmp);
    Ok(Floor {
        delay_ms,
        writes: times.len(),
        p50_ms: percentile(&times, 0.5),
        p99_ms: percentile(&times, 0.99),
    })
}

/// Times, ms.
async fn follow(primary: Login, replica: Login, end: Instant) -> Result<Vec<f64>, BenchError> {
    let (primary, replica) = (primary.connect().await?, replica.connect().await?);
    let write = primary.prepare("UPDATE elsewhere SET value = value + 1 WHERE id = $1").await?;
    let position = primary.prepare("SELECT pg_current_wal_insert_lsn()").await?;
    let reached = replica.prepare("SELECT pg_last_wal_replay_lsn() >= $1").await?;
    let mut times = Vec::new();
    while Instant::now() < end {
        let row = 1 + times.len() as i32 % 1_000;
        primary.execute(&write, &[&row]).await?;
        let acknowledged = Instant::now();
        let lsn: tokio_postgres::types::PgLsn = primary.query_one(&position, &[]).await?.get(0);
        while !replica.query_one(&reached, &[&lsn]).await?.get::<_, bool>(0) {
            tokio::time::sleep(PAUSE).await;
        }
        times.push(acknowledged.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(REST).await;
    }
    Ok(times)
}
