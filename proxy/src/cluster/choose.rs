//! Which of the replicas that may answer a read shall answer it.
//!
//! Two are drawn at random, by weight, and the less busy one is taken: nearly as even as knowing
//! everybody's load, and no herd runs to the one that was idle a moment ago. Replicas in our own
//! zone come first and spill over to others when they are clearly busier. A replica that has just
//! come back is given its share little by little, so that its cold cache is not overrun.

use smallvec::SmallVec;
use std::time::Duration;

/// What is asked of one replica.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its configured share.
    pub weight: u32,
    /// In our own zone (or no zones are configured).
    pub near: bool,
    /// What it is working on for us.
    pub outstanding: usize,
    /// How long it has been serving.
    pub serving: Duration,
}

/// A replica that came back reaches its full share after this long.
pub const SLOW_START: Duration = Duration::from_secs(10);
/// The least share that it starts with, of 1000.
const SLOW_START_FLOOR: u64 = 100;
/// A near replica may have this much more to do, per weight, than a far one before reads spill over.
const SPILL_FACTOR: u64 = 2;
/// Below this many outstanding statements a near replica is never too busy.
const SPILL_FLOOR: usize = 8;

impl Load {
    /// Weight in thousandths, after slow start.
    fn share(&self) -> u64 {
        let mut ramp = 1000;
        if self.serving < SLOW_START {
            ramp = (self.serving.as_millis() * 1000 / SLOW_START.as_millis()) as u64;
        }
        u64::from(self.weight) * ramp.max(SLOW_START_FLOOR)
    }
}

/// Chooses among the nodes of `candidates` (a bit per index). `dice` is a random number.
///
/// `None` when nobody with a weight is among them.
pub fn choose(candidates: u64, load: impl Fn(usize) -> Load, dice: u64) -> Option<usize> {
    let all: SmallVec<[Candidate; 4]> = bits(candidates).map(|at| Candidate::new(at, load(at))).collect();
    let near = || all.iter().filter(|c| c.load.near);
    let far = || all.iter().filter(|c| !c.load.near);
    let (low, high) = (dice as u32, (dice >> 32) as u32);
    let Some(here) = two_choices(near, low, high) else {
        return two_choices(|| all.iter(), low, high).map(|chosen| chosen.at);
    };
    if here.load.outstanding < SPILL_FLOOR || far().next().is_none() {
        return Some(here.at);
    }
    let there = two_choices(far, high, low)?;
    let busier = (here.load.outstanding as u64) * there.share
        > SPILL_FACTOR * (there.load.outstanding as u64 + 1) * here.share;
    Some(if busier { there.at } else { here.at })
}

/// A replica that may be chosen.
struct Candidate {
    at: usize,
    load: Load,
    share: u64,
}

impl Candidate {
    fn new(at: usize, load: Load) -> Self {
        Self { at, load, share: load.share() }
    }

    /// It has less to do than `other`, in relation to their shares.
    fn is_lighter_than(&self, other: &Candidate) -> bool {
        (self.load.outstanding as u64 + 1) * other.share < (other.load.outstanding as u64 + 1) * self.share
    }
}

fn two_choices<'a, I: Iterator<Item = &'a Candidate>>(
    among: impl Fn() -> I,
    one: u32,
    two: u32,
) -> Option<&'a Candidate> {
    let total: u64 = among().map(|candidate| candidate.share).sum();
    if total == 0 {
        return None;
    }
    let (a, b) = (draw(among(), ticket(one, total))?, draw(among(), ticket(two, total))?);
    Some(if b.is_lighter_than(a) { b } else { a })
}

/// A random number scaled to below `total`.
fn ticket(random: u32, total: u64) -> u64 {
    ((u128::from(random) * u128::from(total)) >> 32) as u64
}

/// The candidate in whose part of the total share `ticket` lies.
fn draw<'a>(mut among: impl Iterator<Item = &'a Candidate>, mut ticket: u64) -> Option<&'a Candidate> {
    among.find(|candidate| {
        let lies_here = ticket < candidate.share;
        ticket = ticket.saturating_sub(candidate.share);
        lies_here
    })
}

/// The indexes of the bits that are set.
pub fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let i = mask.trailing_zeros() as usize;
        (mask != 0).then(|| mask &= mask - 1).map(|()| i)
    })
}

/// The bits of `mask` for which `keep` holds.
pub fn filter(mask: u64, keep: impl Fn(usize) -> bool) -> u64 {
    bits(mask).filter(|&i| keep(i)).fold(0, |kept, i| kept | 1 << i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const OLD: Duration = Duration::from_secs(60);

    fn idle(weight: u32) -> Load {
        Load { weight, near: true, outstanding: 0, serving: OLD }
    }

    /// How often each of the nodes is chosen in 10,000 draws.
    fn draws(loads: &[Load]) -> Vec<u32> {
        let mut dice = StdRng::seed_from_u64(7);
        let mut counts = vec![0; loads.len()];
        for _ in 0..10_000 {
            counts[choose((1 << loads.len()) - 1, |i| loads[i], dice.random()).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn idle_replicas_of_equal_weight_share_evenly() {
        assert!(draws(&[idle(1), idle(1)]).iter().all(|n| (4_700..5_300).contains(n)));
    }

    #[test]
    fn the_busier_of_two_is_spared() {
        let counts = draws(&[idle(1), Load { outstanding: 5, ..idle(1) }]);
        assert!(counts[1] < 3_000, "{counts:?}");
    }

    #[test]
    fn a_replica_without_weight_serves_nothing() {
        assert_eq!(draws(&[idle(1), idle(0)]), [10_000, 0]);
        assert_eq!(choose(1, |_| idle(0), 12), None);
        assert_eq!(choose(0, |_| idle(1), 12), None);
    }

    #[test]
    fn reads_stay_in_the_zone_while_it_is_not_busy() {
        assert_eq!(draws(&[idle(1), Load { near: false, ..idle(1) }]), [10_000, 0]);
    }

    #[test]
    fn reads_spill_over_to_another_zone_when_their_own_is_busy() {
        let counts = draws(&[Load { outstanding: 40, ..idle(1) }, Load { near: false, ..idle(1) }]);
        assert_eq!(counts, [0, 10_000]);
    }

    #[test]
    fn reads_go_elsewhere_when_nobody_is_near() {
        assert_eq!(draws(&[Load { near: false, ..idle(1) }]), [10_000]);
    }

    #[test]
    fn a_replica_that_just_came_back_starts_slowly() {
        let counts = draws(&[idle(1), Load { serving: Duration::ZERO, ..idle(1) }]);
        assert!((1..2_500).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn work_that_stays_outstanding_is_spread_in_proportion_to_weight() {
        let mut loads = [idle(1), idle(2), idle(1)];
        let mut dice = StdRng::seed_from_u64(3);
        for _ in 0..400 {
            let chosen = choose(0b111, |i| loads[i], dice.random()).unwrap();
            loads[chosen].outstanding += 1;
        }
        assert!((90..=110).contains(&loads[0].outstanding), "{loads:?}");
        assert!((180..=220).contains(&loads[1].outstanding), "{loads:?}");
    }
}
