//! Step five, the way there: a request becomes messages to a server, each owed an answer.

use crate::server::prepared::Prepared;
use crate::session::Session;
use crate::session::client::Client;
use crate::session::decide::opens_portal;
use crate::session::exchange::held::Held;
use crate::session::holding::Holding;
use crate::session::ledger::{Described, Ours, Owed};
use crate::session::memory::Memory;
use crate::session::receive::{End, Kind, Request, frames};
use crate::session::sequences::asks_sequences;
use crate::session::signal::Signals;
use crate::session::work::Work;
use crate::wire::backend::Status;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::{self, tag};
use bytes::BytesMut;
use router_rules::session::Block;
use router_rules::session::settings::set_config;
use router_rules::statement::Kind as StatementKind;
use router_rules::transactions::Redo;
use router_rules::{Classified, Decision, PinReason, Reason, SessionEffect, Target};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// Puts the request into the server's output. Nothing is awaited.
    pub(super) fn send(&mut self, request: &Request, work: &Work, decision: &Decision) {
        self.count(work, decision);
        self.memory.before_request();
        self.turn.bound.clear();
        self.turn.describes = false;
        self.turn.names_signals = Signals::of(work);
        self.close_doomed();
        let had_read = self.memory.state.moving.has_read();
        if !self.memory.state.block.is_open()
            && !matches!(self.memory.state.block, Block::Lost { .. } | Block::Aborted)
        {
            self.memory.state.only_reads = true;
        }
        let had_only_read = self.memory.state.only_reads;
        let begun = self.send_begin();
        self.note_planning(work);
        if begun && had_read && sets_modes(work) {
            // Behind a query Postgres takes no other modes: here, too, there was one.
            self.put_ours(b"SELECT 1");
        }
        self.trace_transaction(request, work);
        if work.is_ordinary() {
            self.memory.state.on_sent_reads(work.parts.iter().zip(&work.texts), &work.reads);
            self.pin_for_temporary_schema(work);
        } else {
            self.note_work(request, work);
        }
        if self.memory.state.moving.is_begun() && opens_portal(request) {
            self.memory.state.moving.tie();
        }
        if self.memory.notifies
            && let Some(lease) = &self.holding.lease
        {
            let server = lease.cancel.process;
            self.weir.registry.note_notifier(server, self.knows_itself_as(server));
        }
        if !self.memory.state.written.is_none() {
            let Session { weir, client: Client { who, .. }, memory, .. } = &*self;
            self.memory.writing = Some(
                weir.cluster.writes_begin(&who.database, &memory.state.written, &memory.freshness).into(),
            );
        }
        if !work.is_ordinary() {
            self.show_own_statements(work);
        }
        let begins_with_read = begun && (self.holding.on == Target::Replica || self.memory.state.only_reads);
        let ends = ends_transaction(work) && (self.holding.on == Target::Replica || had_only_read);
        self.hold_back(request, begins_with_read || ends || self.memory.state.may_begin_again());
        self.turn.resendable = request.left == 0
            && self.turn.begins_batch
            && (begun || !self.memory.state.block.is_there())
            && !matches!(request.kind, Kind::Batch(end) if end.goes_on());
        match request.kind {
            Kind::Query => {
                let mut sent = false;
                for part in &work.parts {
                    sent |= self.send_named_for_sql(part);
                }
                if sent {
                    self.sync_ours();
                }
                if !self.exchange.ledger.is_skipping() {
                    self.forget_unnamed();
                }
                let of = work.parts.first().filter(|p| !p.plain).cloned();
                self.put(&request.frames);
                self.exchange.ledger.push(Owed::Query { of, next: 0 });
                // Behind an error a server skips it, as everything up to the Sync.
                self.exchange.set_open(self.exchange.ledger.is_skipping());
            }
            Kind::FunctionCall => {
                self.put(&request.frames);
                self.exchange.ledger.push(Owed::FunctionCall);
            }
            Kind::Batch(end) => self.send_batch(request, work, end),
            Kind::Terminate => {}
        }
        self.exchange.ledger.give_instead(&mut self.client.socket.output);
    }

    /// What work that is more than [ordinary](Work::is_ordinary) does to the session as it is sent.
    fn note_work(&mut self, request: &Request, work: &Work) {
        self.send_placeholder(work);
        self.memory.forget_strangers();
        self.memory.state.on_sent_together(work.parts.iter().map(|part| &**part));
        for (part, sql) in work.parts.iter().zip(&work.texts) {
            self.memory.state.on_sent(part, sql);
            if let Some(lease) = self.holding.lease.as_mut() {
                lease.placeholders.add_of(part);
            }
        }
        self.pin_for_temporary_schema(work);
        self.memory.note_doubts(work);
        if self.memory.state.pins.has(PinReason::ServerProcess)
            && pins_process(work)
            && let Some(lease) = &self.holding.lease
        {
            self.memory.process_asked = Some((lease.cancel.process, Instant::now()));
        }
        self.memory.notifies |= work.parts.iter().any(|part| notifies(part));
        if asks_sequences(work)
            && let Some(lease) = &self.holding.lease
        {
            lease.set_asks_sequences();
        }
        if work.parts.is_empty() && work.verdict.is_err() {
            self.memory.state.written = router_rules::statement::Footprint::Everything;
            self.memory.state.seen = router_rules::statement::Footprint::Everything;
            if request.left > 0 && request.kind == Kind::Query {
                self.memory.state.pin(router_rules::PinReason::Unfollowable);
            }
        }
    }

    /// A batch ended with a refusal of ours: a server that has seen the begin of it is told of its end.
    pub(super) fn sync_unseen(&mut self) {
        if let (true, Some(lease)) = (self.exchange.is_open(), self.holding.lease.as_mut()) {
            frontend::put_empty(&mut lease.connection.output, tag::SYNC);
            self.exchange.ledger.push(Owed::Sync { ours: true });
        }
        self.exchange.set_open(false);
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Some(out) = self.holding.out() {
            out.extend_from_slice(bytes);
        }
    }

    /// Until the first row the answer may still come from elsewhere: outside a transaction, of a read or of
    /// a single statement, or where a stale plan can be replaced; and only what has come whole can be sent
    /// again.
    ///
    /// `movable`: the request begins or ends a block, or the block takes a snapshot per statement. If
    /// the server is lost, such a block, which only reads, can begin again elsewhere.
    fn hold_back(&mut self, request: &Request, movable: bool) {
        let in_block = movable && self.memory.status != Status::Failed && self.memory.state.block.has_begin();
        let may_run_again = request.left == 0
            && (in_block || !self.memory.state.block.is_there())
            && !self.exchange.is_open()
            && (self.holding.on == Target::Replica
                || in_block
                || self.turn.stake.is_alone()
                || matches!(request.kind, Kind::Batch(_)))
            && !matches!(request.kind, Kind::Batch(end) if end.goes_on());
        // Of the first part of a long batch no answer need come before its end.
        let resumes = request.left == 0
            && self.exchange.is_open()
            // On the primary, where only we have asked for anything so far.
            && (self.holding.on == Target::Replica || (self.turn.begins_batch && self.turn.stake.is_alone()))
            // Behind an error the rest is skipped, which another server would not know.
            && self.exchange.ledger.is_settled()
            && !matches!(request.kind, Kind::Batch(end) if end.goes_on());
        let from = self.client.socket.output.len();
        self.exchange.held = match may_run_again || resumes {
            // Its outcome may come from another server.
            _ if self.turn.commits => Held::Request { from },
            true if in_block => Held::Block { from },
            true => Held::Request { from },
            false => Held::No,
        };
    }

    /// The client's BEGIN that was answered by us goes first. True when there was one.
    pub(super) fn send_begin(&mut self) -> bool {
        if matches!(self.memory.state.block, Block::Aborted) {
            return self.send_aborted();
        }
        let Some(begin) = self.memory.state.open_deferred(self.holding.on) else { return false };
        self.holding.forget_server_unnamed();
        self.exchange.ledger.push(Owed::Ours(Ours::Begin));
        if let Some(lease) = self.holding.lease.as_mut() {
            frontend::put_query(&mut lease.connection.output, begin.as_bytes());
            lease.settings.on_commit();
        }
        if self.memory.state.moving.replay().is_empty() {
            self.memory.state.settings.on_commit();
        } else {
            self.send_replay();
        }
        true
    }

    /// The block has moved here: its savepoints and settings are made again, in their order.
    fn send_replay(&mut self) {
        let Some(lease) = self.holding.lease.as_mut() else { return };
        for (sql, redo) in self.memory.state.moving.replay().steps() {
            frontend::put_query(&mut lease.connection.output, sql.as_bytes());
            self.exchange.ledger.push(Owed::Ours(Ours::Settings));
            match redo {
                Redo::Savepoint(name) => lease.settings.on_savepoint(name),
                Redo::Effect(effect) => drop(lease.settings.on_effect(effect)),
            }
        }
    }

    /// The client is in a transaction that failed with another server: what it may do there, and what it
    /// is told, a server that is in one itself knows best.
    fn send_aborted(&mut self) -> bool {
        let Some(lease) = self.holding.lease.as_mut() else { return false };
        for (sql, ours) in [("BEGIN", Ours::Begin), ("ROLLBACK TO SAVEPOINT pgweir_lost", Ours::Abort)] {
            frontend::put_query(&mut lease.connection.output, sql.as_bytes());
            self.exchange.ledger.push(Owed::Ours(ours));
        }
        self.holding.forget_server_unnamed();
        self.memory.state.block = Block::unknown(self.holding.on);
        false
    }

    fn send_batch(&mut self, request: &Request, work: &Work, end: End) {
        let mut parsed = work.parsed.iter();
        let last_is_partial = request.left > 0;
        let mut at = 0;
        let mut messages = frames(&request.frames).peekable();
        while let Some((kind, body)) = messages.next() {
            let start = at;
            at += HEADER_BYTES + body.len();
            let whole = &request.frames[start..at];
            let partial = last_is_partial && at == request.frames.len();
            match kind {
                tag::PARSE if partial => {
                    let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
                    self.send_unread_parse(whole, request.frames.slice_ref(name));
                }
                tag::PARSE => {
                    if let (Some(parse), Some(prepared)) = (frontend::parse(body), parsed.next()) {
                        self.send_parse(
                            whole,
                            request.frames.slice_ref(parse.name),
                            prepared,
                            messages.peek().copied(),
                        );
                    }
                }
                tag::BIND => self.send_bind(request, whole, body, if partial { request.left } else { 0 }),
                tag::DESCRIBE => self.send_describe(request, whole, body),
                tag::EXECUTE => {
                    let portal = frontend::execute(body).unwrap_or_default();
                    let of = self.exchange.portals.iter().rev().find(|(name, _)| name == portal);
                    let of = of.map(|(_, of)| of).filter(|of| !of.plain).cloned();
                    self.put(whole);
                    self.push_execute(of);
                }
                tag::CLOSE => self.send_close(whole, body),
                tag::FLUSH => self.put(whole),
                tag::SYNC => {
                    self.put(whole);
                    self.exchange.ledger.push(Owed::Sync { ours: false });
                }
                _ => {}
            }
        }
        self.exchange.set_open(end != End::Sync);
        self.undo_skipped();
    }

    fn send_bind(&mut self, request: &Request, whole: &[u8], body: &[u8], left: usize) {
        let Some(bind) = frontend::bind(body) else { return };
        let of = self.memory.statements.get(bind.statement).cloned();
        if let Some(prepared) = &of {
            self.send_named_for_sql(&prepared.classified);
        }
        let found = self.bring_statement(request.frames.slice_ref(bind.statement), of);
        let portal = request.frames.slice_ref(bind.portal);
        if let Some((_, prepared)) = &found {
            let of = match !prepared.classified.plain && sets_to_parameter(&prepared.classified) {
                true => self.memory.with_values(prepared, if left == 0 { bind.rest } else { &[] }),
                false => prepared.classified.clone(),
            };
            match self.exchange.portals.iter_mut().find(|(name, _)| *name == portal) {
                Some(known) => *known = (portal, of),
                None => self.exchange.portals.push((portal, of)),
            }
        }
        let Some(out) = self.holding.lease.as_mut().map(|l| &mut l.connection.output) else { return };
        match found {
            Some((name, _)) if !name.as_bytes().is_empty() => {
                let start = out.len();
                frontend::put_bind(out, bind.portal, name.as_bytes(), bind.rest);
                // Of a Bind that streams the rest follows: its length says so.
                let length = (out.len() - start - 1 + left) as u32;
                out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
            }
            _ => out.extend_from_slice(whole),
        }
        self.exchange.ledger.push(Owed::Bind);
    }

    fn send_describe(&mut self, request: &Request, whole: &[u8], body: &[u8]) {
        let Some(named) = frontend::named(body) else { return };
        self.turn.describes = true;
        let of = if named.kind == b'S' { self.memory.statements.get(named.name).cloned() } else { None };
        let found = if named.kind == b'S' {
            self.bring_statement(request.frames.slice_ref(named.name), of.clone())
        } else {
            None
        };
        let of = of.map(|prepared| Described { prepared, named: !named.name.is_empty() });
        let Some(out) = self.holding.out() else { return };
        match found {
            Some((name, _)) => frontend::put_named(out, tag::DESCRIBE, b'S', name.as_bytes()),
            None => out.extend_from_slice(whole),
        }
        self.exchange.ledger.push(Owed::Describe { of, ours: false });
    }
}

