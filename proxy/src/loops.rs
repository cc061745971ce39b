//! The event loops: which thread serves a client.
//!
//! Each is a thread with a runtime of its own; a client's task and its sockets stay together on one,
//! so that serving a statement needs no wake-up across threads. There may be one per core, but no more
//! are in use than the load needs: a loop that has several sockets to look at when it wakes serves them
//! all for one wake-up, and wake-ups are a good part of what a relay costs. [`seating`] decides; clients
//! change seats between two requests, when nothing of theirs is under way.

pub mod seating;
mod thread_times;

use crate::limits::STACK_BYTES;
use parking_lot::Mutex;
use seating::{Move, Seating};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use thread_times::times_of_thread;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A client's task: all that it does from its first byte to its last.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One event loop.
#[derive(Debug)]
pub struct EventLoop {
    number: usize,
    runtime: Handle,
    arrivals: UnboundedSender<Sitting>,
    clients: AtomicUsize,
    /// Its thread, as the kernel numbers it.
    thread: AtomicU32,
    /// Grows with each call to change seats.
    call: AtomicU32,
    /// What is asked, and how many have heard of it; nothing when the time for it is over.
    asked: Mutex<Option<(Move, u32)>>,
    all: Weak<EventLoops>,
}

/// All of them.
#[derive(Debug)]
pub struct EventLoops {
    loops: Vec<Arc<EventLoop>>,
    /// The first so many are in use.
    open: AtomicUsize,
}

thread_local! {
    /// The loop that this thread runs.
    static HERE: RefCell<Option<Arc<EventLoop>>> = const { RefCell::new(None) };
    /// Where the task that is being polled wants to go on.
    static LEAVING_FOR: Cell<Option<usize>> = const { Cell::new(None) };
}

impl EventLoops {
    /// Starts `threads` of them, and the look at their load on the current runtime.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(threads: usize) -> io::Result<Arc<Self>> {
        let mut failed = None;
        let all = Arc::new_cyclic(|all| {
            let started = (0..threads.max(1)).map(|number| EventLoop::start(number, all.clone()));
            let loops = started.filter_map(|one| one.map_err(|error| failed = Some(error)).ok()).collect();
            Self { loops, open: AtomicUsize::new(1) }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        tokio::spawn(look(Arc::downgrade(&all)));
        Ok(all)
    }

    /// The runtime of the loop that is in use at any load.
    pub fn always_in_use(&self) -> Handle {
        self.loops[0].runtime.clone()
    }

    /// Serves a client in the loop in use that has the fewest.
    pub fn serve(&self, task: impl Future<Output = ()> + Send + 'static) {
        let open = &self.loops[..self.open.load(Ordering::Relaxed).clamp(1, self.loops.len())];
        let fewest = open.iter().min_by_key(|l| l.clients.load(Ordering::Relaxed));
        if let Some(chosen) = fewest {
            chosen.seat(Box::pin(task));
        }
    }
}

/// Looks at the load from time to time, and has clients change seats where that is worth it.
async fn look(all: Weak<EventLoops>) {
    let mut seating = Seating::default();
    let mut before: Vec<Option<Duration>> = vec![];
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(all) = all.upgrade() else { return };
        let worked: Vec<_> = all.loops.iter().map(|l| l.worked()).collect();
        if all.loops.iter().zip(&worked).any(|(l, worked)| l.has_clients() && worked.is_none()) {
            // The load cannot be known here: everybody spreads.
            return all.open.store(all.loops.len(), Ordering::Relaxed);
        }
        let passed = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        before.resize(worked.len(), None);
        let share = |(now, then): (&Option<Duration>, &Option<Duration>)| {
            now.zip(*then).map_or(0.0, |(now, then)| now.saturating_sub(then).as_secs_f64() / passed)
        };
        let loads: Vec<f64> = worked.iter().zip(&before).map(share).collect();
        before = worked;
        let moves = seating.judge(&loads);
        if all.open.swap(seating.open(), Ordering::Relaxed) != seating.open() {
            let loads: Vec<_> = loads.iter().map(|load| format!("{load:.2}")).collect();
            tracing::debug!(open = seating.open(), loads = loads.join(" "), "event loops in use");
        }
        for (number, event_loop) in all.loops.iter().enumerate() {
            event_loop.ask(moves.iter().find(|m| m.from == number).copied());
        }
    }
}

impl EventLoop {
    fn start(number: usize, all: Weak<EventLoops>) -> io::Result<Arc<Self>> {
        // Sockets and timers: with signals and child processes each turn would look at those, too.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (arrivals, mut arrived) = unbounded_channel::<Sitting>();
        let this = Arc::new(Self {
            number,
            runtime: runtime.handle().clone(),
            arrivals,
            clients: AtomicUsize::new(0),
            thread: AtomicU32::new(0),
            call: AtomicU32::new(0),
            asked: Mutex::new(None),
            all,
        });
        let here = this.clone();
        let thread = std::thread::Builder::new().name(format!("clients-{number}"));
        thread.stack_size(STACK_BYTES).spawn(move || {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            here.thread.store(thread.unsigned_abs(), Ordering::Relaxed);
            HERE.set(Some(here));
            runtime.block_on(async move {
                while let Some(sitting) = arrived.recv().await {
                    tokio::spawn(sitting);
                }
            });
        })?;
        Ok(this)
    }

