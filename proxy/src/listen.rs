//! Addresses that are open, and the clients that come through them.

pub mod doors;
pub mod listener;
