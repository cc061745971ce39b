//! Sessions that wait for a server: who came first is served first.

use super::lease::{Lease, LeaseError};
use super::opening::{Opening, Place};
use super::{Key, Pool, State};
use crate::auth::Full;
use crate::config::Config;
use crate::server::Server;
use crate::server::placeholders::Allowed;
use crate::wire::{Refusal, sqlstate};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A node that was full is tried again after this long.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// How often a session that waits for one certain server looks for it: such waits are rare, and as long as
/// another session's statement.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A session that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    grant: oneshot::Sender<Grant>,
    pub(super) since: Instant,
}

/// Counts a session among those that wait, for as long as it does: until granted, cancelled or gone.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn of(pool: &'a Pool) -> Self {
        pool.waiting.fetch_add(1, Ordering::SeqCst);
        pool.budget.count_waiting(true);
        Waiting(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.budget.count_waiting(false);
    }
}

/// What a waiter is given. Should it be gone by then, the place goes to the next.
#[derive(Debug)]
enum Grant {
    Server(Lease),
    /// A place was freed: open one yourself.
    Place(Place),
}

impl Pool {
    /// A server: an idle one, a new one while the limit allows it, else the next that comes back.
    ///
    /// # Errors
    /// See [`LeaseError`]. Cancel-safe: a server granted to a session that is gone goes to the next.
    pub async fn lease(self: &Arc<Self>, opening: Opening<'_>) -> Result<Lease, LeaseError> {
        match self.try_lease() {
            Some(lease) => Ok(lease),
            None => self.lease_in_time(opening, None).await,
        }
    }

