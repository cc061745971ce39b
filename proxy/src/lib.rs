//! pgweir: one DATABASE HOST in front of a primary and its replicas.
//!
//! The map, in the order in which dependencies point:
//!
//! * [`command`]: the program's subcommands; `run` starts everything below
//! * [`doors`], [`listener`], [`loops`]: the addresses that are open; accepts clients; which thread serves each
//! * [`session`]: the six steps: receive, classify, decide, lease, relay, remember
//! * [`pool`]: which server connections there are and who has them
//! * [`server`]: one connection to a Postgres node
//! * [`auth`]: who a client is, and how we log in to servers as that user
//! * [`cluster`]: roles, lag, freshness and the catalog, watched
//! * [`console`], [`observe`]: asked in psql, seen in Prometheus and in a browser
//! * [`bell`], [`gate`], [`order`]: what wakes a session from outside; PAUSE and RESUME; what is asked of the main task
//! * [`peers`]: the other pgweir processes of this machine
//! * [`config`], [`limits`]: what the operator wrote, and every bound
//! * [`net`], [`wire`]: sockets, TLS; frames and messages

pub mod auth;
pub mod bell;
pub mod cluster;
pub mod command;
pub mod config;
pub mod console;
pub mod doors;
pub mod gate;
pub mod limits;
pub mod listener;
pub mod loops;
pub mod net;
pub mod observe;
pub mod order;
pub mod peers;
pub mod pool;
pub mod server;
pub mod session;
pub mod weir;
pub mod wire;

pub use weir::Weir;
