//! Clients that read at a steady pace and write at a given rate.

use crate::bench_error::BenchError;
use pgweir_tests::sql::Login;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Rows of either table.
const ROWS: i32 = 10_000;

/// All statements that the application has run on a node so far.
pub const CALLS_SQL: &str = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements AS s \
     JOIN pg_roles AS r ON r.oid = s.userid WHERE r.rolname = 'app'";

/// What the clients shall do.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Where.
    pub login: Login,
    /// Its `pgweir.consistency`.
    pub level: &'static str,
    /// How many of them.
    pub clients: usize,
    /// Pause between two reads of one client.
    pub pause: Duration,
    /// Of all clients together.
    pub writes_per_second: u64,
    /// Do writes go to the table that is read?
    pub same_table: bool,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub length: Duration,
}

/// Durations, µs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of each read.
    pub reads: Vec<f64>,
    /// Of each write.
    pub writes: Vec<f64>,
}

/// Tells the measurer when the measured time begins and ends.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<AtomicU8>);

impl Probe {
    /// Blocks until the warm-up is over, or the crowd has given up.
    pub fn wait_begun(&self) {
        self.wait(1);
    }

    /// Blocks until the measured time is over.
    pub fn wait_ended(&self) {
        self.wait(2);
    }

    fn wait(&self, stage: u8) {
        while self.0.load(Ordering::Relaxed) < stage {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn say(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }
}

/// Makes the two tables.
pub fn fill(login: &Login) -> Result<(), BenchError> {
    for table in ["looked_at", "elsewhere"] {
        login.sql(&format!("CREATE TABLE {table} (id int PRIMARY KEY, value int NOT NULL)"))?;
        login.sql(&format!("INSERT INTO {table} SELECT n, 0 FROM generate_series(1, {ROWS}) AS n"))?;
    }
    Ok(())
}

/// Lets the crowd do its orders.
pub fn run(orders: &Orders, probe: &Probe) -> Result<Tally, BenchError> {
    let done = work(orders, probe);
    // Whatever happened, nobody waits for us any more.
    probe.say(2);
    done
}

fn work(orders: &Orders, probe: &Probe) -> Result<Tally, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..orders.clients {
            clients.push(connect(&orders.login, orders.level).await?);
        }
        let begin = Instant::now() + orders.warm_up;
        let end = begin + orders.length;
        let tasks: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(index, client)| tokio::spawn(serve(client, orders.clone(), index, begin, end)))
            .collect();
        tokio::time::sleep_until(begin.into()).await;
        probe.say(1);
        tokio::time::sleep_until(end.into()).await;
        probe.say(2);
        let mut tally = Tally::default();
        for task in tasks {
            let part = task.await.map_err(|error| BenchError(error.to_string()))??;
            tally.reads.extend(part.reads);
            tally.writes.extend(part.writes);
        }
        Ok(tally)
    })
}

/// Logs in and chooses a level.
pub async fn connect(login: &Login, level: &str) -> Result<Client, BenchError> {
    let client = login.connect().await?;
    client.batch_execute(&format!("SET pgweir.consistency = '{level}'")).await?;
    Ok(client)
}

async fn serve(
    client: Client,
    orders: Orders,
    index: usize,
    begin: Instant,
    end: Instant,
) -> Result<Tally, BenchError> {
    let table = if orders.same_table { "looked_at" } else { "elsewhere" };
    let read = client.prepare("SELECT value FROM looked_at WHERE id = $1").await?;
    let write = client.prepare(&format!("UPDATE {table} SET value = value + 1 WHERE id = $1")).await?;
    let mut tally = Tally::default();
    // Clients begin one after the other, so that their reads are spread evenly over a pause, and
    // their writes over the time in which each of them writes once.
    let turn = |time: Duration| time * index as u32 / orders.clients.max(1) as u32;
    tokio::time::sleep(turn(orders.pause)).await;
    let every = match orders.writes_per_second {
        0 => None,
        rate => Some(Duration::from_secs_f64(orders.clients as f64 / rate as f64)),
    };
    let mut next_write = every.map(|every| Instant::now() + turn(every));
    let mut step = index as i32 * 7;
    while Instant::now() < end {
        step = step.wrapping_add(37);
        let row = 1 + step.rem_euclid(ROWS);
        if let (Some(due), Some(every)) = (next_write, every)
            && Instant::now() >= due
        {
            // No catching up after a stall: the rate is a limit, too.
            next_write = Some((due + every).max(Instant::now()));
            let started = Instant::now();
            client.execute(&write, &[&row]).await?;
            note(&mut tally.writes, started, begin, end);
        } else {
            let started = Instant::now();
            client.query_one(&read, &[&row]).await?;
            note(&mut tally.reads, started, begin, end);
            let soon = Instant::now() + orders.pause;
            let wake = next_write.map_or(soon, |due| soon.min(due));
            tokio::time::sleep_until(wake.into()).await;
        }
    }
    Ok(tally)
}

fn note(times: &mut Vec<f64>, started: Instant, begin: Instant, end: Instant) {
    let now = Instant::now();
    if (begin..end).contains(&now) {
        times.push((now - started).as_secs_f64() * 1e6);
    }
}
