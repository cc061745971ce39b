//! A moment that several threads share.

use super::moment::Moment;
use std::sync::atomic::{AtomicU64, Ordering};

/// A moment that several threads raise and read.
#[derive(Debug, Default)]
pub struct Mark(AtomicU64);

impl Mark {
    /// The latest moment it was raised to.
    pub fn get(&self) -> Moment {
        Moment(self.0.load(Ordering::Acquire))
    }

    /// Raises it; never lowers it.
    pub fn raise(&self, to: Moment) {
        self.0.fetch_max(to.0, Ordering::SeqCst);
    }

    /// Lowers it; never raises it.
    pub fn lower(&self, to: Moment) {
        self.0.fetch_min(to.0, Ordering::SeqCst);
    }

    /// Sets it to whatever; what it was.
    pub fn replace(&self, to: Moment) -> Moment {
        Moment(self.0.swap(to.0, Ordering::SeqCst))
    }

    /// Sets it to whatever.
    pub fn set(&self, to: Moment) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}
