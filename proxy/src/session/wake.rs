//! What a session waits for, and what ends its waiting.

use crate::limits::BATCH_PAUSE;
use crate::session::Session;
use crate::session::doubts::DOUBTED_FOR;
use crate::session::failure::Failure;
use crate::session::receive;
use crate::session::reign::Over;
use crate::wire::backend::Status;
use crate::wire::{Refusal, sqlstate};
use router_rules::Target;
use router_rules::session::context;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Who woke the session.
#[derive(Debug)]
pub enum Woke {
    /// The client sent something.
    Client,
    /// The client is gone.
    ClientGone,
    /// The server sent something.
    Server,
    /// The server is gone.
    ServerGone(io::Error),
    /// The client has sent a part of a batch, and nothing more for a while.
    Paused,
    /// The session's server is of no use any more.
    Over(Over),
    /// Others wait for a server, and this session can do without the one it keeps.
    Wanted,
}

/// In the words of Postgres.
pub(super) fn ended_by_administrator() -> Failure {
    Failure::Fatal(Refusal::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    ))
}

/// A bound on what a client may do, or leave undone, and what it is told when that is over.
struct Bound {
    over: Pin<Box<Sleep>>,
    sqlstate: &'static str,
    text: &'static str,
    /// The setting of pgweir's, where it is one of those.
    name: Option<&'static str>,
}

impl Bound {
    /// For so long, as Postgres says it.
    fn of(
        limit: Duration,
        (sqlstate, text): (&'static str, &'static str),
        name: Option<&'static str>,
    ) -> Self {
        Self { over: Box::pin(tokio::time::sleep(limit)), sqlstate, text, name }
    }

    fn failure(&self) -> Failure {
        let refusal = Refusal::new(self.sqlstate, self.text);
        Failure::Fatal(match self.name {
            Some(name) => refusal.with_hint(format!("{name} of pgweir is over.")),
            None => refusal,
        })
    }
}

const IDLE_SESSION: (&str, &str) =
    (sqlstate::IDLE_SESSION_TIMEOUT, "terminating connection due to idle-session timeout");
const IDLE_IN_TRANSACTION: (&str, &str) =
    (sqlstate::IDLE_IN_TRANSACTION_TIMEOUT, "terminating connection due to idle-in-transaction timeout");