impl Holding {
    pub(super) fn out(&mut self) -> Option<&mut BytesMut> {
        self.lease.as_mut().map(|lease| &mut lease.connection.output)
    }
}

impl Memory {
    /// What the statement does now that its parameters are known. Where one cannot be told for certain,
    /// the session keeps its server.
    fn with_values(&mut self, prepared: &Prepared, rest: &[u8]) -> Arc<Classified> {
        let values = frontend::bind_texts(rest, &prepared.types).unwrap_or_default();
        // Bytes that mean other characters in another encoding are not carried to another server.
        let utf8 = self.told.get("client_encoding") == Some("UTF8");
        let mut classified = Classified::clone(&prepared.classified);
        for effect in classified.statements.iter_mut().flat_map(|statement| &mut statement.effects) {
            let SessionEffect::SetToParameter { name, parameter } = effect else { continue };
            let name = std::mem::take(name);
            *effect = match values.get(usize::from(*parameter) - 1) {
                Some(Some(Some(value))) if utf8 || value.is_ascii() => SessionEffect::Set {
                    replay: set_config(&name, value),
                    value: Some((*value).to_owned()),
                    name,
                    local: false,
                },
                Some(Some(None)) => SessionEffect::Reset { name, local: false },
                _ => {
                    self.state.pin(PinReason::Unfollowable);
                    SessionEffect::Pin(PinReason::Unfollowable)
                }
            };
        }
        Arc::new(classified)
    }
}

