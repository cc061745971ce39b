//! Step five, the way back: bytes pass.
//!
//! Of a server's messages only the headers are read, and the bodies of the few that say something
//! to us. What is the client's moves in runs; rows are never looked into.

use crate::limits::AHEAD_BYTES_MAX;
use crate::server::prepared::{SERVER_NAME_PREFIX, ServerName};
use crate::session::Session;
use crate::session::client::Client;
use crate::session::exchange::Exchange;
use crate::session::exchange::Reply;
use crate::session::exchange::held::Held;
use crate::session::failure::{Failure, Farewell};
use crate::session::holding::Holding;
use crate::session::ledger::{Fate, News, Ours, OutOfStep};
use crate::session::receive::Request;
use crate::session::reign::Over;
use crate::session::reroute::{Cause, cause_of};
use crate::session::signal;
use crate::session::turn::{Losing, Turn};
use crate::session::wake::{Woke, ended_by_administrator};
use crate::wire::backend::{self, tag};
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::{ErrorFields, Refusal, sqlstate};
use bytes::{Buf, Bytes, BytesMut};
use router_rules::Target;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// How a request ended.
#[derive(Debug)]
pub enum Relayed {
    /// Answered, or under way as far as it can be.
    Done,
    /// The server refused it before the client saw anything of an answer.
    Refused(Cause),
    /// The server is lost, and nothing that was under way there is done.
    Lost(Refusal),
}

/// What becomes of a reply.
enum Verdict {
    /// It is the client's.
    Pass,
    /// It is nobody's.
    Drop,
    /// The client gets these messages instead.
    Replace(Bytes),
    /// The client gets these messages instead, and its session ends.
    Last(Bytes),
    /// It, and what came of the answer before it, is forgotten: the request runs elsewhere.
    Elsewhere(Cause),
}

/// A server's WARNING that it is about to end.
fn is_farewell(body: &[u8]) -> bool {
    [sqlstate::ADMIN_SHUTDOWN, sqlstate::CRASH_SHUTDOWN].contains(&ErrorFields::parse(body).sqlstate.as_str())
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + body.len());
    frame::put(&mut out, kind, |out| out.extend_from_slice(body));
    out.freeze()
}

impl Session {
    /// Carries the request to its end: all that it is owed, or as far as the client has asked.
    pub(super) async fn relay(&mut self, request: &Request) -> Result<Relayed, Failure> {
        let mut left = request.left;
        let mut deadline = self.deadline().map(|at| Box::pin(tokio::time::sleep_until(at)));
        loop {
            left = self.stream_rest(left);
            self.turn.left = left;
            if left == 0 && self.exchange.is_answered() {
                self.exchange.held = Held::No;
                return Ok(Relayed::Done);
            }
            let woke = poll_fn(|cx| {
                if let Some(over) = self.over(cx) {
                    return Poll::Ready(Some(Ok(Woke::Over(over))));
                }
                if let Poll::Ready(woke) = self.poll_woke(cx, AHEAD_BYTES_MAX) {
                    return Poll::Ready(Some(woke));
                }
                if (self.exchange.copy_in || !self.takes_from_server()) && self.client.is_ended(cx) {
                    return Poll::Ready(Some(Err(ended_by_administrator())));
                }
                deadline.as_mut().map_or(Poll::Pending, |over| over.as_mut().poll(cx).map(|()| None))
            });
            let Some(woke) = woke.await else {
                deadline = None;
                self.cancel_running();
                continue;
            };
            let woke = woke?;
            match woke {
                // What comes after another primary was published is not what it seems to be.
                Woke::Server if let Some(over) = self.holding.deposed() => {
                    return Box::pin(self.over_while_asked(over, request, left)).await;
                }
                Woke::Over(over) => return Box::pin(self.over_while_asked(over, request, left)).await,
                Woke::Server => {
                    match self.take_replies() {
                        Err(Failure::ServerSaidGoodbye(farewell)) if farewell.is_shutdown => {
                            return Box::pin(self.ended_while_asked(farewell, request, left)).await;
                        }
                        taken => {
                            if let Some(cause) = taken? {
                                return Ok(Relayed::Refused(cause));
                            }
                        }
                    }
                    self.pass_copy_data()?;
                }
                Woke::Client => self.pass_copy_data()?,
                Woke::Wanted | Woke::Paused => {}
                Woke::ClientGone => return Err(Failure::Client(io::ErrorKind::UnexpectedEof.into())),
                Woke::ServerGone(error) => {
                    if self.may_run_elsewhere(left) {
                        crate::limited!(info, node = self.holding.node_name(), %error, "server lost before it answered");
                        self.turn.runs_again(Losing::Crash);
                        return Ok(Relayed::Refused(Cause::Lost));
                    }
                    return match self.survives() {
                        true => Box::pin(self.over_while_asked(Over::Gone, request, left)).await,
                        false => Err(self.server_failure(error)),
                    };
                }
            }
        }
    }

