//! Reads that wait for a replica to become fresh enough.
//!
//! Each waits for one moment, on any replica or on a certain one, and is woken once, when that has been
//! reached, however many thousands wait and however often replicas are sampled in between. To wake a task of another
//! thread's event loop takes a system call, to wake one of the own loop takes none: so of those that
//! wait on one thread the prober wakes the first only, who then wakes the others.

use super::moment::Moment;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::{self, ThreadId};
use tokio::sync::oneshot;

/// All that wait, by what they wait for.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    by_need: BTreeMap<Key, (ThreadId, Wake)>,
    next: u64,
}

/// The incarnation of a replica ([`ANY`]: of any), the moment, and a number of its own.
type Key = (u64, Moment, u64);

/// No replica in particular.
const ANY: u64 = 0;

type Wake = oneshot::Sender<Neighbours>;

/// Others of the same thread that are to be woken, too. Those that are dropped unheard are woken by that.
#[derive(Debug, Default)]
struct Neighbours(Vec<Wake>);

impl Neighbours {
    fn wake_all(self) {
        for wake in self.0 {
            // An error says that it has given up.
            let _ = wake.send(Neighbours::default());
        }
    }

    /// Wakes one of them, who will wake the others.
    fn wake_by_one(mut self) {
        while let Some(first) = self.0.pop() {
            match first.send(self) {
                Ok(()) => return,
                // It has given up.
                Err(rest) => self = rest,
            }
        }
    }
}

/// One that waits; leaves the queue when dropped.
#[derive(Debug)]
pub struct Waiter<'a> {
    queue: &'a Waiters,
    key: Key,
    woken: oneshot::Receiver<Neighbours>,
}

impl Waiters {
    /// Queues for any replica that is fresh through `need`. Ask once more whether there is one after
    /// this and before [`Waiter::woken`]: it may have come in between.
    pub fn wait_for(&self, need: Moment) -> Waiter<'_> {
        self.wait_on(ANY, need)
    }

    /// The same for the replica that is in this incarnation.
    pub fn wait_on(&self, incarnation: u64, need: Moment) -> Waiter<'_> {
        let (wake, woken) = oneshot::channel();
        let mut queue = self.0.lock();
        queue.next += 1;
        let key = (incarnation, need, queue.next);
        queue.by_need.insert(key, (thread::current().id(), wake));
        Waiter { queue: self, key, woken }
    }

    /// Some replica is fresh through `reached`: wakes who waits for no more than that.
    pub fn wake_through(&self, reached: Moment) {
        self.wake_on(ANY, reached);
    }

    /// The replica in this incarnation is.
    pub fn wake_on(&self, incarnation: u64, reached: Moment) {
        self.wake((incarnation, Moment::NEVER, 0)..=(incarnation, reached, u64::MAX));
    }

    /// Something other than freshness has changed: everybody has to look again.
    pub fn wake_all(&self) {
        self.wake(..);
    }

    fn wake(&self, keys: impl RangeBounds<Key> + Clone) {
        let mut threads: HashMap<ThreadId, Neighbours> = HashMap::new();
        {
            let mut queue = self.0.lock();
            while let Some(key) = queue.by_need.range(keys.clone()).next().map(|(key, _)| *key) {
                if let Some((thread, wake)) = queue.by_need.remove(&key) {
                    threads.entry(thread).or_default().0.push(wake);
                }
            }
        }
        threads.into_values().for_each(Neighbours::wake_by_one);
    }

    /// The latest moment that somebody waits for.
    pub fn latest_need(&self) -> Option<Moment> {
        let queue = self.0.lock();
        queue.by_need.range(..(ANY + 1, Moment::NEVER, 0)).next_back().map(|((_, need, _), _)| *need)
    }

    /// The earliest moment after `reached` that somebody waits for on this replica, or on any.
    pub fn next_need(&self, incarnation: u64, reached: Moment) -> Option<Moment> {
        let queue = self.0.lock();
        let next = |incarnation| {
            let later = (incarnation, reached, u64::MAX)..=(incarnation, Moment(u64::MAX), u64::MAX);
            queue.by_need.range(later).next().map(|((_, need, _), _)| *need)
        };
        next(ANY).into_iter().chain(next(incarnation)).min()
    }
}

impl Waiter<'_> {
    /// Until woken. Cancel-safe.
    pub async fn woken(&mut self) {
        poll_fn(|cx| self.poll_woken(cx)).await;
    }

    /// Ready once, when woken; not to be asked again after that.
    pub fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error means that the sender is gone, which is as good as woken.
        if let Ok(neighbours) = ready!(Pin::new(&mut self.woken).poll(cx)) {
            neighbours.wake_all();
        }
        Poll::Ready(())
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
        assert_eq!(waiters.next_need(1, Moment(9)), Some(Moment(10)));
        assert_eq!(waiters.next_need(1, Moment(10)), Some(Moment(20)));
        waiters.wake_through(Moment(10));
        early.woken().await;
        assert!(late.woken.try_recv().is_err());
        waiters.wake_all();
        late.woken().await;
        assert_eq!(waiters.latest_need(), None);
    }

    #[tokio::test]
    async fn who_waits_for_one_replica_is_woken_by_that_one() {
        let waiters = Waiters::default();
        let mut waiter = waiters.wait_on(7, Moment(10));
        assert_eq!(waiters.latest_need(), None, "the primary need not be asked for it");
        assert_eq!(
            (waiters.next_need(6, Moment(9)), waiters.next_need(7, Moment(9))),
            (None, Some(Moment(10)))
        );
        waiters.wake_through(Moment(20));
        waiters.wake_on(6, Moment(20));
        waiters.wake_on(7, Moment(9));
        assert!(waiter.woken.try_recv().is_err());
        waiters.wake_on(7, Moment(10));
        waiter.woken().await;
    }

    #[tokio::test]
    async fn all_of_a_thread_are_woken_though_some_have_given_up() {
        let waiters = Waiters::default();
        for round in 0..3 {
            let mut waiting: Vec<_> = (0..9).map(|_| waiters.wait_for(Moment(10))).collect();
            let given_up = waiting.split_off(6);
            match round {
                0 => {
                    drop(given_up);
                    waiters.wake_all();
                }
                // Among them is the one who was to wake the others.
                1 => {
                    waiters.wake_all();
                    drop(given_up);
                }
                _ => {
                    let first = waiting.remove(0);
                    waiters.wake_all();
                    drop((first, given_up));
                }
            }
            for waiter in waiting.iter_mut().rev() {
                let woken = tokio::time::timeout(std::time::Duration::from_secs(5), waiter.woken()).await;
                assert!(woken.is_ok(), "round {round}");
            }
            drop(waiting);
            assert!(waiters.0.lock().by_need.is_empty());
        }
    }

    #[test]
    fn one_that_gives_up_leaves_nothing_behind() {
        let waiters = Waiters::default();
        drop(waiters.wait_for(Moment(10)));
        assert!(waiters.0.lock().by_need.is_empty());
    }
}
