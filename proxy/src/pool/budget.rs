//! How many servers one node gives to all its pools together.
//!
//! Each pool has its own limit; the budget is the node's: what the configuration says, and, when the node
//! itself has said that it is full, what it had given by then. A pool that may open a server by its own
//! limit and not by the budget *starves*: what is idle in another pool is closed for it, and so is
//! the next server that comes back to a pool where nobody has waited for longer. Handing a place
//! over costs a log-in, so who waits beside others is given so long before it is done.

use super::Pool;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A place changes pools when somebody has waited for it longer than this, or when nobody else waits.
const HAND_OVER_AFTER: Duration = Duration::from_millis(250);
/// A node that was full is asked for more connections only after this time.
const FULL_FOR: Duration = Duration::from_secs(5);

/// The servers of one node, counted over its pools.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// By the configuration; 0: no bound.
    configured_max: AtomicUsize,
    /// How many there were when the node was full; 0: it was not, lately.
    full_at: AtomicUsize,
    full_since: Mutex<Option<Instant>>,
    open: AtomicUsize,
    /// Sessions that wait, in all pools.
    waiting: AtomicUsize,
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Budget {
    /// At most so many, by the configuration.
    pub fn set_max(&self, max: usize) {
        self.configured_max.store(max, Ordering::Relaxed);
    }

    /// At most so many; 0: no bound.
    pub fn max(&self) -> usize {
        let bounds = [&self.configured_max, &self.full_at].map(|bound| bound.load(Ordering::Relaxed));
        bounds.into_iter().filter(|bound| *bound > 0).min().unwrap_or(0)
    }

    /// The node has said that it is full: for a while there may be as many as there are. False when there
    /// is none, so that none can be handed over.
    pub fn learn_full(&self) -> bool {
        let open = self.open.load(Ordering::SeqCst);
        self.full_at.store(open, Ordering::Relaxed);
        *self.full_since.lock() = Some(Instant::now());
        open > 0
    }

    /// It has said so lately.
    pub fn is_full(&self) -> bool {
        self.full_at.load(Ordering::Relaxed) > 0
    }

    /// From time to time: forgets that the node was full, and closes what is idle beyond the bound.
    pub fn tidy(&self) {
        let mut since = self.full_since.lock();
        if since.is_some_and(|since| since.elapsed() > FULL_FOR) {
            *since = None;
            self.full_at.store(0, Ordering::Relaxed);
        }
        drop(since);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.feed();
        }
        let pools = self.pools();
        while self.max() > 0
            && self.open.load(Ordering::SeqCst) > self.max()
            && pools.iter().any(|pool| pool.spare_one())
        {}
    }

    /// One more pool shares it.
    pub fn join(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Counts one more server; false when there are as many as there may be.
    pub fn take(&self) -> bool {
        let max = self.max();
        let more = |open| (max == 0 || open < max).then_some(open + 1);
        self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// A place that was taken is not needed.
    pub fn untake(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// A server is gone: its place goes to who starves.
    pub fn give_back(&self) {
        self.untake();
        if self.max() > 0 && self.waiting.load(Ordering::SeqCst) > 0 {
            self.feed();
        }
    }

    /// Places go to those that have starved for longest, as far as there are any.
    pub fn feed(&self) {
        let mut starving: Vec<_> =
            self.pools().into_iter().filter_map(|pool| Some((pool.starves_since()?, pool))).collect();
        starving.sort_by_key(|(since, _)| *since);
        for (_, pool) in starving {
            pool.fill();
        }
    }

    /// A session waits, or does not any longer.
    pub fn count_waiting(&self, waits: bool) {
        if waits {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        } else {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A session of `pool` begins to wait: should that be for want of budget, what other pools have idle is
    /// closed, as far as it takes.
    pub fn make_room(&self, pool: &Arc<Pool>) {
        if self.max() == 0 || pool.starves_since().is_none() {
            return;
        }
        // A place may have come back just before the session joined the queue.
        pool.fill();
        if pool.starves_since().is_none() {
            return;
        }
        let mut others = self.pools();
        others.retain(|other| !Arc::ptr_eq(other, pool));
        while pool.starves_since().is_some() && others.iter().any(|other| other.spare_one()) {}
    }

    /// What `pool`'s user or database may have is used up: one server of theirs that is idle is closed. False
    /// when there is none.
    pub fn spare_of_share(&self, pool: &Arc<Pool>) -> bool {
        let shares =
            |other: &Pool| other.key.user == pool.key.user || other.key.database == pool.key.database;
        self.pools().iter().any(|other| !Arc::ptr_eq(other, pool) && shares(other) && other.spare_one())
    }

    /// There are more than there may be: the bound has become smaller.
    pub fn is_exceeded(&self) -> bool {
        let max = self.max();
        max > 0 && self.open.load(Ordering::SeqCst) > max
    }

    /// A server comes back to `pool`: true when another pool needs its place more.
    pub fn is_owed_to_another(&self, pool: &Pool) -> bool {
        if self.max() == 0 || self.waiting.load(Ordering::SeqCst) == pool.waiting.load(Ordering::SeqCst) {
            return false;
        }
        if self.open.load(Ordering::SeqCst) < self.max() {
            return false;
        }
        let mine = pool.first_waits_since();
        let now = Instant::now();
        self.pools().iter().any(|other| {
            !std::ptr::eq(&**other, pool)
                && other.starves_since().is_some_and(|since| match mine {
                    None => true,
                    Some(mine) => since < mine && now.duration_since(since) > HAND_OVER_AFTER,
                })
        })
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
