//! Reads that wait for a replica to become fresh enough.
//!
//! Each waits for one moment, on any replica or on a certain one, and is woken once, when that has been
//! reached, however many thousands wait and however often replicas are sampled in between. To wake a task of another
//! thread's event loop takes a system call, to wake one of the own loop takes none: so of those that
//! wait on one thread the prober wakes the first only, who then wakes the others.

use crate::node::moment::Moment;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

/// All that wait, by what they wait for.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    by_need: BTreeMap<Key, Asleep>,
    next: u64,
    /// Woken, but for the call that one of their thread makes, who has been woken.
    neighbours: Vec<(ThreadId, Vec<Waker>)>,
}

/// The incarnation of a replica ([`ANY`]: of any), the moment, and a number of its own.
type Key = (u64, Moment, u64);

/// No replica in particular.
const ANY: u64 = 0;

/// How to wake one that waits.
#[derive(Debug)]
struct Asleep {
    thread: ThreadId,
    waker: Waker,
}

impl Queue {
    /// Takes out those of `incarnation` that wait for no more than `reached`.
    fn take_through(&mut self, incarnation: u64, reached: Moment) -> BTreeMap<Key, Asleep> {
        // No number is as great as this: the key is nobody's.
        let mut through = self.by_need.split_off(&(incarnation, Moment::NEVER, 0));
        let mut beyond = through.split_off(&(incarnation, reached, u64::MAX));
        self.by_need.append(&mut beyond);
        through
    }

    /// Those of a thread that have been woken without a call for them.
    fn take_neighbours(&mut self, of: ThreadId) -> Vec<Waker> {
        let at = self.neighbours.iter().position(|(thread, _)| *thread == of);
        at.map(|at| self.neighbours.swap_remove(at).1).unwrap_or_default()
    }
}

/// One that waits; leaves the queue when dropped.
#[derive(Debug)]
pub struct Waiter<'a> {
    queue: &'a Waiters,
    key: Key,
    /// Where it waits: whose neighbours it wakes.
    thread: ThreadId,
    is_first: bool,
    is_woken: bool,
}

