//! Bad news that ends a session.

use crate::session::ledger::OutOfStep;
use crate::wire::Refusal;
use std::io;

/// Why a session ended other than by the client's farewell. Bad news that the session survives is a
/// [`Refusal`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client's socket.
    #[error("the client's connection: {0}")]
    Client(io::Error),
    /// The client broke the protocol, or a limit: it is told so.
    #[error("{0}")]
    Fatal(Refusal),
    /// The server ended while the session needed it, having said why (already passed on).
    #[error("the server ended the connection")]
    ServerSaidGoodbye(Farewell),
    /// A time-out of the session's own ended it on the server, which has said so (already passed on).
    #[error("the session was idle for longer than it wished")]
    TimedOut,
    /// The server's socket, while the session needed it.
    #[error("the connection to node {node}: {error}")]
    Server {
        /// Which node.
        node: String,
        /// What happened.
        error: io::Error,
    },
    /// The server answered something that was not asked.
    #[error("node {node}: {error}")]
    OutOfStep {
        /// Which node.
        node: String,
        /// What it sent.
        error: OutOfStep,
    },
}

/// A server's last words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Farewell {
    /// They are the last so many bytes of the client's output.
    pub bytes: usize,
    /// It was shut down, or crashed: nothing that the session has done ended it.
    pub is_shutdown: bool,
}
