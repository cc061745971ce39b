//! What people are told of a node that is not what it seems: a claimant that is not taken for the primary,
//! a replica that has stayed on an old timeline.

use super::board::Entry;
use super::verdict::{Facts, Refused, Verdict, refused};
use crate::node::lsn::Lsn;
use std::time::Duration;

/// A replica follows a promotion within moments, or within a few pauses of its receiver
/// (`wal_retrieve_retry_interval`, 5 s). One that has not by then needs a person.
pub(super) const STRANDED_AFTER: Duration = Duration::from_secs(10);

/// Why entry `i`, which says that it is a primary, is not taken for it, and what a person can do.
pub(super) fn refusal(entries: &[Entry], verdict: &Verdict, i: usize) -> String {
    let facts: Vec<Facts> = entries.iter().map(|e| e.facts).collect();
    let name = |i: usize| entries[i].node.name.as_str();
    let claim = format!("{} says that it is a primary, on timeline {}", name(i), facts[i].timeline);
    let newest = verdict.timeline;
    let drop = "out of cluster.nodes and reload";
    match refused(&facts, verdict, i, |i| entries[i].newest_timeline) {
        Refused::Deposed => format!("{claim}; the cluster's is {newest}: it is left out"),
        Refused::Outlived(witnesses) => {
            let names: Vec<_> = super::choose::bits(witnesses).map(name).collect();
            format!(
                "{claim}, but timeline {newest} has been seen on {}: there is a newer primary, which is not in \
                 sight. Nothing is written until it is back. If {} is to go on instead, take {} {drop}",
                names.join(" and "),
                name(i),
                names.join(" and "),
            )
        }
        Refused::SameTimeline(holder) => format!(
            "{claim}, and so was {}: two promotions onto one timeline are two histories. It is left out, also \
             while {} is away. If {} is to be the primary, take {} {drop}; what only that one has is lost then",
            name(holder),
            name(holder),
            name(i),
            name(holder),
        ),
        Refused::Contested => format!(
            "{claim}, and so is or was another node: nobody can tell from here which history is the cluster's. \
             Neither is taken. Take the one that is not to be the primary {drop}"
        ),
        Refused::Behind => format!(
            "{claim}, but a replica on that timeline has replayed more of the log than it has. If {} is to go \
             on all the same, take that replica {drop}",
            name(i)
        ),
    }
}

/// What is wrong with an address behind which there is more than one server.
pub(super) fn several(name: &str) -> String {
    format!(
        "{name} leads to several servers, now to this one and now to that: what is measured on one says nothing \
         of another, so that it is not used. List each server by an address of its own in cluster.nodes"
    )
}

/// What is wrong with a replica that has had what the primary has not.
pub(super) fn astray(entry: &Entry, lsn: Lsn) -> String {
    let (name, timeline) = (&entry.node.name, entry.facts.timeline);
    format!(
        "{name} has timeline {timeline} until {lsn} from another history than the primary's: it has more of it than \
         the primary had then, or receives it from a node that was promoted onto the same timeline. It serves no reads. \
         Build it anew; or, if its history is the one to go on with, take the primary out of cluster.nodes"
    )
}

/// What is wrong with a replica that is on an older timeline than the cluster's.
pub(super) fn stranded(entry: &Entry, newest: u32, fork: Option<Lsn>) -> String {
    let (name, timeline, lsn) = (&entry.node.name, entry.facts.timeline, entry.lsn);
    let text =
        format!("{name} has stayed on timeline {timeline}, the cluster's is {newest}: it serves no reads");
    match fork.filter(|fork| lsn > *fork) {
        Some(fork) => format!(
            "{text}. It has replayed until {lsn}, and timeline {newest} forked off at {fork}: it cannot follow. \
             Rewind it (pg_rewind) or build it anew"
        ),
        None => format!("{text}. See its log, and whom its primary_conninfo names"),
    }
}
