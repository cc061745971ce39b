//! The catalog snapshots of the databases in use, kept current.
//!
//! A database that somebody asks for gets a task with a connection of its own to the primary. It
//! loads the catalog, publishes it, and asks for a fingerprint every few seconds, for changes that
//! did not pass through us. A snapshot counts as long as it is proved: a change withdraws it at once, and so
//! does a primary that refuses to tell or does not for long. Statements are then classified without one, and go
//! to the primary, until it has been read again. A change that passed through us and of which it is known which
//! names it concerns puts these in doubt, and nothing else. What has changed is found by comparing what was
//! read with what had been read before: whoever reads that waits for it. A database that
//! nobody asks for any more loses its connection and its snapshot. Where many databases are in use they take turns at a few
//! connections, and a change that did not pass through us is noticed the later, the more there are.

mod known;

use super::Cluster;
use super::catalog::{fingerprint, load};
use super::connect::{Link, explain};
use super::view::Reign;
use crate::limits::{CATALOG_WAIT, CATALOGS_BYTES_MAX};
use crate::node::mark::Mark;
use crate::node::moment::Moment;
use arc_swap::{ArcSwap, ArcSwapOption};
use known::Known;
use parking_lot::Mutex;
use router_rules::statement::Footprint;
use router_rules::{Alters, Catalog};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Connections for catalogs at once. Where more databases are in use, they take turns.
const LINKS_MAX: usize = 8;
/// Between two fingerprints of a database in use; longer where many take turns.
const FINGERPRINT_PAUSE: Duration = Duration::from_secs(3);
/// A database that was not asked for during this time is not in use.
const UNUSED_AFTER: Duration = Duration::from_secs(60);
/// A primary that cannot be reached, or does not answer, proves nothing: after so long without a proof a
/// snapshot does not count, unless nothing takes writes.
const UNPROVED_MAX: Duration = Duration::from_secs(6);
/// Loading a catalog takes at most this long: 10,000 relations take well under a second.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// Between two attempts when there is no primary or it refuses.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Between two readings, while the one before counts but for some names, lies as long as a reading takes, but
/// no longer than this.
const REREAD_PAUSE_MAX: Duration = Duration::from_millis(250);
/// A change that passes through us is seen in the catalog before its acknowledgement has come: by so much.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(10);
/// Attempts at one reading: each may come upon what is just being dropped.
const LOADS_MAX: u32 = 5;
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
    links: Arc<Links>,
    held: Arc<Held>,
}

/// What all snapshots take.
#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
}

/// Whose turn it is to have a connection.
#[derive(Debug)]
struct Links {
    turns: Semaphore,
    /// Databases that wait for their turn.
    queued: AtomicUsize,
    /// Signalled when one begins to wait.
    wanted: Notify,
}

impl Default for Links {
    fn default() -> Self {
        Self { turns: Semaphore::new(LINKS_MAX), queued: AtomicUsize::new(0), wanted: Notify::new() }
    }
}

impl Links {
    /// The turn of one more database, when it comes.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.wanted.notify_one();
        let turn = self.turns.acquire().await;
        self.queued.fetch_sub(1, Ordering::SeqCst);
        turn.ok()
    }

    fn is_wanted(&self) -> bool {
        self.queued.load(Ordering::SeqCst) > 0
    }

    /// How long a database that has had its turn leaves it to others.
    fn pause(&self) -> Duration {
        FINGERPRINT_PAUSE * (1 + self.queued.load(Ordering::SeqCst).div_ceil(LINKS_MAX)) as u32
    }
}