    /// When the statement must have ended: its own limit, or its transaction's.
    fn deadline(&self) -> Option<tokio::time::Instant> {
        let config = &self.config;
        let began = self.memory.began.unwrap_or(self.turn.started);
        let query = config.limits.query.map(|limit| self.turn.started + self.turn.waited + limit);
        let transaction = config.limits.transaction.map(|limit| began + limit);
        query.into_iter().chain(transaction).min().map(tokio::time::Instant::from_std)
    }

    /// Takes what the server sent: the client's share moves to the client's output.
    /// `Some`: the request may be run again elsewhere, and its answer so far is forgotten.
    pub(super) fn take_replies(&mut self) -> Result<Option<Cause>, Failure> {
        if self.holding.on == Target::Primary {
            self.weir.cluster.told(&self.client.who.database, &self.memory.freshness);
        }
        let Some(lease) = self.holding.lease.as_mut() else { return Ok(None) };
        let mut input = std::mem::take(&mut lease.connection.input);
        let taken = self.take_from(&mut input);
        if let Some(lease) = self.holding.lease.as_mut() {
            lease.connection.input = input;
        }
        let cause = taken?;
        if cause.is_none() {
            self.exchange.held.end_of_read();
        }
        Ok(cause)
    }

    fn take_from(&mut self, input: &mut BytesMut) -> Result<Option<Cause>, Failure> {
        let mut passage = self.exchange.resume(input.len());
        loop {
            let told = match self.exchange.next(input, &mut passage) {
                Ok(Some(told)) => told,
                Ok(None) => break,
                Err(error) => return Err(self.holding.out_of_step(error)),
            };
            let (start, total) = (passage.run(), told.total);
            if told.kind == tag::NOTIFICATION {
                self.name_notifier(&mut input[start + HEADER_BYTES..start + total]);
            }
            let body = &input[start + HEADER_BYTES..start + total];
            if told.kind == tag::ERROR && self.ends_early(body) {
                input.advance(start + total);
                return Ok(Some(Cause::Lost));
            }
            let reply = match self.exchange.settle(told, body) {
                Ok(reply) => reply,
                Err(error) => return Err(self.holding.out_of_step(error)),
            };
            let is_restored = matches!(&reply.news, News::Ready { ours: Some(Ours::Restore), .. });
            let verdict = self.on_reply(told.kind, reply, body);
            let output = &mut self.client.socket.output;
            match verdict {
                Ok(Verdict::Pass) => passage.pass(total),
                Ok(Verdict::Drop) => passage.replace(total, b"", input, output),
                Ok(Verdict::Replace(instead)) => passage.replace(total, &instead, input, output),
                Ok(Verdict::Last(instead)) => {
                    passage.replace(total, &instead, input, output);
                    return Err(ended_by_administrator());
                }
                Ok(Verdict::Elsewhere(cause)) => {
                    input.advance(start + total);
                    return Ok(Some(cause));
                }
                Err(failure) => {
                    // What came before the end is told before it, and so is a server's farewell.
                    if matches!(failure, Failure::ServerSaidGoodbye(_) | Failure::TimedOut) {
                        passage.pass(total);
                    }
                    passage.flush(input, output);
                    return Err(failure);
                }
            }
            if is_restored && self.exchange.ledger.is_empty() {
                self.tell_restored();
            }
            if self.exchange.ledger.has_instead() {
                passage.flush(input, &mut self.client.socket.output);
                self.exchange.ledger.give_instead(&mut self.client.socket.output);
            }
        }
        passage.end(input, &mut self.client.socket.output);
        Ok(None)
    }

