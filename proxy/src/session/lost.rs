//! In the midst of a request its server is lost: what becomes of it.

use crate::session::Session;
use crate::session::exchange::held::Held;
use crate::session::failure::{Failure, Farewell};
use crate::session::holding::Holding;
use crate::session::receive::Request;
use crate::session::reign::Over;
use crate::session::relay::Relayed;
use crate::session::reroute::{Cause, cause_of};
use crate::session::stake::Stake;
use crate::session::turn::Losing;
use crate::wire::{ErrorFields, sqlstate};
use router_rules::Target;
use router_rules::session::Block;

impl Session {
    /// A read of whose answer the client has seen nothing, and that is still here whole.
    ///
    /// Of a write a lost answer is no proof that nothing was done.
    pub(super) fn may_run_elsewhere(&self, left: usize) -> bool {
        left == 0
            && self.exchange.held.is_held()
            && self.only_reads()
            && self.turn.may_run_again()
            && !self.memory.is_bound_to_server()
    }

    /// What is under way can be asked again of any other server.
    pub(super) fn only_reads(&self) -> bool {
        self.holding.on == Target::Replica
            || self.exchange.held.is_of_block()
            || self.turn.stake == Stake::Read
    }

    /// A server's last words, which prove that nothing of the request was done.
    pub(super) fn ended_before(&self, fields: &ErrorFields) -> bool {
        let is_shutdown = fields.is_fatal() && fields.sqlstate == sqlstate::ADMIN_SHUTDOWN;
        let has_answered = matches!(self.exchange.held, Held::Seen { .. });
        self.turn.may_run_again()
            && (self.only_reads() || (is_shutdown && self.turn.stake == Stake::Statement && !has_answered))
    }

    /// A server ends in the midst of our own preparations: nothing of the client's has been run.
    pub(super) fn ends_early(&mut self, body: &[u8]) -> bool {
        use crate::session::ledger::Ours::{Begin, Placeholder, Sequences, Settings, Trace};
        let is_preparing =
            matches!(self.exchange.ledger.ours(), Some(Begin | Placeholder | Sequences | Settings | Trace));
        let ends = is_preparing && self.turn.resendable && !self.memory.is_bound_to_server() && {
            let fields = ErrorFields::parse(body);
            fields.is_fatal() && cause_of(&fields) == Some(Cause::Lost)
        };
        if ends {
            let from = self.exchange.held.from().unwrap_or(self.client.socket.output.len());
            self.client.socket.output.truncate(from);
            let begins = self.memory.state.block.has_begin();
            self.exchange.held = if begins { Held::Block { from } } else { Held::Request { from } };
        }
        ends
    }

    /// The server that is to answer is of no use any more.
    pub(super) async fn over_while_asked(
        &mut self,
        over: Over,
        request: &Request,
        left: usize,
    ) -> Result<Relayed, Failure> {
        tracing::info!(node = self.holding.node_name(), ?over, "a server is left before it has answered");
        if self.may_run_elsewhere(left) {
            self.turn.runs_again(Losing::Farewell);
            return Ok(Relayed::Refused(Cause::Lost));
        }
        if self.may_ask_outcome() {
            let outcome = self.learn_outcome(over, request).await?;
            return Ok(outcome.map_or_else(Relayed::Lost, |()| Relayed::Done));
        }
        self.lose_server(over).map(Relayed::Lost)
    }

    /// Without its server the session goes on all the same: with a transaction that was not committed, or may
    /// have been, as can be asked.
    pub(super) fn survives(&self) -> bool {
        let loses_block = matches!(self.memory.state.block, Block::Open { .. })
            && self.turn.stake <= Stake::Transaction
            && !self.memory.is_bound_to_server()
            && !self.exchange.is_passing();
        loses_block || self.may_ask_outcome()
    }

    /// Its server has said that it is shut down.
    pub(super) async fn ended_while_asked(
        &mut self,
        farewell: Farewell,
        request: &Request,
        left: usize,
    ) -> Result<Relayed, Failure> {
        let output = &mut self.client.socket.output;
        let before = output.len() - farewell.bytes.min(output.len());
        if left == 0 && self.exchange.is_answered() && self.outlive_server() {
            self.client.socket.output.truncate(before);
            return Ok(Relayed::Done);
        }
        if !self.survives() {
            return Err(Failure::ServerSaidGoodbye(farewell));
        }
        self.client.socket.output.truncate(before);
        (self.memory.failed, self.exchange.batch_failed) = (false, false);
        self.over_while_asked(Over::Gone, request, left).await
    }
}

impl Holding {
    pub(super) fn deposed(&self) -> Option<Over> {
        self.lease.as_ref().filter(|lease| lease.is_deposed()).map(|_| Over::Deposed)
    }
}