/// One database.
#[derive(Debug, Default)]
struct Watched {
    snapshot: ArcSwapOption<Catalog>,
    asked: Mark,
    /// How often DDL passed through us.
    changes: AtomicU64,
    /// What was read last and what of it is in doubt.
    known: Mutex<Known>,
    wake: Notify,
    /// Signalled when a snapshot is published, or could not be read.
    shown: Notify,
    /// Somebody waits for it.
    awaited: Notify,
    /// The last attempt to read it has failed: nobody waits for the next.
    has_failed: AtomicBool,
    /// Its catalog cannot be read, or cannot be proved to be current.
    failing: AtomicBool,
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
                watched.ask(now);
                watched.snapshot.load_full()
            }
            None => {
                drop(known);
                self.watch(cluster, database, now);
                None
            }
        }
    }

    /// Waits for the snapshot of a database that was asked for, which is being read; at most `limit`.
    /// False when there is none then.
    pub async fn wait_for(&self, database: &str, limit: Duration) -> bool {
        let Some(watched) = self.by_name.load().get(database).cloned() else { return false };
        tokio::time::timeout(limit, watched.comes()).await.unwrap_or(false)
    }

    /// The database is about to be dropped, renamed or copied, which needs it to be empty: our own
    /// connection to it is closed. It is opened again when somebody asks for the catalog.
    pub fn let_go(&self, database: &str) {
        if let Some(watched) = self.by_name.load().get(database) {
            watched.let_go.store(true, Ordering::SeqCst);
            watched.wake.notify_one();
        }
    }

    /// Who is the primary now: its catalog is read at once, and nobody else's counts from now on. What was read from a
    /// replica is withdrawn until then; what a former primary had, its heir has, but for what a failover has lost. To
    /// be called just before the primary is published.
    pub fn primary_is(&self, reign: Option<&Reign>) {
        for watched in self.by_name.load().values() {
            let mut known = watched.known.lock();
            if !known.is_of(reign) {
                watched.show(known.holds());
                // It has not been asked yet.
                watched.has_failed.store(false, Ordering::SeqCst);
                watched.wake.notify_one();
            }
        }
    }

    /// DDL passed through: until the snapshot has been read again it is in doubt, as far as the change goes.
    /// What is called by the names that changed.
    pub fn changed(&self, database: &str, altered: &Alters) -> Footprint {
        match self.by_name.load().get(database) {
            Some(watched) => watched.change(altered),
            None => Footprint::none(),
        }
    }

    fn watch(&self, cluster: &Cluster, database: &str, now: Moment) {
        let _adding = self.adding.lock();
        let known = self.by_name.load();
        if known.contains_key(database) {
            return;
        }
        let known_as = Known::under(cluster.reign());
        let watched = Arc::new(Watched { known: Mutex::new(known_as), ..Watched::default() });
        watched.asked.set(now);
        let mut grown = HashMap::clone(&known);
        grown.insert(database.into(), watched.clone());
        self.by_name.store(Arc::new(grown));
        let watch = Watch {
            cluster: cluster.itself.clone(),
            links: self.links.clone(),
            held: self.held.clone(),
            watched,
            database: database.to_owned(),
            source: None,
            read: None,
            seen: 0,
        };
        cluster.runtime.spawn(watch.keep_current());
    }
}

impl Watched {
    /// Somebody wants to know. After a while of disuse the snapshot counts no more, and the watch begins
    /// anew: it is roused last, since it goes back to sleep where it finds nobody.
    fn ask(&self, now: Moment) {
        let was_unused = self.is_unused(now);
        if was_unused {
            self.withdraw();
            self.let_go.store(false, Ordering::SeqCst);
        }
        if now.since(self.asked.get()) > ASK_EVERY {
            self.asked.set(now);
        }
        if was_unused {
            self.wake.notify_one();
        }
    }

    /// Returns once somebody wants to know; false when there is no `now` any more.
    async fn is_asked_for(&self, now: impl Fn() -> Option<Moment>) -> bool {
        loop {
            match now() {
                Some(now) if self.is_unused(now) => self.wake.notified().await,
                now => return now.is_some(),
            }
        }
    }

    fn is_unused_by(&self, cluster: &Weak<Cluster>) -> bool {
        cluster.upgrade().is_none_or(|cluster| self.is_unused(cluster.now()))
    }

    fn is_unused(&self, now: Moment) -> bool {
        self.let_go.load(Ordering::SeqCst) || now.since(self.asked.get()) > UNUSED_AFTER
    }

    /// Until there is a snapshot that has all that has changed so far; false when it cannot be read.
    async fn comes(&self) -> bool {
        let changes = self.changes.load(Ordering::SeqCst);
        loop {
            let mut shown = pin!(self.shown.notified());
            shown.as_mut().enable();
            if self.snapshot.load().is_some() && self.known.lock().covered >= changes {
                return true;
            }
            if self.has_failed.load(Ordering::SeqCst) {
                return false;
            }
            self.awaited.notify_one();
            shown.await;
        }
    }

    /// DDL passed through us. What is called by the names that it changed.
    fn change(&self, altered: &Alters) -> Footprint {
        let mut known = self.known.lock();
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        known.note(change, altered);
        if altered.changes_meanings() {
            self.show(known.holds());
        }
        self.wake.notify_one();
        match (altered, &known.read) {
            (Alters::Names(names), Some(read)) => read.called(names),
            _ => Footprint::none(),
        }
    }

