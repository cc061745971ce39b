//! Who is the primary, which replicas may serve, and which are too far behind.

use std::time::Duration;

/// What a node said it is, when it last answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It has not answered yet.
    #[default]
    Unknown,
    /// It takes writes.
    Primary,
    /// It replays somebody's log.
    Replica,
}

impl Role {
    /// The word for consoles and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Unknown => "unknown",
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// What is known of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It answers.
    pub up: bool,
    /// What it says it is.
    pub role: Role,
    /// The timeline that it writes, or replays.
    pub timeline: u32,
    /// The operator wants no reads there.
    pub drained: bool,
    /// It is over `max_lag`.
    pub lagging: bool,
    /// Its configured share of reads.
    pub weight: u32,
}

/// Who does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The one primary.
    pub primary: Option<usize>,
    /// The highest timeline of any primary so far: the cluster's own.
    pub timeline: u32,
    /// Nodes (a bit each) that say they are primary and must not be.
    pub rivals: u64,
    /// Nodes (a bit each) that may answer reads.
    pub replicas: u64,
    /// Of these, the ones over `max_lag`.
    pub lagging: u64,
}

/// Judges all nodes; `before` is the verdict that was in force.
///
/// The primary is the node that says so on the highest timeline ever seen: a former primary that
/// comes back after a promotion is left out, even while the new one is away. Of two on the same
/// timeline the one already in force stays; if neither is, there is none.
pub fn judge(nodes: &[Facts], before: &Verdict) -> Verdict {
    let claims = |i: &usize| nodes[*i].up && nodes[*i].role == Role::Primary;
    let claimants = || (0..nodes.len()).filter(claims);
    let timeline = claimants().map(|i| nodes[i].timeline).max().unwrap_or(0).max(before.timeline);
    let mut rightful = claimants().filter(|&i| nodes[i].timeline == timeline);
    let primary = match (rightful.next(), rightful.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => before.primary.filter(|i| *i < nodes.len() && claims(i)),
        (None, _) => None,
    };
    let mask = |keep: &dyn Fn(&Facts) -> bool| {
        nodes.iter().enumerate().filter(|(_, n)| keep(n)).fold(0u64, |mask, (i, _)| mask | 1 << i)
    };
    let rivals = mask(&|n| n.up && n.role == Role::Primary) & !primary.map_or(0, |i| 1 << i);
    let replicas =
        mask(&|n| n.up && n.role == Role::Replica && n.timeline >= timeline && !n.drained && n.weight > 0);
    Verdict { primary, timeline, rivals, replicas, lagging: replicas & mask(&|n| n.lagging) }
}

/// Whether a replica is over `max_lag`, with hysteresis: it comes back only when it is at half the
/// bound, so that one that hovers there does not come and go with every sample.
pub fn is_lagging(
    was_lagging: bool,
    (bytes, time): (u64, Duration),
    bytes_max: Option<u64>,
    time_max: Option<Duration>,
) -> bool {
    let part = if was_lagging { 2 } else { 1 };
    bytes_max.is_some_and(|max| bytes > max / u64::from(part))
        || time_max.is_some_and(|max| time > max / part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(timeline: u32) -> Facts {
        Facts { up: true, role: Role::Primary, timeline, weight: 1, ..Facts::default() }
    }

    fn replica(timeline: u32) -> Facts {
        Facts { role: Role::Replica, ..primary(timeline) }
    }

    fn down(facts: Facts) -> Facts {
        Facts { up: false, ..facts }
    }

    #[test]
    fn one_primary_and_its_replicas_are_found() {
        let verdict = judge(&[replica(1), primary(1), replica(1)], &Verdict::default());
        assert_eq!(verdict.primary, Some(1));
        assert_eq!((verdict.replicas, verdict.rivals), (0b101, 0));
    }

    #[test]
    fn the_higher_timeline_is_the_primary() {
        let verdict = judge(&[primary(1), primary(2), replica(2)], &Verdict::default());
        assert_eq!((verdict.primary, verdict.rivals, verdict.timeline), (Some(1), 0b001, 2));
    }

    #[test]
    fn a_former_primary_is_left_out_even_while_the_new_one_is_away() {
        let before = judge(&[down(primary(1)), primary(2)], &Verdict::default());
        let verdict = judge(&[primary(1), down(primary(2))], &before);
        assert_eq!((verdict.primary, verdict.rivals), (None, 0b01));
    }

    #[test]
    fn of_two_primaries_on_one_timeline_the_first_stays() {
        let before = judge(&[replica(2), primary(2)], &Verdict::default());
        assert_eq!(judge(&[primary(2), primary(2)], &before).primary, Some(1));
        assert_eq!(judge(&[primary(2), primary(2)], &Verdict::default()).primary, None);
    }

    #[test]
    fn a_replica_that_has_not_followed_a_promotion_is_left_out() {
        let verdict = judge(&[primary(2), replica(1), replica(2)], &Verdict::default());
        assert_eq!(verdict.replicas, 0b100);
    }

    #[test]
    fn replicas_go_on_without_a_primary() {
        let before = judge(&[primary(1), replica(1)], &Verdict::default());
        let verdict = judge(&[down(primary(1)), replica(1)], &before);
        assert_eq!((verdict.primary, verdict.replicas), (None, 0b10));
    }

    #[test]
    fn nodes_that_are_down_drained_or_without_weight_serve_nothing() {
        let out = [
            primary(1),
            down(replica(1)),
            Facts { drained: true, ..replica(1) },
            Facts { weight: 0, ..replica(1) },
        ];
        assert_eq!(judge(&out, &Verdict::default()).replicas, 0);
    }

    #[test]
    fn a_replica_at_the_bound_does_not_flap() {
        let bound = Some(Duration::from_millis(100));
        let lag = |ms| (0, Duration::from_millis(ms));
        assert!(!is_lagging(false, lag(99), None, bound));
        assert!(is_lagging(false, lag(101), None, bound));
        assert!(is_lagging(true, lag(99), None, bound));
        assert!(!is_lagging(true, lag(50), None, bound));
    }

    #[test]
    fn lag_in_bytes_counts_as_well() {
        assert!(is_lagging(false, (2_000, Duration::ZERO), Some(1_000), None));
        assert!(!is_lagging(false, (2_000, Duration::from_secs(9)), None, None));
    }
}
