//! Which cluster the configured nodes are of, where one may be listed by mistake.
//!
//! A node tells its `system_identifier`, which all nodes of a cluster have in common. Most of the list
//! decides, and where two clusters have as many nodes in it, the one that is listed first. As soon as more
//! than half of the list agree that is settled for as long as pgweir runs: no reload can turn the cluster
//! into another. Until every node has been tried, nothing is read from any of them.

/// What is believed.
#[derive(Debug, Default)]
pub struct Membership {
    system: Option<u64>,
    settled: bool,
}

impl Membership {
    /// What the configured nodes have told so far, in their order. True: it is another cluster than was
    /// believed until now.
    pub fn hear(&mut self, told: &[Option<u64>]) -> bool {
        if self.settled {
            return false;
        }
        let votes = |system: u64| told.iter().filter(|t| **t == Some(system)).count();
        let mut best: Option<u64> = None;
        for system in told.iter().flatten() {
            if best.is_none_or(|best| votes(*system) > votes(best)) {
                best = Some(*system);
            }
        }
        self.settled = best.is_some_and(|best| votes(best) * 2 > told.len());
        let before = std::mem::replace(&mut self.system, best);
        before.is_some() && before != best
    }

    /// More than half of the list agree.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// The cluster, as far as it is known.
    pub fn system(&self) -> Option<u64> {
        self.system
    }

    /// What to say of a node of this cluster, if it is another one.
    pub fn stranger(&self, system: u64) -> Option<String> {
        let known = self.system.filter(|known| *known != system)?;
        Some(format!("it belongs to another cluster: its system identifier is {system}, not {known}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_that_answers_first_is_outvoted() {
        let mut membership = Membership::default();
        assert!(!membership.hear(&[None, None, Some(8)]));
        assert!(membership.stranger(8).is_none());
        // One against one: the first in the list.
        assert!(membership.hear(&[Some(7), None, Some(8)]));
        assert!(membership.stranger(8).unwrap().contains("another cluster"));
        assert!(!membership.hear(&[Some(7), Some(7), Some(8)]));
        assert!(membership.stranger(7).is_none());
    }

    #[test]
    fn what_is_settled_stays_so_whoever_joins() {
        let mut membership = Membership::default();
        assert!(!membership.hear(&[Some(7)]));
        assert!(!membership.hear(&[Some(8), Some(8), Some(7)]));
        assert!(membership.stranger(8).is_some() && membership.stranger(7).is_none());
    }

    #[test]
    fn without_a_majority_the_order_decides_whoever_answers_first() {
        for told in [[[Some(7), None], [Some(7), Some(8)]], [[None, Some(8)], [Some(7), Some(8)]]] {
            let mut membership = Membership::default();
            for told in told {
                membership.hear(&told);
            }
            assert!(membership.stranger(7).is_none() && membership.stranger(8).is_some());
        }
    }
}
