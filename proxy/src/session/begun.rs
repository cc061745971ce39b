//! A batch of which the client has sent a part goes on before its end has come.

use crate::limits::AHEAD_BYTES_MIN;
use crate::session::Session;
use crate::session::memory::Memory;
use crate::session::receive::{self, Request};
use crate::wire::backend::Status;
use router_rules::Target;

impl Session {
    /// What has come of a batch goes to a server before the batch's end does when the client pauses, and of
    /// a batch that only the primary can run also when it is long: an error in its midst, or a time-out,
    /// reaches the client as soon as on a direct connection. Anything else is gathered, so that it may run
    /// elsewhere.
    pub(super) fn begun_batch(&mut self, paused: bool) -> Option<Request> {
        if paused {
            return receive::begun_batch(&mut self.client.socket.input, 0);
        }
        if self.client.socket.input.len() < AHEAD_BYTES_MIN || self.exchange.copy_in {
            return None;
        }
        if !self.is_begun_on_primary()
            && !receive::binds_first(&self.client.socket.input, |name| self.memory.is_for_primary(name))
        {
            return None;
        }
        receive::begun_batch(&mut self.client.socket.input, AHEAD_BYTES_MIN)
    }

    /// A server of the primary is held for what the client has begun.
    pub(crate) fn is_begun_on_primary(&self) -> bool {
        let on_primary = self.holding.lease.is_some() && self.holding.on == Target::Primary;
        on_primary && (self.exchange.is_open() || self.memory.status != Status::Idle)
    }
}

impl Memory {
    fn is_for_primary(&self, statement: &[u8]) -> bool {
        self.statements.get(statement).is_some_and(|prepared| prepared.classified.verdict.is_err())
    }
}