    /// What the catalog shows may have passed through us, and its acknowledgement be on its way.
    async fn hears_of_change(&self, changes: u64) -> bool {
        let unheard = || self.changes.load(Ordering::SeqCst) == changes;
        if unheard() && self.snapshot.load().is_some() {
            tokio::time::sleep(ACKNOWLEDGED_WITHIN).await;
        }
        !unheard()
    }

    /// What was read does not count any more.
    fn withdraw(&self) {
        let mut known = self.known.lock();
        known.read = None;
        self.show(None);
    }

    fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        self.shown.notify_waiters();
    }

    /// Publishes what was read, as far as no DDL has passed since `changes` was read.
    fn publish(&self, snapshot: &Arc<Catalog>, changes: u64, source: &Option<Reign>) {
        let mut known = self.known.lock();
        known.is_read(snapshot, changes, source);
        self.show(known.holds());
        self.has_failed.store(false, Ordering::SeqCst);
        self.shown.notify_waiters();
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
    proved: Moment,
    /// Given back when it is dropped.
    _bytes: Weight,
}

/// A snapshot's share of what all take.
struct Weight {
    held: Arc<Held>,
    bytes: usize,
}

impl Weight {
    /// None when all together would be too much.
    fn of(catalog: &Catalog, held: &Arc<Held>) -> Option<Self> {
        let bytes = catalog.bytes();
        let weight = Self { held: held.clone(), bytes };
        let before = held.bytes.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= CATALOGS_BYTES_MAX).then_some(weight)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why following a catalog came to an end.
enum Lost {
    /// The server refused, or there is too much of it: for certain nothing is known.
    Refused(String),
    /// It was not to be reached, or did not answer.
    Silent(String),
}

/// The watch on one database.
struct Watch {
    cluster: Weak<Cluster>,
    links: Arc<Links>,
    held: Arc<Held>,
    watched: Arc<Watched>,
    database: String,
    /// The primary that the connection leads to; none: it leads to a replica.
    source: Option<Reign>,
    read: Option<Read>,
    /// How much had changed when a snapshot was last published.
    seen: u64,
}

impl Watch {
    /// Keeps the snapshot current until the cluster ends.
    async fn keep_current(mut self) {
        let links = self.links.clone();
        loop {
            let (cluster, watched) = (self.cluster.clone(), self.watched.clone());
            if watched.is_unused_by(&cluster) {
                self.read = None;
                watched.withdraw();
                self.succeeds();
            }
            if !watched.is_asked_for(|| Some(cluster.upgrade()?.now())).await {
                return;
            }
            let Some(turn) = links.turn().await else { return };
            let followed = match self.open().await {
                Ok(link) => self.follow(&link).await,
                Err(error) => Err(Lost::Silent(error)),
            };
            drop(turn);
            match followed {
                Ok(()) if links.is_wanted() => {
                    let _ = tokio::time::timeout(links.pause(), watched.wake.notified()).await;
                }
                Ok(()) => {}
                // Its server is not the primary any more, and another is.
                Err(_) if self.is_outdone() => {}
                Err(lost) => {
                    self.is_lost(&lost);
                    let _ = tokio::time::timeout(RETRY_PAUSE, watched.wake.notified()).await;
                }
            }
        }
    }

    /// Connects to the primary. While there is none, nothing can be changed through us, and whatever a
    /// replica holds is good enough to read by.
    async fn open(&mut self) -> Result<Link, String> {
        let cluster = self.cluster.upgrade().ok_or("the cluster has ended")?;
        let primary = cluster.wait_for_primary(CATALOG_WAIT).await;
        self.source = primary.map(|(node, reign)| Reign(node, reign));
        let primary = self.source.as_ref().map(|reign| reign.0.clone());
        let node = primary.or_else(|| cluster.any_node()).ok_or("there is no node to read it from")?;
        let settings = cluster.settings();
        drop(cluster);
        let limit = settings.cluster.probe_timeout.max(LINK_LIMIT);
        Link::open(&settings.cluster, &node.name, &self.database, limit).await
    }

