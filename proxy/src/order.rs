//! What is asked of the main task: by signals, by the console, by a change of the file.

use crate::config::Mistake;
use crate::config::reload::Change;
use tokio::sync::oneshot;

/// What came of a reload: what changed, or why nothing did.
pub type Reloaded = Result<Vec<Change>, Vec<Mistake>>;

/// One order.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again.
    Reload(oneshot::Sender<Reloaded>),
    /// Drain and leave.
    Leave(Leave),
}

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Idle clients are ended, transactions may end, within `limits.drain`.
    AfterTransactions,
    /// Clients may stay until they leave by themselves; no new ones.
    AfterClients,
    /// Now.
    AtOnce,
}

impl Leave {
    /// In the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Leave::AfterTransactions => "after transactions",
            Leave::AfterClients => "after clients",
            Leave::AtOnce => "at once",
        }
    }
}
