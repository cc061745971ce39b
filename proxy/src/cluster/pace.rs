//! How long a node may be left alone between two probes.
//!
//! Nothing is asked for its own sake: a primary is sampled soon only when something was written, or
//! somebody waits, since its last sample; a replica only while it is behind that. Nobody waiting,
//! the pause grows with the age of what is missing, so that a replica that is minutes behind is not
//! asked five hundred times a second, and one that is 5 ms behind is noticed within a millisecond
//! or so of its arrival.

use super::moment::Moment;
use std::time::Duration;

/// What decides the pace of all probers.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Now.
    pub now: Moment,
    /// The last write acknowledged through us.
    pub wrote: Moment,
    /// The latest moment that a waiting read needs; `NEVER` when nobody waits.
    pub awaited: Moment,
    /// The last time a read asked for a replica.
    pub read: Moment,
}

/// The intervals in force.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// While nothing happens.
    pub idle: Duration,
    /// While somebody waits.
    pub fast: Duration,
}

/// While reads or writes flow and nothing is missing: what `max_lag` and the status page need.
const ACTIVE: Duration = Duration::from_millis(100);
/// Traffic is recent for this long.
const RECENT: Duration = Duration::from_secs(1);
/// Of the age of what is missing, the part that a pause may add to it.
const AGE_PART: u32 = 8;

impl Intervals {
    /// From the start of one probe to the start of the next, of a node that is known to be complete
    /// through `known` (a primary: the start of its last sample; a replica: `fresh_through`) and is
    /// `lag` behind as far as is known.
    pub fn pause(&self, known: Moment, lag: Duration, demand: &Demand) -> Duration {
        let active = ACTIVE.min(self.idle).max(self.fast);
        let no_faster_than_worthwhile = (lag / AGE_PART).clamp(self.fast, active);
        if demand.awaited > known {
            return no_faster_than_worthwhile;
        }
        let recent = |at: Moment| at.plus(RECENT) > demand.now;
        if !recent(demand.read) && !recent(demand.wrote) {
            let behind = (lag / AGE_PART).clamp(active, self.idle.max(active));
            return if lag.is_zero() { self.idle } else { behind };
        }
        if demand.wrote > known && recent(demand.read) {
            let missing = demand.now.since(demand.wrote);
            return (missing / AGE_PART).clamp(no_faster_than_worthwhile, active);
        }
        active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PACE: Intervals = Intervals { idle: Duration::from_secs(1), fast: Duration::from_millis(2) };
    const NONE: Duration = Duration::ZERO;
    const NOW: Moment = Moment(1_000_000 * MS);

    fn ago(ms: u64) -> Moment {
        NOW.minus(Duration::from_millis(ms))
    }

    fn demand(wrote: Moment, awaited: Moment, read: Moment) -> Demand {
        Demand { now: NOW, wrote, awaited, read }
    }

    #[test]
    fn an_idle_node_is_left_alone() {
        let nothing = demand(Moment::NEVER, Moment::NEVER, Moment::NEVER);
        assert_eq!(PACE.pause(Moment::NEVER, NONE, &nothing), PACE.idle);
    }

    #[test]
    fn a_node_that_somebody_waits_for_is_asked_fast() {
        assert_eq!(PACE.pause(ago(9), NONE, &demand(ago(5_000), ago(5), ago(5))), PACE.fast);
    }

    #[test]
    fn a_node_that_has_what_is_awaited_is_not_asked_fast() {
        assert_eq!(PACE.pause(ago(4), NONE, &demand(ago(5), ago(5), ago(5))), ACTIVE);
    }

    #[test]
    fn what_is_missing_for_longer_is_asked_for_less_often() {
        let after = |ms| PACE.pause(ago(10_000), NONE, &demand(ago(ms), Moment::NEVER, ago(1)));
        assert_eq!(after(1), PACE.fast);
        assert_eq!(after(80), Duration::from_millis(10));
        assert_eq!(after(5_000), ACTIVE);
    }

    #[test]
    fn writes_that_nobody_reads_are_not_chased() {
        assert_eq!(PACE.pause(ago(50), NONE, &demand(ago(1), Moment::NEVER, ago(2_000))), ACTIVE);
    }

    #[test]
    fn a_replica_far_behind_is_not_asked_fast_whoever_waits() {
        let waited_for = demand(ago(10), ago(10), ago(1));
        assert_eq!(PACE.pause(ago(50), Duration::from_millis(40), &waited_for), Duration::from_millis(5));
        assert_eq!(PACE.pause(ago(5_000), Duration::from_secs(5), &waited_for), ACTIVE);
    }

    #[test]
    fn a_replica_that_is_behind_is_watched_though_nobody_reads() {
        let nothing = demand(Moment::NEVER, Moment::NEVER, Moment::NEVER);
        assert_eq!(PACE.pause(ago(50), Duration::from_millis(3), &nothing), ACTIVE);
        assert_eq!(PACE.pause(ago(50), Duration::from_secs(60), &nothing), PACE.idle);
    }

    #[test]
    fn short_idle_intervals_are_kept() {
        let pace = Intervals { idle: Duration::from_millis(20), fast: Duration::from_millis(2) };
        assert_eq!(pace.pause(NOW, NONE, &demand(ago(1), Moment::NEVER, ago(1))), Duration::from_millis(20));
    }
}