    /// Whose a reply is, and what the session learns from it.
    fn on_reply(&mut self, kind: u8, reply: Reply, body: &[u8]) -> Result<Verdict, Failure> {
        let Reply { mut fate, news } = reply;
        if kind == tag::NOTICE && self.is_asked_to_signal(body) {
            // Untrue: the client is no process of that server, and yet it ends.
            return Ok(Verdict::Drop);
        }
        if kind == tag::NOTICE && self.may_listen_again() && is_farewell(body) {
            // The session goes on.
            return Ok(Verdict::Drop);
        }
        if kind == tag::NOTICE
            && fate == Fate::Pass
            && self.holding.on == Target::Primary
            && !self.turn.commits
            && !is_farewell(body)
        {
            // It may tell how far long work has come: as Postgres sends it at once, so do we.
            self.exchange.held.show();
        }
        if self.exchange.looks_at_rows {
            if kind == tag::NOTICE {
                return Ok(Verdict::Drop);
            }
            let row = (kind == tag::DATA_ROW).then(|| framed(kind, &signal::row_of_success(body)));
            return Ok(Verdict::Last(row.unwrap_or_default()));
        }
        if let News::ErrorInstead(told) = news {
            (self.exchange.copy_in, self.memory.failed) = (false, true);
            self.exchange.held.show();
            self.undo_skipped();
            return Ok(Verdict::Replace(told));
        }
        if matches!(news, News::LentFailed) {
            self.answers.lent_failed = Some(body.into());
            self.undo_skipped();
            return Ok(Verdict::Drop);
        }
        let mut renamed: Option<Vec<u8>> = None;
        if kind == tag::PARAMETER_STATUS {
            fate = self.on_parameter(body);
        } else if kind == tag::ERROR && fate == Fate::Pass {
            if let Some(cause) = self.on_error(body)? {
                return Ok(Verdict::Elsewhere(cause));
            }
            let why = self.answers.lent_failed.take();
            renamed = self.turn.in_clients_names(why.as_deref().unwrap_or(body)).or(why.map(Into::into));
        }
        if matches!(kind, tag::ERROR | tag::COMMAND_COMPLETE)
            && fate == Fate::Pass
            && let Some(error) = self.answers.failed_ahead.take()
        {
            // The client's transaction failed by what we had asked: a statement finds that it has, and a COMMIT
            // that it was rolled back.
            renamed = Some(error.into());
        }
        let command = if kind == tag::COMMAND_COMPLETE { backend::command_tag(body) } else { None };
        self.remember(news, command.unwrap_or_default(), body)?;
        if kind == tag::READY_FOR_QUERY && fate == Fate::Pass && self.restore_settings() {
            fate = Fate::Swallow;
        }
        Ok(match (fate, renamed) {
            (Fate::Pass, Some(error)) => Verdict::Replace(framed(tag::ERROR, &error)),
            (Fate::Pass, None) => Verdict::Pass,
            (Fate::Swallow, _) => Verdict::Drop,
        })
    }

