//! Whether a record of a former primary's log is part of the history that the cluster goes on with.
//!
//! A transaction's id says nothing by itself: an id is not logged when it is given out, and a server that has
//! not replayed any record that carries it, or a later one, gives it to somebody else. So what
//! `pg_xact_status` says of an id after a failover is about that transaction only where a record that carries
//! the id has been replayed. [`Record`] is such a record: it was written *after* the id was given out and
//! *before* the transaction's COMMIT was sent. That leaves two cases, and no third:
//!
//! * The history has the record. Replaying it has moved the server's next id beyond the transaction's
//!   (`AdvanceNextFullTransactionIdPastXid` in PostgreSQL's `ApplyWalRecord`): nobody else will ever have that
//!   id, and its status is its own. It is committed if its commit was replayed too, else it was aborted at the
//!   end of the recovery.
//! * The history ends, or forks off, before the record's end. The commit lies behind it in the same log, so the
//!   history lacks that as well: the transaction was aborted, whatever the status of its id may say, which may
//!   be somebody else's by now.
//!
//! Which case it is, is known for certain only here:
//!
//! * **The same run of the same server.** Nothing was lost.
//! * **The same server on the same timeline, after a recovery of its own** (a crash of the machine, of the
//!   server, or of one of its processes, which does not change the postmaster's start). It goes on telling
//!   where its replay ended, by `pg_last_wal_replay_lsn()`, and each recovery ends farther than the one before:
//!   behind it comes at least its own checkpoint.
//! * **The same server after it was shut down in good order.** Nothing was lost, and it tells no end of a replay.
//!   Its log is then at or beyond the record; one that is not is another server's.
//! * **A replica that was promoted.** Its timeline forks off where its replay had ended. That its history is the
//!   former primary's until there follows from what its prober has seen *on one connection*: first that it
//!   followed timeline *n*, and then that it was primary on *n + 1*. A replica leaves the timeline that it
//!   follows only for one whose history contains that (`rescanLatestTimeLine`), and a promotion takes a number
//!   above the newest timeline known to it (`findNewestTimeLine`): had it followed another timeline in between,
//!   the number would be higher. A crash between the promotion and the answer would have ended the connection, so
//!   that the end of its replay is the fork, and not the end of a later recovery.
//!
//! Everything else is unknown: two promotions one after the other, or two nodes that have claimed to write one
//! timeline, so that its number does not name one history.

use super::verdict::Role;
use crate::node::lsn::Lsn;

/// A server from its start, or from its last recovery, on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When its postmaster started, in microseconds.
    pub started: i64,
    /// Where its last replay ended; `None`: it started from a log that was closed in good order.
    pub replayed: Option<Lsn>,
}

/// A record in a primary's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The timeline that it is on.
    pub timeline: u32,
    /// Where it ends.
    pub end: Lsn,
    /// Which run has written it.
    pub run: Run,
}

/// What a primary tells of itself later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heir {
    /// The timeline that it writes.
    pub timeline: u32,
    /// How far it has written.
    pub insert: Lsn,
    /// Its run.
    pub run: Run,
    /// It is the node that has written the record.
    pub is_same_node: bool,
    /// How it became primary, where that was seen.
    pub promotion: Option<Promotion>,
}

/// A replica became a primary under the eyes of its prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// The start of its postmaster.
    pub started: i64,
    /// The timeline that it has followed.
    pub from: u32,
    /// Where its own forks off; the own one is the next.
    pub fork: Lsn,
}

/// Whether a history has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Has {
    /// It has it.
    Record,
    /// It ends, or has forked off, before it.
    Less,
    /// Nobody can tell.
    Unknown,
}

impl Record {
    /// Whether the history that `heir` goes on with has this record.
    pub fn is_known_to(&self, heir: &Heir) -> Has {
        let until = |lsn: Lsn| if lsn >= self.end { Has::Record } else { Has::Less };
        if heir.timeline == self.timeline && heir.is_same_node {
            return match (heir.run.replayed, heir.run.started == self.run.started) {
                _ if heir.run == self.run => Has::Record,
                (Some(end), _) => until(end),
                (None, false) if heir.insert >= self.end => Has::Record,
                (None, _) => Has::Unknown,
            };
        }
        match heir.promotion {
            Some(Promotion { started, from, fork })
                if started == heir.run.started
                    && from == self.timeline
                    && from.checked_add(1) == Some(heir.timeline) =>
            {
                until(fork)
            }
            _ => Has::Unknown,
        }
    }
}

/// What a prober's connection has shown of a node's descent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Descent {
    /// The timeline that it followed when it was last asked, on this connection.
    followed: Option<u32>,
    /// How it became primary; that stays true for as long as its postmaster runs.
    promotion: Option<Promotion>,
}

impl Descent {
    /// Its prober has connected.
    pub fn connected(&mut self, started: Option<i64>) {
        self.followed = None;
        self.promotion = self.promotion.filter(|promotion| Some(promotion.started) == started);
    }

    /// It was asked. `timeline`: `None` where it did not tell; `fork`: where a primary's last replay ended.
    pub fn saw(&mut self, role: Role, timeline: Option<u32>, fork: Option<Lsn>, started: Option<i64>) {
        let Some(timeline) = timeline else { return };
        if role != Role::Primary {
            // What it is asked instead while it receives nothing may be older.
            (self.followed, self.promotion) = (self.followed.max(Some(timeline)), None);
            return;
        }
        let from = self.followed.take().filter(|from| from.checked_add(1) == Some(timeline));
        if let (Some(from), Some(fork), Some(started)) = (from, fork, started) {
            self.promotion = Some(Promotion { started, from, fork });
        }
    }

