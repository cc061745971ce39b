//! The other pgweirs of the same cluster, and what they may have acknowledged.
//!
//! `proxy` promises every commit that *any* pgweir of this cluster has acknowledged. Pgweirs see each
//! other on the primary and nowhere else: each holds an advisory lock there, which `pg_locks` shows to
//! every role (see [`registration`]). No table is needed, and nothing is added to a write.
//!
//! * With siblings in sight, a read needs a sample of the primary that began after the read arrived: the
//!   sample covers whatever anybody had acknowledged by then.
//! * One that is **alone** relies on that: its own watermarks are all there is. It says so by a second
//!   lock, its *claim*, and looks again and again; a look counts for [`FLEET_LEASE`].
//! * One that comes takes its lock, then looks. Whoever claims to be alone may not have seen it yet: it
//!   waits, before it takes any node for the primary, until each of them has given up its claim, and no
//!   longer than [`FLEET_LEASE`], when none of their looks counts any more. Both sides write, then read: at
//!   least one of them sees the other.
//! * What an earlier sibling acknowledged (the process that this one replaces, or one that has left) was
//!   acknowledged before this one found itself alone. That moment is a watermark of everything.
//! * A primary that has only just become one may not show all that know it: there one waits as well,
//!   unless one was registered until a moment ago, when nobody can have claimed to be alone. A replica that was
//!   promoted shows who has watched it: once those have registered (one that has just lost its connection is back
//!   within [`FLEET_GATHERS`]), there is nobody left to wait for.
//!
//! Where the primary is lost, a pgweir with siblings can prove nothing, and its reads wait. One that was
//! alone goes on with what it knows.

pub mod registration;

use crate::limits::{FLEET_CALM, FLEET_GATHERS, FLEET_LEASE, FLEET_REMEMBERS};
use crate::node::mark::Mark;
use crate::node::moment::Moment;
use crate::rows::Sibling;
use parking_lot::Mutex;
use std::time::Duration;

/// What is known of the others; read by every session, written by the prober of the primary.
#[derive(Debug)]
pub struct Fleet {
    /// The numbers that this process has gone by.
    numbers: Mutex<Vec<u32>>,
    /// Reads that arrive before this may rely on nobody else acknowledging anything.
    alone_until: Mark,
    /// What others may have acknowledged while this one was alone, they acknowledged before this.
    heard: Mark,
    /// When a sibling was last seen.
    met: Mark,
    /// When this one was last known to be registered.
    registered: Mark,
    siblings: Mutex<Vec<Sibling>>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            numbers: Mutex::new(vec![new_number()]),
            alone_until: Mark::default(),
            heard: Mark::default(),
            met: Mark::default(),
            registered: Mark::default(),
            siblings: Mutex::default(),
        }
    }
}

/// Positive as SQL's `int4`.
fn new_number() -> u32 {
    rand::random::<u32>() >> 1
}

impl Fleet {
    /// Through when a replica must be fresh to show a read that arrived then what others acknowledged.
    pub fn needed_for(&self, arrived: Moment) -> Moment {
        // In this order: whoever reads the lease reads the mark that was raised before it.
        match arrived < self.alone_until.get() {
            true => self.heard.get(),
            false => arrived,
        }
    }

    /// The others, as last seen.
    pub fn siblings(&self) -> Vec<Sibling> {
        self.siblings.lock().clone()
    }

    /// Nobody else was here in a look that began at `look`, which ended just `now`.
    pub(super) fn rely(&self, look: Moment, now: Moment) {
        if look >= self.alone_until.get() {
            // In between somebody may have come and gone.
            self.heard.raise(now);
        }
        self.alone_until.set(look.plus(FLEET_LEASE));
    }

    /// Somebody else is here, or may be.
    pub(super) fn doubt(&self) {
        self.alone_until.set(Moment::NEVER);
    }

    /// What was seen was seen on a node of another cluster.
    pub(super) fn begin_anew(&self) {
        self.doubt();
        self.registered.set(Moment::NEVER);
    }

    /// The primary cannot be looked at any more: one that was alone remains so.
    pub(super) fn cut_off(&self) {
        if self.alone_until.get() != Moment::NEVER {
            self.alone_until.set(Moment(u64::MAX));
        }
    }

    fn number(&self) -> u32 {
        self.numbers.lock().last().copied().unwrap_or_default()
    }

    /// The number is somebody else's: another one.
    fn renumber(&self) -> u32 {
        let number = new_number();
        self.numbers.lock().push(number);
        number
    }

    fn is_own(&self, number: u32) -> bool {
        self.numbers.lock().contains(&number)
    }
}

/// What to do about one's claim to be alone, after a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Rely on being alone.
    Rely,
    /// Claim it, then look once more.
    Claim,
    /// Stop relying on it, then take the claim back.
    Renounce,
    /// Go on as one of several.
    Share,
}

impl Step {
    fn after(is_alone: bool, claims: bool, met: Moment, now: Moment) -> Step {
        match (is_alone, claims) {
            (true, true) => Step::Rely,
            (true, false) if met == Moment::NEVER || now.since(met) >= FLEET_CALM => Step::Claim,
            (false, true) => Step::Renounce,
            (_, false) => Step::Share,
        }
    }
}

/// What a look at a node shows.
#[derive(Debug, Default)]
struct Seen {
    /// Those that are registered there.
    others: Vec<Sibling>,
    /// Those that watch it, by their numbers.
    watchers: Vec<u32>,
}

/// How long a node has been what it is.
#[derive(Debug, Clone, Copy)]
struct Settled {
    /// A primary.
    primary: Duration,
    /// Up.
    up: Duration,
}

/// One that has come, until it is sure to have been seen.
#[derive(Debug)]
struct Newcomer {
    /// Those that claimed to be alone when it came.
    unaware: Vec<u32>,
    /// Until then it waits whatever it sees.
    earliest: Moment,
    /// It waits for those that watch the node, too.
    gathers: bool,
    /// From then on no older look counts.
    latest: Moment,
}

impl Newcomer {
    /// It registered by `now` and then saw these; its primary has been one for some time (`None`: unknown), and it
    /// itself was `last` registered then.
    fn new(seen: &Seen, settled: Option<Settled>, last: Moment, now: Moment) -> Self {
        let is_remembered = last != Moment::NEVER && now.since(last) < FLEET_REMEMBERS;
        // Since everybody had the time to come and watch it.
        let shows_all = settled.is_some_and(|settled| settled.up >= settled.primary + FLEET_LEASE);
        let gathering = if shows_all { FLEET_GATHERS } else { FLEET_LEASE };
        let unsettled = gathering.saturating_sub(settled.map(|settled| settled.primary).unwrap_or_default());
        let unaware = seen.others.iter().filter(|o| o.claims).map(|o| o.number).collect();
        let waits = !is_remembered && !unsettled.is_zero();
        let earliest = if waits { now.plus(unsettled) } else { now };
        Self { unaware, earliest, gathers: waits && shows_all, latest: now.plus(FLEET_LEASE) }
    }

    /// All others know of it, or rely on nothing any more.
    fn is_known(&self, seen: &Seen, now: Moment) -> bool {
        // One whose claim ended with its connection may still rely on it.
        let is_aware = |number: &u32| seen.others.iter().any(|o| o.number == *number && !o.claims);
        let gathered = || !self.gathers || seen.watchers.iter().all(is_aware);
        now >= self.latest || now >= self.earliest && self.unaware.iter().all(is_aware) && gathered()
    }
}

#[cfg(test)]
mod tests;
