//! SQL in, decision out: where a statement may run, and why.
//!
//! Pure: no async, no I/O, no clock. Sequence of one question:
//! [`classify`] turns SQL text into a [`Classified`] (what would it do, under this catalog,
//! `search_path` and role), [`decide`] turns that, the session's state and the operator's policy
//! into a [`Decision`] (where may it run), each with a [`Reason`].

mod ahead;
mod analyse;
mod builtins;
pub mod catalog;
pub mod changed;
pub mod classify;
pub mod clock;
mod compared;
pub mod decide;
mod doubts;
mod dynamic;
mod effects;
mod effort;
mod emptied;
pub mod encoding;
mod facts;
pub mod hint;
mod housekeeping;
mod lex;
mod plain_begin;
mod query;
pub mod quote;
mod reach;
pub mod reason;
pub mod rehearse;
mod resolve;
pub mod rules;
mod second;
pub mod session;
mod settings;
mod shape;
mod shown;
mod split;
pub mod statement;
mod statistics;
pub mod temporary;
mod tokens;
mod touches;
pub mod transactions;
mod walk;
mod words;

pub use catalog::Catalog;
pub use changed::Alters;
pub use classify::{Classified, Classifier, Scope};
pub use decide::{Decision, Policy, SessionView, decide};
pub use emptied::emptied_database;
pub use lex::cut_name;
pub use plain_begin::plain_begin;
pub use reason::{PinReason, Reason, RerouteCause, Target};
pub use session::SessionState;
pub use statement::{SessionEffect, Statement, TransactionModes, TransactionStep};
pub use transactions::Transactions;
