//! How many event loops the load needs, and who changes seats. No I/O, no clock.
//!
//! A *load* is the part of the time since the last look in which a loop's thread ran; time in which it
//! waited for a core counts by half. (Where others keep the cores busy, a second thread wins a larger share of
//! them at the price of more wake-ups for the same work.) Loops are opened one by one as those in use get
//! busy, and closed again when the others could do its work with room to spare; the gap between the two keeps
//! a steady load from going back and forth.

/// What a second spent waiting for a core counts, where one spent running counts 1.
pub const WAITED_COUNTS: f64 = 0.5;
/// A loop with more to do than this shares its work.
const BUSY: f64 = 0.8;
/// One loop fewer is enough when the rest would not be busier than this.
const QUIET: f64 = 0.45;
/// Two loops may differ by this much before anybody is asked to move.
const UNEVEN: f64 = 0.3;
/// Looks that a load must stay low before a loop is closed.
const PATIENCE: u32 = 8;

/// Clients of one loop are asked to go to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// From here.
    pub from: usize,
    /// To there.
    pub to: usize,
    /// This part of those who do something.
    pub share: f64,
}

impl Move {
    /// Whether the client that is the `nth` to hear of it (from 1) is meant.
    pub fn concerns(&self, nth: u32) -> bool {
        let meant = |n: u32| (f64::from(n) * self.share).floor();
        meant(nth) > meant(nth - 1)
    }
}

/// The loops in use.
#[derive(Debug)]
pub struct Seating {
    open: usize,
    quiet_looks: u32,
}

impl Default for Seating {
    fn default() -> Self {
        Self { open: 1, quiet_looks: 0 }
    }
}

impl Seating {
    /// The first so many loops are in use.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Decides by the loads of all loops, those that are not in use included (they may have clients left).
    pub fn judge(&mut self, loads: &[f64]) -> Vec<Move> {
        let total: f64 = loads.iter().sum();
        let busiest = loads[..self.open].iter().copied().fold(0.0, f64::max);
        let is_quiet = self.open > 1 && total / ((self.open - 1) as f64) < QUIET;
        self.quiet_looks = if is_quiet { self.quiet_looks + 1 } else { 0 };
        if busiest > BUSY && self.open < loads.len() {
            self.open += 1;
        } else if self.quiet_looks > PATIENCE {
            self.open -= 1;
            self.quiet_looks = 0;
        }
        let (open, closed) = loads.split_at(self.open);
        let Some(idlest) = (0..open.len()).min_by(|a, b| open[*a].total_cmp(&open[*b])) else {
            return vec![];
        };
        // Nobody stays in a loop that is not in use.
        let mut moves: Vec<_> = (self.open..self.open + closed.len())
            .filter(|from| loads[*from] > 0.0)
            .map(|from| Move { from, to: idlest, share: 1.0 })
            .collect();
        let even = total / open.len() as f64;
        for (from, load) in open.iter().enumerate() {
            if *load > even && load - open[idlest] > UNEVEN {
                moves.push(Move { from, to: idlest, share: (load - even) / load });
            }
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_light_load_stays_in_one_loop_and_a_heavy_one_spreads() {
        let mut seating = Seating::default();
        assert_eq!(seating.judge(&[0.6, 0.0, 0.0]), []);
        assert_eq!(seating.open(), 1);
        assert_eq!(seating.judge(&[0.9, 0.0, 0.0]), [Move { from: 0, to: 1, share: 0.5 }]);
        assert_eq!(seating.judge(&[0.6, 0.5, 0.0]), []);
        assert_eq!(seating.judge(&[0.95, 0.85, 0.0]).len(), 2);
        assert_eq!(seating.open(), 3);
    }

    #[test]
    fn loops_close_again_when_the_load_has_been_low_for_a_while() {
        let mut seating = Seating::default();
        seating.judge(&[1.0, 0.0]);
        for _ in 0..PATIENCE {
            assert_eq!(seating.judge(&[0.2, 0.2]), []);
        }
        assert_eq!(seating.judge(&[0.2, 0.2]), [Move { from: 1, to: 0, share: 1.0 }]);
        assert_eq!(seating.open(), 1);
        assert_eq!(seating.judge(&[0.35, 0.01]), [Move { from: 1, to: 0, share: 1.0 }]);
        assert_eq!(seating.judge(&[0.4, 0.0]), []);
    }

    #[test]
    fn a_steady_load_between_the_bounds_changes_nothing() {
        let mut seating = Seating::default();
        seating.judge(&[0.85, 0.0]);
        for _ in 0..100 {
            assert_eq!(seating.judge(&[0.4, 0.35]), []);
        }
        assert_eq!(seating.open(), 2);
    }

    #[test]
    fn a_share_is_met_as_clients_come_by() {
        let third = Move { from: 0, to: 1, share: 1.0 / 3.0 };
        assert_eq!((1..=9).filter(|n| third.concerns(*n)).count(), 3);
        let all = Move { share: 1.0, ..third };
        assert!((1..=9).all(|n| all.concerns(n)));
    }
}
