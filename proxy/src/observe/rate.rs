//! A bound on log lines that a client can provoke.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Lets a few lines through per interval and counts the rest.
#[derive(Debug)]
pub struct LogLimit {
    lines_max: u32,
    interval: Duration,
    window: Mutex<Option<Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    lines: u32,
}

impl LogLimit {
    /// At most `lines_max` lines each `interval`.
    pub const fn new(lines_max: u32, interval: Duration) -> Self {
        Self { lines_max, interval, window: Mutex::new(None) }
    }

    /// Whether a line may be written at `now`; `Some(n)`: yes, and `n` were left out before it.
    pub fn allow(&self, now: Instant) -> Option<u32> {
        let mut window = self.window.lock();
        match window.as_mut() {
            Some(current) if now.duration_since(current.began) < self.interval => {
                current.lines = current.lines.saturating_add(1);
                (current.lines <= self.lines_max).then_some(0)
            }
            old => {
                let left_out = old.map_or(0, |w| w.lines.saturating_sub(self.lines_max));
                *window = Some(Window { began: now, lines: 1 });
                Some(left_out)
            }
        }
    }
}

/// Logs through [`tracing`] at most ten lines a second from this place, saying how many were left out.
///
/// `limited!(warn, user, "client refused")` takes what the macro of that level takes.
#[macro_export]
macro_rules! limited {
    ($level:ident, $($line:tt)+) => {{
        static LIMIT: $crate::observe::rate::LogLimit =
            $crate::observe::rate::LogLimit::new(10, std::time::Duration::from_secs(1));
        match LIMIT.allow(std::time::Instant::now()) {
            Some(0) => tracing::$level!($($line)+),
            Some(left_out) => tracing::$level!(left_out, $($line)+),
            None => {}
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let limit = LogLimit::new(2, Duration::from_secs(1));
        let start = Instant::now();
        let allowed = (0..100).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(allowed, 2);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(98));
        assert_eq!(limit.allow(start + Duration::from_secs(3)), Some(0));
    }

    #[test]
    fn the_macro_takes_what_tracing_takes() {
        let user = "app";
        limited!(debug, user, reason = "none", "refused {}", 1);
        limited!(warn, "plain");
    }
}
