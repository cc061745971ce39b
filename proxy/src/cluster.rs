//! The picture of the cluster: who is primary, who is how far behind, who may answer a read.
//!
//! One task per node ([`probe`]) asks it, over a connection of its own, what it is and where its log
//! stands. What they find is kept in the [`board`] and [published](probed) as a [`view`]; freshness itself
//! lies in atomics on each node. Sessions only read those, so that placing a read takes no lock and
//! no wait unless a promise demands one ([`place`]).

mod acknowledged;
pub mod board;
pub mod catalog;
pub mod catalogs;
pub mod choose;
mod claim;
pub mod connect;
pub mod descent;
pub mod fleet;
pub mod flushing;
pub mod found;
pub mod late;
pub mod loss;
pub mod membership;
pub mod pace;
mod patience;
pub mod place;
pub mod probe;
mod probed;
pub mod samples;
mod servers;
mod shaping;
pub mod underway;
pub mod verdict;
pub mod view;
pub mod waiters;
pub mod watermark;

use crate::auth::Nodes;
use crate::config::Config;
use crate::limits::{CATALOG_WAIT, CATALOG_WAIT_HEADLESS};
use crate::node::Node;
use crate::node::lsn::Token;
use crate::node::mark::Mark;
use crate::node::moment::{Clock, Moment};
use crate::observe::Metrics;
use crate::rows::{Events, NodeStatus, Sibling};
use arc_swap::ArcSwap;
use board::{Board, By};
use catalogs::Catalogs;
use descent::Promotion;
use fleet::Fleet;
use found::Finders;
use parking_lot::{Mutex, RwLock};
use router_rules::hint::Consistency;
use router_rules::statement::Footprint;
use router_rules::{Alters, Catalog, Decision, Reason};
use samples::Sample;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use underway::Write;
use verdict::Role;
use view::{Reign, Settings, View};
use waiters::Waiters;
pub use watermark::SessionFreshness;
use watermark::{DatabaseMarks, SharedMarks};

/// What a session asks: where may this run now?
#[derive(Debug)]
pub struct Wish<'a> {
    /// The database.
    pub database: &'a str,
    /// What was decided (target replica, with its freshness bounds).
    pub decision: &'a Decision,
    /// The relations that it reads.
    pub reads: &'a Footprint,
    /// What the session wrote and read.
    pub session: &'a SessionFreshness,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The node.
    pub node: Arc<Node>,
    /// It takes writes.
    pub is_primary: bool,
    /// The reign of it that this holds for.
    pub reign: u64,
    /// The decision's own reason, or why it had to be the primary.
    pub reason: Reason,
    /// How long the read waited for a replica to catch up.
    pub waited: Duration,
    /// How far the node was behind the primary when it was last looked at (zero for the primary).
    pub lag: Duration,
}

/// The cluster, watched.
pub struct Cluster {
    clock: Clock,
    view: ArcSwap<View>,
    board: Mutex<Board>,
    metrics: Arc<Metrics>,
    /// Grows with each view: what [`Cluster::wait_for_primary`] waits for.
    published: watch::Sender<u64>,
    waiters: Waiters,
    /// Through when the freshest serving replica is fresh.
    freshest: Mark,
    /// The start of the last sample of the primary.
    primary_sampled: Mark,
    /// Where the primary was then.
    primary_lsn: AtomicU64,
    /// For how long, in nanoseconds, no replica can show what was just committed.
    flush_delay: AtomicU64,
    /// When a read last asked for a place (to some milliseconds).
    read: Mark,
    /// When such a read was last promised to see writes.
    promised: Mark,
    /// When such a read last had to wait.
    waited: Mark,
    marks: Arc<SharedMarks>,
    fleet: Fleet,
    finders: Finders,
    databases: RwLock<HashMap<String, Arc<DatabaseMarks>>>,
    catalogs: Catalogs,
    /// How often acknowledged writes were lost with a former primary.
    losses: AtomicU64,
    /// What happened lately; others may add to it.
    pub events: Events,
    runtime: Handle,
    /// Where the probers run.
    probers: Handle,
    itself: Weak<Cluster>,
}

impl Nodes for Cluster {
    fn best_first(&self) -> Option<Vec<String>> {
        let known = self.primary().into_iter().chain(self.any_node());
        let mut names: Vec<_> = known.map(|node| node.name.clone()).collect();
        names.dedup();
        if names.is_empty() { self.board.lock().members() } else { Some(names) }
    }

    fn primary_address(&self) -> Option<String> {
        self.primary().map(|node| node.name.clone())
    }

