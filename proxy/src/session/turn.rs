//! The request under way: what is known of it while it lasts, and forgotten behind it.

use crate::server::prepared::Prepared;
use crate::session::place::Place;
use crate::session::signal::Signals;
use crate::session::stake::Stake;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One request, from its coming to the release of its server.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When it came.
    pub(crate) started: Instant,
    /// When the server was ready again, outside of a transaction.
    pub(crate) ended: Option<Instant>,
    /// The bytes of its last message that are still to come.
    pub(crate) left: usize,
    /// How long it has waited, for a server or for news of the cluster.
    pub(crate) waited: Duration,
    /// Servers that were lost while they ran it; see [`Losing`].
    pub(crate) lost: u8,
    /// What it would lose with its server.
    pub(crate) stake: Stake,
    /// The client has sent nothing ahead of it that belongs to it.
    pub(crate) begins_batch: bool,
    /// It is here whole, and the first that its server hears of what belongs to it.
    pub(crate) resendable: bool,
    /// It is a COMMIT whose outcome can be asked of another server, should its answer be lost.
    pub(crate) commits: bool,
    /// What the part of its batch that has been sent makes of the session, while its Sync has not come.
    pub(crate) ahead: Option<Box<Place>>,
    /// Statements bound in it: their keys, and the client's names for them.
    pub(crate) bound: Vec<(u64, Bytes)>,
    /// Settings change in the midst of it: what is bound may run under others than are in force now.
    pub(crate) changes_settings: bool,
    /// Names of statements that it gave or took, and what they meant before.
    pub(crate) renamed: Vec<(Bytes, Option<Arc<Prepared>>)>,
    /// What the server has told of a statement's parameters, while its result is still to come.
    pub(crate) parameters: Box<[u8]>,
    /// It asks what results look like.
    pub(crate) describes: bool,
    /// Which functions that signal processes it names.
    pub(crate) names_signals: Signals,
}

/// How a server was lost, and how much that counts: a statement that brings servers down runs on a second one and on no
/// third, and one that somebody wants to end ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Losing {
    /// It has said farewell, or was left.
    Farewell = 1,
    /// Without a word.
    Crash = 2,
}

/// See [`Losing`].
const LOST_MAX: u8 = 2;

impl Default for Turn {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            ended: None,
            left: 0,
            waited: Duration::ZERO,
            lost: 0,
            stake: Stake::default(),
            begins_batch: true,
            resendable: false,
            commits: false,
            ahead: None,
            bound: vec![],
            changes_settings: false,
            renamed: vec![],
            parameters: Box::default(),
            describes: false,
            names_signals: Signals::default(),
        }
    }
}

impl Turn {
    /// It is about to be sent. `begins_batch`: the client has sent nothing ahead of it that belongs to it.
    pub(crate) fn begin(&mut self, begins_batch: bool) {
        self.renamed.clear();
        self.begins_batch = begins_batch;
        self.lost = 0;
    }

    /// It may run once more, though its server was lost.
    pub(crate) fn may_run_again(&self) -> bool {
        self.lost < LOST_MAX
    }

    /// It runs once more.
    pub(crate) fn runs_again(&mut self, losing: Losing) {
        self.lost = self.lost.saturating_add(losing as u8);
    }
}
