//! The transaction block of a session.

use crate::reason::Target;
use crate::statement::{Isolation, TransactionModes};
use std::sync::Arc;

/// A transaction block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Block {
    /// None.
    #[default]
    None,
    /// The client was told that it is in one; no server has heard of it yet.
    Deferred {
        /// The client's BEGIN, to be sent ahead of the first statement.
        begin: Arc<str>,
        /// What it asked for.
        modes: TransactionModes,
    },
    /// On a server.
    Open {
        /// Where.
        on: Target,
        /// What it asked for.
        modes: TransactionModes,
        /// The BEGIN, in case the block may go on elsewhere.
        begin: Option<Arc<str>>,
    },
    /// Lost with its server, which the client has not been told yet.
    Lost {
        /// How.
        says: Box<str>,
    },
    /// Lost, and the client knows: it has to end it. No server has heard of it.
    Aborted,
}

impl Block {
    /// There is one.
    pub fn is_there(&self) -> bool {
        !matches!(self, Block::None)
    }

    /// The client was told of it, and no server has.
    pub fn is_deferred(&self) -> bool {
        matches!(self, Block::Deferred { .. })
    }

    /// A server has heard of it.
    pub fn is_open(&self) -> bool {
        matches!(self, Block::Open { .. })
    }

    /// It is open on a server, and can be begun again in the words in which it was begun.
    pub fn has_begin(&self) -> bool {
        matches!(self, Block::Open { begin: Some(_), .. })
    }

    /// One that a server has begun unasked, or in words that are not known.
    pub fn unknown(on: Target) -> Self {
        Block::Open { on, modes: TransactionModes::default(), begin: None }
    }

    /// What a block that is not lost was begun with.
    pub fn modes(&self) -> Option<&TransactionModes> {
        match self {
            Block::Deferred { modes, .. } | Block::Open { modes, .. } => Some(modes),
            Block::None | Block::Lost { .. } | Block::Aborted => None,
        }
    }

    /// As it was before a server heard of it; nothing where it cannot be begun again.
    pub fn before_server(&self) -> Option<Self> {
        match self {
            Block::Open { modes, begin: Some(begin), .. } => {
                Some(Block::Deferred { begin: begin.clone(), modes: *modes })
            }
            _ => None,
        }
    }
}

/// The BEGIN of a transaction in these modes.
pub fn begin_with(modes: &TransactionModes) -> Arc<str> {
    let mut sql = String::from("BEGIN");
    if let Some(isolation) = modes.isolation {
        sql.push_str(" ISOLATION LEVEL ");
        sql.push_str(isolation.as_str());
    }
    for (mode, yes, no) in
        [(modes.read_only, " READ ONLY", " READ WRITE"), (modes.deferrable, " DEFERRABLE", " NOT DEFERRABLE")]
    {
        sql.push_str(mode.map_or("", |mode| if mode { yes } else { no }));
    }
    sql.into()
}

/// The same on a replica, which begins nothing that is declared READ WRITE or SERIALIZABLE: where it has come to run it,
/// it is told of other modes next, or it only reads before it moves.
pub fn begin_on_replica(modes: &TransactionModes) -> Arc<str> {
    begin_with(&TransactionModes {
        isolation: modes.isolation.filter(|isolation| *isolation != Isolation::Serializable),
        read_only: modes.read_only.filter(|read_only| *read_only),
        ..*modes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Isolation;

    #[test]
    fn a_block_is_begun_in_its_modes() {
        let modes = TransactionModes {
            isolation: Some(Isolation::RepeatableRead),
            read_only: Some(true),
            deferrable: Some(false),
        };
        assert_eq!(&*begin_with(&modes), "BEGIN ISOLATION LEVEL repeatable read READ ONLY NOT DEFERRABLE");
        assert_eq!(&*begin_with(&TransactionModes::default()), "BEGIN");
    }

    #[test]
    fn only_a_block_whose_begin_is_known_can_be_begun_again() {
        let modes = TransactionModes::default();
        let open = Block::Open { on: Target::Replica, modes, begin: Some("BEGIN".into()) };
        assert_eq!(open.before_server(), Some(Block::Deferred { begin: "BEGIN".into(), modes }));
        assert_eq!(Block::unknown(Target::Primary).before_server(), None);
        assert_eq!(Block::Aborted.before_server(), None);
    }
}
