//! Writes that the primary works on, and who may have heard of them before they are acknowledged.
//!
//! A commit can be heard of before its acknowledgement: from a notification, from a lock that is handed
//! over, from a row read on the primary, while `COMMIT; SELECT …` or a CALL that commits goes on, or while
//! the acknowledgement is on its way. Whoever hears of it through pgweir hears it in an answer of the primary.
//! So while a write of a table is under way, a read of that table must show what was committed when such an
//! answer was last passed on to anybody. Nothing is added to the write but two counts.

use super::watermark::slot;
use super::watermark::{DatabaseMarks, TABLE_MARKS};
use router_rules::statement::Footprint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many writes of what are under way in one database.
#[derive(Debug)]
pub struct Underway {
    any: AtomicU32,
    everything: AtomicU32,
    tables: Box<[AtomicU32]>,
}

impl Default for Underway {
    fn default() -> Self {
        let tables = (0..TABLE_MARKS).map(|_| AtomicU32::new(0)).collect();
        Self { any: AtomicU32::new(0), everything: AtomicU32::new(0), tables }
    }
}

impl Underway {
    /// Some write is.
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::SeqCst) > 0
    }

    /// A write of something that `reads` touches may be.
    pub fn touches(&self, reads: &Footprint) -> bool {
        self.is_any()
            && (self.everything.load(Ordering::SeqCst) > 0
                || match reads {
                    Footprint::Relations(oids) => {
                        oids.iter().any(|&oid| self.tables[slot(oid)].load(Ordering::SeqCst) > 0)
                    }
                    Footprint::Everything => true,
                })
    }

    fn count(&self, written: &Footprint, count: impl Fn(&AtomicU32)) {
        match written {
            Footprint::Relations(oids) => oids.iter().for_each(|&oid| count(&self.tables[slot(oid)])),
            Footprint::Everything => count(&self.everything),
        }
        count(&self.any);
    }
}

/// One write under way: until this is dropped, which is after its watermark was raised.
#[derive(Debug)]
pub struct Write {
    marks: Arc<DatabaseMarks>,
    written: Footprint,
}

impl Write {
    /// What was sent to the primary, or is about to be, may commit a write of this.
    pub(super) fn begin(marks: Arc<DatabaseMarks>, written: Footprint) -> Self {
        marks.underway.count(&written, |count| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        Self { marks, written }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.marks.underway.count(&self.written, |count| {
            count.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::moment::Moment;

    fn of(oids: &[u32]) -> Footprint {
        Footprint::Relations(oids.into())
    }

    #[test]
    fn what_is_under_way_must_be_shown_as_of_the_last_answer_of_the_primary() {
        let marks = Arc::new(DatabaseMarks::new(Arc::default()));
        marks.told(Moment(10));
        assert_eq!(marks.needed_for(&of(&[20_001])), Moment::NEVER, "nobody writes anything");
        let write = Write::begin(marks.clone(), of(&[20_001]));
        assert_eq!(marks.needed_for(&of(&[20_001])), Moment::NEVER, "nobody has heard anything");
        marks.told(Moment(20));
        assert_eq!(marks.needed_for(&of(&[20_001, 20_002])), Moment(20));
        assert_eq!(marks.needed_for(&Footprint::Everything), Moment(20));
        assert_eq!(marks.needed_for(&of(&[20_002])), Moment::NEVER);
        marks.wrote(&of(&[20_001]), Moment(30));
        drop(write);
        assert_eq!(marks.needed_for(&of(&[20_001])), Moment(30));
        assert!(!marks.underway.is_any());
    }

    #[test]
    fn a_write_of_nobody_knows_what_concerns_everything() {
        let marks = Arc::new(DatabaseMarks::new(Arc::default()));
        let call = Write::begin(marks.clone(), Footprint::Everything);
        marks.told(Moment(20));
        assert_eq!(marks.needed_for(&of(&[20_002])), Moment(20));
        drop(call);
        assert_eq!(marks.needed_for(&of(&[20_002])), Moment::NEVER, "it was rolled back");
    }
}
