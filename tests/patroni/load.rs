//! The clients: what each does all the time, and what it was told.

use pgweir_tests::checker::workload::describe;
use pgweir_tests::sql::{Login, rows};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error, error::SqlState};

/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// A client that hears nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reads a table that nobody writes.
    Read,
    /// The same in a READ ONLY transaction.
    ReadOnly,
    /// INSERTs a row, by a statement of its own.
    Write,
    /// INSERTs a row and looks for it.
    WriteAndRead,
    /// INSERTs a row within BEGIN and COMMIT.
    Transaction,
    /// Connects, reads and leaves.
    Newcomer,
}

/// All kinds, with how many clients there are of each.
pub const CLIENTS: [(Kind, u64); 6] = [
    (Kind::Read, 3),
    (Kind::ReadOnly, 2),
    (Kind::Write, 2),
    (Kind::WriteAndRead, 2),
    (Kind::Transaction, 2),
    (Kind::Newcomer, 1),
];

/// What has become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The client was told that it is there.
    Acknowledged,
    /// The client was told that it is not there (40001).
    Denied,
    /// Nobody knows.
    Unknown,
}

/// What a client has met.
#[derive(Debug, Default)]
pub struct Account {
    /// Operations that went well.
    pub good: u64,
    /// The longest time from one that went well to the next.
    pub pause: Duration,
    /// What went wrong, in the words that it was told.
    pub errors: Vec<String>,
    /// Its rows.
    pub rows: Vec<(i64, Fate)>,
    /// Rows that it had written and did not find.
    pub stale: u64,
}

/// One client, until `over`. `first`: the number of its first row, which nobody else has.
pub async fn client(kind: Kind, login: Login, first: i64, over: Arc<AtomicBool>) -> Account {
    let mut account = Account::default();
    // From the first that went well: a log-in of all at once takes its time.
    let (mut connection, mut last_good, mut row) = (None, None::<Instant>, first);
    while !over.load(Ordering::Relaxed) {
        row += 1;
        let turn = turn(kind, &login, &mut connection, row, &mut account);
        let outcome = tokio::time::timeout(PATIENCE, turn).await;
        match outcome {
            Ok(Ok(())) => {
                account.good += 1;
                let now = Instant::now();
                let before = last_good.replace(now).unwrap_or(now);
                account.pause = account.pause.max(now - before);
            }
            Ok(Err(error)) => {
                account.errors.push(describe(&error));
                recover(&mut connection).await;
                // Whoever is refused does not ask again at once.
                tokio::time::sleep(4 * PAUSE).await;
            }
            Err(_) => {
                account.errors.push(format!("no answer within {PATIENCE:?}"));
                connection = None;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    account.pause = account.pause.max(last_good.map_or(Duration::MAX, |good| good.elapsed()));
    account
}

/// A connection that is still there goes on; a lost one is made anew.
async fn recover(connection: &mut Option<Client>) {
    let Some(client) = connection.as_ref() else { return };
    let rollback = tokio::time::timeout(PATIENCE, client.batch_execute("ROLLBACK")).await;
    if client.is_closed() || !matches!(rollback, Ok(Ok(()))) {
        *connection = None;
    }
}

async fn turn(
    kind: Kind,
    login: &Login,
    connection: &mut Option<Client>,
    row: i64,
    account: &mut Account,
) -> Result<(), Error> {
    if kind == Kind::Newcomer {
        *connection = None;
    }
    let client = match connection {
        Some(client) => client,
        None => connection.insert(login.connect().await?),
    };
    match kind {
        Kind::Read | Kind::Newcomer => {
            client.simple_query("SELECT sum(n) FROM patroni_static").await.map(drop)
        }
        Kind::ReadOnly => {
            client.simple_query("BEGIN READ ONLY").await?;
            client.simple_query("SELECT sum(n) FROM patroni_static").await?;
            client.simple_query("COMMIT").await.map(drop)
        }
        Kind::Write => insert(client, row, account).await,
        Kind::WriteAndRead => {
            insert(client, row, account).await?;
            let found = client.simple_query(&format!("SELECT id FROM patroni_rows WHERE id = {row}")).await?;
            account.stale += u64::from(rows(&found).is_empty());
            Ok(())
        }
        Kind::Transaction => {
            client.simple_query("BEGIN").await?;
            client.simple_query(&format!("INSERT INTO patroni_rows VALUES ({row})")).await?;
            let outcome = client.simple_query("COMMIT").await;
            account.rows.push((row, fate(&outcome)));
            outcome.map(drop)
        }
    }
}

async fn insert(client: &Client, row: i64, account: &mut Account) -> Result<(), Error> {
    let outcome = client.simple_query(&format!("INSERT INTO patroni_rows VALUES ({row})")).await;
    account.rows.push((row, fate(&outcome)));
    outcome.map(drop)
}

fn fate<T>(outcome: &Result<T, Error>) -> Fate {
    match outcome {
        Ok(_) => Fate::Acknowledged,
        Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => Fate::Denied,
        Err(_) => Fate::Unknown,
    }
}

/// The longest time in which no node took a write, asked directly: nobody in front of the cluster can do better.
pub async fn longest_without_primary(nodes: Vec<Login>, over: Arc<AtomicBool>) -> Duration {
    let began = Instant::now();
    let probes = nodes.into_iter().map(|login| {
        let over = over.clone();
        tokio::spawn(async move {
            let mut taken = vec![];
            while !over.load(Ordering::Relaxed) {
                let writes = writes(&login, began, &over, &mut taken);
                // A node that stands still is asked anew.
                let _ = writes.await;
                tokio::time::sleep(PAUSE).await;
            }
            taken
        })
    });
    let mut taken = vec![Duration::ZERO];
    for probe in probes.collect::<Vec<_>>() {
        taken.extend(probe.await.expect("no panic"));
    }
    taken.push(began.elapsed());
    taken.sort_unstable();
    taken.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Writes to a node for as long as that goes well.
async fn writes(login: &Login, began: Instant, over: &AtomicBool, taken: &mut Vec<Duration>) -> Option<()> {
    let patience = Duration::from_secs(2);
    let client = tokio::time::timeout(patience, login.connect()).await.ok()?.ok()?;
    while !over.load(Ordering::Relaxed) {
        let write = client.simple_query("INSERT INTO patroni_probe VALUES (1)");
        tokio::time::timeout(patience, write).await.ok()?.ok()?;
        taken.push(began.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Some(())
}
