//! Points in time on one monotonic clock.

use std::time::{Duration, Instant};

/// A point in time: nanoseconds on the [`Clock`] of this process. Zero is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Before everything.
    pub const NEVER: Moment = Moment(0);

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much earlier.
    pub fn minus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(duration)))
    }

    /// This much later.
    pub fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(duration)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where the clock starts: far enough from zero that `now - max_lag` is never "before everything",
/// which a replica of which nothing is known would satisfy.
const BASE_NANOS: u64 = 1_000_000_000_000_000_000;

/// The clock that all moments of one process are read from.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a clock.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// The moment of an instant.
    pub fn at(&self, instant: Instant) -> Moment {
        Moment(BASE_NANOS + nanos(instant.saturating_duration_since(self.origin)))
    }
}
