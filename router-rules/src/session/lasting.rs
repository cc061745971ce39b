//! What outlives the failure of a transaction.

use crate::classify::Classified;
use crate::statement::{Footprint, Kind};

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
