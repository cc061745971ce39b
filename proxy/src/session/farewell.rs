//! The end of a session: the client is told why, and its server goes back.

use crate::session::Session;
use crate::session::exchange::held::Held;
use crate::session::failure::Failure;
use crate::wire::{Refusal, sqlstate};
use std::time::Duration;

impl Session {
    /// The end: the client is told why, the server goes back to the pool if that can be.
    pub(super) async fn part(&mut self, ended: &Result<(), Failure>) {
        if let Err(failure) = ended {
            let refusal = match failure {
                Failure::Fatal(refusal) => Some(refusal.clone()),
                Failure::Server { .. } => Some(
                    Refusal::new(
                        sqlstate::CONNECTION_FAILURE,
                        "the server closed the connection unexpectedly",
                    )
                    .with_hint("What was under way may or may not have been done."),
                ),
                Failure::OutOfStep { .. } => {
                    Some(Refusal::new(sqlstate::PROTOCOL_VIOLATION, "the server broke the protocol"))
                }
                Failure::Client(_) | Failure::ServerSaidGoodbye(_) | Failure::TimedOut => None,
            };
            // In the middle of a message nothing can be said.
            if let Some(refusal) = refusal.filter(|_| !self.exchange.is_passing()) {
                self.exchange.held = Held::No;
                refusal.put(&mut self.client.socket.output, "FATAL");
            }
            if !matches!(failure, Failure::Client(_)) {
                // A client that does not read does not keep us.
                let _ = tokio::time::timeout(Duration::from_secs(5), self.client.socket.flush()).await;
            }
        } else if !self.client.socket.output.is_empty() {
            let _ = tokio::time::timeout(Duration::from_secs(5), self.client.socket.flush()).await;
        }
        self.memory_of_writes_in_doubt();
        if matches!(ended, Err(Failure::ServerSaidGoodbye(_) | Failure::TimedOut | Failure::OutOfStep { .. }))
        {
            // It owes nothing, and yet is of no use to anybody.
            self.drop_lease();
        }
        self.retire_lease();
    }
}
