//! How many writes had been acknowledged when the primary's log was where: what is lost with the part of it
//! that a new primary does not have.
//!
//! Postgres does not say at which position a commit lies. But what is acknowledged after a sample has been
//! answered lies, but for what was on its way just then, beyond that sample's position. So when the new
//! primary's timeline forked off at or before a sample's position, what was acknowledged after that sample is
//! lost. What was acknowledged after the last sample is not counted where the fork lies beyond it: the log
//! went on, and nobody knows how far. A planned switchover takes the whole log along, down to the former
//! primary's last checkpoint, and nothing is counted then.

use crate::node::lsn::Lsn;
use crate::node::moment::Moment;

/// Points kept: one for each change of either number. When it is full, every second one of the older half
/// is forgotten, which only makes the count lower.
const POINTS_MAX: usize = 1024;

/// The log was here, and so much had been acknowledged when that was known.
#[derive(Debug, Clone, Copy)]
struct Point {
    lsn: Lsn,
    writes: u64,
    at: Moment,
}

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Acknowledged writes.
    pub writes: u64,
    /// What was read or written since then may be lost.
    pub since: Moment,
}

/// The points of one primary on one timeline, oldest first.
#[derive(Debug, Default)]
pub struct Acknowledged {
    points: Vec<Point>,
}

impl Acknowledged {
    /// The primary was at `lsn`; by `now`, when that was known, so many writes had been acknowledged.
    pub fn note(&mut self, lsn: Lsn, writes: u64, now: Moment) {
        let point = Point { lsn, writes, at: now };
        match self.points.last_mut() {
            Some(last) if lsn < last.lsn => return,
            Some(last) if last.lsn == lsn => *last = point,
            Some(last) if last.writes == writes => last.lsn = lsn,
            _ => self.points.push(point),
        }
        if self.points.len() > POINTS_MAX {
            let mut at = 0;
            self.points.retain(|_| {
                at += 1;
                at > POINTS_MAX / 2 || at % 2 == 1
            });
        }
    }

    /// What is lost when the log counts until `fork` only, and `writes` had been acknowledged in all.
    pub fn beyond(&self, fork: Lsn, writes: u64) -> Option<Lost> {
        let at = self.points.partition_point(|point| point.lsn < fork);
        let beyond = self.points.get(at)?;
        let before = at.checked_sub(1).map(|at| self.points[at]).filter(|_| beyond.lsn > fork);
        let since = before.map_or(beyond.at, |before| before.at);
        let lost =
            writes.saturating_sub(beyond.writes) + before.map_or(0, |before| part(before, *beyond, fork));
        (lost > 0).then_some(Lost { writes: lost, since })
    }
}

/// Of what was acknowledged between two points, so much lies beyond `fork`, if it is spread evenly.
fn part(before: Point, beyond: Point, fork: Lsn) -> u64 {
    let writes = u128::from(beyond.writes.saturating_sub(before.writes));
    let (lost, all) = (beyond.lsn.ahead_of(fork), beyond.lsn.ahead_of(before.lsn).max(1));
    u64::try_from((writes * u128::from(lost) + u128::from(all / 2)) / u128::from(all)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(points: &[(u64, u64)]) -> Acknowledged {
        let mut acknowledged = Acknowledged::default();
        for (at, (lsn, writes)) in points.iter().enumerate() {
            acknowledged.note(Lsn(*lsn), *writes, Moment(at as u64 + 1));
        }
        acknowledged
    }

    #[test]
    fn a_new_primary_that_has_the_whole_log_has_lost_nothing() {
        let acknowledged = after(&[(100, 1), (200, 5)]);
        assert_eq!(acknowledged.beyond(Lsn(201), 90), None);
        assert_eq!(acknowledged.beyond(Lsn(200), 5), None);
        assert_eq!(Acknowledged::default().beyond(Lsn(1), 7), None);
    }

    #[test]
    fn what_was_acknowledged_beyond_the_fork_is_counted() {
        let acknowledged = after(&[(100, 1), (200, 5), (300, 9)]);
        assert_eq!(acknowledged.beyond(Lsn(300), 12), Some(Lost { writes: 3, since: Moment(3) }));
        assert_eq!(acknowledged.beyond(Lsn(200), 12), Some(Lost { writes: 7, since: Moment(2) }));
        assert_eq!(acknowledged.beyond(Lsn(250), 12), Some(Lost { writes: 5, since: Moment(2) }));
        assert_eq!(acknowledged.beyond(Lsn(1), 12), Some(Lost { writes: 11, since: Moment(1) }));
    }

    #[test]
    fn a_log_that_grows_without_writes_of_ours_takes_no_room() {
        let mut acknowledged = after(&[(1, 0)]);
        (2..100_000).for_each(|lsn| acknowledged.note(Lsn(lsn), 0, Moment(lsn)));
        assert_eq!(acknowledged.points.len(), 1);
        (1..100_000).for_each(|n| acknowledged.note(Lsn(100_000 + n), n, Moment(n)));
        assert!(acknowledged.points.len() <= POINTS_MAX);
        assert_eq!(acknowledged.beyond(Lsn(199_999), 99_999), None);
    }
}