    /// Reads, and reads again on each change, as long as the database is in use and no other waits for its turn.
    async fn follow(&mut self, link: &Link) -> Result<(), Lost> {
        let watched = self.watched.clone();
        loop {
            let changes = watched.changes.load(Ordering::SeqCst);
            let asked = self.now();
            // Before loading: a change in between is seen by the next comparison.
            let print = within(PROOF_LIMIT, fingerprint(&link.client), Lost::of).await?;
            match &mut self.read {
                Some(last) if last.fingerprint == print && last.changes == changes => {
                    last.proved = asked;
                    watched.publish(&last.catalog, changes, &self.source);
                }
                last => {
                    if last.as_ref().is_none_or(|last| last.changes == changes)
                        && !watched.hears_of_change(changes).await
                    {
                        // Somebody else has changed anything.
                        watched.withdraw();
                    }
                    // It counts no more against the limit, but what differs is to be found.
                    let before = self.read.take().map(|last| last.catalog);
                    let catalog = self.load(link).await?;
                    self.raise_what_differs(&catalog, before.as_deref());
                    drop(before);
                    let Some(weight) = Weight::of(&catalog, &self.held) else {
                        return Err(Lost::Refused(format!(
                            "the catalogs of all databases would take more than {CATALOGS_BYTES_MAX} bytes"
                        )));
                    };
                    let catalog = Arc::new(catalog);
                    watched.publish(&catalog, changes, &self.source);
                    self.read =
                        Some(Read { catalog, fingerprint: print, changes, proved: asked, _bytes: weight });
                }
            }
            self.seen = changes;
            self.succeeds();
            if self.is_outdone() {
                return Ok(());
            }
            if watched.changes.load(Ordering::SeqCst) != changes && watched.snapshot.load().is_some() {
                let took = self.now().since(asked).min(REREAD_PAUSE_MAX);
                let _ = tokio::time::timeout(took, watched.awaited.notified()).await;
            }
            if watched.changes.load(Ordering::SeqCst) == changes {
                tokio::select! {
                    _ = tokio::time::timeout(FINGERPRINT_PAUSE, watched.wake.notified()) => {}
                    () = self.links.wanted.notified() => {}
                }
            }
            if self.is_outdone() {
                return Ok(());
            }
            let unread = watched.changes.load(Ordering::SeqCst) != changes;
            match self.cluster.upgrade() {
                Some(cluster) if !watched.is_unused(cluster.now()) && (unread || !self.links.is_wanted()) => {
                }
                _ => return Ok(()),
            }
        }
    }

    /// There is a primary, and it is another server's catalog that is read: a replica's is withdrawn.
    fn is_outdone(&self) -> bool {
        let reign = self.cluster.upgrade().and_then(|cluster| cluster.reign());
        let outdone = reign.is_some() && reign != self.source;
        if outdone && self.source.is_none() {
            self.watched.withdraw();
        }
        outdone
    }

    /// Reads the catalog. What is dropped meanwhile makes Postgres fail half-way: then once more.
    async fn load(&self, link: &Link) -> Result<Catalog, Lost> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let generation = known::next_generation();
            match within(LOAD_LIMIT, load(&link.client, generation), Lost::Refused).await {
                Err(Lost::Refused(error)) if attempts < LOADS_MAX => {
                    tracing::debug!(self.database, error, "the catalog changed while it was read");
                }
                loaded => return loaded,
            }
        }
    }

    /// Reads of what has changed wait for it. With nothing to compare with, it may be anything that has.
    fn raise_what_differs(&self, catalog: &Catalog, before: Option<&Catalog>) {
        let touched = match before {
            Some(before) => catalog.differs_from(before),
            None if self.watched.changes.load(Ordering::SeqCst) != self.seen => Footprint::Everything,
            None => return,
        };
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.may_have_written(&self.database, &touched);
        }
    }

    fn now(&self) -> Moment {
        self.cluster.upgrade().map_or(Moment::default(), |cluster| cluster.now())
    }

    /// Without a primary the catalog cannot change: the snapshot stays. With one it has to be proved.
    fn is_lost(&mut self, lost: &Lost) {
        let Some(cluster) = self.cluster.upgrade() else { return };
        if cluster.primary().is_some() {
            self.watched.fail();
        }
        let unproved = self.read.as_ref().is_none_or(|read| cluster.now().since(read.proved) > UNPROVED_MAX);
        let (error, withdraw) = match lost {
            Lost::Refused(error) => (error, true),
            Lost::Silent(error) => (error, unproved && cluster.primary().is_some()),
        };
        if !withdraw {
            return tracing::debug!(self.database, error, "the catalog could not be read");
        }
        self.read = None;
        self.watched.withdraw();
        if self.watched.failing.swap(true, Ordering::Relaxed) {
            return tracing::debug!(self.database, error, "the catalog cannot be read");
        }
        cluster.metrics.cluster.catalogs_unread.inc();
        tracing::warn!(
            self.database,
            error,
            "the catalog cannot be read: until it can, all statements of this database go to the primary"
        );
    }

    /// It has been read, or nobody wants it any more.
    fn succeeds(&self) {
        if !self.watched.failing.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.metrics.cluster.catalogs_unread.dec();
        }
        tracing::info!(self.database, "the catalog can be read again");
    }
}

