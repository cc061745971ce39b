//! One client's session: receive, classify, decide, lease, relay, remember.
//!
//! The six steps, a file each:
//! [`receive`] (what was asked) → [`classify`] (what would it do) → [`decide`] (where may it run)
//! → [`lease`] (which server runs it) → [`relay`] (carry it there and the answer back, by [`send`],
//! [`statements`] and the [`ledger`]) → [`remember`] (what do we know now).
//!
//! One task owns both sockets. Bad news comes in two types: a [`Refusal`] is answered and the
//! session lives; a [`Failure`] ends it.

mod account;
mod aftermath;
pub mod begin;
mod begun;
mod bring;
pub mod classify;
mod client;
mod copy;
pub mod decide;
mod doubts;
pub(crate) mod exchange;
pub mod failure;
mod farewell;
mod holding;
pub mod lease;
pub mod ledger;
pub(crate) mod left;
mod listening;
mod lost;
pub mod memory;
pub mod misspelt;
mod moves;
pub mod names;
mod outcome;
pub mod place;
mod position;
pub mod receive;
mod refuse;
pub mod reign;
pub mod relay;
pub mod release;
pub mod remember;
pub mod replication;
pub mod reroute;
mod rest;
pub mod restore;
pub mod send;
mod sequences;
pub mod shapes;
mod shown;
pub mod signal;
pub mod stake;
pub mod startup;
pub mod statements;
mod told;
mod turn;
pub mod wake;
mod welcome;
pub mod work;

use crate::clients::registry::Doing;
use crate::config::Config;
use crate::loops::{self, Heard};
use crate::pool::Lease;
use crate::session::client::Client;
pub use crate::session::client::Who;
use crate::session::exchange::Exchange;
use crate::session::failure::Failure;
use crate::session::holding::Holding;
use crate::session::left::Answers;
use crate::session::memory::Memory;
use crate::session::place::Place;
use crate::session::position::POSITION_WAIT;
use crate::session::receive::{Kind, Request, Violation};
use crate::session::relay::Relayed;
use crate::session::turn::Turn;
use crate::session::wake::Woke;
use crate::session::work::Work;
use crate::weir::Weir;
use crate::wire::backend::Status;
use crate::wire::{Refusal, sqlstate};
use router_rules::session::Block;
use router_rules::{PinReason, Reason, Target};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A logged-in client and all that belongs to it.
pub struct Session {
    /// What all sessions share.
    weir: Arc<Weir>,
    /// The configuration that was in force when the last request came.
    config: Arc<Config>,
    /// The client's side.
    client: Client,
    /// The servers' side.
    holding: Holding,
    /// What passes between the two.
    exchange: Exchange,
    /// The request under way.
    turn: Turn,
    /// What is known of the session from what it has done.
    memory: Memory,
    /// What is asked of the server beside the client's requests, and what it has answered.
    answers: Box<Answers>,
}

impl Session {
    /// Pool mode `session`: this server is the client's own.
    pub(crate) fn keep(&mut self, lease: Lease) {
        self.client.card.set_running_on(Some(lease.cancel.clone()));
        self.memory.state.pin(PinReason::SessionMode);
        self.client.card.set_pin(Some(PinReason::SessionMode));
        self.holding.on = Target::Primary;
        lease.node.tell(&self.client.card.bell);
        self.holding.lease = Some(lease);
    }

    /// Serves the client until it leaves or something ends the session.
    ///
    /// # Errors
    /// Why it ended, when it was not the client's farewell. The client has been told what it can be told.
    pub async fn run(&mut self) -> Result<(), Failure> {
        let ended = self.serve().await;
        Box::pin(self.part(&ended)).await;
        ended
    }

    async fn serve(&mut self) -> Result<(), Failure> {
        loop {
            let Some(request) = self.receive().await? else { return Ok(()) };
            if self.skip(&request) {
                Box::pin(self.discard(request.left)).await?;
                continue;
            }
            self.client.card.set_doing(Doing::Active);
            // Ahead of the look at the gate, as whoever closes that looks here.
            self.client.card.rests.store(false, Ordering::SeqCst);
            self.turn.left = request.left;
            if let Err(refusal) = self.answer(&request).await? {
                Box::pin(self.discard(self.turn.left)).await?;
                self.refuse(&request, &refusal);
            }
            self.begin_to_flush().await;
            self.note_rest();
            if self.holding.lease.is_none() && matches!(self.memory.status, Status::Idle) {
                self.client.card.set_doing(Doing::Idle);
                if let Some(number) = self.client.heard.call() {
                    self.go_on_in(number).await;
                }
            }
        }
    }

