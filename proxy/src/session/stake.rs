//! What a session would lose, were its server lost now.

use crate::session::Session;
use crate::session::work::Work;
use router_rules::TransactionStep;
use router_rules::catalog::Catalog;
use router_rules::statement::{Footprint, Kind};

/// From the least to the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stake {
    /// A read, which can be asked again.
    #[default]
    Read,
    /// An open transaction: its COMMIT has not been sent, so nothing of it will ever be there.
    Transaction,
    /// A single INSERT, UPDATE, DELETE or MERGE, a transaction of its own. It may have been done, unless the
    /// first thing that the server says is that it ends (FATAL, 57P01): then it has not.
    ///
    /// An administrator's request, and a fast shutdown, only set a flag in the backend. It is looked at where
    /// the code checks for interrupts (`ProcessInterrupts` in `tcop/postgres.c`), and not while interrupts are
    /// held. `CommitTransaction` (`access/transam/xact.c`) holds them from before the transaction is marked as
    /// committed until after its last step, and between that and CommandComplete there is no check: in a
    /// simple query `exec_simple_query` calls `finish_xact_command` and then `EndCommand`, whose message goes
    /// into the same buffer ahead of anything that a later check may say. In the extended protocol
    /// CommandComplete comes even before the commit, which Sync begins. So where FATAL comes and no
    /// CommandComplete before it, the transaction was ended on the way (`AbortOutOfAnyTransaction`) and not
    /// committed. One that waits for a synchronous standby is committed and interrupted all the same: it says
    /// that in a WARNING, and then closes the socket without an error (`SyncRepWaitForLSN`). A crash (57P02)
    /// proves nothing: another backend says it, whatever this one has done. CALL and DO commit in their midst,
    /// VACUUM and its kin as well, several statements in one text may have their own COMMIT.
    Statement,
    /// Something that may have been done although nobody says so: a write of its own, or a COMMIT.
    Outcome,
}

impl Stake {
    /// A read or a single statement, of which nothing is there when it has not been answered at all.
    pub fn is_alone(self) -> bool {
        matches!(self, Stake::Read | Stake::Statement)
    }

    /// Of a request that is about to be sent. `in_block`: within a transaction block that the client has begun.
    pub fn of(work: &Work, in_block: bool) -> Self {
        if work.is_ordinary() {
            return if in_block { Stake::Transaction } else { Stake::Read };
        }
        let statements = || work.parts.iter().flat_map(|part| &part.statements);
        let only_goes_on = |step: &TransactionStep| {
            matches!(
                step,
                TransactionStep::Savepoint(_)
                    | TransactionStep::Release(_)
                    | TransactionStep::RollbackTo(_)
                    | TransactionStep::Rollback { chain: false }
            )
        };
        let is_known = !work.parts.is_empty() || work.verdict.is_ok();
        if in_block {
            let goes_on = statements().filter_map(|s| s.transaction.as_ref()).all(only_goes_on);
            return if is_known && goes_on { Stake::Transaction } else { Stake::Outcome };
        }
        let has_steps = statements().any(|s| s.transaction.is_some());
        let is_dml = |kind| matches!(kind, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        match work.verdict {
            _ if has_steps || !is_known => Stake::Outcome,
            Ok(_) => Stake::Read,
            Err(_) if work.single().is_some_and(|s| is_dml(s.kind)) => Stake::Statement,
            Err(_) => Stake::Outcome,
        }
    }
}

impl Session {
    /// The request is about to be sent: what the session would lose with its server from now on.
    pub(super) fn note_stake(&mut self, work: &Work) {
        let mut stake = Stake::of(work, self.memory.state.block.is_there());
        let stays = |catalog: &Catalog| !catalog.reaches_elsewhere();
        if stake == Stake::Statement
            && work.parts.iter().any(|part| part.writes == Footprint::Everything)
            && !self.memory.scope.catalog.as_ref().is_some_and(|catalog| stays(catalog))
        {
            // The proof says nothing of another server's transaction.
            stake = Stake::Outcome;
        }
        self.turn.stake = if self.turn.begins_batch { stake } else { self.turn.stake.max(stake) };
    }
}
