//! One node, and how far it is known to have come.

pub(crate) mod alarm;
pub mod lsn;
pub mod mark;
pub mod moment;

use crate::bell::Bell;
use crate::observe::cluster::ClusterMetrics;
use alarm::Alarm;
use lsn::Lsn;
use mark::Mark;
use moment::Moment;
use parking_lot::Mutex;
use prometheus::Histogram;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// One node, for as long as it is in the configuration.
#[derive(Debug)]
pub struct Node {
    /// `host:port` as configured: its name in config, metrics, logs and console.
    pub name: String,
    outstanding: AtomicUsize,
    pub(crate) progress: Progress,
    pub(crate) prober: Prober,
    is_given_up: AtomicBool,
    /// It is not in the list any more.
    has_left: AtomicBool,
    /// Grows whenever it ceases to be what sessions took it for: another node is the primary now, or it
    /// writes a history of its own.
    reign: AtomicU64,
    /// The server that its prober has reached, by the start of its postmaster; 0: none yet.
    server: AtomicI64,
    /// Another one that somebody has reached at its address; 0: none.
    other: AtomicI64,
    /// Whom it concerns when it is given up, or its reign ends.
    bells: Mutex<Vec<Weak<Bell>>>,
    /// What its statements take, looked up once.
    statement_seconds: OnceLock<Histogram>,
}

impl Node {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            outstanding: AtomicUsize::new(0),
            progress: Progress::default(),
            prober: Prober::default(),
            is_given_up: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            reign: AtomicU64::new(0),
            server: AtomicI64::new(0),
            other: AtomicI64::new(0),
            bells: Mutex::default(),
            statement_seconds: OnceLock::new(),
        })
    }

    /// It does not answer its prober: who waits for its answer need not hope.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Which reign it is in. What was leased in an earlier one is over.
    pub fn reign(&self) -> u64 {
        self.reign.load(Ordering::SeqCst)
    }

    /// It is no longer what sessions took it for. To be called before the picture that says so is
    /// published, and followed by [`Node::ring`] after that.
    pub(crate) fn end_reign(&self) {
        self.reign.fetch_add(1, Ordering::SeqCst);
    }

    /// Wakes every session that has a pool of it.
    pub(crate) fn ring(&self) {
        self.bells.lock().iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
    }

    /// True for the server that is being watched, known by the start of its postmaster in microseconds. An
    /// address may lead to several servers, or to another one than before.
    pub fn is_server(&self, started: i64) -> bool {
        let watched = self.server.load(Ordering::SeqCst);
        watched == started || watched == 0
    }

    /// Its prober has reached this server. True when that was another one until now.
    pub(crate) fn set_server(&self, started: i64) -> bool {
        let before = self.server.swap(started, Ordering::SeqCst);
        before != 0 && before != started
    }

    /// A connection has reached another server than the one that is being watched: its prober is to look
    /// where its address leads now.
    pub fn doubt(&self, started: i64) {
        self.other.store(started, Ordering::SeqCst);
        self.prober.hurry();
    }

    /// Which one that was, if it has happened since this was last asked.
    pub(crate) fn take_doubt(&self) -> Option<i64> {
        Some(self.other.swap(0, Ordering::SeqCst)).filter(|started| *started != 0)
    }

    /// Its prober has reached it.
    pub(crate) fn take_back(&self) {
        self.is_given_up.store(false, Ordering::SeqCst);
    }

    /// Nothing can be hoped for from it.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::SeqCst)
    }

    /// It is not in the list of nodes any more: what runs there ends, and no connection to it is kept.
    pub(crate) fn leave(&self) {
        self.has_left.store(true, Ordering::SeqCst);
    }

    /// It is not in the list of nodes any more.
    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::SeqCst)
    }

    /// From now on this bell is rung whenever it is given up or its reign ends.
    pub fn tell(&self, bell: &Arc<Bell>) {
        let mut bells = self.bells.lock();
        if bells.len() == bells.capacity() {
            // Those of sessions that are gone make room.
            bells.retain(|bell| bell.strong_count() > 0);
        }
        bells.push(Arc::downgrade(bell));
    }

    /// It has worked so long on a statement, waits included.
    pub fn statement_took(&self, took: Duration, metrics: &ClusterMetrics) {
        let seconds = self.statement_seconds.get_or_init(|| metrics.node_statement_seconds(&self.name));
        seconds.observe(took.as_secs_f64());
    }

    /// Statements (or transactions) that it is working on for us.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Counts one more until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Outstanding {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding(self.clone())
    }
}