    /// The event loop is busy, or of no more use: the session goes on in another one.
    async fn go_on_in(&mut self, number: usize) {
        if !self.client.socket.output.is_empty() || self.holding.kept.is_some() {
            return;
        }
        loops::go_on_in(number).await;
        self.client.heard = Heard::all_before();
        if let Err(error) = self.client.socket.move_here() {
            tracing::debug!(%error, "the old event loop goes on to watch this client's socket");
        }
    }

    /// Waits for the next request; passes on meanwhile what a held server says of its own accord.
    /// `None`: the client says farewell.
    async fn receive(&mut self) -> Result<Option<Request>, Failure> {
        let mut paused = false;
        loop {
            self.pass_copy_data()?;
            let next = if self.copy_data_comes() {
                Ok(None)
            } else {
                receive::next_request(&mut self.client.socket.input)
            };
            match next {
                Ok(Some(request)) if request.kind == Kind::Terminate => return Ok(None),
                Ok(Some(request)) => return Ok(Some(request)),
                Ok(None) if let Some(request) = self.begun_batch(paused) => return Ok(Some(request)),
                Ok(None) if std::mem::take(&mut self.holding.lingers) => self.give_back(),
                Ok(None) => {}
                // As Postgres: out of step there is nothing that could be said.
                Err(Violation::Frame(error)) => {
                    return Err(Failure::Client(std::io::Error::new(std::io::ErrorKind::InvalidData, error)));
                }
                Err(violation) => {
                    let refusal = Refusal::new(sqlstate::PROTOCOL_VIOLATION, violation.to_string());
                    return Err(Failure::Fatal(refusal));
                }
            }
            match self.woke_in_time().await? {
                Woke::Client => {}
                Woke::Paused => paused = true,
                Woke::Wanted => Box::pin(self.yield_on_demand()).await?,
                Woke::Over(_) | Woke::ServerGone(_) if self.may_listen_again() => {
                    Box::pin(self.listen_again()).await?;
                }
                Woke::Over(_) => self.leave_deposed()?,
                Woke::ClientGone if self.client.socket.input.is_empty() => return Ok(None),
                Woke::ClientGone => return Err(Failure::Client(std::io::ErrorKind::UnexpectedEof.into())),
                Woke::Server => {
                    let told = self.client.socket.output.len();
                    match self.take_replies() {
                        // A replica's farewell concerns nobody who can go on elsewhere.
                        Err(Failure::ServerSaidGoodbye(farewell))
                            if self.leave_lost_server()
                                || (farewell.is_shutdown && self.outlive_server()) =>
                        {
                            self.client.socket.output.truncate(told);
                            self.memory.failed = false;
                        }
                        Err(Failure::ServerSaidGoodbye(_)) if self.may_listen_again() => {
                            self.client.socket.output.truncate(told);
                            self.memory.failed = false;
                            Box::pin(self.listen_again()).await?;
                        }
                        taken => drop(taken?),
                    }
                }
                Woke::ServerGone(_) if self.leave_lost_server() || self.outlive_server() => {}
                Woke::ServerGone(error) => return Err(self.server_failure(error)),
            }
        }
    }

