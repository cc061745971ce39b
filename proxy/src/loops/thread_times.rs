//! What the kernel knows of a thread's time.

use std::time::Duration;

/// How long a thread of this process has run, and how long it has waited for a core to run on; `None`
/// where that cannot be known.
///
/// <https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat>
pub fn times_of_thread(thread: u32) -> Option<(Duration, Duration)> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut nanos = stat.split_whitespace().map_while(|word| word.parse().ok());
    Some((Duration::from_nanos(nanos.next()?), Duration::from_nanos(nanos.next()?)))
}