/// A lone COMMIT or ROLLBACK.
fn ends_transaction(work: &Work) -> bool {
    use router_rules::TransactionStep::{Commit, Rollback};
    work.single().is_some_and(|s| matches!(s.transaction, Some(Commit { .. } | Rollback { .. })))
}

fn sets_to_parameter(classified: &Classified) -> bool {
    let sets = |effect: &SessionEffect| matches!(effect, SessionEffect::SetToParameter { .. });
    classified.statements.iter().any(|statement| statement.effects.iter().any(sets))
}

fn notifies(part: &Classified) -> bool {
    part.verdict == Err(Reason::Notify)
        || part.statements.iter().any(|s| s.kind == StatementKind::Notify && s.effects.is_empty())
}

/// It asks for other modes of the transaction under way.
fn sets_modes(work: &Work) -> bool {
    let sets = |effect: &SessionEffect| match effect {
        SessionEffect::SetTransaction(_) => true,
        SessionEffect::Set { name, .. } => name.starts_with("transaction_"),
        _ => false,
    };
    work.parts.iter().flat_map(|part| &part.statements).any(|s| s.effects.iter().any(sets))
}

fn pins_process(work: &Work) -> bool {
    let pin = SessionEffect::Pin(PinReason::ServerProcess);
    work.parts.iter().flat_map(|part| &part.statements).any(|s| s.effects.contains(&pin))
}
