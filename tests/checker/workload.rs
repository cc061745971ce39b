//! Clients that write and read at random and record what they did.

use super::history::{Effect, Key, Nanos, Operation, Session, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// What to do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The address under test.
    pub address: Config,
    /// SQL that each connection to it begins with.
    pub setup: Option<String>,
    /// The primary itself, for writers that pass the address by.
    pub outside: Option<Config>,
    /// Connections at once to the address.
    pub clients: u32,
    /// Connections at once to the primary itself.
    pub outside_clients: u32,
    /// Tables of registers, and as many of lists.
    pub tables: u32,
    /// Registers per table.
    pub rows: i64,
    /// Of the operations, how many of 100 write.
    pub writes: u32,
    /// A client thinks this long at most between two operations.
    pub think: Duration,
    /// For how long.
    pub duration: Duration,
    /// For repeatable dice.
    pub seed: u64,
}

/// A list is full at this length, and another row is begun.
const LIST_MAX: i64 = 40;
/// Table numbers from here on are of lists.
const LISTS: u32 = 1000;
/// An operation that takes longer has failed.
const OPERATION_MAX: Duration = Duration::from_secs(30);
/// A client takes a fresh connection after this many operations, so that sessions begin and end.
const OPERATIONS_PER_CONNECTION: u32 = 400;

/// What all clients share.
struct Shared {
    workload: Workload,
    began: Instant,
    connections: AtomicU32,
    values: AtomicI64,
    appends: Vec<AtomicU64>,
}

/// A history, and what each row was in the end.
pub type Recorded = (Vec<Operation>, HashMap<Key, (Version, Vec<i64>)>);

/// Makes the tables anew.
///
/// # Errors
/// The connection's.
pub async fn prepare(workload: &Workload) -> Result<(), tokio_postgres::Error> {
    let client = connect(&workload.address).await?;
    for table in 0..workload.tables {
        let (register, list) = (name(table), name(LISTS + table));
        let sql = format!(
            "DROP TABLE IF EXISTS {register}, {list};
             CREATE TABLE {register} (k bigint PRIMARY KEY, n bigint NOT NULL, v bigint);
             CREATE TABLE {list} (k bigint PRIMARY KEY, l bigint[] NOT NULL);
             INSERT INTO {register} SELECT k, 0, NULL FROM generate_series(1, {}) k",
            workload.rows
        );
        client.simple_query(&sql).await?;
    }
    Ok(())
}

/// Runs the clients to the end and reads the last state from the primary.
///
/// # Errors
/// When the last state cannot be read.
pub async fn run(workload: Workload) -> Result<Recorded, tokio_postgres::Error> {
    let shared = Arc::new(Shared {
        began: Instant::now(),
        connections: AtomicU32::new(0),
        values: AtomicI64::new(0),
        appends: (0..workload.tables).map(|_| AtomicU64::new(0)).collect(),
        workload,
    });
    let outside = if shared.workload.outside.is_some() { shared.workload.outside_clients } else { 0 };
    let clients: Vec<_> = (0..shared.workload.clients + outside)
        .map(|number| tokio::spawn(client(shared.clone(), number, number >= shared.workload.clients)))
        .collect();
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.expect("a client does not panic"));
    }
    history.sort_by_key(|o| o.start);
    let last = last_state(&shared.workload).await?;
    Ok((history, last))
}

