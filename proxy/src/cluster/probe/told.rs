//! What a node is asked, and its answer, read where it lies.

use super::super::verdict::Role;
use crate::node::lsn::Lsn;
use crate::node::moment::Moment;
use crate::wire::backend;
use std::hash::BuildHasher;
use std::time::Duration;

/// Role, position and timeline in one round trip.
///
/// A primary's timeline is in the name of the file it writes; the control file would still have
/// the former one for a while after a promotion. A replica's is the one that its receiver follows,
/// which it does only when its own log leads there (`rescanLatestTimeLine` in PostgreSQL's
/// `xlogrecovery.c` refuses a timeline that forked off before the position reached). It is visible
/// to members of `pg_read_all_stats`; for others, and while nothing is received, see
/// [`super::CONTROL`].
///
/// Where a promoted primary had come to in its recovery it goes on to tell until it is restarted: that is
/// where its timeline forks off, which its history file says as well, to superusers only.
pub const WHOLE: Question = Question {
    name: "probe",
    sql: "SELECT r.standby, \
     CASE WHEN r.standby THEN pg_catalog.pg_last_wal_replay_lsn() \
          ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
     CASE WHEN NOT r.standby THEN pg_catalog.pg_current_wal_flush_lsn() END, \
     CASE WHEN NOT r.standby THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END, \
     CASE WHEN r.standby THEN (SELECT w.received_tli FROM pg_catalog.pg_stat_get_wal_receiver() w) END, \
     CASE WHEN NOT r.standby THEN pg_catalog.pg_last_wal_replay_lsn() END, \
     CASE WHEN r.standby THEN (SELECT pg_catalog.concat(w.sender_host, ':', w.sender_port) \
                               FROM pg_catalog.pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL) END \
     FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) r",
};

/// Role and position: a half of what [`WHOLE`] costs a primary, a third of what it costs a replica.
pub const BRIEF: Question = Question {
    name: "brief",
    sql: "SELECT r.standby, \
     CASE WHEN r.standby THEN pg_catalog.pg_last_wal_replay_lsn() \
          ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
     CASE WHEN NOT r.standby THEN pg_catalog.pg_current_wal_flush_lsn() END \
     FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) r",
};

/// A replica tells its timeline so often.
const TIMELINE_EVERY: Duration = Duration::from_millis(100);

/// SQL, and what it is prepared as.
#[derive(Debug)]
pub struct Question {
    pub name: &'static str,
    pub sql: &'static str,
}

/// When a node, on one connection, last told all of it.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    pub role: Role,
    pub at: Moment,
}

impl Whole {
    /// Whether the next answer may leave the timeline out.
    ///
    /// * A **primary** stays on its timeline as long as it runs: another one begins with a promotion, before
    ///   which it was no primary, and the answer says so.
    /// * A **replica** may follow another primary to its timeline at any moment. Until the next whole answer
    ///   its position is taken for one on the former timeline, and compared with samples of the former
    ///   primary. There can be new ones only while that still takes writes beside its successor; the older
    ///   ones are of commits that are on the successor, or lost with the former primary: no read shows them
    ///   ever again. Where no primary is known, each answer is whole, since it decides who becomes the primary.
    pub fn lets_out(last: Option<Whole>, has_primary: bool, now: Moment) -> bool {
        last.is_some_and(|last| match last.role {
            Role::Primary => true,
            Role::Replica => has_primary && now.since(last.at) < TIMELINE_EVERY,
            Role::Unknown => false,
        })
    }
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    pub role: Role,
    pub lsn: Option<Lsn>,
    /// A primary's log is on its disk, and on its way to replicas, until here.
    pub flushed: Option<Lsn>,
    /// `None`: left out, or not known to the node.
    pub timeline: Option<u32>,
    /// Where the timeline of a promoted primary forked off; `None`: left out, or not known to it.
    pub fork: Option<Lsn>,
    /// Whom a replica receives its log from, without host and port where those are not for its role to see; `None`:
    /// left out, or it receives nothing.
    pub upstream: Option<Address>,
}

/// An address as somebody has written it, to be compared with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(u64);

