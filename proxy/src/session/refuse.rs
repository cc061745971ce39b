//! What is refused: the client is told where Postgres would tell it, and what belongs to it is skipped.

use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::receive::{End, Kind, Request};
use crate::session::wake::Woke;
use crate::wire::{Refusal, backend};

impl Session {
    /// Tells the client of a refusal, in the place where Postgres would.
    pub(super) fn refuse(&mut self, request: &Request, refusal: &Refusal) {
        refusal.put(&mut self.client.socket.output, "ERROR");
        match request.kind {
            Kind::Batch(End::Flush | End::More | End::Begun) => self.exchange.refuse(),
            _ if self.exchange.is_refused() => {}
            _ => {
                self.sync_unseen();
                backend::put_ready(&mut self.client.socket.output, self.memory.status);
            }
        }
    }

    /// In the batch that was refused, everything up to its Sync is skipped, as Postgres does.
    pub(super) fn skip(&mut self, request: &Request) -> bool {
        if !self.exchange.is_refused() {
            return false;
        }
        if request.kind == Kind::Batch(End::Sync) {
            self.exchange.end_refused();
            self.sync_unseen();
            backend::put_ready(&mut self.client.socket.output, self.memory.status);
        }
        true
    }

    /// The rest of a batch that has failed already.
    pub(super) fn skip_failed(&mut self, request: &Request) -> Result<(), Refusal> {
        self.exchange.refuse();
        self.skip(request);
        Ok(())
    }

    /// The rest of a message that was refused goes nowhere.
    pub(super) async fn discard(&mut self, mut left: usize) -> Result<(), Failure> {
        loop {
            let here = left.min(self.client.socket.input.len());
            drop(self.client.socket.input.split_to(here));
            left -= here;
            if left == 0 {
                return Ok(());
            }
            match self.woke_in_time().await? {
                Woke::Client | Woke::Wanted | Woke::Paused => {}
                Woke::Over(_) => self.leave_deposed()?,
                Woke::ClientGone => return Err(Failure::Client(std::io::ErrorKind::UnexpectedEof.into())),
                Woke::Server => drop(self.take_replies()?),
                Woke::ServerGone(error) => return Err(self.server_failure(error)),
            }
        }
    }
}