    fn system(&self) -> Option<u64> {
        self.board.lock().membership().system()
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("view", &self.view.load()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts watching: the `probers` run where clients are served, so that a probe costs no wake-up of a
    /// thread of its own; catalogs, which take long to read, are refreshed on the current runtime.
    pub fn start(config: &Config, metrics: Arc<Metrics>, probers: Handle) -> Arc<Self> {
        let settings = Arc::new(Settings::of(config));
        let board = Board::new(settings);
        let cluster = Arc::new_cyclic(|itself| Self {
            clock: Clock::start(),
            view: ArcSwap::from_pointee(board.view()),
            board: Mutex::new(board),
            metrics,
            published: watch::Sender::new(0),
            waiters: Waiters::default(),
            freshest: Mark::default(),
            primary_sampled: Mark::default(),
            primary_lsn: AtomicU64::new(0),
            flush_delay: AtomicU64::new(0),
            read: Mark::default(),
            promised: Mark::default(),
            waited: Mark::default(),
            marks: Arc::default(),
            fleet: Fleet::default(),
            finders: Finders::default(),
            databases: RwLock::default(),
            catalogs: Catalogs::default(),
            losses: AtomicU64::new(0),
            events: Events::default(),
            runtime: Handle::current(),
            probers,
            itself: itself.clone(),
        });
        cluster.apply(config);
        cluster
    }

    /// A reload: nodes come and go, intervals change.
    pub fn apply(&self, config: &Config) {
        self.apply_sources(config);
    }

    /// Nodes come and go, or are to be watched in another way.
    fn configure(&self, settings: Settings, by: By, is_searching: bool) {
        let settings = Arc::new(settings);
        let before = self.view.load_full();
        self.change(|board, now| {
            for node in board.configure(settings, by, is_searching, now) {
                let task = self.probers.spawn(probe::watch(self.itself.clone(), node.clone()));
                if let Some(entry) = board.entries.iter_mut().find(|e| Arc::ptr_eq(&e.node, &node)) {
                    entry.task = Some(task);
                }
            }
        });
        let after = self.view.load();
        let stays = |node: &Arc<Node>| after.members.iter().any(|member| Arc::ptr_eq(&member.node, node));
        for node in before.members.iter().map(|member| &member.node).filter(|node| !stays(node)) {
            node.leave();
            self.metrics.cluster.forget(&node.name);
        }
        drop(after);
        self.rouse_probers();
    }

    /// The primary, if there is exactly one that is up.
    pub fn primary(&self) -> Option<Arc<Node>> {
        self.view.load().primary().cloned()
    }

    /// The primary with its reign, if there is exactly one that is up.
    pub fn reigning(&self) -> Option<(Arc<Node>, u64)> {
        self.view.load().reigning().map(|(node, reign)| (node.clone(), reign))
    }

    /// Why there is no primary although a node says that it is one, and what a person can do.
    pub fn why_headless(&self) -> Option<String> {
        let board = self.board.lock();
        let claims = board.entries.iter().filter_map(|e| e.claim.clone());
        claims.last().filter(|_| board.verdict().primary.is_none())
    }

    /// It is the primary, or there is none and it is of this cluster.
    fn may_be_primary(&self, node: &Arc<Node>) -> bool {
        let is_another = self.primary().is_some_and(|primary| !Arc::ptr_eq(&primary, node));
        !is_another && !self.board.lock().is_stranger(node)
    }

    /// The primary with its reign, as one thing to compare.
    fn reign(&self) -> Option<Reign> {
        self.view.load().reign()
    }

    /// Any node that answers, the primary first.
    pub fn any_node(&self) -> Option<Arc<Node>> {
        let view = self.view.load();
        let replica = || choose::bits(view.verdict.replicas).next().map(|i| &view.members[i].node);
        view.primary().or_else(replica).cloned()
    }

    /// Waits for a primary, at most `limit`; gives its reign as well.
    pub async fn wait_for_primary(&self, limit: Duration) -> Option<(Arc<Node>, u64)> {
        let mut published = self.published.subscribe();
        let wait = async {
            loop {
                published.borrow_and_update();
                if let Some(reigning) = self.reigning() {
                    return Some(reigning);
                }
                if published.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.ok().flatten()
    }

    /// A write of `footprint` was acknowledged by the primary just now (or may have been):
    /// raises the watermarks of the database's tables and of the session.
    ///
    /// Call it **before** the client can see the acknowledgement: a read that arrives after it was
    /// seen, on whatever connection, must find the watermark raised.
    pub fn wrote(&self, database: &str, footprint: &Footprint, session: &mut SessionFreshness) {
        if footprint.is_none() {
            return;
        }
        let now = self.now();
        self.marks_of(database, session).wrote(footprint, now);
        session.wrote(footprint, now);
        // What it tells then rouses the replicas' probers.
        if now.since(self.promised.get()) < Duration::from_secs(1) {
            let view = self.view.load();
            view.primary().into_iter().for_each(|primary| self.rouse(&view, primary));
        }
    }

    /// `written` is about to be sent to the primary, or is part of a transaction that may be committed by what
    /// is: keep what this gives until [`Cluster::wrote`] was told of its end.
    pub fn writes_begin(&self, database: &str, written: &Footprint, session: &SessionFreshness) -> Write {
        Write::begin(self.marks_of(database, session).clone(), written.clone())
    }

    /// An answer of the primary has come: it may tell of commits that are still to be acknowledged.
    ///
    /// Call it **before** the client can see the answer.
    pub fn told(&self, database: &str, session: &SessionFreshness) {
        let marks = self.marks_of(database, session);
        if marks.underway.is_any() {
            marks.told(self.now());
        }
    }

    /// A notification has come that did not go through this pgweir: it may tell of any commit.
    pub fn told_of_anything(&self, database: &str, session: &SessionFreshness) {
        self.marks_of(database, session).told_of_anything(self.now());
    }

    /// A write of `footprint` may have been done, though nobody has acknowledged it: reads here count on it.
    pub fn may_have_written(&self, database: &str, footprint: &Footprint) {
        if !footprint.is_none() {
            self.marks_of(database, &SessionFreshness::default()).may_have_written(footprint, self.now());
        }
    }

    /// A read of `reads` on `node` ended at `now` (on the primary also a transaction, with all that
    /// it read and wrote).
    pub fn read_of(&self, node: &Arc<Node>, reads: &Footprint, session: &mut SessionFreshness, now: Instant) {
        let now = self.clock.at(now);
        let placed = session.placed.load(Ordering::Relaxed);
        let view = self.view.load();
        let on_primary = view.primary().is_some_and(|primary| Arc::ptr_eq(primary, node));
        if on_primary || placed == 0 {
            session.saw_primary(reads, now);
        } else {
            session.saw_replica(placed, now);
        }
    }

    /// How often acknowledged writes were lost with a former primary.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// True when what such a session wrote or read may have been lost, the last time that something was.
    pub fn may_have_lost(&self, session: &SessionFreshness) -> bool {
        let board = self.board.lock();
        let lasted = |(since, until): (Moment, Moment)| (since..=until).contains(&session.last_seen());
        board.loss.is_some_and(lasted)
    }

    /// How a node became the primary that it is, where that was seen.
    pub fn promotion(&self, node: &Arc<Node>) -> Option<Promotion> {
        self.board.lock().promotion(node)
    }

    /// A connection to this node failed or ended: probe it now rather than later.
    pub fn suspect(&self, node: &Arc<Node>) {
        node.prober.hurry();
    }

    /// True for the node that takes writes now.
    pub fn is_primary(&self, node: &Arc<Node>) -> bool {
        self.view.load().primary().is_some_and(|primary| Arc::ptr_eq(primary, node))
    }

    /// The snapshot of a database's catalog; `None` until it has been read (asking starts that).
    pub fn catalog(&self, database: &str) -> Option<Arc<Catalog>> {
        self.catalogs.get(self, database)
    }

    /// What was changed in a database before this moment, by whomever, is in its snapshot.
    pub fn catalog_proved(&self, database: &str) -> Moment {
        self.catalogs.proved(database)
    }

    /// Waits at most [`CATALOG_WAIT`] for a snapshot that was asked for and is being read: on the first statement
    /// after start, after a while of disuse, after DDL. False when there is none then.
    ///
    /// Without a primary a replica tells, and [`CATALOG_WAIT_HEADLESS`] is the limit: without a snapshot the
    /// statement would have to wait for a primary.
    pub async fn catalog_comes(&self, database: &str) -> bool {
        let limit = match self.wait_for_primary(CATALOG_WAIT).await {
            Some(_) => CATALOG_WAIT,
            None => CATALOG_WAIT_HEADLESS,
        };
        self.any_node().is_some() && self.catalogs.wait_for(database, limit).await
    }

    /// DDL passed through in this database: read its catalog again at once.
    pub fn schema_changed(&self, database: &str, altered: &Alters) {
        let touched = self.catalogs.changed(database, altered);
        self.may_have_written(database, &touched);
    }

    /// The session has changed what names mean, of relations that have no number yet for all it knows: it is to
    /// see that in whatever it reads.
    pub fn changed_meanings(&self, session: &mut SessionFreshness) {
        session.wrote(&Footprint::Everything, self.now());
    }

    /// A database is about to be dropped, renamed or copied: our own connections leave it.
    pub fn let_go(&self, database: &str) {
        self.catalogs.let_go(database);
    }

    /// A position that has everything acknowledged before this call, for `SHOW pgweir.lsn`; waits at
    /// most `limit` for the primary to tell. Written as [`Token`] says.
    pub async fn token(&self, limit: Duration) -> Option<Token> {
        let asked = self.now();
        let told = async {
            loop {
                let mut waiter = self.waiters.wait_for(asked);
                if let Some(token) = self.token_after(asked) {
                    return token;
                }
                self.rouse_probers();
                // Replicas' progress wakes waiters; the primary's alone does not.
                let _ = tokio::time::timeout(Duration::from_millis(2), waiter.woken()).await;
            }
        };
        tokio::time::timeout(limit, told).await.ok()
    }

    /// Whether this cluster can ever serve a read that demands `token`; if not, a sentence for the
    /// client.
    ///
    /// # Errors
    /// The timeline has moved on, or the position lies beyond the primary's.
    pub async fn check_min_lsn(&self, token: Token, limit: Duration) -> Result<(), String> {
        let timeline = self.view.load().verdict.timeline;
        if timeline != 0 && token.timeline != timeline {
            return Err(format!(
                "the position {token} is of timeline {}, the cluster is on timeline {timeline}: \
                 after a promotion positions are not comparable, take a new one",
                token.timeline
            ));
        }
        match self.token(limit).await {
            Some(newest) if newest.timeline == token.timeline && newest.lsn < token.lsn => Err(format!(
                "the position {token} is beyond the primary's, {newest}: it is of another cluster, or was lost"
            )),
            _ => Ok(()),
        }
    }

    /// All nodes, as people want to see them.
    pub fn snapshot(&self) -> Vec<NodeStatus> {
        let now = self.now();
        let board = self.board.lock();
        let verdict = *board.verdict();
        let status = |(i, e): (usize, &board::Entry)| {
            let is_primary = verdict.primary == Some(i);
            let serving = is_primary || verdict.replicas >> i & 1 == 1;
            let is_replica = e.facts.role == Role::Replica && e.facts.up;
            let (lag_bytes, lag) = if is_replica { e.node.progress.lag() } else { (0, Duration::ZERO) };
            NodeStatus {
                name: e.node.name.clone(),
                role: if is_primary { Role::Primary.as_str() } else { e.facts.role.as_str() },
                up: e.facts.up,
                serving,
                since: now.since(e.since),
                lag_bytes,
                lag,
                lagging: e.facts.lagging,
                lsn: e.lsn.to_string(),
                timeline: e.facts.timeline,
                outstanding: e.node.outstanding(),
                drained: e.facts.drained,
                groups: e.config.groups.clone(),
                zone: e.config.zone.clone(),
                weight: e.config.weight,
                stranded: verdict.stranded >> i & 1 == 1,
                several: e.facts.several,
                differs: e.differs.is_some(),
                source: e.config.source.as_deref().map(str::to_owned),
                error: e.trouble(),
            }
        };
        board.entries.iter().enumerate().map(status).collect()
    }

    /// The other pgweirs of this cluster, as the primary last showed them.
    pub fn siblings(&self) -> Vec<Sibling> {
        self.fleet.siblings()
    }

    /// Sends no more reads to this node; false when there is no such node.
    pub fn drain(&self, name: &str) -> bool {
        self.change(|board, now| board.set_drained(name, true, now))
    }

    /// Takes a drained node back; false when there is no such node.
    pub fn undrain(&self, name: &str) -> bool {
        self.change(|board, now| board.set_drained(name, false, now))
    }

    /// Now, on the clock of this cluster.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    fn settings(&self) -> Arc<Settings> {
        self.view.load().settings.clone()
    }

    /// Writes acknowledged through us so far.
    fn writes(&self) -> u64 {
        self.marks.writes()
    }

    /// A read asks for a place, now.
    fn note_read(&self, level: Consistency) -> Moment {
        // Not stored each time: all cores share them.
        const OFTEN: Duration = Duration::from_millis(10);
        let now = self.now();
        if now.since(self.read.get()) > OFTEN {
            self.read.raise(now);
        }
        if level != Consistency::Eventual && now.since(self.promised.get()) > OFTEN {
            self.promised.raise(now);
        }
        now
    }

    fn token_after(&self, asked: Moment) -> Option<Token> {
        let board = self.board.lock();
        let Sample { start, lsn, .. } = board.samples.latest()?;
        (start >= asked).then(|| Token { timeline: board.verdict().timeline, lsn })
    }

    /// The marks of the session's database.
    fn marks_of<'a>(&self, database: &str, session: &'a SessionFreshness) -> &'a Arc<DatabaseMarks> {
        session.marks.get_or_init(|| {
            if let Some(known) = self.databases.read().get(database) {
                return known.clone();
            }
            let fresh = || Arc::new(DatabaseMarks::new(self.marks.clone()));
            self.databases.write().entry(database.to_owned()).or_insert_with(fresh).clone()
        })
    }
}
