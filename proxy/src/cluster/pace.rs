//! When a node is to be asked again.
//!
//! Nothing is asked for its own sake. A primary is sampled at once when somebody waits for more than its
//! last sample proves: one sample serves all that came before it began, and the next begins when it has
//! returned ([`BREATH`] after it began, if it returns sooner). It is sampled soon when something was written
//! since that somebody may read. A replica is asked when what is missing on it is about to arrive: as long
//! after the primary had it as the last such arrival took at least. What is late is asked for less often the
//! later it is, so that a replica that is minutes behind is not asked five hundred times a second, and one
//! that is 50 ms behind is asked in the millisecond or two in which it catches up.

use crate::node::moment::Moment;
use std::time::Duration;

/// What decides the pace of all probers.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Now.
    pub now: Moment,
    /// There is a primary.
    pub has_primary: bool,
    /// The start of the last sample of the primary.
    pub primary_sampled: Moment,
    /// The last write acknowledged through us.
    pub wrote: Moment,
    /// The last time a read asked for a replica.
    pub read: Moment,
    /// The last time that such a read was promised to see writes.
    pub promised: Moment,
    /// The last time that such a read had to wait.
    pub waited: Moment,
}

/// What is known of a replica.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// When its last probe started.
    pub asked: Moment,
    /// It is known to be complete through this moment.
    pub fresh_through: Moment,
    /// How long something had been missing then.
    pub lag: Duration,
    /// How long the last thing to arrive took at least, since the primary was seen to have it.
    pub travel: Duration,
}

/// The intervals in force.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// While nothing happens.
    pub idle: Duration,
    /// While something was written that somebody may read.
    pub fast: Duration,
}

/// Between two probes of a node that somebody waits for: with it a read waits an eighth of a millisecond
/// longer on average, without it probes of a node next door would take a tenth of a core of it.
const BREATH: Duration = Duration::from_micros(250);

/// While reads or writes flow and nothing is missing: what `max_lag` and the status page need.
const ACTIVE: Duration = Duration::from_millis(100);
/// While writes flow that reads might wait for, and none does: a read that comes some time after a
/// write finds it sampled, and a stream of writes that nobody reads costs no more than this.
const CALM: Duration = Duration::from_millis(20);
/// Traffic is recent for this long.
const RECENT: Duration = Duration::from_secs(1);
/// Of the time that something is late, the part that a pause may add to it.
const LATE_PART: u32 = 8;

impl Intervals {
    /// When the primary, whose last probe started at `asked`, is to be asked next; `awaited` is the
    /// latest moment that a waiting read needs.
    pub fn primary_next(&self, asked: Moment, awaited: Option<Moment>, demand: &Demand) -> Moment {
        if awaited.is_some_and(|need| need > asked) {
            return asked.plus(self.shortest());
        }
        if demand.is_idle() {
            return asked.plus(self.idle);
        }
        let is_wanted = demand.wrote > asked && demand.is_recent(demand.promised);
        asked.plus(if is_wanted { self.chase(demand) } else { self.active() })
    }

    /// When a replica is to be asked next; `awaited` is the earliest moment that a waiting read needs
    /// and that the replica is not known to have reached.
    pub fn replica_next(&self, at: &Standing, awaited: Option<Moment>, demand: &Demand) -> Moment {
        let Standing { asked, fresh_through, lag, travel } = *at;
        let active = asked.plus(self.active());
        let late = lag.saturating_sub(travel) / LATE_PART;
        // What the primary has not been seen to have proves nothing on a replica: its next sample
        // rouses the replicas' probers.
        let arrives = |need: Moment, pause: Duration| match need > demand.primary_sampled {
            true => active,
            false => asked.plus(late.max(pause)).max(need.plus(travel)).min(active),
        };
        if let Some(need) = awaited {
            return arrives(need, self.shortest());
        }
        if demand.is_idle() {
            let behind = (lag / LATE_PART).clamp(self.active(), self.idle.max(self.active()));
            return asked.plus(if lag.is_zero() { self.idle } else { behind });
        }
        if demand.wrote > fresh_through && demand.is_recent(demand.promised) {
            return arrives(demand.wrote, self.chase(demand));
        }
        active
    }

    /// No node is asked sooner again.
    pub fn shortest(&self) -> Duration {
        BREATH.min(self.fast)
    }

    fn active(&self) -> Duration {
        ACTIVE.min(self.idle).max(self.fast)
    }

    fn chase(&self, demand: &Demand) -> Duration {
        if demand.is_recent(demand.waited) { self.fast } else { CALM.clamp(self.fast, self.active()) }
    }
}

impl Demand {
    fn is_recent(&self, at: Moment) -> bool {
        at.plus(RECENT) > self.now
    }

