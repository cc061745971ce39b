//! A snapshot of a catalog, and how much of it still holds.

use crate::cluster::view::Reign;
use router_rules::{Alters, Catalog};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Changes that are kept until they have been read; more, and the snapshot is withdrawn.
const UNREAD_MAX: usize = 1_000;

/// The generation of the next snapshot of any database.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// A generation that no snapshot has had.
pub(super) fn next_generation() -> u64 {
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

/// A snapshot as it was read, and what passed through us that is not in it.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub read: Option<Arc<Catalog>>,
    /// Whose catalog was read; none: a replica's, while there was no primary.
    source: Option<Reign>,
    /// The primary in force: while there is one, nobody else's catalog counts.
    reign: Option<Reign>,
    /// All changes up to this one are in it.
    pub covered: u64,
    unread: Vec<(u64, Alters)>,
}

impl Known {
    /// Nothing is read yet.
    pub fn under(reign: Option<Reign>) -> Self {
        Self { reign, ..Self::default() }
    }

    /// This is the primary now. False when what was read is not its catalog, which is to be read. A replica's counts
    /// no more, a former primary's until then.
    pub fn is_of(&mut self, reign: Option<&Reign>) -> bool {
        self.reign = reign.cloned();
        let is_its = self.counts(&self.source);
        if !is_its && self.source.is_none() {
            self.read = None;
        }
        is_its
    }

    /// Without a primary nothing is changed through us, and what was last read anywhere holds.
    fn counts(&self, source: &Option<Reign>) -> bool {
        self.reign.is_none() || *source == self.reign
    }

    /// A snapshot was read from `source`, which has all changes up to this one.
    pub fn is_read(&mut self, snapshot: &Arc<Catalog>, changes: u64, source: &Option<Reign>) {
        if !self.counts(source) {
            return;
        }
        self.read = Some(snapshot.clone());
        self.source.clone_from(source);
        self.covered = changes;
        self.unread.retain(|(change, _)| *change > changes);
    }

    /// The snapshot as far as it holds.
    pub fn holds(&self) -> Option<Arc<Catalog>> {
        let read = self.read.as_ref()?;
        let altered = self.unread.iter().fold(Alters::Nothing, |all, (_, altered)| all.union(altered));
        match altered {
            Alters::Nothing | Alters::Storage => Some(read.clone()),
            Alters::Names(names) => Some(Arc::new(read.doubting(names.iter().cloned(), next_generation()))),
            Alters::Anything => None,
        }
    }

    /// A change passed through us.
    pub fn note(&mut self, change: u64, altered: &Alters) {
        let is_kept = self.unread.len() < UNREAD_MAX;
        self.unread.push((change, if is_kept { altered.clone() } else { Alters::Anything }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    #[test]
    fn a_snapshot_holds_but_for_what_has_changed_since_it_was_read() {
        let catalog = Arc::new(Catalog::build(Default::default(), next_generation()));
        let mut known = Known::default();
        assert!(known.holds().is_none());
        known.is_read(&catalog, 0, &None);
        known.note(1, &Alters::Storage);
        assert!(known.holds().is_some_and(|shown| Arc::ptr_eq(&shown, &catalog)));
        known.note(2, &Alters::names(["t".into()]));
        assert!(
            known
                .holds()
                .is_some_and(|shown| !shown.doubts().is_empty() && shown.generation > catalog.generation)
        );
        known.note(3, &Alters::Anything);
        assert!(known.holds().is_none());
        known.is_read(&catalog, 2, &None);
        assert!(known.holds().is_none(), "it was read before the last change");
        known.is_read(&catalog, 3, &None);
        assert!(known.holds().is_some_and(|shown| Arc::ptr_eq(&shown, &catalog)));
    }

    #[test]
    fn a_snapshot_counts_only_in_the_reign_that_it_was_read_in() {
        let catalog = Arc::new(Catalog::build(Default::default(), next_generation()));
        let (former, heir) = (Node::new("a:1"), Node::new("b:1"));
        let reign = |node: &Arc<Node>, number| Some(Reign(node.clone(), number));
        let mut known = Known::under(reign(&former, 1));
        known.is_read(&catalog, 0, &None);
        assert!(known.holds().is_none(), "there is a primary, and a replica was read");
        known.is_read(&catalog, 0, &reign(&former, 1));
        assert!(known.is_of(None) && known.holds().is_some());
        assert!(known.is_of(reign(&former, 1).as_ref()) && known.holds().is_some());
        let newer = Arc::new(Catalog::build(Default::default(), next_generation()));
        let shows = |known: &Known, catalog| known.holds().is_some_and(|shown| Arc::ptr_eq(&shown, catalog));
        for next in [reign(&former, 2), reign(&heir, 1)] {
            assert!(!known.is_of(next.as_ref()) && shows(&known, &catalog));
            known.is_read(&newer, 0, &reign(&former, 1));
            assert!(shows(&known, &catalog), "the former primary lives on");
            known.is_read(&newer, 0, &next);
            assert!(shows(&known, &newer));
            known.is_read(&catalog, 0, &next);
        }
        assert!(known.is_of(None));
        known.is_read(&catalog, 0, &None);
        assert!(known.holds().is_some(), "a replica while there is no primary");
        assert!(!known.is_of(reign(&heir, 1).as_ref()) && known.holds().is_none());
    }

    #[test]
    fn more_changes_than_are_kept_are_a_change_of_anything() {
        let mut known = Known::default();
        known.is_read(&Arc::new(Catalog::build(Default::default(), 1)), 0, &None);
        (1..=UNREAD_MAX as u64).for_each(|change| known.note(change, &Alters::Storage));
        assert!(known.holds().is_some());
        known.note(UNREAD_MAX as u64 + 1, &Alters::Storage);
        assert!(known.holds().is_none());
    }
}
