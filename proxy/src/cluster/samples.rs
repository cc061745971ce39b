//! What the primary's log position was, and when.
//!
//! Postgres does not say at which position a commit lies. But the insert position sampled on the
//! primary is at or beyond every commit that was acknowledged before the sample was *started*. So a
//! replica that has replayed up to a sample's position has everything acknowledged before that
//! sample's start. That start is what [`Samples::fresh_through`] finds: it turns positions, which
//! mean something on one timeline only, into moments, which any later question compares with.

use crate::node::lsn::Lsn;
use crate::node::moment::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// The primary's position at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When asking for it began; of several in a row with the same position, the last time.
    pub start: Moment,
    /// Of several in a row with the same position, the first time.
    pub first: Moment,
    /// The position, at or beyond every commit acknowledged before `start`.
    pub lsn: Lsn,
    /// How many writes this process had acknowledged at `start`.
    pub writes: u64,
}

/// At most this many samples: 4096 × 24 bytes. At one every 2 ms that is 8 s of history; when it
/// is full, every second of the older half is forgotten, which only makes answers more careful.
const SAMPLES_MAX: usize = 4096;

/// Samples of one primary on one timeline, oldest first; moments and positions both grow.
#[derive(Debug, Default)]
pub struct Samples {
    ring: VecDeque<Sample>,
}

impl Samples {
    /// Another primary, or another timeline: the positions known so far mean nothing there.
    pub fn clear(&mut self) {
        self.ring.clear();
    }

    /// The newest.
    pub fn latest(&self) -> Option<Sample> {
        self.ring.back().copied()
    }

    /// Adds one. False when the position went back, which one timeline's log does only after a
    /// crash that lost what was not flushed: the samples before then mean nothing any more.
    pub fn push(&mut self, sample: Sample) -> bool {
        match self.ring.back_mut() {
            Some(last) if sample.lsn < last.lsn => return false,
            // Nothing was written in between: who has that position has all up to the later start.
            Some(last) if sample.lsn == last.lsn => {
                if sample.start > last.start {
                    *last = Sample { first: last.first, ..sample };
                }
            }
            _ => {
                if self.ring.len() == SAMPLES_MAX {
                    self.thin();
                }
                self.ring.push_back(sample);
            }
        }
        true
    }

    /// The latest sample whose position is at or before `replayed`: everything acknowledged before
    /// its start is on a replica that has replayed up to there.
    pub fn fresh_through(&self, replayed: Lsn) -> Option<Sample> {
        let reached = self.ring.partition_point(|s| s.lsn <= replayed);
        reached.checked_sub(1).map(|i| self.ring[i])
    }

    /// Since when, at least, the primary has had something that is not within `replayed`.
    /// `None`: nothing known is missing.
    pub fn missing_since(&self, replayed: Lsn) -> Option<Moment> {
        self.first_missing(replayed).map(|sample| sample.first)
    }

    /// The first sample that lies beyond `reached`.
    pub fn first_missing(&self, reached: Lsn) -> Option<Sample> {
        self.ring.get(self.ring.partition_point(|s| s.lsn <= reached)).copied()
    }

    /// Where the primary was, by the last sample started before `moment`.
    fn known_at(&self, moment: Moment) -> Option<Lsn> {
        let before = self.ring.partition_point(|s| s.first <= moment);
        before.checked_sub(1).map(|i| self.ring[i].lsn)
    }

    /// Forgets what every replica has passed, except the last such sample.
    pub fn forget_before(&mut self, replayed_by_all: Lsn) {
        let reached = self.ring.partition_point(|s| s.lsn <= replayed_by_all);
        self.ring.drain(..reached.saturating_sub(1));
    }

    /// Forgets every second sample of the older half.
    fn thin(&mut self) {
        let half = SAMPLES_MAX / 2;
        let mut at = 0;
        self.ring.retain(|_| {
            at += 1;
            at > half || at % 2 == 1
        });
    }
}