/// One piece of work that a node is doing.
#[derive(Debug)]
pub struct Outstanding(Arc<Node>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far a replica has come, written by its prober and read by every session.
///
/// Within one *incarnation* (from connecting until the connection is lost) all of it only moves
/// forward. A replica that crashes may come back with less than it had shown before: so another
/// incarnation starts from nothing.
#[derive(Debug, Default)]
pub struct Progress {
    /// Everything acknowledged before this moment is on the replica.
    pub fresh_through: Mark,
    /// Until here it has replayed, sampled by a probe started at `sampled`.
    replayed: AtomicU64,
    sampled: Mark,
    /// Unique in this process; 0 while there is none.
    incarnation: AtomicU64,
    /// How far it is behind the primary, as far as known.
    lag_bytes: AtomicU64,
    lag_nanos: AtomicU64,
    stalled_nanos: AtomicU64,
    travel_nanos: AtomicU64,
    /// Since when it serves, for slow start.
    pub serving_since: Mark,
}

impl Progress {
    /// The incarnation; 0: none.
    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Another incarnation, or (0) none.
    pub fn reset(&self, incarnation: u64) {
        self.incarnation.store(0, Ordering::SeqCst);
        self.fresh_through.set(Moment::NEVER);
        self.sampled.set(Moment::NEVER);
        self.replayed.store(0, Ordering::SeqCst);
        self.travel_nanos.store(0, Ordering::SeqCst);
        self.incarnation.store(incarnation, Ordering::SeqCst);
    }

    /// A probe started at `start` said that the replica has replayed until `lsn`.
    pub fn sample(&self, start: Moment, lsn: Lsn) {
        // In this order: who sees the moment sees that position, or a later one.
        self.replayed.store(lsn.0, Ordering::SeqCst);
        self.sampled.set(start);
    }

    /// Until where it has replayed, at least.
    pub fn replayed(&self) -> Lsn {
        Lsn(self.replayed.load(Ordering::Acquire))
    }

    /// A position that this incarnation had reached at some time after `moment`: no read that ended
    /// before `moment` has seen more than a replica at that position shows.
    pub fn replayed_after(&self, moment: Moment, incarnation: u64) -> Option<Lsn> {
        let sampled = self.sampled.get();
        let lsn = self.replayed();
        // Asked last: if it is still the same one, the position was not that of a reset.
        (sampled > moment && self.incarnation() == incarnation).then_some(lsn)
    }

    /// How far it is behind.
    pub fn lag(&self) -> (u64, Duration) {
        (self.lag_bytes(), Duration::from_nanos(self.lag_nanos.load(Ordering::Relaxed)))
    }

    /// How far it is behind, in bytes.
    pub fn lag_bytes(&self) -> u64 {
        self.lag_bytes.load(Ordering::Relaxed)
    }

    /// How long its replay had not moved although there was something to replay.
    pub fn stalled(&self) -> Duration {
        Duration::from_nanos(self.stalled_nanos.load(Ordering::Relaxed))
    }

    /// How long the last thing to arrive took at least, since the primary was seen to have it.
    pub fn travel(&self) -> Duration {
        Duration::from_nanos(self.travel_nanos.load(Ordering::Relaxed))
    }

    /// Something has arrived after at least so long.
    pub fn set_travel(&self, time: Duration) {
        self.travel_nanos.store(nanos(time), Ordering::Relaxed);
    }

    /// It is that far behind, and has been standing still for that long.
    pub fn set_lag(&self, (bytes, time): (u64, Duration), stalled: Duration) {
        self.lag_bytes.store(bytes, Ordering::Relaxed);
        self.lag_nanos.store(nanos(time), Ordering::Relaxed);
        self.stalled_nanos.store(nanos(stalled), Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How to rouse the task that probes a node.
#[derive(Debug, Default)]
pub struct Prober {
    wake: Notify,
    /// When the last probe that was answered was sent.
    pub(crate) asked: Mark,
    /// Its pause ends then; `NEVER` while it is not in one.
    until: Mark,
    is_urgent: AtomicBool,
}

impl Prober {
    /// Its pause lasts longer than this.
    pub fn dozes_beyond(&self, when: Moment) -> bool {
        self.until.get() > when
    }

    /// It is to ask at `when`: if its pause lasts longer, it asks again how long that is to be.
    pub fn rouse(&self, when: Moment) {
        if self.dozes_beyond(when) && self.until.replace(Moment::NEVER) != Moment::NEVER {
            self.wake.notify_one();
        }
    }

    /// Something has happened to the node: it is asked now, whatever the pause is.
    pub fn hurry(&self) {
        self.is_urgent.store(true, Ordering::SeqCst);
        if self.until.replace(Moment::NEVER) != Moment::NEVER {
            self.wake.notify_one();
        }
    }

    /// A pause until the moment that `next` says, which is asked again whenever roused; `next` gives
    /// the moment and how far off it is. No demand falls in between: who comes while `next` is asked
    /// finds a pause without an end.
    pub(crate) async fn doze(&self, alarm: &Alarm, next: impl Fn() -> (Moment, Duration)) {
        loop {
            self.until.set(Moment(u64::MAX));
            if self.is_urgent.swap(false, Ordering::SeqCst) {
                break;
            }
            let (moment, pause) = next();
            self.until.lower(moment);
            if pause.is_zero() {
                break;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = alarm.after(pause) => break,
            }
        }
        self.until.set(Moment::NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outstanding_work_is_counted_until_it_ends() {
        let node = Node::new("a:1");
        let work = [node.begin(), node.begin()];
        assert_eq!(node.outstanding(), 2);
        drop(work);
        assert_eq!(node.outstanding(), 0);
    }

    #[test]
    fn a_position_counts_for_a_moment_only_when_sampled_after_it() {
        let progress = Progress::default();
        progress.reset(1);
        progress.sample(Moment(10), Lsn(100));
        assert_eq!(progress.replayed_after(Moment(10), 1), None);
        assert_eq!(progress.replayed_after(Moment(9), 1), Some(Lsn(100)));
        progress.reset(0);
        assert_eq!(progress.replayed_after(Moment(9), 1), None);
    }

    #[tokio::test]
    async fn who_waits_for_a_node_learns_that_it_was_given_up_and_who_comes_later_too() {
        let (node, bell) = (Node::new("a:1"), Arc::new(Bell::default()));
        node.tell(&bell);
        let waiting = tokio::spawn({
            let (node, bell) = (node.clone(), bell.clone());
            async move { bell.until(|| node.is_given_up()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        node.give_up();
        waiting.await.unwrap();
        bell.until(|| node.is_given_up()).await;
        node.take_back();
        assert!(!node.is_given_up());
    }

    #[test]
    fn bells_of_sessions_that_are_gone_make_room() {
        let node = Node::new("a:1");
        let lasting = Arc::new(Bell::default());
        node.tell(&lasting);
        for _ in 0..1_000 {
            node.tell(&Arc::new(Bell::default()));
        }
        assert!(node.bells.lock().capacity() < 100);
    }

    /// A prober that dozes until `next`, on a clock that starts at 1000 s; true: it has woken.
    async fn dozes(node: &Arc<Node>, next: &Arc<AtomicU64>, meanwhile: impl FnOnce()) -> bool {
        let (dozing, next) = (node.clone(), next.clone());
        let mut task = tokio::spawn(async move {
            let next = || {
                let next = Moment(next.load(Ordering::SeqCst));
                (next, next.since(Moment(1_000_000_000_000)))
            };
            dozing.prober.doze(&Alarm::new(), next).await;
        });
        tokio::task::yield_now().await;
        meanwhile();
        let woken = tokio::time::timeout(Duration::from_millis(100), &mut task).await.is_ok();
        task.abort();
        woken
    }

    #[tokio::test]
    async fn a_roused_prober_asks_again_how_long_its_pause_is() {
        let node = Node::new("a:1");
        let minute = Moment(1_060_000_000_000);
        let next = Arc::new(AtomicU64::new(minute.0));
        assert!(!dozes(&node, &next, || node.prober.rouse(Moment(1_001_000_000_000))).await);
        let sooner = || next.store(1_000_010_000_000, Ordering::SeqCst);
        assert!(!dozes(&node, &next, sooner).await, "nobody told it");
        next.store(minute.0, Ordering::SeqCst);
        let roused = || {
            sooner();
            node.prober.rouse(Moment(1_001_000_000_000));
        };
        assert!(dozes(&node, &next, roused).await);
    }

    #[tokio::test]
    async fn a_prober_in_a_hurry_ends_its_pause_and_begins_no_other() {
        let node = Node::new("a:1");
        let next = Arc::new(AtomicU64::new(1_060_000_000_000));
        assert!(dozes(&node, &next, || node.prober.hurry()).await);
        node.prober.hurry();
        assert!(dozes(&node, &next, || ()).await);
        assert!(!dozes(&node, &next, || ()).await);
    }
}
