//! What outlives the failure of a transaction.

use crate::changed::Alters;
use crate::classify::Classified;
use crate::reason::PinReason;
use crate::session::SessionState;
use crate::statement::{Footprint, Kind, SessionEffect, Statement, TransactionStep};

/// What outlives the failure of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lasting {
    /// Nothing.
    Nothing,
    /// Some of what it wrote may: that was done elsewhere.
    Writes,
    /// Something that may have changed the session, too: it was done behind what was undone.
    Changes,
    /// A procedure may have committed on its way, whatever it left in the session with it.
    Everything,
}

impl Lasting {
    /// Of what a text does; outside of a block a procedure or DO may commit on its way.
    pub fn of(text: &Classified, in_block: bool) -> Self {
        match () {
            () if !in_block && text.statements.iter().any(|s| s.kind == Kind::Call) => Self::Everything,
            () if text.writes == Footprint::Everything => Self::Writes,
            () => Self::Nothing,
        }
    }
}

impl SessionState {
    /// These texts are sent together: what stands behind what may undo the rest outlives that.
    pub fn on_sent_together<'a>(&mut self, texts: impl Iterator<Item = &'a Classified>) {
        let behind = texts.flat_map(|text| &text.statements).skip_while(|statement| !undoes(statement));
        let lasting = |statement: &Statement| match () {
            () if statement.effects.iter().any(SessionEffect::may_change_anything) => Lasting::Changes,
            () if !statement.writes.is_none() => Lasting::Writes,
            () => Lasting::Nothing,
        };
        self.lasting = behind.map(lasting).fold(self.lasting, Lasting::max);
    }

    /// What the transaction has done is undone.
    pub(super) fn undo(&mut self) {
        if self.lasting == Lasting::Nothing {
            self.written = Footprint::none();
            self.altered = Alters::Nothing;
        }
        self.temporary.on_rollback();
        if self.lasting < Lasting::Changes {
            self.pins.on_undone();
        }
        if self.lasting < Lasting::Everything {
            self.pins.may_have_ended = true;
        } else if self.pins.has(PinReason::NoCatalog) {
            // Perhaps there was no such procedure, and no catalog will ever show it.
            self.pins.remove(PinReason::NoCatalog);
            self.pins.add(PinReason::MayHaveChanged);
        }
    }
}

/// What was done before it may be undone with it.
fn undoes(statement: &Statement) -> bool {
    use TransactionStep::{Begin, Release, Savepoint};
    statement.transaction.as_ref().is_some_and(|step| !matches!(step, Begin(_) | Release(_) | Savepoint(_)))
}

/// What was done before it may be undone with it: temporary objects go, and others of their names come to light.
pub(super) fn may_undo(text: &Classified) -> bool {
    text.statements.iter().any(undoes)
}
