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
mod watch;

use super::Cluster;
use super::view::Reign;
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
use watch::Watch;

/// Connections for catalogs at once. Where more databases are in use, they take turns.
const LINKS_MAX: usize = 8;
/// Between two fingerprints of a database in use; longer where many take turns.
const FINGERPRINT_PAUSE: Duration = Duration::from_secs(3);
/// A database that was not asked for during this time is not in use.
const UNUSED_AFTER: Duration = Duration::from_secs(60);

/// A change that passes through us is seen in the catalog before its acknowledgement has come: by so much.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(10);
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
    /// Whatever was changed before this moment is in what was read last.
    proved: Mark,
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

    /// The snapshot of a database has all that was changed before this moment, by whomever.
    pub fn proved(&self, database: &str) -> Moment {
        self.by_name.load().get(database).map_or(Moment::NEVER, |watched| watched.proved.get())
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
    /// `asked`: what was changed before then is in it.
    fn publish(&self, snapshot: &Arc<Catalog>, asked: Moment, changes: u64, source: &Option<Reign>) {
        let mut known = self.known.lock();
        known.is_read(snapshot, changes, source);
        self.show(known.holds());
        self.proved.raise(asked);
        self.has_failed.store(false, Ordering::SeqCst);
        self.shown.notify_waiters();
    }

    fn show(&self, snapshot: Option<Arc<Catalog>>) {
        self.snapshot.store(snapshot);
        CHANGES.fetch_add(1, Ordering::Release);
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
        watched.publish(&catalog, Moment::NEVER, 0, &None);
        assert!(watched.comes().await);
        watched.change(&Alters::Anything);
        assert!(watched.snapshot.load().is_none());
        let second = waiting();
        tokio::task::yield_now().await;
        watched.publish(&catalog, Moment::NEVER, 1, &None);
        assert!(second.await.unwrap());
        watched.change(&Alters::names(["t".into()]));
        let doubting =
            |watched: &Watched| watched.snapshot.load().as_ref().map(|shown| !shown.doubts().is_empty());
        assert_eq!(doubting(&watched), Some(true), "all else holds");
        let third = waiting();
        tokio::task::yield_now().await;
        watched.publish(&catalog, Moment::NEVER, 1, &None);
        tokio::task::yield_now().await;
        assert!(!third.is_finished() && doubting(&watched) == Some(true), "it was read before the change");
        watched.publish(&catalog, Moment::NEVER, 2, &None);
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
