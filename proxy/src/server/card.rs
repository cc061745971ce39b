//! What the console knows of a server.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::SystemTime;

/// What the console knows of a server, wherever it is.
#[derive(Debug)]
pub struct Card {
    pub(crate) process: i32,
    pub(crate) opened: SystemTime,
    pub(crate) tls: bool,
    pub(crate) leased: AtomicBool,
    pub(crate) statements: AtomicUsize,
}

impl Card {
    /// Of a server that has just logged in.
    pub fn new(process: i32, tls: bool) -> Self {
        Self {
            process,
            opened: SystemTime::now(),
            tls,
            leased: AtomicBool::new(false),
            statements: AtomicUsize::new(0),
        }
    }
}
