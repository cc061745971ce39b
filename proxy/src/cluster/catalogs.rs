//! The catalog snapshots of the databases in use, kept current.
//!
//! A database that somebody asks for gets a task with a connection of its own to the primary. It
//! loads the catalog, publishes it, and asks for a fingerprint every few seconds, for changes that
//! did not pass through us. A change that did pass withdraws the snapshot at once: statements are
//! classified without one, and go to the primary, until it has been read again. A database that
//! nobody asks for any more loses its connection but keeps its snapshot, which has to pass a
//! fingerprint before it counts again.

use super::catalog::{fingerprint, load};
use super::connect::{Link, explain};
use super::moment::Moment;
use super::{Cluster, watermark::Mark};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use router_rules::Catalog;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Between two fingerprints of a database in use.
const FINGERPRINT_PAUSE: Duration = Duration::from_secs(3);
/// A database that was not asked for during this time is not in use.
const UNUSED_AFTER: Duration = Duration::from_secs(60);
/// Loading a catalog takes at most this long: 10,000 relations take well under a second.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// Between two attempts when there is no primary or it refuses.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The generation of the next snapshot of any database.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Grows whenever a snapshot of any database is published or withdrawn.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// A database in use has to be asked for this often at least.
pub const ASK_EVERY: Duration = Duration::from_millis(100);

/// How often snapshots have been published or withdrawn: who has asked for one since the last change,
/// and less than [`ASK_EVERY`] ago, knows it.
pub fn changes() -> u64 {
    CHANGES.load(Ordering::Acquire)
}

/// Snapshots by database.
#[derive(Debug, Default)]
pub struct Catalogs {
    by_name: ArcSwap<HashMap<Box<str>, Arc<Watched>, foldhash::fast::RandomState>>,
    adding: Mutex<()>,
}

/// One database.
#[derive(Debug, Default)]
struct Watched {
    snapshot: ArcSwapOption<Catalog>,
    asked: Mark,
    /// How often DDL passed through us: a snapshot read before the last time is not published.
    changes: AtomicU64,
    wake: Notify,
    /// Somebody is about to drop the database: be out of it.
    let_go: AtomicBool,
}

impl Catalogs {
    /// The snapshot, if there is one now; asking starts or keeps up the watch on its database.
    pub fn get(&self, cluster: &Cluster, database: &str) -> Option<Arc<Catalog>> {
        let now = cluster.now();
        let known = self.by_name.load();
        match known.get(database) {
            Some(watched) => {
                if watched.is_unused(now) {
                    watched.show(None);
                    watched.let_go.store(false, Ordering::Relaxed);
                    watched.wake.notify_one();
                }
                if now.since(watched.asked.get()) > ASK_EVERY {
                    watched.asked.set(now);
                }
                watched.snapshot.load_full()
            }
            None => {
                drop(known);
                self.watch(cluster, database, now);
                None
            }
        }
    }

    /// The database is about to be dropped, renamed or copied, which needs it to be empty: our own
    /// connection to it is closed. It is opened again when somebody asks for the catalog.
    pub fn let_go(&self, database: &str) {
        if let Some(watched) = self.by_name.load().get(database) {
            watched.let_go.store(true, Ordering::Relaxed);
            watched.wake.notify_one();
        }
    }

    /// DDL passed through: the snapshot is withdrawn until it has been read again.
    pub fn changed(&self, database: &str) {
        if let Some(watched) = self.by_name.load().get(database) {
            watched.changes.fetch_add(1, Ordering::SeqCst);
            watched.show(None);
            watched.wake.notify_one();
        }
    }

    fn watch(&self, cluster: &Cluster, database: &str, now: Moment) {
        let _adding = self.adding.lock();
        let known = self.by_name.load();
        if known.contains_key(database) {
            return;
        }
        let watched = Arc::new(Watched::default());
        watched.asked.set(now);
        let mut grown = HashMap::clone(&known);
        grown.insert(database.into(), watched.clone());
        self.by_name.store(Arc::new(grown));
        cluster.runtime.spawn(keep_current(cluster.itself.clone(), watched, database.to_owned()));
    }
}

impl Watched {
    fn is_unused(&self, now: Moment) -> bool {
        self.let_go.load(Ordering::Relaxed) || now.since(self.asked.get()) > UNUSED_AFTER
    }

    /// Publishes what was read unless DDL passed since `changes` was read.
    fn publish(&self, snapshot: &Arc<Catalog>, changes: u64) {
        self.show(Some(snapshot.clone()));
        if self.changes.load(Ordering::SeqCst) != changes {
            self.show(None);
        }
    }

    fn show(&self, snapshot: Option<Arc<Catalog>>) {
        self.snapshot.store(snapshot);
        CHANGES.fetch_add(1, Ordering::Release);
    }
}

/// What was read last.
struct Read {
    catalog: Arc<Catalog>,
    fingerprint: u64,
    changes: u64,
}

/// Keeps one database's snapshot current until the cluster ends.
async fn keep_current(cluster: Weak<Cluster>, watched: Arc<Watched>, database: String) {
    let mut read: Option<Read> = None;
    loop {
        let Some(strong) = cluster.upgrade() else { return };
        if watched.is_unused(strong.now()) {
            drop(strong);
            watched.wake.notified().await;
            continue;
        }
        let opened = open(&strong, &database).await;
        drop(strong);
        let error = match opened {
            Ok(link) => match follow(&cluster, &watched, &link, &mut read).await {
                Ok(()) => continue,
                Err(error) => error,
            },
            Err(error) => error,
        };
        // Without a primary the catalog cannot change: the snapshot stays.
        tracing::debug!(database, error, "the catalog could not be read");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn open(cluster: &Cluster, database: &str) -> Result<Link, String> {
    let primary = cluster.primary().ok_or("there is no primary")?;
    let settings = cluster.settings();
    Link::open(
        &settings.cluster,
        &primary.name,
        database,
        settings.cluster.probe_timeout.max(LINK_LIMIT),
        drop,
    )
    .await
}

/// Connecting for a catalog may take longer than a probe.
const LINK_LIMIT: Duration = Duration::from_secs(5);

/// Reads, and reads again on each change, as long as the database is in use.
async fn follow(
    cluster: &Weak<Cluster>,
    watched: &Watched,
    link: &Link,
    read: &mut Option<Read>,
) -> Result<(), String> {
    loop {
        let changes = watched.changes.load(Ordering::SeqCst);
        // Before loading: a change in between is seen by the next comparison.
        let print = within(fingerprint(&link.client)).await?;
        match read {
            Some(last) if last.fingerprint == print && last.changes == changes => {
                watched.publish(&last.catalog, changes);
            }
            _ => {
                let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
                let catalog = Arc::new(within(load(&link.client, generation)).await?);
                watched.publish(&catalog, changes);
                *read = Some(Read { catalog, fingerprint: print, changes });
            }
        }
        if watched.changes.load(Ordering::SeqCst) == changes {
            let _ = tokio::time::timeout(FINGERPRINT_PAUSE, watched.wake.notified()).await;
        }
        match cluster.upgrade() {
            Some(cluster) if !watched.is_unused(cluster.now()) => {}
            _ => return Ok(()),
        }
    }
}

async fn within<T>(reading: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    match tokio::time::timeout(LOAD_LIMIT, reading).await {
        Ok(answer) => answer.map_err(|e| explain(&e)),
        Err(_) => Err(format!("no answer within {LOAD_LIMIT:?}")),
    }
}
