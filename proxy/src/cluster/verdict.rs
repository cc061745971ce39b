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
    /// The newest timeline that it has the history of, as far as that was asked.
    pub known: u32,
    /// The operator wants no reads there.
    pub drained: bool,
    /// It is over `max_lag`.
    pub lagging: bool,
    /// Its configured share of reads.
    pub weight: u32,
    /// It says that it is a primary, and a replica on its timeline had already more than it has.
    pub behind: bool,
    /// Its address leads to several servers.
    pub several: bool,
    /// It has had more of the timeline's log than the primary had afterwards: its history is another one.
    pub astray: bool,
}

/// Who does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The one primary.
    pub primary: Option<usize>,
    /// The highest timeline that any node has been on so far: the cluster's own.
    pub timeline: u32,
    /// The node that has been primary on `timeline`.
    pub holder: Option<usize>,
    /// Several nodes have said that they are primary on `timeline`, and none had been before.
    pub contested: bool,
    /// Nodes (a bit each) that say they are primary and must not be.
    pub rivals: u64,
    /// Nodes (a bit each) that may answer reads.
    pub replicas: u64,
    /// Of these, the ones over `max_lag`.
    pub lagging: u64,
    /// Replicas (a bit each) that are on an older timeline than the cluster's, or of another history.
    pub stranded: u64,
}

/// Judges all nodes; `before` is the verdict that was in force.
///
/// The primary is the node that says so on the highest timeline ever seen, be it on another claimant or
/// on a replica: a former primary that comes back after a promotion is left out, even while the new
/// one is away. A timeline has one writer, the node that was promoted onto it: where another claims the
/// same number, the two are different histories, and the first to have been in force stays the only one.
/// Of two that come at once neither is taken, then or later, nor is one that lacks what a replica has.
pub fn judge(nodes: &[Facts], before: &Verdict) -> Verdict {
    let claims = |i: &usize| nodes[*i].up && nodes[*i].role == Role::Primary && !nodes[*i].several;
    let in_sight = nodes.iter().filter(|n| n.up && n.role != Role::Unknown).map(|n| n.timeline.max(n.known));
    let timeline = in_sight.max().unwrap_or(0).max(before.timeline);
    let holder = before.holder.filter(|i| timeline == before.timeline && *i < nodes.len());
    let mut rightful = (0..nodes.len()).filter(claims).filter(|&i| {
        let is_newest = nodes[i].timeline == timeline && (holder == Some(i) || !nodes[i].behind);
        is_newest && holder.is_none_or(|holder| holder == i)
    });
    let (first, second) = (rightful.next(), rightful.next());
    let contested = second.is_some() || (before.contested && timeline == before.timeline);
    let primary = first.filter(|_| !contested);
    let mask = |keep: &dyn Fn(&Facts) -> bool| {
        nodes.iter().enumerate().filter(|(_, n)| keep(n)).fold(0u64, |mask, (i, _)| mask | 1 << i)
    };
    let rivals = mask(&|n| n.up && n.role == Role::Primary) & !primary.map_or(0, |i| 1 << i);
    let answering = mask(&|n| n.up && n.role == Role::Replica);
    let stranded = answering & mask(&|n| n.timeline < timeline || n.astray);
    let replicas = answering & !stranded & mask(&|n| !n.drained && n.weight > 0 && !n.several);
    let lagging = replicas & mask(&|n| n.lagging);
    let holder = primary.or(holder);
    Verdict { primary, timeline, holder, contested, rivals, replicas, lagging, stranded }
}

/// Why a node that says it is a primary is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is a newer history, whose primary is in force.
    Deposed,
    /// These nodes (a bit each) are, or were, on a newer timeline, and no primary of that is in sight.
    Outlived(u64),
    /// This node has been primary on the same timeline.
    SameTimeline(usize),
    /// Others have said so as well, on the same timeline.
    Contested,
    /// A replica has more of its timeline's log than it has itself.
    Behind,
}

/// Why `node`, one of the rivals, is not the primary. `newest` tells the newest timeline that a node has
/// ever been seen on.
pub fn refused(nodes: &[Facts], verdict: &Verdict, node: usize, newest: impl Fn(usize) -> u32) -> Refused {
    if nodes[node].timeline < verdict.timeline {
        let seen_later = (0..nodes.len()).filter(|i| *i != node && newest(*i) >= verdict.timeline);
        let witnesses = seen_later.fold(0, |mask, i| mask | 1 << i);
        let outlived = verdict.primary.is_none() && witnesses != 0;
        return if outlived { Refused::Outlived(witnesses) } else { Refused::Deposed };
    }
    match verdict.holder {
        Some(holder) if holder != node => Refused::SameTimeline(holder),
        _ if verdict.contested => Refused::Contested,
        _ => Refused::Behind,
    }
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
        let contested = judge(&[primary(2), primary(2)], &Verdict::default());
        assert_eq!(contested.primary, None);
        assert_eq!(judge(&[primary(2), down(primary(2))], &contested).primary, None);
        assert_eq!(judge(&[replica(2), primary(3)], &contested).primary, Some(1));
        // Nor does the other take over when the first dies: what that had written is not there.
        let verdict = judge(&[primary(2), down(primary(2))], &before);
        assert_eq!((verdict.primary, verdict.rivals), (None, 0b01));
        assert_eq!(refused(&[primary(2), down(primary(2))], &verdict, 0, |_| 2), Refused::SameTimeline(1));
        assert_eq!(judge(&[primary(2), primary(2)], &verdict).primary, Some(1));
    }

    #[test]
    fn a_replica_on_a_newer_timeline_shows_that_a_primary_is_a_former_one() {
        let nodes = [primary(3), replica(4), replica(3)];
        let verdict = judge(&nodes, &Verdict::default());
        assert_eq!((verdict.primary, verdict.rivals, verdict.timeline), (None, 0b001, 4));
        assert_eq!((verdict.replicas, verdict.stranded), (0b010, 0b100));
        assert_eq!(refused(&nodes, &verdict, 0, |i| nodes[i].timeline), Refused::Outlived(0b010));
        // Also one that was in force until then.
        let before = judge(&[primary(3), replica(3), replica(3)], &Verdict::default());
        assert_eq!(judge(&nodes, &before).primary, None);
        assert_eq!(judge(&[primary(3), replica(4), primary(4)], &before).primary, Some(2));
        // One that has not come there yet, and only knows of it, serves nothing either.
        let knows = Facts { known: 4, ..replica(3) };
        let verdict = judge(&[primary(3), knows], &Verdict::default());
        assert_eq!((verdict.primary, verdict.replicas, verdict.stranded), (None, 0, 0b10));
    }

    #[test]
    fn a_claimant_that_lacks_what_a_replica_has_waits_unless_it_is_in_force() {
        let lacking = Facts { behind: true, ..primary(1) };
        assert_eq!(judge(&[lacking, replica(1)], &Verdict::default()).primary, None);
        let before = judge(&[primary(1), replica(1)], &Verdict::default());
        assert_eq!(judge(&[lacking, replica(1)], &before).primary, Some(0));
    }

    #[test]
    fn a_replica_that_has_not_followed_a_promotion_is_left_out() {
        let verdict = judge(&[primary(2), replica(1), replica(2)], &Verdict::default());
        assert_eq!((verdict.replicas, verdict.stranded), (0b100, 0b010));
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