/// One client, until the time is up: connects, works, connects anew.
async fn client(shared: Arc<Shared>, number: u32, outside: bool) -> Vec<Operation> {
    let mut dice = StdRng::seed_from_u64(shared.workload.seed.wrapping_mul(10_007) + u64::from(number));
    let mut history = Vec::new();
    while shared.began.elapsed() < shared.workload.duration {
        let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
        let session = Session { connection, outside };
        let mut worker = match Worker::connect(&shared, session).await {
            Ok(worker) => worker,
            Err(error) => {
                let now = shared.now();
                let error = Some(describe(&error));
                history.push(Operation {
                    session,
                    start: now,
                    end: now,
                    effects: vec![],
                    error,
                    denied: vec![],
                });
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        for _ in 0..dice.random_range(1..=OPERATIONS_PER_CONNECTION) {
            if shared.began.elapsed() >= shared.workload.duration {
                break;
            }
            let operation = worker.operation(&mut dice).await;
            let gone = worker.client.is_closed();
            history.push(operation);
            if gone {
                break;
            }
            let think = shared.workload.think.as_micros() as u64;
            tokio::time::sleep(Duration::from_micros(dice.random_range(0..=think))).await;
        }
    }
    history
}

impl Shared {
    fn now(&self) -> Nanos {
        self.began.elapsed().as_nanos() as Nanos
    }

    fn value(&self) -> i64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A connected client.
struct Worker<'a> {
    shared: &'a Shared,
    session: Session,
    client: Client,
    /// The row it wrote or read last: worth reading again.
    last: Option<Key>,
    /// The values of the operation under way.
    values: Mutex<Vec<i64>>,
}

type Effects = Result<Vec<Effect>, tokio_postgres::Error>;

impl<'a> Worker<'a> {
    async fn connect(shared: &'a Shared, session: Session) -> Result<Self, tokio_postgres::Error> {
        let workload = &shared.workload;
        let address = if session.outside { workload.outside.as_ref() } else { None };
        let client = connect(address.unwrap_or(&workload.address)).await?;
        if let (Some(setup), false) = (&workload.setup, session.outside) {
            client.simple_query(setup).await?;
        }
        Ok(Self { shared, session, client, last: None, values: Mutex::default() })
    }

    async fn operation(&mut self, dice: &mut StdRng) -> Operation {
        let start = self.shared.now();
        let doing = self.do_something(dice);
        let done = tokio::time::timeout(OPERATION_MAX, doing).await;
        let end = self.shared.now();
        let values =
            std::mem::take(&mut *self.values.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let session = self.session;
        let (effects, error, denied) = match done {
            Ok(Ok(effects)) => (effects, None, vec![]),
            Ok(Err(error)) => {
                if !self.client.is_closed() {
                    // Whatever it was in the midst of.
                    let _ = tokio::time::timeout(OPERATION_MAX, self.rows("ROLLBACK")).await;
                }
                let is_denied = error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE);
                (vec![], Some(describe(&error)), if is_denied { values } else { vec![] })
            }
            Err(_) => (vec![], Some(format!("no answer within {OPERATION_MAX:?}")), vec![]),
        };
        self.last = effects.last().map(Effect::key).or(self.last);
        Operation { session, start, end, effects, error, denied }
    }

    async fn do_something(&self, dice: &mut StdRng) -> Effects {
        let key = self.key(dice);
        // Who has just written is most interested in reading that.
        let again = self.last.filter(|_| dice.random_bool(0.5)).unwrap_or(key);
        if self.session.outside || dice.random_range(0..100) < self.shared.workload.writes {
            match dice.random_range(0..10) {
                0 | 1 => self.transaction(dice).await,
                _ => self.write(key).await.map(|effect| vec![effect]),
            }
        } else {
            match dice.random_range(0..10) {
                0 if again.table < LISTS => self.read_table(again.table).await,
                1 => self.read_in_transaction(again).await,
                _ => self.read(again).await.map(|effect| vec![effect]),
            }
        }
    }

    /// A register, or the list that is being filled.
    fn key(&self, dice: &mut StdRng) -> Key {
        let workload = &self.shared.workload;
        let table = dice.random_range(0..workload.tables);
        if dice.random_bool(0.7) {
            return Key { table, row: dice.random_range(1..=workload.rows) };
        }
        let appends = self.shared.appends[table as usize].load(Ordering::Relaxed) as i64;
        Key { table: LISTS + table, row: appends / LIST_MAX }
    }

    async fn write(&self, key: Key) -> Result<Effect, tokio_postgres::Error> {
        let (value, table, row) = (self.shared.value(), name(key.table), key.row);
        self.values.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(value);
        let sql = if key.table < LISTS {
            format!("UPDATE {table} SET n = n + 1, v = {value} WHERE k = {row} RETURNING n")
        } else {
            self.shared.appends[(key.table - LISTS) as usize].fetch_add(1, Ordering::Relaxed);
            format!(
                "INSERT INTO {table} AS t VALUES ({row}, ARRAY[{value}]::bigint[]) \
                 ON CONFLICT (k) DO UPDATE SET l = t.l || EXCLUDED.l RETURNING cardinality(l)"
            )
        };
        let rows = self.rows(&sql).await?;
        let version = rows.first().and_then(|row| number(row, 0)).unwrap_or(0);
        Ok(Effect::Wrote { key, version, value })
    }

    /// Writes two rows of two tables, or changes its mind.
    async fn transaction(&self, dice: &mut StdRng) -> Effects {
        let mut keys = [self.key(dice), self.key(dice)];
        // In order, so that two transactions do not wait for each other.
        keys.sort_unstable();
        self.rows("BEGIN").await?;
        let mut effects = vec![self.write(keys[0]).await?];
        if keys[1] != keys[0] {
            effects.push(self.write(keys[1]).await?);
        }
        if dice.random_bool(0.2) {
            self.rows("ROLLBACK").await?;
            return Ok(Vec::new());
        }
        self.rows("COMMIT").await?;
        Ok(effects)
    }

    async fn read(&self, key: Key) -> Result<Effect, tokio_postgres::Error> {
        let (table, row) = (name(key.table), key.row);
        if key.table < LISTS {
            let rows = self.rows(&format!("SELECT n, v FROM {table} WHERE k = {row}")).await?;
            let first = rows.first();
            let version = first.and_then(|row| number(row, 0)).unwrap_or(0);
            let value = first.and_then(|row| number(row, 1));
            return Ok(Effect::Saw { key, version, value, list: None });
        }
        let rows = self.rows(&format!("SELECT l FROM {table} WHERE k = {row}")).await?;
        let list = rows.first().map(|row| array(row, 0)).unwrap_or_default();
        let (version, value) = (list.len() as Version, list.last().copied());
        Ok(Effect::Saw { key, version, value, list: Some(list) })
    }

    async fn read_table(&self, table: u32) -> Effects {
        let rows = self.rows(&format!("SELECT n, v, k FROM {} ORDER BY k", name(table))).await?;
        let saw = |row: &SimpleQueryRow| {
            let key = Key { table, row: number(row, 2)? };
            Some(Effect::Saw { key, version: number(row, 0)?, value: number(row, 1), list: None })
        };
        Ok(rows.iter().filter_map(saw).collect())
    }

    async fn read_in_transaction(&self, key: Key) -> Effects {
        self.rows("BEGIN READ ONLY").await?;
        let effect = self.read(key).await?;
        self.rows("COMMIT").await?;
        Ok(vec![effect])
    }

    async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
        rows(&self.client, sql).await
    }
}

/// What each row is, read from the primary: a transaction that may write runs there.
async fn last_state(workload: &Workload) -> Result<HashMap<Key, (Version, Vec<i64>)>, tokio_postgres::Error> {
    let client = connect_in_time(workload.outside.as_ref().unwrap_or(&workload.address)).await?;
    let mut last = HashMap::new();
    rows(&client, "BEGIN READ WRITE").await?;
    for table in 0..workload.tables {
        let registers = rows(&client, &format!("SELECT k, n, v FROM {} FOR SHARE", name(table))).await?;
        for row in &registers {
            let key = Key { table, row: number(row, 0).unwrap_or(0) };
            let value = number(row, 2).into_iter().collect();
            // A register of version 1 has one value, as a list of length 1 would: the same thing.
            last.insert(key, (number(row, 1).unwrap_or(0), value));
        }
        let lists = rows(&client, &format!("SELECT k, l FROM {} FOR SHARE", name(LISTS + table))).await?;
        for row in &lists {
            let key = Key { table: LISTS + table, row: number(row, 0).unwrap_or(0) };
            let list = array(row, 1);
            last.insert(key, (list.len() as Version, list));
        }
    }
    rows(&client, "COMMIT").await?;
    Ok(last)
}

/// What is to be connected to may be down just now.
async fn connect_in_time(address: &Config) -> Result<Client, tokio_postgres::Error> {
    let began = Instant::now();
    loop {
        match connect(address).await {
            Err(_) if began.elapsed() < OPERATION_MAX => tokio::time::sleep(Duration::from_millis(100)).await,
            outcome => return outcome,
        }
    }
}

async fn connect(address: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = address.connect(NoTls).await?;
    tokio::spawn(async move {
        // Its error reaches whoever asks next.
        let _ = connection.await;
    });
    Ok(client)
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect())
}

fn name(table: u32) -> String {
    match table.checked_sub(LISTS) {
        None => format!("checker_register_{table}"),
        Some(list) => format!("checker_list_{list}"),
    }
}

fn number(row: &SimpleQueryRow, column: usize) -> Option<i64> {
    row.get(column)?.parse().ok()
}

/// `{1,2,3}`
fn array(row: &SimpleQueryRow, column: usize) -> Vec<i64> {
    let text = row.get(column).unwrap_or("{}");
    text.trim_matches(['{', '}']).split(',').filter_map(|n| n.parse().ok()).collect()
}

/// An error for people: tokio-postgres's own text says only "db error".
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}
