//! Waiting for a server to come to rest.

use crate::limits::AHEAD_BYTES_MAX;
use crate::session::Session;
use crate::session::exchange::held::Held;
use crate::session::failure::Failure;
use crate::session::reroute::Cause;
use crate::session::wake::Woke;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

impl Session {
    /// Waits, unseen by the client, until the server owes nothing. False when that cannot be had.
    pub(super) async fn drain(&mut self) -> bool {
        let from = self.client.socket.output.len();
        self.exchange.held = Held::No;
        loop {
            if !matches!(self.take_replies(), Ok(None)) {
                return false;
            }
            self.client.socket.output.truncate(from);
            let settled = self.exchange.is_settled();
            let Some(lease) = self.holding.lease.as_mut() else { return false };
            let server = &mut lease.connection;
            if settled {
                return server.flush().await.is_ok();
            }
            // Both at once: a server that waits to be read takes nothing.
            let read = poll_fn(|cx| match server.poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => server.poll_fill(cx),
            });
            if !matches!(read.await, Ok(count) if count > 0) {
                return false;
            }
        }
    }

    pub(super) async fn wait_until_nothing_is_owed(&mut self) -> Result<Option<Cause>, Failure> {
        while !self.exchange.ledger.is_empty() || self.exchange.is_passing() {
            match self.woke(AHEAD_BYTES_MAX).await? {
                Woke::Server => {
                    if let Some(cause) = self.take_replies()? {
                        return Ok(Some(cause));
                    }
                }
                Woke::Client | Woke::Wanted | Woke::Paused => {}
                Woke::ClientGone => return Err(Failure::Client(io::ErrorKind::UnexpectedEof.into())),
                Woke::Over(_) | Woke::ServerGone(_) if self.exchange.held.is_held() => {
                    return Ok(Some(Cause::Lost));
                }
                Woke::Over(over) => return Err(self.server_failure(over.error())),
                Woke::ServerGone(error) => return Err(self.server_failure(error)),
            }
            if self.client.socket.input.len() >= AHEAD_BYTES_MAX {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(None)
    }
}