/// How far behind a replica was when a probe started at `sampled` said that it had replayed until
/// `replayed`, as far as is known: bytes, and how long something had been missing by then.
///
/// For people, and for `max_lag`'s hysteresis. It counts from what the primary had before `sampled`:
/// an old sample of a replica does not make it look as if it lagged.
pub fn lag(samples: &Samples, replayed: Lsn, sampled: Moment) -> (u64, Duration) {
    let bytes = samples.known_at(sampled).map_or(0, |lsn| lsn.ahead_of(replayed));
    let time = samples.missing_since(replayed).map_or(Duration::ZERO, |since| sampled.since(since));
    (bytes, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn sample(start: u64, lsn: u64) -> Sample {
        Sample { start: Moment(start), first: Moment(start), lsn: Lsn(lsn), writes: 0 }
    }

    #[test]
    fn a_replica_is_fresh_through_the_latest_sample_that_it_has_replayed() {
        let mut samples = Samples::default();
        for s in [sample(10, 100), sample(20, 200), sample(30, 300)] {
            assert!(samples.push(s));
        }
        assert_eq!(samples.fresh_through(Lsn(99)), None);
        assert_eq!(samples.fresh_through(Lsn(100)).unwrap().start, Moment(10));
        assert_eq!(samples.fresh_through(Lsn(299)).unwrap().start, Moment(20));
        assert_eq!(samples.fresh_through(Lsn(999)).unwrap().start, Moment(30));
    }

    #[test]
    fn an_idle_primary_keeps_its_replicas_fresh_with_each_sample() {
        let mut samples = Samples::default();
        for start in 1..10_000 {
            assert!(samples.push(sample(start, 100)));
        }
        assert_eq!(samples.fresh_through(Lsn(100)).unwrap().start, Moment(9_999));
        assert_eq!(lag(&samples, Lsn(100), Moment(20_000)), (0, Duration::ZERO));
        assert_eq!(samples.ring.len(), 1);
    }

    #[test]
    fn lag_in_seconds_counts_from_the_first_sample_that_is_missing() {
        let mut samples = Samples::default();
        samples.push(sample(1_000, 100));
        samples.push(sample(2_000, 250));
        samples.push(sample(3_000, 260));
        assert_eq!(lag(&samples, Lsn(100), Moment(5_000)), (160, Duration::from_nanos(3_000)));
    }

    #[test]
    fn lag_in_seconds_grows_while_the_primary_is_idle_and_replay_is_paused() {
        let mut samples = Samples::default();
        samples.push(sample(1_000, 100));
        for start in 2_000..9_000 {
            samples.push(sample(start, 250));
        }
        assert_eq!(lag(&samples, Lsn(100), Moment(9_500)), (150, Duration::from_nanos(7_500)));
    }

    #[test]
    fn a_replica_asked_before_the_primary_wrote_does_not_look_late() {
        let mut samples = Samples::default();
        samples.push(sample(1_000, 100));
        samples.push(sample(2_000, 250));
        assert_eq!(lag(&samples, Lsn(100), Moment(1_500)), (0, Duration::ZERO));
    }

    #[test]
    fn a_position_that_goes_back_is_refused() {
        let mut samples = Samples::default();
        assert!(samples.push(sample(10, 100)));
        assert!(!samples.push(sample(20, 99)));
    }

    #[test]
    fn a_full_ring_forgets_older_samples_and_stays_careful() {
        let mut samples = Samples::default();
        let n = 3 * SAMPLES_MAX as u64;
        for i in 1..=n {
            samples.push(sample(10 * i, 100 * i));
        }
        assert!(samples.ring.len() <= SAMPLES_MAX);
        for i in 1..=n {
            let through = samples.fresh_through(Lsn(100 * i)).map_or(Moment::NEVER, |s| s.start);
            assert!(through <= Moment(10 * i));
        }
        assert_eq!(samples.latest(), Some(sample(10 * n, 100 * n)));
    }

    #[test]
    fn what_every_replica_has_passed_is_forgotten_and_nothing_else() {
        let mut samples = Samples::default();
        for i in 1..=10 {
            samples.push(sample(i, 100 * i));
        }
        samples.forget_before(Lsn(550));
        assert_eq!(samples.ring.len(), 6);
        assert_eq!(samples.fresh_through(Lsn(550)).unwrap().start, Moment(5));
    }

    /// A primary, replicas that replay at random, and samples that take random time, simulated: a
    /// replica that is declared fresh through a moment really has every commit acknowledged by then.
    #[test]
    fn a_replica_declared_fresh_really_has_every_write() {
        for seed in 0..300 {
            simulate(StdRng::seed_from_u64(seed));
        }
    }

    fn simulate(mut dice: StdRng) {
        let mut now = 1_000_u64;
        let mut insert = 0_u64;
        let mut commits: Vec<(u64, u64)> = Vec::new(); // (position, acknowledged at)
        let mut unacknowledged: Vec<u64> = Vec::new();
        let mut replayed = [0_u64; 3];
        let mut samples = Samples::default();
        let mut asked: Option<u64> = None; // a primary sample on its way: when it started
        let mut answered: Option<(u64, u64)> = None; // and what the primary said
        let mut proofs = 0;
        for _ in 0..2_000 {
            now += dice.random_range(1..50);
            match dice.random_range(0..8) {
                0 | 1 => {
                    insert += dice.random_range(8..400);
                    unacknowledged.push(insert);
                }
                2 if !unacknowledged.is_empty() => {
                    let i = dice.random_range(0..unacknowledged.len());
                    commits.push((unacknowledged.swap_remove(i), now));
                }
                3 if asked.is_none() => asked = Some(now),
                4 if asked.is_some() && answered.is_none() => answered = Some((asked.unwrap(), insert)),
                5 if answered.is_some() => {
                    let (start, lsn) = answered.take().unwrap();
                    asked = None;
                    samples.push(sample(start, lsn));
                }
                6 => {
                    let replica = dice.random_range(0..3);
                    let step = dice.random_range(0..600);
                    replayed[replica] = insert.min(replayed[replica] + step);
                }
                _ => {
                    samples.forget_before(Lsn(*replayed.iter().min().unwrap()));
                    for at in replayed {
                        let Some(through) = samples.fresh_through(Lsn(at)) else { continue };
                        proofs += 1;
                        let lost = commits.iter().find(|(lsn, ack)| *ack < through.start.0 && *lsn > at);
                        assert_eq!(lost, None, "declared fresh through {through:?} at {at}");
                    }
                }
            }
        }
        assert!(proofs > 50, "the simulation proved something");
    }
}
