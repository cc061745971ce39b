//! The clients that are connected: for the console, for cancel requests, for limits.

/// Every client.
#[derive(Debug, Default)]
pub struct Registry {}