    /// Nobody asks for anything, and there is somebody to ask.
    fn is_idle(&self) -> bool {
        self.has_primary && !self.is_recent(self.read) && !self.is_recent(self.wrote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PACE: Intervals = Intervals { idle: Duration::from_secs(1), fast: Duration::from_millis(2) };
    const NOW: Moment = Moment(1_000_000 * MS);
    const NEVER: Moment = Moment::NEVER;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn ago(time: u64) -> Moment {
        NOW.minus(ms(time))
    }

    const NOTHING: Demand = Demand {
        now: NOW,
        has_primary: true,
        primary_sampled: NOW,
        wrote: NEVER,
        read: NEVER,
        promised: NEVER,
        waited: NEVER,
    };

    /// Reads that wait, and somebody who writes.
    fn busy(wrote: Moment) -> Demand {
        Demand { wrote, read: ago(1), promised: ago(1), waited: ago(100), ..NOTHING }
    }

    fn standing(fresh_through: Moment) -> Standing {
        Standing { asked: ago(1), fresh_through, lag: Duration::ZERO, travel: Duration::ZERO }
    }

    #[test]
    fn an_idle_node_is_left_alone() {
        assert_eq!(PACE.primary_next(ago(1), None, &NOTHING), ago(1).plus(PACE.idle));
        assert_eq!(PACE.replica_next(&standing(ago(9)), None, &NOTHING), ago(1).plus(PACE.idle));
    }

    #[test]
    fn without_a_primary_nobody_is_left_alone() {
        let headless = Demand { has_primary: false, ..NOTHING };
        assert_eq!(PACE.primary_next(ago(1), None, &headless), ago(1).plus(ACTIVE));
        assert_eq!(PACE.replica_next(&standing(ago(9)), None, &headless), ago(1).plus(ACTIVE));
    }

    #[test]
    fn a_primary_is_asked_at_once_while_its_last_sample_does_not_prove_what_is_awaited() {
        let next = |asked, awaited| PACE.primary_next(asked, Some(awaited), &busy(ago(5_000)));
        assert_eq!(next(ago(9), ago(5)), ago(9).plus(BREATH));
        assert_eq!(next(ago(4), ago(5)), ago(4).plus(ACTIVE));
    }

    #[test]
    fn writes_are_chased_as_fast_as_reads_wait_for_them() {
        let next = |demand: Demand| PACE.primary_next(ago(2), None, &demand);
        assert_eq!(next(busy(ago(1))), ago(2).plus(PACE.fast));
        assert_eq!(next(Demand { waited: ago(2_000), ..busy(ago(1)) }), ago(2).plus(CALM));
        assert_eq!(next(Demand { promised: ago(2_000), ..busy(ago(1)) }), ago(2).plus(ACTIVE), "at eventual");
    }

    #[test]
    fn a_replica_is_asked_when_what_is_missing_is_about_to_arrive() {
        let at = Standing { travel: ms(50), lag: ms(30), ..standing(ago(60)) };
        let next = PACE.replica_next(&at, Some(ago(30)), &busy(ago(5)));
        assert_eq!(next, ago(30).plus(ms(50)));
        let overdue = PACE.replica_next(&at, Some(ago(52)), &busy(ago(5)));
        assert_eq!(overdue, ago(1).plus(BREATH));
    }

    #[test]
    fn what_is_late_is_asked_for_less_often() {
        let after = |late: u64| {
            let at = Standing { lag: ms(late + 10), travel: ms(10), ..standing(ago(late + 10)) };
            PACE.replica_next(&at, Some(ago(late + 10)), &busy(ago(5)))
        };
        assert_eq!(after(1), ago(1).plus(BREATH));
        assert_eq!(after(80), ago(1).plus(ms(10)));
        assert_eq!(after(5_000), ago(1).plus(ACTIVE));
    }

    #[test]
    fn a_replica_is_not_asked_for_what_the_primary_was_not_seen_to_have() {
        let unseen = Demand { primary_sampled: ago(3), ..busy(ago(2)) };
        assert_eq!(PACE.replica_next(&standing(ago(4)), Some(ago(2)), &unseen), ago(1).plus(ACTIVE));
        let seen = Demand { primary_sampled: ago(1), ..unseen };
        assert_eq!(PACE.replica_next(&standing(ago(4)), Some(ago(2)), &seen), ago(1).plus(BREATH));
    }

    #[test]
    fn a_replica_that_has_all_that_was_written_is_not_asked_fast() {
        assert_eq!(PACE.replica_next(&standing(ago(4)), None, &busy(ago(5))), ago(1).plus(ACTIVE));
        assert_eq!(PACE.replica_next(&standing(ago(6)), None, &busy(ago(5))), ago(1).plus(PACE.fast));
    }

    #[test]
    fn a_replica_that_is_behind_is_watched_though_nobody_reads() {
        let behind = |lag| PACE.replica_next(&Standing { lag, ..standing(ago(50)) }, None, &NOTHING);
        assert_eq!(behind(ms(3)), ago(1).plus(ACTIVE));
        assert_eq!(behind(ms(60_000)), ago(1).plus(PACE.idle));
    }

    #[test]
    fn short_idle_intervals_are_kept() {
        let pace = Intervals { idle: ms(20), fast: ms(2) };
        let reading = Demand { read: ago(1), ..NOTHING };
        assert_eq!(pace.primary_next(NOW, None, &reading), NOW.plus(ms(20)));
    }
}