    /// How it became the primary that it is, where that was seen.
    pub fn promotion(&self) -> Option<Promotion> {
        self.promotion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { started: 7, replayed: Some(Lsn(100)) };
    const RECORD: Record = Record { timeline: 3, end: Lsn(500), run: RUN };

    fn same(run: Run) -> Heir {
        Heir { timeline: 3, insert: Lsn(900), run, is_same_node: true, promotion: None }
    }

    fn promoted(fork: u64) -> Heir {
        let promotion = Some(Promotion { started: 9, from: 3, fork: Lsn(fork) });
        let run = Run { started: 9, replayed: Some(Lsn(fork)) };
        Heir { timeline: 4, insert: Lsn(900), run, is_same_node: false, promotion }
    }

    #[test]
    fn a_server_that_went_on_has_what_it_wrote() {
        assert_eq!(RECORD.is_known_to(&same(RUN)), Has::Record);
        let never_recovered = Run { replayed: None, ..RUN };
        let record = Record { run: never_recovered, ..RECORD };
        assert_eq!(record.is_known_to(&same(never_recovered)), Has::Record);
    }

    #[test]
    fn after_a_crash_it_has_what_it_has_replayed() {
        for started in [7, 8] {
            let after = |end| RECORD.is_known_to(&same(Run { started, replayed: Some(Lsn(end)) }));
            assert_eq!((after(500), after(499), after(101)), (Has::Record, Has::Less, Has::Less));
        }
        let record = Record { run: Run { replayed: None, ..RUN }, ..RECORD };
        assert_eq!(record.is_known_to(&same(Run { replayed: Some(Lsn(300)), ..RUN })), Has::Less);
    }

    #[test]
    fn after_a_clean_restart_it_has_all_unless_its_log_is_shorter() {
        let restarted = same(Run { started: 8, replayed: None });
        assert_eq!(RECORD.is_known_to(&restarted), Has::Record);
        assert_eq!(RECORD.is_known_to(&Heir { insert: Lsn(499), ..restarted }), Has::Unknown);
        // It cannot be that a run forgets where it began.
        assert_eq!(RECORD.is_known_to(&same(Run { replayed: None, ..RUN })), Has::Unknown);
    }

    #[test]
    fn a_promoted_replica_has_what_it_had_replayed() {
        assert_eq!(RECORD.is_known_to(&promoted(500)), Has::Record);
        assert_eq!(RECORD.is_known_to(&promoted(499)), Has::Less);
        // The former primary itself, which has been a replica meanwhile.
        assert_eq!(RECORD.is_known_to(&Heir { is_same_node: true, ..promoted(499) }), Has::Less);
    }

    #[test]
    fn a_history_that_was_not_seen_to_descend_is_unknown() {
        let heir = promoted(900);
        let promotion = heir.promotion.unwrap();
        let of = |promotion| RECORD.is_known_to(&Heir { promotion, ..heir });
        assert_eq!(of(None), Has::Unknown);
        assert_eq!(of(Some(Promotion { from: 2, ..promotion })), Has::Unknown);
        assert_eq!(of(Some(Promotion { started: 8, ..promotion })), Has::Unknown);
        assert_eq!(RECORD.is_known_to(&Heir { timeline: 5, ..heir }), Has::Unknown);
        // Another node that claims the same timeline.
        let copy = Heir { is_same_node: false, ..same(Run { started: 8, replayed: Some(Lsn(900)) }) };
        assert_eq!(RECORD.is_known_to(&copy), Has::Unknown);
    }

    #[test]
    fn a_promotion_counts_when_one_connection_has_seen_it() {
        let started = Some(9);
        let mut descent = Descent::default();
        descent.connected(started);
        descent.saw(Role::Replica, Some(3), None, started);
        descent.saw(Role::Replica, None, None, started);
        // The first answer of a primary may leave the timeline out.
        descent.saw(Role::Primary, None, None, started);
        descent.saw(Role::Primary, Some(4), Some(Lsn(500)), started);
        let seen = Some(Promotion { started: 9, from: 3, fork: Lsn(500) });
        assert_eq!(descent.promotion(), seen);
        // It stays what it was, whatever its process recovers from later.
        descent.connected(started);
        descent.saw(Role::Primary, Some(4), Some(Lsn(800)), started);
        assert_eq!(descent.promotion(), seen);
        descent.connected(Some(10));
        assert_eq!(descent.promotion(), None);
    }

    #[test]
    fn what_happened_between_two_connections_or_skips_a_timeline_is_not_seen() {
        let started = Some(9);
        let mut descent = Descent::default();
        descent.saw(Role::Replica, Some(3), None, started);
        descent.connected(started);
        descent.saw(Role::Primary, Some(4), Some(Lsn(500)), started);
        assert_eq!(descent.promotion(), None);
        descent.saw(Role::Replica, Some(4), None, started);
        descent.saw(Role::Primary, Some(6), Some(Lsn(500)), started);
        assert_eq!(descent.promotion(), None);
        descent.saw(Role::Replica, Some(6), None, started);
        descent.saw(Role::Primary, Some(7), None, started);
        assert_eq!(descent.promotion(), None);
    }
}
