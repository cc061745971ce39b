//! The clients that are connected: who they are, how they are reached, what they are told at first.

pub mod registry;
pub mod welcomes;
