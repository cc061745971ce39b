//! When was what written, and since when does a session depend on it.
//!
//! A write stamps *watermarks*: the moment of its acknowledgement, for each table that it may have
//! touched, for its database, for the proxy and for its session. A replica that is fresh through
//! that moment (see [`super::samples`]) has the write. No position in the log is involved, so
//! nothing has to be asked on the write's way, and nothing has to be converted after a promotion.

use super::underway::Underway;
use crate::node::lsn::Token;
use crate::node::mark::Mark;
use crate::node::moment::Moment;
use router_rules::statement::Footprint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Watermarks kept per database for tables: 4096 × 8 bytes for each database in use. Tables share a
/// mark when their OIDs are equal modulo this, which makes a read wait that need not, never the
/// contrary; OIDs are given out in sequence, so the tables of one application rarely do.
pub(super) const TABLE_MARKS: usize = 4096;

/// OIDs below this belong to Postgres's own catalogs (`FirstNormalObjectId`), some of which all
/// databases share.
const FIRST_NORMAL_OID: u32 = 16384;

/// When the tables of one database were last written through us.
#[derive(Debug)]
pub struct DatabaseMarks {
    latest: Mark,
    everything: Mark,
    tables: Box<[Mark]>,
    /// When an answer of the primary was last passed on while writes were under way.
    told: Mark,
    pub(super) underway: Underway,
    shared: Arc<SharedMarks>,
}

/// When anything at all was last written through us, in any database.
#[derive(Debug, Default)]
pub struct SharedMarks {
    /// Any write.
    pub latest: Mark,
    /// Any write whose footprint is not known, or that has touched the shared catalogs.
    everything: Mark,
    /// Any write whose footprint is not known: by a foreign table or a function it may have reached any database.
    anywhere: Mark,
    /// How many writes there were.
    writes: AtomicU64,
}

impl SharedMarks {
    /// How many writes were acknowledged so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

impl DatabaseMarks {
    /// Of a database that nobody has written to yet.
    pub fn new(shared: Arc<SharedMarks>) -> Self {
        let tables = (0..TABLE_MARKS).map(|_| Mark::default()).collect();
        let (latest, everything, told) = Default::default();
        Self { latest, everything, tables, told, underway: Underway::default(), shared }
    }

    /// An answer of the primary is passed on, now: whoever gets it may know of what is under way.
    pub fn told(&self, now: Moment) {
        if self.underway.is_any() {
            self.told.raise(now);
            self.latest.raise(now);
            self.shared.latest.raise(now);
        }
    }

    /// News of commits of nobody knows whom is passed on, now.
    pub fn told_of_anything(&self, now: Moment) {
        self.everything.raise(now);
        self.latest.raise(now);
        self.shared.latest.raise(now);
    }

    /// `footprint` was written, acknowledged at `now`.
    pub fn wrote(&self, footprint: &Footprint, now: Moment) {
        self.shared.writes.fetch_add(1, Ordering::SeqCst);
        self.may_have_written(footprint, now);
    }

    /// The same of a write that nobody has acknowledged.
    pub fn may_have_written(&self, footprint: &Footprint, now: Moment) {
        match footprint {
            Footprint::Relations(oids) => {
                for &oid in oids.iter() {
                    self.tables[slot(oid)].raise(now);
                    if oid < FIRST_NORMAL_OID {
                        self.shared.everything.raise(now);
                    }
                }
            }
            Footprint::Everything => {
                self.everything.raise(now);
                self.shared.everything.raise(now);
                self.shared.anywhere.raise(now);
            }
        }
        self.latest.raise(now);
        self.shared.latest.raise(now);
    }

    /// Through when a replica must be fresh to have all that was written to what `reads` touches.
    pub fn needed_for(&self, reads: &Footprint) -> Moment {
        // Asked first: what has been acknowledged by then has raised its marks.
        let told = if self.underway.touches(reads) { self.told.get() } else { Moment::NEVER };
        told.max(self.acknowledged_of(reads))
    }

