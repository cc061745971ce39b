//! A consistency checker: clients that write and read at random, and a verdict from what they saw.
//!
//! [`workload`] records a [`history`], [`verify`] decides which promises it keeps. It can be pointed
//! at any address that speaks Postgres's protocol: pgweir, another proxy, or a server.

pub mod history;
pub mod verify;
pub mod workload;
