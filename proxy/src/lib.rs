//! pgweir: one DATABASE HOST in front of a primary and its replicas.
//!
//! The map. Each module knows only those on lines below its own:
//!
//! * [`command`]: the program's subcommands; `run` starts everything below
//! * [`listen`]: the addresses that are open, and the clients that come through them
//! * [`front`]: who is it? From accept to the log-in
//! * [`session`], [`console`]: the six steps (receive, classify, decide, lease, relay, remember); asked in psql
//! * [`cancel`]: work that is called off from outside
//! * [`tenure`]: who is let in by what Postgres says of the role now, and what ends when that changes
//! * [`weir`]: what all sessions share
//! * [`clients`]: the clients that are connected, and what they are told at first
//! * [`cluster`], [`pool`]: roles, lag, freshness and the catalog, watched; which server connections there are and who has them
//! * [`server`]: one connection to a Postgres node, and what is known of it
//! * [`auth`]: who a client is, and how we log in to servers as that user
//! * [`node`]: one node, and how far it is known to have come
//! * [`peers`], [`order`], [`loops`], [`gate`], [`bell`]: other processes; what is asked of the main task; which thread serves a client; PAUSE and RESUME; what wakes a session from outside
//! * [`observe`]: seen in Prometheus, in a browser, in logs and traces
//! * [`rows`]: what there is to see, as plain rows
//! * [`net`]: sockets, TLS
//! * [`config`]: what the operator wrote
//! * [`wire`]: frames and messages
//! * [`limits`]: every bound

mod auth;
mod bell;
mod cancel;
mod clients;
mod cluster;
pub mod command;
mod config;
mod console;
mod front;
mod gate;
#[cfg(test)]
mod house;
mod limits;
mod listen;
mod loops;
mod net;
mod node;
mod observe;
mod order;
mod peers;
mod pool;
mod rows;
mod server;
mod session;
mod tenure;
mod weir;
mod wire;

pub use limits::STACK_BYTES;

/// What hostile input outside of this crate is tried on.
pub mod for_tests {
    pub use crate::limits::STARTUP_BYTES_MAX;
    pub use crate::session::ledger::{Fate, Ledger, News, Ours, Owed, Undo};
    pub use crate::wire::{ErrorFields, backend, frame, frontend, startup};
}