impl Waiters {
    /// Queues for any replica that is fresh through `need`. Ask once more whether there is one after
    /// this and before [`Waiter::woken`]: it may have come in between.
    pub fn wait_for(&self, need: Moment) -> Waiter<'_> {
        self.wait_on(ANY, need)
    }

    /// The same for the replica that is in this incarnation.
    pub fn wait_on(&self, incarnation: u64, need: Moment) -> Waiter<'_> {
        let mut queue = self.0.lock();
        queue.next += 1;
        let key = (incarnation, need, queue.next);
        let is_first = queue.by_need.range((incarnation, need, 0)..key).next().is_none();
        // Whoever wakes it before it is asked leaves a mark by taking it out.
        let thread = thread::current().id();
        queue.by_need.insert(key, Asleep { thread, waker: Waker::noop().clone() });
        Waiter { queue: self, key, thread, is_first, is_woken: false }
    }

    /// Some replica is fresh through `reached`: wakes who waits for no more than that.
    pub fn wake_through(&self, reached: Moment) {
        self.wake_on(ANY, reached);
    }

    /// The replica in this incarnation is.
    pub fn wake_on(&self, incarnation: u64, reached: Moment) {
        let mut queue = self.0.lock();
        let keys = (incarnation, Moment::NEVER, 0)..=(incarnation, reached, u64::MAX);
        if queue.by_need.range(keys).next().is_some() {
            let woken = queue.take_through(incarnation, reached);
            self.wake(queue, woken);
        }
    }

    /// Something other than freshness has changed: everybody has to look again.
    pub fn wake_all(&self) {
        let mut queue = self.0.lock();
        let woken = std::mem::take(&mut queue.by_need);
        self.wake(queue, woken);
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>, woken: BTreeMap<Key, Asleep>) {
        let here = thread::current().id();
        let mut called = SmallVec::<[Waker; 16]>::new();
        for Asleep { thread, waker } in woken.into_values() {
            if thread == here {
                called.push(waker);
                continue;
            }
            match queue.neighbours.iter_mut().find(|(known, _)| *known == thread) {
                Some((_, others)) => others.push(waker),
                None => {
                    queue.neighbours.push((thread, Vec::new()));
                    called.push(waker);
                }
            }
        }
        drop(queue);
        called.into_iter().for_each(Waker::wake);
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
    /// Nobody else waited for the same when it came.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Until woken. Cancel-safe.
    pub async fn woken(&mut self) {
        poll_fn(|cx| self.poll_woken(cx)).await;
    }

    /// Ready when woken, and from then on.
    pub fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.0.lock();
        if let Some(asleep) = queue.by_need.get_mut(&self.key) {
            if !asleep.waker.will_wake(cx.waker()) {
                self.thread = thread::current().id();
                *asleep = Asleep { thread: self.thread, waker: cx.waker().clone() };
            }
            return Poll::Pending;
        }
        self.is_woken = true;
        let neighbours = queue.take_neighbours(self.thread);
        drop(queue);
        neighbours.into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.is_woken {
            return;
        }
        let mut queue = self.queue.0.lock();
        if queue.by_need.remove(&self.key).is_none() {
            // It was woken, perhaps to wake the others.
            let neighbours = queue.take_neighbours(self.thread);
            drop(queue);
            neighbours.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    fn is_woken(waiter: &mut Waiter<'_>) -> bool {
        waiter.poll_woken(&mut Context::from_waker(Waker::noop())).is_ready()
    }

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
        assert!(!is_woken(&mut late));
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
        assert!(!is_woken(&mut waiter));
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
                let woken = tokio::time::timeout(Duration::from_secs(5), waiter.woken()).await;
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

    #[test]
    fn who_comes_first_for_a_moment_is_told_so() {
        let waiters = Waiters::default();
        let (first, other) = (waiters.wait_for(Moment(10)), waiters.wait_for(Moment(20)));
        let second = waiters.wait_for(Moment(10));
        assert!(first.is_first() && other.is_first() && !second.is_first());
        drop((first, second));
        assert!(waiters.wait_for(Moment(10)).is_first());
    }

    /// Threads on which many wait, give up and come again, while another wakes them: nobody sleeps on.
    #[test]
    fn whatever_others_do_meanwhile_everybody_is_woken() {
        let (waiters, reached) = (Arc::new(Waiters::default()), Arc::new(AtomicU64::new(0)));
        let threads: Vec<_> = (0..3)
            .map(|seed| {
                let (waiters, reached) = (waiters.clone(), reached.clone());
                thread::spawn(move || wait_at_random(StdRng::seed_from_u64(seed), &waiters, &reached))
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            waiters.wake_through(Moment(reached.fetch_add(1, Ordering::SeqCst) + 1));
            thread::sleep(Duration::from_micros(50));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let queue = waiters.0.lock();
        assert!(queue.by_need.is_empty() && queue.neighbours.is_empty());
    }

    fn wait_at_random(mut dice: StdRng, waiters: &Arc<Waiters>, reached: &Arc<AtomicU64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..2_000 {
                let (waiters, reached) = (waiters.clone(), reached.clone());
                let need = reached.load(Ordering::SeqCst) + dice.random_range(0..4);
                let patience = Duration::from_micros(dice.random_range(1..200));
                let limit = if dice.random_bool(0.3) { patience } else { Duration::from_secs(20) };
                tasks.spawn(async move {
                    let mut waiter = waiters.wait_for(Moment(need));
                    if reached.load(Ordering::SeqCst) < need {
                        let woken = tokio::time::timeout(limit, waiter.woken()).await;
                        assert!(woken.is_ok() || limit == patience, "it sleeps on");
                    }
                });
                if dice.random_bool(0.2) {
                    tasks.join_next().await.unwrap().unwrap();
                }
            }
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
        });
    }
}
