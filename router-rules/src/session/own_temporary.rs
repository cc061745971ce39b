//! The temporary objects that a session is known to have.
//!
//! They are known as long as everything that the session runs is understood: whatever may do anything may
//! have replaced them. No I/O, no clock.

use crate::classify::Classified;
use crate::reason::PinReason;
use crate::statement::{Footprint, Kind, SessionEffect, Statement};
use crate::temporary;
use crate::temporary::Temporary;
use std::sync::Arc;

/// Temporary objects that are known of one session; more, and none is.
const KNOWN_MAX: usize = 64;

/// What is known of them.
#[derive(Debug, Default)]
pub struct OwnTemporary {
    known: Arc<[Temporary]>,
    /// Those that were there when the transaction under way began.
    before: Arc<[Temporary]>,
    /// There may be others.
    is_unclear: bool,
    /// What this request makes is not known, since more than is understood stands behind it.
    ignores: bool,
    /// How often any came or went.
    changes: u32,
}

impl OwnTemporary {
    /// Those that are there for certain.
    pub fn known(&self) -> &Arc<[Temporary]> {
        &self.known
    }

    /// Grows whenever one comes or goes.
    pub fn changes(&self) -> u64 {
        u64::from(self.changes)
    }

    /// A request is about to be sent.
    pub fn before_request(&mut self) {
        self.ignores = false;
    }

    /// A text is about to be sent.
    pub fn on_sent(&mut self, text: &Classified) {
        if text.statements.iter().any(may_do_anything) {
            self.forget();
            self.ignores |= text.statements.len() > 1;
        }
    }

    /// A statement with this effect succeeded.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::MakesTemporary(made) => {
                self.changes = self.changes.wrapping_add(1);
                if self.ignores || (self.is_unclear && made.unless_exists) {
                    return;
                }
                self.set(temporary::after(&self.known, std::slice::from_ref(effect)));
                if self.known.len() > KNOWN_MAX {
                    self.forget();
                }
            }
            SessionEffect::DropsTemporary(_) => {
                self.changes = self.changes.wrapping_add(1);
                self.set(temporary::after(&self.known, std::slice::from_ref(effect)));
            }
            SessionEffect::DiscardAll | SessionEffect::DiscardSome => self.forget(),
            _ => {}
        }
    }

    /// The transaction ends well.
    pub fn on_commit(&mut self) {
        if self.known.iter().any(|own| own.until_commit) {
            self.changes = self.changes.wrapping_add(1);
            self.set(self.known.iter().filter(|own| !own.until_commit).cloned().collect());
        }
        self.before = self.known.clone();
    }

    /// The transaction, or a part of it, is undone: what was there before and has stayed is there.
    pub fn on_rollback(&mut self) {
        if !Arc::ptr_eq(&self.known, &self.before) {
            self.changes = self.changes.wrapping_add(1);
            self.set(self.known.iter().filter(|own| self.before.contains(own)).cloned().collect());
        }
    }

    fn set(&mut self, known: Vec<Temporary>) {
        if *self.known != *known {
            self.known = known.into();
        }
    }

    fn forget(&mut self) {
        self.is_unclear = true;
        self.set(vec![]);
    }
}

fn may_do_anything(statement: &Statement) -> bool {
    statement.writes == Footprint::Everything
        || statement.kind == Kind::Call
        || statement.effects.contains(&SessionEffect::Pin(PinReason::Unfollowable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::Keeps;

    fn made(name: &str, until_commit: bool) -> SessionEffect {
        let (name, keeps, unless_exists) = (name.into(), Keeps::Writes, false);
        SessionEffect::MakesTemporary(Temporary { name, keeps, until_commit, unless_exists })
    }

    fn names(own: &OwnTemporary) -> Vec<&str> {
        own.known().iter().map(|own| &*own.name).collect()
    }

    #[test]
    fn they_come_and_go_with_their_transaction() {
        let mut own = OwnTemporary::default();
        own.on_effect(&made("a", false));
        own.on_commit();
        own.on_effect(&made("b", false));
        own.on_effect(&made("c", true));
        assert_eq!(names(&own), ["a", "b", "c"]);
        own.on_rollback();
        assert_eq!(names(&own), ["a"]);
        own.on_effect(&made("c", true));
        own.on_effect(&SessionEffect::DropsTemporary(["a".into()].into()));
        own.on_commit();
        assert!(names(&own).is_empty());
    }

    #[test]
    fn what_was_dropped_and_is_back_is_not_known() {
        let mut own = OwnTemporary::default();
        own.on_effect(&made("a", false));
        own.on_commit();
        own.on_effect(&SessionEffect::DropsTemporary(["a".into()].into()));
        own.on_effect(&made("a", true));
        own.on_rollback();
        assert!(names(&own).is_empty());
    }

    #[test]
    fn what_may_do_anything_ends_the_knowledge() {
        let mut own = OwnTemporary::default();
        own.on_effect(&made("a", false));
        own.on_sent(&Classified::unknown(crate::reason::Reason::NotParsed));
        assert!(names(&own).is_empty());
        let SessionEffect::MakesTemporary(b) = made("b", false) else { return };
        own.on_effect(&SessionEffect::MakesTemporary(Temporary { unless_exists: true, ..b.clone() }));
        assert!(names(&own).is_empty(), "one of that name may be there");
        own.on_effect(&SessionEffect::MakesTemporary(b));
        assert_eq!(names(&own), ["b"]);
    }
}
