//! The PostgreSQL wire protocol: frames, messages, SQLSTATEs.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

pub mod backend;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod sqlstate;
pub mod startup;

pub use error::{ErrorFields, Refusal};