    fn seat(self: &Arc<Self>, task: Task) {
        self.clients.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(self.clone());
        if self.arrivals.send(Sitting { task: Some(task), seat }).is_err() {
            tracing::error!(number = self.number, "an event loop is gone");
        }
    }

    fn has_clients(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > 0
    }

    /// How long its thread has had something to do, if it has clients.
    fn worked(&self) -> Option<Duration> {
        let (ran, waited) =
            self.has_clients().then(|| times_of_thread(self.thread.load(Ordering::Relaxed)))??;
        Some(ran + waited.mul_f64(seating::WAITED_COUNTS))
    }

    /// Asks clients to change seats as they come by, until the next look.
    fn ask(&self, asked: Option<Move>) {
        let mut now = self.asked.lock();
        if now.is_some() || asked.is_some() {
            *now = asked.map(|asked| (asked, 0));
            self.call.fetch_add(1, Ordering::Release);
        }
    }
}

/// Counts a client in, and out again however its task ends.
#[derive(Debug)]
struct Seat(Arc<EventLoop>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client's task in its seat.
struct Sitting {
    task: Option<Task>,
    seat: Seat,
}

impl Future for Sitting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        let polled = task.as_mut().poll(cx);
        if polled.is_pending()
            && let Some(to) = LEAVING_FOR.take()
            && let (Some(all), Some(task)) = (self.seat.0.all.upgrade(), self.task.take())
        {
            all.loops[to].seat(task);
            return Poll::Ready(());
        }
        polled
    }
}

/// Which calls a client has heard.
#[derive(Debug)]
pub struct Heard(u32);

impl Heard {
    /// All that there were in this loop: what was asked before it came does not concern it.
    pub fn all_before() -> Self {
        Self(HERE.with_borrow(|here| here.as_ref().map_or(0, |here| here.call.load(Ordering::Acquire))))
    }

    /// Where this client, which is between two requests, is asked to go on; each call asks it once.
    pub fn call(&mut self) -> Option<usize> {
        HERE.with_borrow(|here| {
            let here = here.as_ref()?;
            let call = here.call.load(Ordering::Acquire);
            if std::mem::replace(&mut self.0, call) == call {
                return None;
            }
            let mut asked = here.asked.lock();
            let (asked, heard) = asked.as_mut()?;
            *heard += 1;
            asked.concerns(*heard).then_some(asked.to)
        })
    }
}

/// Goes on in another event loop. Sockets are still of the old one then: see
/// [`Connection::move_here`](crate::net::Connection::move_here).
pub async fn go_on_in(number: usize) {
    let mut asked = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        LEAVING_FOR.set(Some(number));
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_goes_on_in_another_loop_and_is_counted_there() {
        let loops = EventLoops::start(2).unwrap();
        let (tell, mut told) = unbounded_channel();
        let name = || std::thread::current().name().map(str::to_owned);
        loops.serve(async move {
            tell.send(name()).unwrap();
            go_on_in(1).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(name()).unwrap();
            tell.closed().await;
        });
        assert_eq!(told.recv().await.flatten().as_deref(), Some("clients-0"));
        assert_eq!(told.recv().await.flatten().as_deref(), Some("clients-1"));
        let clients = || loops.loops.iter().map(|l| l.clients.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(clients(), [0, 1]);
        drop(told);
        while clients() != [0, 0] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Goes down until so much of the stack above `top` is in use, and tells how much that was.
    fn sink(top: usize, bytes: usize) -> usize {
        let frame = std::hint::black_box([1u8; 16 << 10]);
        let used = top.abs_diff(frame.as_ptr().addr());
        std::hint::black_box(if used < bytes { sink(top, bytes) } else { used })
    }

    #[tokio::test]
    async fn a_loop_has_the_stack_that_it_is_said_to_have() {
        let loops = EventLoops::start(1).unwrap();
        let (tell, mut told) = unbounded_channel();
        let used = STACK_BYTES / 8 * 7;
        loops.serve(async move {
            let top = 0u8;
            tell.send(sink((&raw const top).addr(), used)).unwrap();
        });
        assert!(told.recv().await.unwrap() >= used);
    }

    #[tokio::test]
    async fn a_call_is_answered_once_and_by_as_many_as_it_wants() {
        let loops = EventLoops::start(2).unwrap();
        let (tell, mut told) = unbounded_channel();
        let asked = Arc::new(tokio::sync::Semaphore::new(0));
        for _ in 0..8 {
            let (tell, asked) = (tell.clone(), asked.clone());
            loops.serve(async move {
                let mut heard = Heard::all_before();
                tell.send((heard.call(), None)).unwrap();
                asked.acquire().await.unwrap().forget();
                tell.send((heard.call(), heard.call())).unwrap();
            });
        }
        for _ in 0..8 {
            assert_eq!(told.recv().await, Some((None, None)));
        }
        loops.loops[0].ask(Some(Move { from: 0, to: 1, share: 0.5 }));
        asked.add_permits(8);
        let mut moved = 0;
        for _ in 0..8 {
            let (first, second) = told.recv().await.unwrap();
            moved += usize::from(first == Some(1));
            assert_eq!(second, None);
        }
        assert_eq!(moved, 4);
    }
}
