//! The program's own parsers, without the program.

#![allow(dead_code, unused_imports)]

#[path = "../../../proxy/src/wire/backend.rs"]
pub mod backend;
#[path = "../../../proxy/src/wire/error.rs"]
pub mod error;
#[path = "../../../proxy/src/wire/frame.rs"]
pub mod frame;
#[path = "../../../proxy/src/wire/frontend.rs"]
pub mod frontend;
#[path = "../../../proxy/src/wire/sqlstate.rs"]
pub mod sqlstate;
#[path = "../../../proxy/src/wire/startup.rs"]
pub mod startup;

pub use error::{ErrorFields, Refusal};
pub use frame::{Frame, FrameError};