    /// One request, from classification to memory.
    async fn answer(&mut self, request: &Request) -> Result<Result<(), Refusal>, Failure> {
        self.begin_turn()?;
        let ahead = self.turn.ahead.clone();
        let mut work = match self.classify(request) {
            Ok(work) => work,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if work.lacks_something()
            && let Err(refusal) = Box::pin(self.wait_for_what_it_lacks(request, &ahead, &mut work)).await
        {
            return Ok(Err(refusal));
        }
        if matches!(self.memory.state.block, Block::Lost { .. })
            && let Some(refusal) =
                self.memory.tell_of_lost_block(work.single().and_then(|s| s.transaction.as_ref()))
        {
            return Ok(Err(refusal));
        }
        if !work.is_ordinary()
            && let Some(answered) = self.answer_here(request, &work).await
        {
            return Ok(answered);
        }
        let mut decision = self.decide(request, &work);
        if decision.refuse.is_some() && Box::pin(self.catalog_comes_for_rule()).await {
            // What it works on may be known now.
            self.turn.ahead = ahead;
            work = match self.classify(request) {
                Ok(work) => work,
                Err(refusal) => return Ok(Err(refusal)),
            };
            decision = self.decide(request, &work);
        }
        if let Some(message) = decision.refuse.take() {
            return Ok(Err(Refusal::new(sqlstate::INSUFFICIENT_PRIVILEGE, message)));
        }
        if let Some(ended) = self.go_on_in_batch(request, &mut decision, &work).await? {
            return Ok(ended);
        }
        self.turn.begin(!self.exchange.is_open());
        loop {
            if let Err(refusal) = self.lease(&mut decision, &work).await? {
                return Ok(Err(refusal));
            }
            if self.disagrees(&work)
                && let Some(cause) = Box::pin(self.agree_on_statements(request, &work)).await?
            {
                Box::pin(self.reroute(cause, &mut decision, (request, &work))).await?;
                continue;
            }
            self.note_stake(&work);
            self.send(request, &work, &decision);
            self.holding.end_ahead();
            self.account_for_itself();
            match self.relay(request).await? {
                Relayed::Done => break,
                Relayed::Lost(refusal) => return Ok(Err(refusal)),
                Relayed::Refused(cause) => {
                    Box::pin(self.reroute(cause, &mut decision, (request, &work))).await?
                }
            }
        }
        self.account(&work);
        if !self.answers.signals.is_empty() && self.exchange.is_clean() {
            Box::pin(self.send_signals()).await;
        }
        self.release().await?;
        Ok(Ok(()))
    }

    /// Nothing of the request before it counts any more.
    fn begin_turn(&mut self) -> Result<(), Failure> {
        (self.turn.started, self.turn.ended, self.turn.waited) = (Instant::now(), None, Duration::ZERO);
        self.client.card.set_requested(self.turn.started);
        self.refresh_config();
        if self.memory.losses != self.weir.cluster.losses() {
            self.hear_of_losses()?;
        }
        self.forget_process_in_time(self.turn.started);
        // Between statements there is nothing to cancel.
        self.client.card.cancelled.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The catalog, where that is being read, or a position for `SHOW pgweir.lsn`. `ahead`: as its batch stands.
    async fn wait_for_what_it_lacks(
        &mut self,
        request: &Request,
        ahead: &Option<Box<Place>>,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let doubted = work.is_doubtful();
        if (work.verdict == Err(Reason::NoCatalog) || doubted) && self.catalog_comes(doubted).await {
            self.turn.ahead.clone_from(ahead);
            *work = self.classify(request)?;
        }
        if let Some(shown) = work.shows.as_mut().filter(|shown| &*shown.name == "pgweir.lsn") {
            let token = self.weir.cluster.token(POSITION_WAIT).await;
            shown.position = token.map(|token| token.to_string());
        }
        Ok(())
    }

    /// Waits for the catalog that the statement lacks, where that may come and matters: the statement might go
    /// elsewhere than to the primary, or without a catalog (`doubted`) nobody could say what it leaves behind.
    async fn catalog_comes(&mut self, doubted: bool) -> bool {
        let settled =
            self.memory.state.block.is_there() || self.memory.is_pinned() || !self.config.routing.split;
        let asked = Instant::now();
        if self.memory.state.altered.changes_meanings()
            || (settled && !doubted)
            || self.answers.patience.is_over(asked)
        {
            return false;
        }
        let comes = Box::pin(self.weir.cluster.catalog_comes(&self.client.who.database)).await;
        self.answers.patience.spend(asked.elapsed());
        self.turn.waited += self.turn.started.elapsed();
        comes
    }

    fn refresh_config(&mut self) {
        let in_force = self.weir.config.load();
        if !Arc::ptr_eq(&in_force, &self.config) {
            self.config = Arc::clone(&in_force);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::registry::Card;
    use crate::net::Connection;
    use router_rules::Decision;

    fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// What a client holds while it says nothing: its task, which is as large as the largest state that it
    /// can be in, and its session. What is rare and large is boxed for as long as it lasts.
    #[test]
    fn a_session_and_its_task_are_small() {
        let task = size(|(weir, client, peer)| crate::front::serve(weir, client, peer));
        let sizes = [
            ("Session", size_of::<Session>()),
            ("Memory", size_of::<Memory>()),
            ("Connection", size_of::<Connection>()),
            ("Card", size_of::<Card>()),
            ("Work", size_of::<Work>()),
            ("serve", size(|session: &'static mut Session| session.serve())),
            ("receive", size(|session: &'static mut Session| session.receive())),
            ("answer", size(|(s, r): (&'static mut Session, &'static Request)| s.answer(r))),
            (
                "lease",
                size(|(s, d, w): (&'static mut Session, &'static mut Decision, &'static Work)| s.lease(d, w)),
            ),
            ("relay", size(|(s, r): (&'static mut Session, &'static Request)| s.relay(r))),
            ("release", size(|s: &'static mut Session| s.release())),
            ("task", task),
        ];
        assert!(task + size_of::<Session>() <= 3_650, "{sizes:?}");
    }
}