impl Address {
    /// Of `host:port`, an address of IPv6 in brackets or without.
    pub fn of(written: &str) -> Self {
        let bare = written.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let whole = bare.map(|(host, port)| [host, port].concat());
        Self(foldhash::quality::FixedState::with_seed(3).hash_one(whole.as_deref().unwrap_or(written)))
    }
}

impl Told {
    /// Of the body of the DataRow.
    pub fn read(row: &[u8]) -> Option<Self> {
        let mut columns = backend::columns(row);
        let role = match text(columns.next()???)? {
            "t" => Role::Replica,
            "f" => Role::Primary,
            _ => return None,
        };
        let lsn = |value: Option<&[u8]>| value.and_then(text).and_then(|lsn| lsn.parse().ok());
        let (at, flushed) = (lsn(columns.next()??), lsn(columns.next()??));
        // Only a whole answer has these.
        let mut column = || columns.next().unwrap_or(Some(None)).map(|value| value.and_then(text));
        let (file, received, fork, upstream) = (column()?, column()?, column()?, column()?);
        let timeline: Option<u32> = match role {
            Role::Replica => received.and_then(|received| received.parse().ok()),
            _ => file.and_then(|file| u32::from_str_radix(file.get(..8)?, 16).ok()),
        };
        let fork = fork.and_then(|lsn| lsn.parse().ok());
        let timeline = timeline.filter(|timeline| *timeline > 0);
        Some(Self { role, lsn: at, flushed, timeline, fork, upstream: upstream.map(Address::of) })
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Vec<u8> {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            let length = value.map_or(-1, |value| value.len() as i32);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
        body
    }

    #[test]
    fn a_primary_tells_its_timeline_by_the_file_it_writes() {
        let (at, flushed) = (Some("0/3000060"), Some("0/3000028"));
        let told = row(&[Some("f"), at, flushed, Some("000000020000000000000003"), None, Some("0/3000010")]);
        let (lsn, flushed_to) = (Some(Lsn(0x3000060)), Some(Lsn(0x3000028)));
        let fork = Some(Lsn(0x3000010));
        let read =
            Told { role: Role::Primary, lsn, flushed: flushed_to, timeline: Some(2), fork, upstream: None };
        assert_eq!(Told::read(&told), Some(read));
        let brief = row(&[Some("f"), at, flushed]);
        assert_eq!(Told::read(&brief), Some(Told { timeline: None, fork: None, ..read }));
    }

    #[test]
    fn a_replica_that_receives_nothing_tells_no_timeline() {
        let read = |received| Told::read(&row(&[Some("t"), None, None, None, received])).unwrap();
        let (role, upstream) = (Role::Replica, None);
        let nothing = Told { role, lsn: None, flushed: None, timeline: None, fork: None, upstream };
        assert_eq!(read(None), nothing);
        let follows = row(&[Some("t"), None, None, None, Some("3"), None, Some("db2:5432")]);
        assert_eq!(Told::read(&follows).unwrap().upstream, Some(Address::of("db2:5432")));
        assert_eq!(read(Some("0")).timeline, None);
        assert_eq!(read(Some("3")).timeline, Some(3));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for wrong in [vec![], row(&[]), row(&[None; 4]), row(&[Some("x"), None]), row(&[Some("t"), None])] {
            assert_eq!(Told::read(&wrong), None, "{wrong:?}");
        }
        let whole = row(&[Some("t"), Some("0/3000060"), None, None, Some("1")]);
        for length in 0..whole.len() - 15 {
            assert_eq!(Told::read(&whole[..length]), None, "cut off at {length}");
        }
    }

    #[test]
    fn a_timeline_is_left_out_while_it_cannot_have_changed_or_does_not_matter() {
        let at = Moment(1_000_000_000);
        let lets_out = |role, has_primary, later: u64| {
            Whole::lets_out(Some(Whole { role, at }), has_primary, at.plus(Duration::from_millis(later)))
        };
        assert!(!Whole::lets_out(None, true, at));
        assert!(lets_out(Role::Primary, true, 60_000) && lets_out(Role::Primary, false, 60_000));
        assert!(lets_out(Role::Replica, true, 99) && !lets_out(Role::Replica, true, 100));
        assert!(!lets_out(Role::Replica, false, 1));
    }
}