const TRANSACTION: (&str, &str) =
    (sqlstate::TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout");

impl Session {
    /// Waits, within the limits for clients that do nothing.
    pub(super) async fn woke_in_time(&mut self) -> Result<Woke, Failure> {
        let mut bound = self.bound_while_it_waits();
        let may_be_ended = self.memory.status == Status::Idle && !self.exchange.is_open();
        let wanted =
            self.can_yield().then(|| self.holding.kept.as_ref().or(self.holding.lease.as_ref())).flatten();
        let mut wanted = wanted.map(|lease| Box::pin(lease.wanted()));
        let mut pause = self.pause_of_batch().map(|pause| Box::pin(tokio::time::sleep(pause)));
        let mut doubt = self.is_held_by_doubts().then(|| Box::pin(tokio::time::sleep(DOUBTED_FOR)));
        poll_fn(|cx| {
            if let Poll::Ready(woke) = self.poll_woke(cx, usize::MAX) {
                return Poll::Ready(woke);
            }
            if doubt.as_mut().is_some_and(|doubt| doubt.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(Woke::Wanted));
            }
            if let Some(bound) = &mut bound
                && bound.over.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Err(bound.failure()));
            }
            if pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(Woke::Paused));
            }
            if self.holds_deposed(cx) {
                return Poll::Ready(Ok(Woke::Over(Over::Deposed)));
            }
            if wanted.as_mut().is_some_and(|wanted| wanted.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(Woke::Wanted));
            }
            let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
            if is(&self.client.card.killed_now) || (may_be_ended && is(&self.client.card.killed)) {
                return Poll::Ready(Err(ended_by_administrator()));
            }
            Poll::Pending
        })
        .await
    }

    /// How long the client may leave a batch that it has begun as it is: not at all where a server is held
    /// for it, which could be at work.
    fn pause_of_batch(&self) -> Option<Duration> {
        let begun = !self.exchange.copy_in
            && !self.exchange.is_refused()
            && receive::is_begun(&self.client.socket.input);
        begun.then(|| if self.is_begun_on_primary() { Duration::ZERO } else { BATCH_PAUSE })
    }

    /// The limit that a client which does nothing comes to first, if there is any.
    fn bound_while_it_waits(&self) -> Option<Bound> {
        let limits = &self.config.limits;
        let earlier = |limit: Option<Duration>, own: Option<Duration>, what, name| match (limit, own) {
            (Some(limit), own) if own.is_none_or(|own| limit <= own) => {
                Some(Bound::of(limit, what, Some(name)))
            }
            (_, own) => own.map(|own| Bound::of(own, what, None)),
        };
        if self.memory.status == Status::Idle {
            let own = self.own_timeout("idle_session_timeout", self.memory.state.defaults.idle_session);
            return earlier(limits.client_idle, own, IDLE_SESSION, "limits.client_idle");
        }
        let left = limits
            .transaction
            .zip(self.memory.began)
            .map(|(limit, began)| limit.saturating_sub(began.elapsed()));
        let default = self.memory.state.defaults.idle_in_transaction;
        let own = self.own_timeout("idle_in_transaction_session_timeout", default);
        match (left, limits.transaction_idle.into_iter().chain(own).min()) {
            (Some(left), idle) if idle.is_none_or(|idle| left < idle) => {
                Some(Bound::of(left, TRANSACTION, Some("limits.transaction")))
            }
            _ => earlier(limits.transaction_idle, own, IDLE_IN_TRANSACTION, "limits.transaction_idle"),
        }
    }

    /// A time-out of the session's own, where no server of the primary counts it.
    fn own_timeout(&self, name: &str, default: Option<Duration>) -> Option<Duration> {
        if self.holding.lease.is_some() && self.holding.on == Target::Primary {
            return None;
        }
        match self.memory.state.settings.in_force().value(name) {
            Some(set) => context::milliseconds(set),
            None => default,
        }
    }

    /// [`Session::poll_woke`], waited for, while a server is to answer.
    pub(super) async fn woke(&mut self, ahead_max: usize) -> Result<Woke, Failure> {
        poll_fn(|cx| match self.over(cx) {
            Some(over) => Poll::Ready(Ok(Woke::Over(over))),
            None => self.poll_woke(cx, ahead_max),
        })
        .await
    }

    /// Waits until either side has something, writing meanwhile what waits to be written.
    ///
    /// While a request is being answered the client may be `ahead_max` bytes ahead. Between requests
    /// there is no such bound but a request's own: a server keeps its answers to itself until a Sync
    /// or Flush, so what a long batch is owed says nothing about whether the server has done it.
    ///
    /// Cancel-safe: all state is in the connections' buffers.
    pub(super) fn poll_woke(
        &mut self,
        cx: &mut Context<'_>,
        ahead_max: usize,
    ) -> Poll<Result<Woke, Failure>> {
        if let Some(lease) = self.holding.lease.as_mut()
            && let Poll::Ready(Err(error)) = lease.connection.poll_flush(cx)
        {
            // What it said before it went counts.
            return Poll::Ready(Ok(match lease.connection.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => Woke::Server,
                _ => Woke::ServerGone(error),
            }));
        }
        if let Poll::Ready(Err(error)) = self.poll_flush_shown(cx) {
            return Poll::Ready(Err(Failure::Client(error)));
        }
        if self.takes_from_server()
            && let Some(lease) = self.holding.lease.as_mut()
        {
            match lease.connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Ok(Woke::ServerGone(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(Woke::Server)),
                Poll::Ready(Err(error)) => return Poll::Ready(Ok(Woke::ServerGone(error))),
                Poll::Pending => {}
            }
        }
        let to_server = self.holding.lease.as_ref().map(|lease| lease.connection.output.len());
        if self.exchange.takes_from_client(self.client.socket.input.len(), ahead_max, to_server) {
            match self.client.socket.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Woke::ClientGone)),
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(Woke::Client)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Client(error))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Writes what the client may see of its output. What is kept back beyond its bound is kept no longer:
    /// it must never stand in the way of what comes behind it.
    fn poll_flush_shown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.client.socket.output.len();
        self.exchange.held.bound(before);
        let flushed = self.client.socket.poll_flush_first(cx, self.exchange.held.shown(before));
        self.exchange.held.on_written(before - self.client.socket.output.len());
        flushed
    }

    /// Writes what the client takes of the answer at once: the next request may have to wait.
    pub(super) async fn begin_to_flush(&mut self) {
        if !self.client.socket.output.is_empty() {
            // An error is met again, and told, by the next wait.
            poll_fn(|cx| {
                let _ = self.poll_flush_shown(cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    /// The client reads fast enough for the server to be read.
    pub(super) fn takes_from_server(&self) -> bool {
        self.exchange.takes_from_server(self.client.socket.output.len())
    }
}
