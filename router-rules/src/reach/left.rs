//! What something may leave behind in the session that runs it.

use crate::reason::PinReason;
use crate::statement::SessionEffect;
use std::ops::{BitOr, BitOrAssign};

/// A set of pins, and of what may end one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left(u16);

impl Left {
    /// Nobody knows.
    pub const ANYTHING: Left = Left(1);
    /// Session-level advisory locks.
    pub const ADVISORY_LOCK: Left = Left(1 << 1);
    /// It listens.
    pub const LISTEN: Left = Left(1 << 2);
    /// Temporary objects.
    pub const TEMPORARY: Left = Left(1 << 3);
    /// Statements prepared by SQL.
    pub const PREPARED: Left = Left(1 << 4);
    /// Cursors WITH HOLD.
    pub const HOLD_CURSOR: Left = Left(1 << 5);
    /// What sequences gave.
    pub const SEQUENCES: Left = Left(1 << 6);
    /// It may have changed anything that the server can tell of.
    pub const MAY_HAVE_CHANGED: Left = Left(1 << 9);
    /// A sequence is drawn from unasked: no concern of a session that knows it.
    pub const DRAWS: Left = Left(1 << 8);
    /// What it undoes may have been all that there was.
    pub const MAY_UNPIN: Left = Left(1 << 7);

    /// Each with its effect.
    const ALL: [(Left, SessionEffect); 9] = [
        (Left::ANYTHING, SessionEffect::Pin(PinReason::Unfollowable)),
        (Left::MAY_HAVE_CHANGED, SessionEffect::Pin(PinReason::MayHaveChanged)),
        (Left::ADVISORY_LOCK, SessionEffect::Pin(PinReason::AdvisoryLock)),
        (Left::LISTEN, SessionEffect::Pin(PinReason::Listen)),
        (Left::TEMPORARY, SessionEffect::Pin(PinReason::TemporaryTable)),
        (Left::PREPARED, SessionEffect::Pin(PinReason::SqlPrepare)),
        (Left::HOLD_CURSOR, SessionEffect::Pin(PinReason::HoldCursor)),
        (Left::SEQUENCES, SessionEffect::Pin(PinReason::SequenceState)),
        (Left::MAY_UNPIN, SessionEffect::MayUnpin),
    ];

    /// What a built-in function leaves behind; `set_config` is for the caller to look at.
    pub fn of_builtin(name: &str) -> Left {
        match name {
            "pg_advisory_lock"
            | "pg_advisory_lock_shared"
            | "pg_try_advisory_lock"
            | "pg_try_advisory_lock_shared" => Left::ADVISORY_LOCK,
            "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all" => Left::MAY_UNPIN,
            "nextval" | "setval" | "currval" | "lastval" => Left::SEQUENCES,
            "setseed" | "pg_replication_origin_session_setup" | "set_limit" | "isn_weak" => Left::ANYTHING,
            // A slot may be a temporary one, which goes with the server's process.
            _ if name.ends_with("_replication_slot") && name != "pg_drop_replication_slot" => Left::ANYTHING,
            _ if name.starts_with("dblink_connect") || name == "dblink_open" => Left::ANYTHING,
            _ => Left::default(),
        }
    }

    /// True when it has all of `other`.
    pub fn has(self, other: Left) -> bool {
        self.0 & other.0 == other.0
    }

    /// As effects of a statement.
    pub fn effects(self) -> impl Iterator<Item = SessionEffect> {
        Left::ALL.into_iter().filter(move |(left, _)| self.0 & left.0 != 0).map(|(_, effect)| effect)
    }
}

impl BitOr for Left {
    type Output = Left;

    fn bitor(self, other: Left) -> Left {
        Left(self.0 | other.0)
    }
}

impl BitOrAssign for Left {
    fn bitor_assign(&mut self, other: Left) {
        self.0 |= other.0;
    }
}
