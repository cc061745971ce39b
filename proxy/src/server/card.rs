//! What the console knows of a server.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What the console knows of a server, wherever it is.
#[derive(Debug)]
pub struct Card {
    pub(crate) process: i32,
    pub(crate) opened: SystemTime,
    pub(crate) since: Instant,
    /// Milliseconds from `since`, when a client gave it back last; 0: none has.
    used: AtomicU64,
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
            since: Instant::now(),
            used: AtomicU64::new(0),
            tls,
            leased: AtomicBool::new(false),
            statements: AtomicUsize::new(0),
        }
    }

    /// A client gives it back at `now`.
    pub(crate) fn set_used(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.since).as_millis();
        self.used.store(u64::try_from(millis).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// When a client gave it back last.
    pub(crate) fn used(&self) -> Option<SystemTime> {
        match self.used.load(Ordering::Relaxed) {
            0 => None,
            millis => self.opened.checked_add(Duration::from_millis(millis)),
        }
    }
}
