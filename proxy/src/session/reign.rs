//! What becomes of a session whose server is of no use any more: its node is no longer the primary, or
//! does not answer.
//!
//! A read of which the client has seen nothing runs elsewhere (see [`super::reroute`]). What was being
//! written when another primary took over may have been done or not, and on which of two histories nobody
//! can tell: its answer, should it still come, is not passed on as success. The client is told that the
//! outcome is unknown, 08007. A transaction whose COMMIT had not been sent is lost for certain: 40001, and
//! the session goes on, unless it had something on that server that no other can give it.

use crate::auth::LoginError;
use crate::config::LostWrites;
use crate::pool::Lease;
use crate::server::Row;
use crate::server::prepared::Prepared;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::memory::Memory;
use crate::session::stake::Stake;
use crate::wire::backend::Status;
use crate::wire::error::put_warning;
use crate::wire::{Refusal, sqlstate};
use bytes::Bytes;
use router_rules::session::Block;
use router_rules::statement::Footprint;
use router_rules::{PinReason, TransactionStep};
use std::io;
use std::task::Context;

/// Why a server is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Another node is the primary, or its node writes a history of its own.
    Deposed,
    /// Its node does not answer.
    Silent,
    /// It has ended, or its connection has.
    Gone,
}

impl Over {
    /// What a client is told of the node.
    pub(super) fn says(self, node: &str) -> String {
        match self {
            Over::Deposed => format!("another server has taken the place of {node}"),
            Over::Silent => format!("{node} does not answer any more"),
            Over::Gone => format!("{node} has ended the connection"),
        }
    }

    /// The same for who waits for the socket.
    pub fn error(self) -> io::Error {
        match self {
            Over::Deposed => io::Error::other("another server has taken its place"),
            Over::Silent => io::Error::new(io::ErrorKind::TimedOut, "its node does not answer"),
            Over::Gone => io::ErrorKind::UnexpectedEof.into(),
        }
    }
}

impl Lease {
    /// Why it is of no use any more, if it is not.
    pub fn over(&self) -> Option<Over> {
        match () {
            () if self.node.reign() != self.reign => Some(Over::Deposed),
            () if self.node.is_given_up() => Some(Over::Silent),
            () => None,
        }
    }

    /// Its node is not what it was when it was leased.
    pub fn is_deposed(&self) -> bool {
        self.node.reign() != self.reign
    }
}

impl Session {
    /// Why the session's server is of no use any more; the session is woken when it becomes so.
    pub(super) fn over(&self, cx: &Context<'_>) -> Option<Over> {
        let lease = self.holding.lease.as_ref()?;
        self.client.card.bell.listen(cx);
        lease.over()
    }

