//! Pauses that end within a fraction of a millisecond.
//!
//! Tokio counts in milliseconds, and so does the call that it waits in: both round up, so that a pause of
//! two milliseconds takes three or more. Where a read waits for the next probe, that is what it waits for.
//! A timer of the kernel's own ends in time.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longer pauses may end a little late.
const PRECISE_BELOW: Duration = Duration::from_millis(20);

/// One task's alarm.
#[derive(Debug)]
pub struct Alarm(Option<AsyncFd<OwnedFd>>);

impl Alarm {
    /// Watched by the event loop of this thread. Where the kernel gives no timer (file descriptors are
    /// short), pauses end a little late.
    pub fn new() -> Self {
        Self(timer().ok())
    }

    /// Until `pause` has passed. Cancel-safe.
    pub async fn after(&self, pause: Duration) {
        if pause < PRECISE_BELOW
            && let Some(timer) = &self.0
            && ring(timer, pause).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

#[expect(deprecated, reason = "unsound only for what changes its descriptor, which an OwnedFd does not")]
fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    AsyncFd::with_interest(timer, Interest::READABLE)
}

async fn ring(timer: &AsyncFd<OwnedFd>, pause: Duration) -> io::Result<()> {
    // Zero would mean never.
    let it_value = Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos().max(1)) };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    loop {
        let mut ready = timer.readable().await?;
        // What an earlier pause has left behind, which did not last until its end, is no ring.
        match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?)) {
            Ok(read) => return read.map(drop),
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn pauses_last_as_long_as_they_are_and_not_for_ever() {
        let alarm = Alarm::new();
        assert!(alarm.0.is_some());
        for pause in [0, 1_000, 700_000, 2_000_000, 25_000_000].map(Duration::from_nanos) {
            let began = Instant::now();
            alarm.after(pause).await;
            assert!(began.elapsed() >= pause);
        }
        Alarm(None).after(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn a_pause_that_was_given_up_does_not_shorten_the_next() {
        let alarm = Alarm::new();
        for _ in 0..3 {
            let given_up = tokio::time::timeout(Duration::ZERO, alarm.after(Duration::from_micros(1)));
            let _ = given_up.await;
            std::thread::sleep(Duration::from_millis(1));
            let began = Instant::now();
            alarm.after(Duration::from_millis(10)).await;
            assert!(began.elapsed() >= Duration::from_millis(10));
        }
    }
}
