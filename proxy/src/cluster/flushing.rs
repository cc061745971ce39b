//! How long the primary's log takes to its disk, and so at least to its replicas.
//!
//! Replicas are sent what the primary has flushed. With `synchronous_commit = off` a commit is acknowledged
//! before that: the log writer flushes it up to three times `wal_writer_delay` later, and until then no
//! replica can show it, however near it is.
//! <https://www.postgresql.org/docs/current/wal-async-commit.html>

use crate::node::moment::Moment;
use std::time::Duration;

/// Flushing on commit takes a disk some milliseconds; what lies unflushed for longer nobody waits for.
const LATE: Duration = Duration::from_millis(25);
/// A commit that is flushed takes along what was written before it: so many that did not prove that commits
/// are not. Fewer may have changed nothing.
const COMMITS: u64 = 3;
/// Of what was late, the latest counts for so long.
const REMEMBERED: Duration = Duration::from_secs(10);

/// What the samples of one primary showed.
#[derive(Debug, Default)]
pub struct Flushing {
    /// The longest that something lay unflushed lately, and when that was seen.
    longest: Duration,
    seen: Moment,
    was_told: bool,
}

impl Flushing {
    /// By a sample the oldest of what was not flushed had been there for so long, and so many writes had been
    /// acknowledged since. Gives a sentence when that is news.
    pub fn saw(&mut self, unflushed: Duration, acknowledged: u64, now: Moment) -> Option<&'static str> {
        let unflushed = if acknowledged >= COMMITS { unflushed } else { Duration::ZERO };
        if unflushed >= self.longest || now.since(self.seen) > REMEMBERED {
            (self.longest, self.seen) = (unflushed, now);
        }
        let is_news = self.delay() > Duration::ZERO && !self.was_told;
        self.was_told |= is_news;
        is_news.then_some(
            "commits are acknowledged before they are flushed (synchronous_commit = off): replicas show \
             them up to three times wal_writer_delay later, and reads of what was just written go to the primary",
        )
    }

    /// What was just committed reaches no replica for as long as this; zero where commits are flushed.
    pub fn delay(&self) -> Duration {
        if self.longest >= LATE { self.longest } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment((1_000_000 + ms) * 1_000_000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_lies_unflushed_for_long_is_told_once_and_forgotten_when_it_is_over() {
        let mut flushing = Flushing::default();
        assert_eq!(flushing.saw(ms(4), 9, at(0)), None);
        assert_eq!(flushing.delay(), Duration::ZERO, "a commit on its way to the disk");
        assert_eq!(flushing.saw(ms(900), 2, at(50)), None, "nobody has committed anything");
        assert!(flushing.saw(ms(180), 9, at(100)).unwrap().contains("synchronous_commit"));
        assert_eq!(flushing.saw(ms(20), 9, at(110)), None);
        assert_eq!(flushing.delay(), ms(180), "the next will be as late");
        assert_eq!(flushing.saw(ms(0), 0, at(10_101)), None);
        assert_eq!(flushing.delay(), Duration::ZERO);
        assert_eq!(flushing.saw(ms(190), 9, at(10_200)), None, "told once");
        assert_eq!(flushing.delay(), ms(190));
    }
}
