//! Who reads a catalog, and reads it again when it has changed.

use super::known;
use super::{FINGERPRINT_PAUSE, Held, Links, Watched};
use crate::cluster::Cluster;
use crate::cluster::catalog::{fingerprint, load};
use crate::cluster::connect::{Link, explain};
use crate::cluster::view::Reign;
use crate::limits::{CATALOG_WAIT, CATALOGS_BYTES_MAX};
use crate::node::moment::Moment;
use router_rules::Catalog;
use router_rules::statement::Footprint;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

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
/// Attempts at one reading: each may come upon what is just being dropped.
const LOADS_MAX: u32 = 5;

/// What was read last.
pub(super) struct Read {
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
pub(super) struct Watch {
    pub(super) cluster: Weak<Cluster>,
    pub(super) links: Arc<Links>,
    pub(super) held: Arc<Held>,
    pub(super) watched: Arc<Watched>,
    pub(super) database: String,
    /// The primary that the connection leads to; none: it leads to a replica.
    pub(super) source: Option<Reign>,
    pub(super) read: Option<Read>,
    /// How much had changed when a snapshot was last published.
    pub(super) seen: u64,
}

impl Watch {
    /// Keeps the snapshot current until the cluster ends.
    pub(super) async fn keep_current(mut self) {
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
                    watched.publish(&last.catalog, asked, changes, &self.source);
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
                    watched.publish(&catalog, asked, changes, &self.source);
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