    fn acknowledged_of(&self, reads: &Footprint) -> Moment {
        match reads {
            Footprint::Relations(oids) => {
                let tables = oids.iter().map(|&oid| self.tables[slot(oid)].get()).max();
                let shared = oids.first().is_some_and(|&oid| oid < FIRST_NORMAL_OID);
                let catalogs = if shared { self.shared.everything.get() } else { Moment::NEVER };
                let unknown = self.everything.get().max(self.shared.anywhere.get());
                tables.unwrap_or_default().max(unknown).max(catalogs)
            }
            Footprint::Everything => self.latest.get().max(self.shared.everything.get()),
        }
    }
}

/// Where a table's mark lies.
pub(super) fn slot(oid: u32) -> usize {
    oid as usize % TABLE_MARKS
}

/// Tables of which one session remembers when it wrote them; more, and it counts as everything.
const SESSION_TABLES_MAX: usize = 16;

/// What one session wrote and read, for read-your-writes and monotonic reads.
#[derive(Debug, Default)]
pub struct SessionFreshness {
    /// The marks of the session's database, looked up once.
    pub(super) marks: OnceLock<Arc<DatabaseMarks>>,
    /// When the session last wrote these relations, or read them on the primary.
    known_tables: Vec<(u32, Moment)>,
    known_everything: Moment,
    /// The last read on a replica: when, and during which incarnation of which replica.
    pub(super) saw_replica: Moment,
    pub(super) saw_incarnation: u64,
    /// The incarnation of the replica on which the session's last read was placed.
    pub(super) placed: AtomicU64,
    /// `pgweir.min_lsn`.
    pub(super) min_lsn: Option<Token>,
}

impl Clone for SessionFreshness {
    fn clone(&self) -> Self {
        Self {
            marks: self.marks.clone(),
            known_tables: self.known_tables.clone(),
            known_everything: self.known_everything,
            saw_replica: self.saw_replica,
            saw_incarnation: self.saw_incarnation,
            placed: AtomicU64::new(self.placed.load(Ordering::Relaxed)),
            min_lsn: self.min_lsn,
        }
    }
}

impl SessionFreshness {
    /// `SET pgweir.min_lsn`: reads must be at least as fresh as this position (see
    /// [`super::Cluster::token`]); an empty text demands nothing.
    ///
    /// # Errors
    /// A sentence for the client when `text` is no token. Whether the cluster can ever serve it,
    /// [`super::Cluster::check_min_lsn`] knows.
    pub fn set_min_lsn(&mut self, text: &str) -> Result<(), String> {
        self.min_lsn = if text.trim().is_empty() { None } else { Some(text.parse()?) };
        Ok(())
    }

    /// The session wrote `footprint`, acknowledged at `now`.
    pub(super) fn wrote(&mut self, footprint: &Footprint, now: Moment) {
        let Footprint::Relations(oids) = footprint else {
            self.known_tables.clear();
            self.known_everything = now;
            return;
        };
        for &oid in oids.iter() {
            match self.known_tables.iter_mut().find(|(known, _)| *known == oid) {
                Some((_, at)) => *at = now,
                None => self.known_tables.push((oid, now)),
            }
        }
        if self.known_tables.len() > SESSION_TABLES_MAX {
            self.known_tables = Vec::new();
            self.known_everything = now;
        }
    }

    /// A read of `reads` ended at `now` on the primary: from now on a replica must show, of these
    /// relations, what the primary could show then. The same as if the session had written them.
    pub(super) fn saw_primary(&mut self, reads: &Footprint, now: Moment) {
        self.wrote(reads, now);
    }

    /// A read ended at `now` on a replica, during this incarnation of it.
    pub(super) fn saw_replica(&mut self, incarnation: u64, now: Moment) {
        self.saw_replica = now;
        self.saw_incarnation = incarnation;
    }

    /// When it last wrote, or read, anything.
    pub(super) fn last_seen(&self) -> Moment {
        self.latest().max(self.saw_replica)
    }

    /// At least what [`SessionFreshness::needed_for`] says, whatever is read.
    pub(super) fn latest(&self) -> Moment {
        let tables = self.known_tables.iter().map(|(_, at)| *at).max();
        tables.unwrap_or_default().max(self.known_everything)
    }

