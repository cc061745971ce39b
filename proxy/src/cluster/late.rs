//! Whether a read that no replica can serve yet waits for one, or goes to the primary at once.

use crate::config::WhenLate;
use std::time::Duration;

/// What `balance` weighs.
#[derive(Debug, Clone, Copy)]
pub struct Scales {
    /// How long the read is likely to wait for a replica.
    pub wait: Duration,
    /// Statements that the primary works on for us.
    pub on_primary: usize,
    /// The same of the replicas that may serve the read, all together.
    pub on_replicas: usize,
    /// How many those are.
    pub replicas: usize,
}

/// Shorter waits are about what a small statement takes: to wait is as quick, and spares the primary.
const WORTH_WAITING: Duration = Duration::from_micros(500);

impl WhenLate {
    /// The primary is asked instead of waiting.
    pub fn goes_to_primary(self, scales: impl FnOnce() -> Scales) -> bool {
        match self {
            WhenLate::Wait => false,
            WhenLate::Primary => true,
            WhenLate::Balance => {
                let Scales { wait, on_primary, on_replicas, replicas } = scales();
                wait > WORTH_WAITING && on_primary * replicas <= on_replicas
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_goes_to_a_primary_that_has_no_more_to_do_than_a_replica() {
        let goes = |wait, on_primary, on_replicas| {
            let wait = Duration::from_micros(wait);
            WhenLate::Balance.goes_to_primary(|| Scales { wait, on_primary, on_replicas, replicas: 2 })
        };
        assert!(goes(2_000, 0, 0) && goes(2_000, 3, 6));
        assert!(!goes(2_000, 4, 6), "the primary is busier");
        assert!(!goes(300, 0, 6), "a replica is about to have it");
    }

    #[test]
    fn the_others_do_not_weigh() {
        let unasked = || unreachable!("nothing is weighed");
        assert!(!WhenLate::Wait.goes_to_primary(unasked));
        assert!(WhenLate::Primary.goes_to_primary(unasked));
    }
}
