//! A limit on waiting that costs a timer now and then, not one for each thing that is waited for.
//!
//! A prober asks thousands of times a second and is answered within a fraction of a millisecond: its timer
//! is set once, and when it rings, set anew for whatever is waited for then.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// One task's timer.
#[derive(Debug)]
pub struct Patience(Pin<Box<Sleep>>);

impl Patience {
    /// Of the runtime that this is called in.
    pub fn new() -> Self {
        Self(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// What comes of it, unless that takes longer than `limit`. Cancel-safe where `waiting` is.
    pub async fn within<T>(&mut self, limit: Duration, waiting: impl Future<Output = T>) -> Option<T> {
        let until = Instant::now() + limit;
        let mut waiting = pin!(waiting);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = waiting.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            // It may still be set for something earlier, or for a longer limit.
            while self.0.deadline() > until || self.0.as_mut().poll(cx).is_ready() {
                if Instant::now() >= until {
                    return Poll::Ready(None);
                }
                self.0.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    const LIMIT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_ends_in_time_is_passed_on_and_what_does_not_is_given_up() {
        let mut patience = Patience::new();
        for _ in 0..3 {
            assert_eq!(patience.within(LONG, sleep(LIMIT)).await, Some(()), "not after an earlier limit");
            let began = Instant::now();
            assert_eq!(patience.within(LIMIT, pending::<()>()).await, None, "not as late as a longer one");
            assert!(began.elapsed() >= LIMIT);
        }
        assert_eq!(patience.within(LONG, async { 7 }).await, Some(7));
    }
}