    /// Through when a replica must be fresh to have what this session wrote to, or saw on the primary
    /// of, what `reads` touches.
    pub(super) fn needed_for(&self, reads: &Footprint) -> Moment {
        let tables = self.known_tables.iter().filter(|(oid, _)| match reads {
            Footprint::Relations(oids) => oids.contains(oid),
            Footprint::Everything => true,
        });
        tables.map(|(_, at)| *at).max().unwrap_or_default().max(self.known_everything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn of(oids: &[u32]) -> Footprint {
        Footprint::Relations(oids.into())
    }

    fn marks() -> DatabaseMarks {
        DatabaseMarks::new(Arc::default())
    }

    #[test]
    fn a_read_of_another_table_does_not_wait_for_a_write() {
        let marks = marks();
        marks.wrote(&of(&[20_001]), Moment(5));
        assert_eq!(marks.needed_for(&of(&[20_001])), Moment(5));
        assert_eq!(marks.needed_for(&of(&[20_002])), Moment::NEVER);
        assert_eq!(marks.needed_for(&of(&[20_001, 20_002])), Moment(5));
        assert_eq!(marks.needed_for(&Footprint::none()), Moment::NEVER);
    }

    #[test]
    fn a_write_of_everything_counts_for_every_table() {
        let marks = marks();
        marks.wrote(&Footprint::Everything, Moment(5));
        assert_eq!(marks.needed_for(&of(&[20_001])), Moment(5));
        assert_eq!(marks.needed_for(&Footprint::none()), Moment(5));
    }

    #[test]
    fn a_read_of_everything_waits_for_every_write() {
        let marks = marks();
        marks.wrote(&of(&[20_001]), Moment(5));
        assert_eq!(marks.needed_for(&Footprint::Everything), Moment(5));
    }

    #[test]
    fn a_write_of_unknown_footprint_reaches_every_database() {
        let shared = Arc::new(SharedMarks::default());
        let (here, there) = (DatabaseMarks::new(shared.clone()), DatabaseMarks::new(shared));
        here.wrote(&Footprint::Everything, Moment(5));
        assert_eq!(there.needed_for(&of(&[1260])), Moment(5), "pg_authid");
        assert_eq!(there.needed_for(&of(&[20_001])), Moment(5), "by a foreign table, say");
        assert_eq!(there.needed_for(&Footprint::Everything), Moment(5));
        here.wrote(&of(&[20_001, 1260]), Moment(7));
        assert_eq!(there.needed_for(&of(&[20_001])), Moment(5), "a table of its own");
        assert_eq!(there.needed_for(&of(&[1260])), Moment(7), "pg_authid");
    }

    #[test]
    fn a_session_that_writes_many_tables_remembers_that_it_known_everything() {
        let mut session = SessionFreshness::default();
        for i in 0..=SESSION_TABLES_MAX as u32 {
            session.wrote(&of(&[20_000 + i]), Moment(u64::from(i) + 1));
        }
        assert!(session.known_tables.is_empty());
        assert_eq!(session.needed_for(&of(&[1])), Moment(SESSION_TABLES_MAX as u64 + 1));
    }

    #[test]
    fn a_position_is_demanded_and_given_up() {
        let mut session = SessionFreshness::default();
        session.set_min_lsn("1/0-16B3748").unwrap();
        assert_eq!(session.min_lsn.unwrap().to_string(), "1/0-16B3748");
        session.set_min_lsn("").unwrap();
        assert_eq!(session.min_lsn, None);
        assert!(session.set_min_lsn("soon").is_err());
    }

    fn footprint() -> impl Strategy<Value = Footprint> {
        prop_oneof![
            8 => prop::collection::btree_set(1u32..40_000, 0..4)
                .prop_map(|oids| Footprint::Relations(oids.into_iter().collect())),
            1 => Just(Footprint::Everything),
        ]
    }

    proptest! {
        /// Whatever is written, no mark is ever lower than the last write of what it stands for.
        #[test]
        fn no_write_is_forgotten(writes in prop::collection::vec(footprint(), 1..60), read in footprint()) {
            let marks = marks();
            let mut session = SessionFreshness::default();
            let mut last: HashMap<u32, u64> = HashMap::new();
            let mut everything = 0;
            for (i, write) in writes.iter().enumerate() {
                let now = i as u64 + 1;
                marks.wrote(write, Moment(now));
                session.wrote(write, Moment(now));
                match write {
                    Footprint::Relations(oids) => last.extend(oids.iter().map(|&oid| (oid, now))),
                    Footprint::Everything => everything = now,
                }
            }
            let truth = match &read {
                Footprint::Relations(oids) => oids.iter().filter_map(|oid| last.get(oid)).max().copied(),
                Footprint::Everything => last.values().max().copied(),
            };
            let truth = Moment(truth.unwrap_or(0).max(everything));
            prop_assert!(marks.needed_for(&read) >= truth);
            prop_assert!(session.needed_for(&read) >= truth);
            prop_assert!(session.latest() >= session.needed_for(&read));
        }
    }
}