    /// An error for the client. `Some`: not for the client after all. [`Failure::ServerSaidGoodbye`]: it is
    /// the server's farewell, for the client to read.
    fn on_error(&mut self, body: &[u8]) -> Result<Option<Cause>, Failure> {
        let fields = ErrorFields::parse(body);
        self.exchange.copy_in = false;
        (self.memory.failed, self.exchange.batch_failed) = (true, true);
        self.undo_skipped();
        let mut cause = cause_of(&fields);
        if self.exchange.held.is_of_block() && cause != Some(Cause::Lost) && !self.memory.state.may_move() {
            cause = None;
        }
        if cause == Some(Cause::StalePlan) && self.relies_on_old_shape() {
            cause = None;
        }
        if fields.is_stale_plan() {
            self.doom_bound(cause == Some(Cause::StalePlan));
        }
        let retry_here = match cause {
            Some(Cause::StalePlan) => !self.turn.commits,
            Some(Cause::Lost) => !self.memory.is_bound_to_server() && self.ended_before(&fields),
            _ => self.holding.on == Target::Replica,
        };
        if let (Some(cause), true, true) = (cause, self.exchange.held.is_held(), retry_here) {
            self.memory.failed = false;
            if cause == Cause::Lost {
                self.turn.runs_again(Losing::Farewell);
            }
            return Ok(Some(cause));
        }
        self.exchange.held.show();
        // Who ends a client cancels what it runs: the client is to hear of its end, not of the means.
        if fields.sqlstate == sqlstate::QUERY_CANCELED && self.client.card.killed_now.load(Ordering::Relaxed)
        {
            return Err(ended_by_administrator());
        }
        if fields.is_fatal() {
            let own = [sqlstate::IDLE_SESSION_TIMEOUT, sqlstate::IDLE_IN_TRANSACTION_TIMEOUT];
            let timed_out = own.contains(&fields.sqlstate.as_str());
            let farewell = Farewell {
                bytes: HEADER_BYTES + body.len(),
                is_shutdown: cause_of(&fields) == Some(Cause::Lost),
            };
            return Err(if timed_out { Failure::TimedOut } else { Failure::ServerSaidGoodbye(farewell) });
        }
        Ok(None)
    }

    /// The statement has taken too long: the server is asked to stop it, and says so to the client.
    fn cancel_running(&self) {
        if let Some(target) = self.client.card.start_cancel() {
            crate::cancel::send_cancel(self.weir.clone(), target);
        }
    }

    pub(super) fn server_failure(&mut self, error: io::Error) -> Failure {
        let node = self.holding.node_name().to_owned();
        if let Some(lease) = self.holding.lease.as_ref() {
            self.weir.cluster.suspect(&lease.node);
        }
        self.memory_of_writes_in_doubt();
        // The client may still wait for the rest of a message: nothing can be said there.
        self.lose_lease();
        self.exchange.lose_server_within_message();
        Failure::Server { node, error }
    }
}

impl Holding {
    fn out_of_step(&self, error: OutOfStep) -> Failure {
        Failure::OutOfStep { node: self.node_name().to_owned(), error }
    }
}

impl Client {
    /// It is told to end at once, and is woken when it is. A server that works hears that by a cancel
    /// request; one that waits for COPY data, or for a client to read, does not.
    fn is_ended(&self, cx: &Context<'_>) -> bool {
        self.card.bell.listen(cx);
        self.card.killed_now.load(Ordering::Relaxed)
    }
}

impl Exchange {
    pub(super) fn on_news(&mut self, news: &News) {
        if let News::CopyIn { by_execute } = news {
            self.copy_in = true;
            // The Sync that came with it owes nothing any more: the client sends another.
            self.set_open(self.is_open() || *by_execute);
        }
    }
}

impl Turn {
    /// An error that speaks of a statement by the name it has on servers, in the client's words.
    fn in_clients_names(&self, body: &[u8]) -> Option<Vec<u8>> {
        memchr::memmem::find(body, SERVER_NAME_PREFIX.as_bytes())?;
        let mut text = body.to_vec();
        for (key, name) in &self.bound {
            let on_server = ServerName::of(*key);
            if let Some(at) = memchr::memmem::find(&text, on_server.as_bytes()) {
                text.splice(at..at + on_server.as_bytes().len(), name.iter().copied());
            }
        }
        Some(text)
    }
}
