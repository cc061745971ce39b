//! Reads that wait for a replica to become fresh enough.
//!
//! Each waits for one moment and is woken once, when a replica has reached it, however many
//! thousands wait and however often replicas are sampled in between.

use super::moment::Moment;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// All that wait, by what they wait for.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    by_need: BTreeMap<(Moment, u64), oneshot::Sender<()>>,
    next: u64,
}

/// One that waits; leaves the queue when dropped.
#[derive(Debug)]
pub struct Waiter<'a> {
    queue: &'a Waiters,
    key: (Moment, u64),
    woken: oneshot::Receiver<()>,
}

impl Waiters {
    /// Queues for a replica that is fresh through `need`. Ask once more whether there is one after
    /// this and before [`Waiter::woken`]: it may have come in between.
    pub fn wait_for(&self, need: Moment) -> Waiter<'_> {
        let (wake, woken) = oneshot::channel();
        let mut queue = self.0.lock();
        queue.next += 1;
        let key = (need, queue.next);
        queue.by_need.insert(key, wake);
        Waiter { queue: self, key, woken }
    }

    /// A replica is fresh through `reached`: wakes who waits for no more than that.
    pub fn wake_through(&self, reached: Moment) {
        let reached = {
            let mut queue = self.0.lock();
            if queue.by_need.first_key_value().is_none_or(|((need, _), _)| *need > reached) {
                return;
            }
            let rest = queue.by_need.split_off(&(Moment(reached.0.saturating_add(1)), 0));
            std::mem::replace(&mut queue.by_need, rest)
        };
        for wake in reached.into_values() {
            // An error says that it has given up.
            let _ = wake.send(());
        }
    }

    /// Something other than freshness has changed: everybody has to look again.
    pub fn wake_all(&self) {
        self.wake_through(Moment(u64::MAX));
    }

    /// The latest moment that somebody waits for.
    pub fn latest_need(&self) -> Option<Moment> {
        self.0.lock().by_need.last_key_value().map(|((need, _), _)| *need)
    }

    /// The earliest moment after `reached` that somebody waits for.
    pub fn next_need(&self, reached: Moment) -> Option<Moment> {
        let queue = self.0.lock();
        queue.by_need.range((reached, u64::MAX)..).next().map(|((need, _), _)| *need)
    }
}

impl Waiter<'_> {
    /// Until woken. Cancel-safe.
    pub async fn woken(&mut self) {
        // An error means that the sender is gone, which is as good as woken.
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.0.lock().by_need.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_those_are_woken_whose_moment_has_come() {
        let waiters = Waiters::default();
        let mut early = waiters.wait_for(Moment(10));
        let mut late = waiters.wait_for(Moment(20));
        assert_eq!(waiters.latest_need(), Some(Moment(20)));
        assert_eq!(waiters.next_need(Moment(9)), Some(Moment(10)));
        assert_eq!(waiters.next_need(Moment(10)), Some(Moment(20)));
        waiters.wake_through(Moment(10));
        early.woken().await;
        assert!(late.woken.try_recv().is_err());
        waiters.wake_all();
        late.woken().await;
        assert_eq!(waiters.latest_need(), None);
    }

    #[test]
    fn one_that_gives_up_leaves_nothing_behind() {
        let waiters = Waiters::default();
        drop(waiters.wait_for(Moment(10)));
        assert!(waiters.0.lock().by_need.is_empty());
    }
}
