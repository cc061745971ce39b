//! What outlives the failure of a transaction.

use crate::classify::Classified;
use crate::session::SessionState;
use crate::statement::{Footprint, Kind, Statement, TransactionStep};

/// What outlives the failure of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lasting {
    /// Nothing.
    Nothing,
    /// Some of what it wrote may: that was done elsewhere.
    Writes,
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
    /// These texts are sent together, and write behind what may undo what was written before.
    pub fn on_sent_together<'a>(&mut self, texts: impl Iterator<Item = &'a Classified>) {
        if writes_behind_undoing(texts) {
            self.lasting = self.lasting.max(Lasting::Writes);
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

/// Something is written behind it.
fn writes_behind_undoing<'a>(texts: impl Iterator<Item = &'a Classified>) -> bool {
    let mut statements = texts.flat_map(|text| &text.statements).skip_while(|statement| !undoes(statement));
    statements.any(|statement| !statement.writes.is_none())
}