    /// The same for a session that may read placeholders: a server with none but those that are allowed.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub async fn lease_within(
        self: &Arc<Self>,
        opening: Opening<'_>,
        allowed: &Allowed<'_>,
    ) -> Result<Lease, LeaseError> {
        if let Some(lease) = self.try_lease_within(allowed) {
            return Ok(lease);
        }
        self.spare_beyond(allowed);
        self.lease_in_time(opening, Some(allowed)).await
    }

    async fn lease_in_time(
        self: &Arc<Self>,
        opening: Opening<'_>,
        allowed: Option<&Allowed<'_>>,
    ) -> Result<Lease, LeaseError> {
        let deadline = tokio::time::Instant::now() + opening.config.pool.lease_wait;
        loop {
            let grant = match self.place_or_wait() {
                Ok(place) => Grant::Place(place),
                Err(turn) => {
                    let _waiting = Waiting::of(self);
                    self.wanted.notify_waiters();
                    self.budget.make_room(self);
                    match tokio::time::timeout_at(deadline, self.wait(turn, opening.config)).await {
                        Ok(Some(granted)) => granted,
                        _ => return Err(LeaseError::TooLong(self.too_long(opening.config))),
                    }
                }
            };
            let place = match grant {
                // It makes room for one that will do.
                Grant::Server(lease) if allowed.is_some_and(|a| !lease.placeholders.is_within(a)) => {
                    drop(lease);
                    continue;
                }
                Grant::Server(mut lease) => {
                    // It was the giver's event loop that watched it.
                    lease.come_here();
                    return Ok(lease);
                }
                Grant::Place(place) => place,
            };
            match self.open(place, opening).await {
                // What is idle elsewhere makes room; a server that is closed takes a moment to be gone.
                Err(LeaseError::Login(error))
                    if tokio::time::Instant::now() < deadline
                        && error.full().is_some_and(|full| self.makes_room(full)) =>
                {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// This very server, when nobody has it; `None` where it is gone, or others need it for longer than
    /// `limit`. Cancel-safe.
    pub async fn lease_server(self: &Arc<Self>, process: i32, limit: Duration) -> Option<Lease> {
        if let Some(lease) = self.try_lease_server(process) {
            return Some(lease);
        }
        let deadline = Instant::now() + limit;
        let _waiting = Waiting::of(self);
        self.wanted.notify_waiters();
        while self.has_server(process) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(lease) = self.try_lease_server(process) {
                return Some(lease);
            }
        }
        None
    }

    /// After the node has let no more in: whether another attempt may go better.
    fn makes_room(self: &Arc<Self>, full: Full) -> bool {
        match full {
            Full::Node => self.budget.learn_full(),
            Full::Share => self.budget.spare_of_share(self),
        }
    }

    /// A place for another server, or a place in the queue.
    fn place_or_wait(self: &Arc<Self>) -> Result<Place, oneshot::Receiver<Grant>> {
        let mut state = self.state.lock();
        if state.open < self.limit() && self.budget.take() {
            state.open += 1;
            return Ok(Place::of(self));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters.push_back(Waiter { grant: sender, since: Instant::now() });
        Err(receiver)
    }

    /// Waits for its turn; after a while the reserve may be used. `None`: the pool is gone.
    async fn wait(self: &Arc<Self>, mut turn: oneshot::Receiver<Grant>, config: &Config) -> Option<Grant> {
        if self.reserve.load(Ordering::Relaxed) > 0 {
            match tokio::time::timeout(config.pool.reserve_after, &mut turn).await {
                Ok(granted) => return granted.ok(),
                Err(_) => {
                    if let Some(place) = self.reserved_place() {
                        // Its turn may have come meanwhile: then the place is for the next.
                        turn.close();
                        return Some(turn.try_recv().unwrap_or(Grant::Place(place)));
                    }
                }
            }
        }
        turn.await.ok()
    }

    fn reserved_place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        let max = self.limit() + self.reserve.load(Ordering::Relaxed);
        if state.open >= max || !self.budget.take() {
            return None;
        }
        state.open += 1;
        Some(Place::of(self))
    }

    /// Gives a server to who has waited longest; back, if nobody waits.
    pub(super) fn grant_server(
        self: &Arc<Self>,
        state: &mut State,
        mut server: Box<Server>,
    ) -> Option<Box<Server>> {
        while let Some(waiter) = state.next_waiter() {
            match waiter.grant.send(Grant::Server(self.lease_of(server))) {
                // It has just gone.
                Err(Grant::Server(lease)) => server = lease.into_server()?,
                _ => return None,
            }
        }
        Some(server)
    }

    /// Gives a place that is counted already to who has waited longest.
    pub(super) fn grant_place(self: &Arc<Self>, state: &mut State) -> bool {
        while let Some(waiter) = state.next_waiter() {
            match waiter.grant.send(Grant::Place(Place::of(self))) {
                // It has just gone. (Dropped, the place would be given up under the lock held here.)
                Err(Grant::Place(place)) => place.taken_up(),
                _ => return true,
            }
        }
        false
    }

    /// Lets those that wait open servers, as far as the limits allow it now.
    pub(super) fn fill(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.open >= self.limit() || !state.has_waiters() || !self.budget.take() {
                return;
            }
            if !self.grant_place(&mut state) {
                return self.budget.untake();
            }
            state.open += 1;
        }
    }

    /// Since when the first in the queue waits.
    pub(super) fn first_waits_since(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        if state.has_waiters() { state.waiters.front().map(|waiter| waiter.since) } else { None }
    }

    /// Since when the first in the queue waits, if that is for want of the node's budget only.
    pub(super) fn starves_since(&self) -> Option<Instant> {
        let since = self.first_waits_since();
        since.filter(|_| self.state.lock().open < self.limit())
    }

    fn too_long(&self, config: &Config) -> Refusal {
        Refusal::new(
            sqlstate::TOO_MANY_CONNECTIONS,
            format!(
                "no server connection of node {} became free within {} (pool.lease_wait)",
                self.key.node,
                humantime::format_duration(config.pool.lease_wait)
            ),
        )
        .with_hint(self.what_is_short())
    }

    fn what_is_short(&self) -> String {
        let open = self.state.lock().open;
        let Key { node, database, user, .. } = &self.key;
        if open < self.limit() {
            let max = self.budget.max();
            let raise = if self.budget.is_full() {
                "the node's max_connections"
            } else {
                "pool.node_connections_max"
            };
            return format!(
                "All {max} server connections of node {node} are in use, {open} of them for database \"{database}\" and user \"{user}\": end transactions sooner or raise {raise}."
            );
        }
        format!(
            "All {open} server connections for database \"{database}\" and user \"{user}\" are in use: end transactions sooner or raise pool.server_connections_max."
        )
    }
}

impl State {
    /// Who has waited longest and still does.
    pub(super) fn next_waiter(&mut self) -> Option<Waiter> {
        while let Some(waiter) = self.waiters.pop_front() {
            if !waiter.grant.is_closed() {
                return Some(waiter);
            }
        }
        None
    }

    /// Somebody waits.
    pub(super) fn has_waiters(&mut self) -> bool {
        while self.waiters.front().is_some_and(|waiter| waiter.grant.is_closed()) {
            self.waiters.pop_front();
        }
        !self.waiters.is_empty()
    }
}