    /// Runs SQL of ours on the session's server, which is idle and owes nothing.
    ///
    /// # Errors
    /// The server's, the socket's, or that the server is of no use any more.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, LoginError> {
        let Some(lease) = self.holding.lease.as_mut() else { return Ok(vec![]) };
        let (node, reign) = (lease.node.clone(), lease.reign);
        tokio::select! {
            told = lease.ask(sql) => told,
            () = self.client.card.bell.until(|| node.is_given_up() || node.reign() != reign) => {
                Err(LoginError::Io(Over::Silent.error()))
            }
        }
    }

    /// Prepares a statement on the session's server, as [`crate::server::Server::parse_under`] does.
    ///
    /// # Errors
    /// The socket's, or that the server is of no use any more.
    pub(super) async fn parse_under(
        &mut self,
        settings: &[String],
        name: &[u8],
        closes: &[Bytes],
        prepared: &Prepared,
    ) -> io::Result<Option<u64>> {
        let Some(lease) = self.holding.lease.as_mut() else { return Ok(None) };
        let (node, reign) = (lease.node.clone(), lease.reign);
        tokio::select! {
            told = lease.parse_under(settings, name, closes, prepared) => told,
            () = self.client.card.bell.until(|| node.is_given_up() || node.reign() != reign) => {
                Err(Over::Silent.error())
            }
        }
    }

    /// While nothing is under way: a server that the session holds belongs to a former primary.
    pub(super) fn holds_deposed(&self, cx: &Context<'_>) -> bool {
        self.client.card.bell.listen(cx);
        [&self.holding.lease, &self.holding.kept].into_iter().flatten().any(Lease::is_deposed)
    }

    /// Between two requests: lets go of servers of a former primary.
    ///
    /// # Errors
    /// When the session had something there that it cannot go on without.
    pub(super) fn leave_deposed(&mut self) -> Result<(), Failure> {
        if self.holding.kept.take_if(|kept| kept.is_deposed()).is_some() {
            self.memory.state.pins.sequences = false;
            self.client.card.set_pin(None);
        }
        let Some(lease) = self.holding.lease.as_ref().filter(|lease| lease.is_deposed()) else {
            return Ok(());
        };
        let says = Over::Deposed.says(&lease.node.name);
        let is_quiet = self.exchange.is_clean();
        if is_quiet && self.leave_lost_server() {
            return Ok(());
        }
        if !is_quiet {
            return Err(self.outcome_unknown(&says));
        }
        if self.memory.is_bound_to_server() {
            self.drop_lease();
            let refusal = Refusal::new(
                sqlstate::ADMIN_SHUTDOWN,
                format!("terminating connection: what this session had on its server is lost, since {says}"),
            );
            return Err(Failure::Fatal(refusal.with_hint("Connect again.")));
        }
        self.go_on_without_server(&says);
        Ok(())
    }

    /// Between two requests its server is lost, which had nothing that another cannot give it.
    fn go_on_without_server(&mut self, says: &str) {
        self.drop_lease();
        self.memory.unpin();
        self.client.card.set_pin(None);
        self.memory.failed = false;
        match self.memory.status {
            Status::Idle => {}
            Status::Transaction => self.memory.lose_block(Block::Lost { says: says.into() }),
            Status::Failed => self.memory.lose_block(Block::Aborted),
        }
    }

    /// Nothing is under way, and the server has gone: a session that has an open transaction there, and nothing
    /// else, goes on. False where it cannot.
    pub(super) fn outlive_server(&mut self) -> bool {
        let Some(lease) = self.holding.lease.as_ref() else { return false };
        let in_block = matches!(self.memory.state.block, Block::Open { .. });
        if !in_block || !self.exchange.is_clean() || self.memory.is_bound_to_server() {
            return false;
        }
        self.weir.cluster.suspect(&lease.node);
        let says = Over::Gone.says(&lease.node.name);
        self.go_on_without_server(&says);
        true
    }

    /// In the midst of a request the server is of no use any more. What the client is told, where the
    /// session goes on.
    ///
    /// # Errors
    /// Where it does not.
    pub(super) fn lose_server(&mut self, over: Over) -> Result<Refusal, Failure> {
        let says = over.says(self.holding.node_name());
        if let Some(from) = std::mem::take(&mut self.exchange.held).from() {
            self.client.socket.output.truncate(from);
            self.exchange.forget_rest();
        }
        if self.exchange.is_passing() {
            return Err(self.server_failure(over.error()));
        }
        if self.memory.is_bound_to_server() || self.turn.stake >= Stake::Statement {
            return Err(self.outcome_unknown(&says));
        }
        if let Some(lease) = self.holding.lease.as_ref() {
            self.weir.cluster.suspect(&lease.node);
        }
        self.take_back_names();
        self.memory.writing = None;
        let is_open = self.exchange.is_open();
        self.drop_lease();
        if is_open {
            // A Sync that came with a COPY counts no more: the one behind the data ends the batch.
            self.exchange.refuse();
        }
        self.memory.unpin();
        self.client.card.set_pin(None);
        let in_block = self.memory.state.block.is_there();
        if in_block {
            self.memory.lose_block(Block::Aborted);
        } else {
            self.memory.state.settings.on_rollback();
            self.memory.state.written = Footprint::none();
        }
        Ok(lost(&says, in_block))
    }

    /// The session ends, since nobody can say what became of its last request.
    pub(super) fn outcome_unknown(&mut self, says: &str) -> Failure {
        tracing::warn!(node = self.holding.node_name(), "a client was told that an outcome is unknown");
        self.weir.cluster.may_have_written(&self.client.who.database, &self.memory.state.written);
        self.memory.state.written = Footprint::none();
        self.drop_lease();
        let refusal = Refusal::new(
            sqlstate::TRANSACTION_RESOLUTION_UNKNOWN,
            format!("the outcome of what was under way is unknown: {says}"),
        );
        Failure::Fatal(refusal.with_hint(
            "It may have been done or not, and may be lost although it was done. Connect again, and look \
             whether it is there before you repeat it.",
        ))
    }

    /// Acknowledged writes were lost with a former primary: whoever may have seen or made some of them is told.
    ///
    /// # Errors
    /// Where such sessions are to end.
    pub(super) fn hear_of_losses(&mut self) -> Result<(), Failure> {
        self.memory.losses = self.weir.cluster.losses();
        if !self.weir.cluster.may_have_lost(&self.memory.freshness) {
            return Ok(());
        }
        let text = "writes were lost when the primary changed: what this session wrote or read just before may \
                    not be there any more";
        if self.config.cluster.lost_writes == LostWrites::End {
            return Err(Failure::Fatal(Refusal::new(sqlstate::ADMIN_SHUTDOWN, text)));
        }
        put_warning(&mut self.client.socket.output, text);
        Ok(())
    }
}

impl Memory {
    /// The first request after its transaction was lost unseen: what the client is told of it. A ROLLBACK
    /// needs not be told anything.
    pub(super) fn tell_of_lost_block(&mut self, step: Option<&TransactionStep>) -> Option<Refusal> {
        let Block::Lost { says } = &self.state.block else { return None };
        let refusal = lost(says, true);
        self.state.block = Block::Aborted;
        self.status = Status::Failed;
        match step {
            Some(TransactionStep::Rollback { .. }) => return None,
            Some(TransactionStep::Commit { .. }) => {
                // As a COMMIT that fails, it ends the block.
                (self.state.block, self.status) = (Block::None, Status::Idle);
            }
            _ => {}
        }
        Some(refusal)
    }

    /// The block has gone with its server, of which the session holds nothing any more.
    pub(super) fn lose_block(&mut self, block: Block) {
        self.state.settings.on_rollback();
        self.state.written = Footprint::none();
        self.state.altered = Default::default();
        self.state.temporary.on_rollback();
        self.notifies = false;
        self.writing = None;
        self.status = if matches!(block, Block::Aborted) { Status::Failed } else { self.status };
        self.state.block = block;
    }

    /// What it has on its server no other can give it.
    pub(super) fn is_bound_to_server(&self) -> bool {
        self.is_pinned() && !self.state.pins.is_only(PinReason::ServerProcess)
    }
}

/// What a client is told whose transaction, or read, is lost and can be tried again.
pub(super) fn lost(says: &str, in_block: bool) -> Refusal {
    let what = if in_block { "the transaction was lost with its server" } else { "the read was cut off" };
    Refusal::new(sqlstate::SERIALIZATION_FAILURE, format!("{what}: {says}"))
        .with_hint("Nothing of it was committed. Try it again.")
}
