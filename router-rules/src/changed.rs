//! What a change of the schema leaves certain: by which names something else may be meant than before.
//!
//! What a statement means follows from the names in it, and from those in what they lead to. So a change of
//! which it is known what it names concerns only statements that come by one of these names, until the
//! catalog has been read again; all others mean what they meant.

use crate::tokens::Tokens;
use foldhash::HashSet;
use std::sync::Arc;

/// Names that may be in doubt at once; more, and everything is.
const NAMES_MAX: usize = 512;

/// What a statement changes of what others mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Alters {
    /// Nothing, or only what its own session sees.
    #[default]
    Nothing,
    /// How something is kept, or who may see it: nobody's statement means anything else.
    Storage,
    /// What comes by one of these names (without their schemas).
    Names(Arc<[Arc<str>]>),
    /// Anything.
    Anything,
}

impl Alters {
    /// What comes by one of these names.
    pub fn names(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut names: Vec<Arc<str>> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > NAMES_MAX { Alters::Anything } else { Alters::Names(names.into()) }
    }

    /// Both together.
    pub fn union(&self, other: &Alters) -> Alters {
        match (self, other) {
            (Alters::Nothing, other) | (other, Alters::Nothing) => other.clone(),
            (Alters::Anything, _) | (_, Alters::Anything) => Alters::Anything,
            (Alters::Storage, other) | (other, Alters::Storage) => other.clone(),
            (Alters::Names(a), Alters::Names(b)) => Alters::names(a.iter().chain(b.iter()).cloned()),
        }
    }

    /// Some statement may mean something else from now on.
    pub fn changes_meanings(&self) -> bool {
        matches!(self, Alters::Names(_) | Alters::Anything)
    }
}

/// Names of which a snapshot does not know any more what they mean.
#[derive(Clone, Debug, Default)]
pub struct NamesInDoubt(Arc<HashSet<Arc<str>>>);

impl NamesInDoubt {
    /// Every name means what it meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn with(&self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut all = HashSet::clone(&self.0);
        all.extend(names);
        Self(Arc::new(all))
    }

    /// This name, or that of the type of its arrays.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.is_empty()
            && (self.0.contains(name) || name.strip_prefix('_').is_some_and(|name| self.0.contains(name)))
    }

    /// Some name in the text.
    pub(crate) fn mentioned_in(&self, tokens: Tokens<'_>) -> bool {
        !self.is_empty()
            && (0..tokens.len()).any(|at| tokens.identifier(at).is_some_and(|name| self.has(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Alters {
        Alters::names(names.iter().map(|name| Arc::from(*name)))
    }

    #[test]
    fn changes_add_up() {
        assert_eq!(names(&["b", "a"]).union(&names(&["a", "c"])), names(&["a", "b", "c"]));
        assert_eq!(Alters::Storage.union(&names(&["a"])), names(&["a"]));
        assert_eq!(Alters::Nothing.union(&Alters::Storage), Alters::Storage);
        assert_eq!(names(&["a"]).union(&Alters::Anything), Alters::Anything);
        assert_eq!(Alters::names((0..=NAMES_MAX).map(|n| n.to_string().into())), Alters::Anything);
        assert!(!Alters::Storage.changes_meanings() && names(&[]).changes_meanings());
    }
}