impl Lost {
    fn of(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(_) => Lost::Refused(explain(&error)),
            None => Lost::Silent(explain(&error)),
        }
    }
}

/// Connecting for a catalog may take longer than a probe.
const LINK_LIMIT: Duration = Duration::from_secs(5);
/// A fingerprint takes milliseconds; one that takes longer than this proves nothing in time.
const PROOF_LIMIT: Duration = Duration::from_secs(3);

async fn within<T, E>(
    limit: Duration,
    reading: impl Future<Output = Result<T, E>>,
    lost: impl FnOnce(E) -> Lost,
) -> Result<T, Lost> {
    match tokio::time::timeout(limit, reading).await {
        Ok(answer) => answer.map_err(lost),
        Err(_) => Err(Lost::Silent(format!("no answer within {limit:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn who_waits_for_a_snapshot_is_told_when_it_is_there_and_when_it_cannot_be() {
        let watched = Arc::new(Watched::default());
        let waiting = || {
            let watched = watched.clone();
            tokio::spawn(async move { watched.comes().await })
        };
        let first = waiting();
        tokio::task::yield_now().await;
        assert!(!first.is_finished());
        watched.fail();
        assert!(!first.await.unwrap() && !watched.comes().await, "nobody waits in vain");
        let catalog = Arc::new(Catalog::build(Default::default(), 1));
        watched.publish(&catalog, 0, &None);
        assert!(watched.comes().await);
        watched.change(&Alters::Anything);
        assert!(watched.snapshot.load().is_none());
        let second = waiting();
        tokio::task::yield_now().await;
        watched.publish(&catalog, 1, &None);
        assert!(second.await.unwrap());
        watched.change(&Alters::names(["t".into()]));
        let doubting =
            |watched: &Watched| watched.snapshot.load().as_ref().map(|shown| !shown.doubts().is_empty());
        assert_eq!(doubting(&watched), Some(true), "all else holds");
        let third = waiting();
        tokio::task::yield_now().await;
        watched.publish(&catalog, 1, &None);
        tokio::task::yield_now().await;
        assert!(!third.is_finished() && doubting(&watched) == Some(true), "it was read before the change");
        watched.publish(&catalog, 2, &None);
        assert!(third.await.unwrap() && doubting(&watched) == Some(false));
    }

    /// Whenever a database is asked for after a while of disuse, its watch begins anew.
    #[test]
    fn who_asks_after_a_while_rouses_the_watch() {
        const ROUNDS: u64 = 5_000;
        let watched = Arc::new(Watched::default());
        let clock = Arc::new(AtomicU64::new(0));
        let (roused, rousing) = mpsc::channel();
        let watch = std::thread::spawn({
            let (watched, clock) = (watched.clone(), clock.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..ROUNDS {
                        assert!(watched.is_asked_for(|| Some(Moment(clock.load(Ordering::SeqCst)))).await);
                        let asked = watched.asked.get();
                        roused.send(()).unwrap();
                        // Until it is out of use again, or has been and was asked for at once.
                        while !watched.is_unused(Moment(clock.load(Ordering::SeqCst)))
                            && watched.asked.get() == asked
                        {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        let disuse = 2 * UNUSED_AFTER.as_nanos() as u64;
        for round in 0..ROUNDS {
            let now = clock.fetch_add(disuse, Ordering::SeqCst) + disuse;
            watched.ask(Moment(now));
            let roused = rousing.recv_timeout(Duration::from_secs(20));
            assert!(roused.is_ok(), "round {round}: it sleeps on");
        }
        clock.fetch_add(disuse, Ordering::SeqCst);
        watch.join().unwrap();
    }
}
