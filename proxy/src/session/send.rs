//! Step five, the way there: a request becomes messages to a server, each owed an answer.

use crate::session::Session;
use crate::session::classify::Work;
use crate::session::ledger::{Ours, Owed, Undo};
use crate::session::memory::Block;
use crate::session::prepared::{Prepared, server_name};
use crate::session::receive::{End, Kind, Request, frames};
use crate::session::settings::set_config;
use crate::wire::backend::{self, Status};
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::frontend::{self, tag};
use bytes::{Bytes, BytesMut};
use router_rules::{Classified, Decision, SessionEffect, Target};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Session {
    /// Puts the request into the server's output. Nothing is awaited.
    pub(super) fn send(&mut self, request: &Request, work: &Work, decision: &Decision) {
        self.count(work, decision);
        self.bound.clear();
        self.describes = false;
        self.close_doomed();
        self.send_begin();
        self.send_placeholder(work);
        for part in &work.parts {
            self.memory.on_sent(part);
        }
        if work.parts.is_empty() && work.verdict.is_err() {
            self.memory.written = router_rules::statement::Footprint::Everything;
            self.memory.seen = router_rules::statement::Footprint::Everything;
            if request.left > 0 && request.kind == Kind::Query {
                self.memory.pin(router_rules::PinReason::Unfollowable);
            }
        }
        self.hold_back(request);
        match request.kind {
            Kind::Query => {
                self.send_named_for_sql(work);
                self.forget_unnamed();
                let of = work.parts.first().filter(|p| !p.plain).cloned();
                self.put(&request.frames);
                self.ledger.push(Owed::Query { of, next: 0 });
                self.unsynced = false;
            }
            Kind::FunctionCall => {
                self.put(&request.frames);
                self.ledger.push(Owed::FunctionCall);
            }
            Kind::Batch(end) => self.send_batch(request, work, end),
            Kind::Terminate => {}
        }
        self.ledger.give_instead(&mut self.client.output);
    }

    fn count(&self, work: &Work, decision: &Decision) {
        for _ in 0..work.parts.len().max(1) {
            self.counters.statement(decision.target, decision.reason);
        }
        self.card.statements.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// A batch ended with a refusal of ours: a server that has seen the begin of it is told of its end.
    pub(super) fn sync_unseen(&mut self) {
        if let (true, Some(lease)) = (self.unsynced, self.lease.as_mut()) {
            frontend::put_empty(&mut lease.connection.output, tag::SYNC);
            self.ledger.push(Owed::Sync { ours: true });
        }
        self.unsynced = false;
    }

    fn out(&mut self) -> Option<&mut BytesMut> {
        self.lease.as_mut().map(|lease| &mut lease.connection.output)
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(out) = self.out() {
            out.extend_from_slice(bytes);
        }
    }

    /// Until the first row the answer may still come from elsewhere: outside a transaction, on a
    /// replica, or where a stale plan can be replaced; and only what has come whole can be sent again.
    fn hold_back(&mut self, request: &Request) {
        let may_run_again = request.left == 0
            && matches!(self.memory.block, Block::None)
            && !self.unsynced
            && (self.on == Target::Replica || matches!(request.kind, Kind::Batch(_)))
            && !matches!(request.kind, Kind::Batch(End::More));
        // Of the first part of a long batch no answer need come before its end.
        let resumes = request.left == 0
            && self.unsynced
            && self.on == Target::Replica
            && self.ledger.is_empty()
            && !matches!(request.kind, Kind::Batch(End::More));
        self.held_from = (may_run_again || resumes).then_some(self.client.output.len());
        self.held_result = false;
    }

    /// The client's BEGIN that was answered by us goes first.
    fn send_begin(&mut self) {
        if let Block::Deferred { begin, modes } = &self.memory.block {
            let (begin, modes) = (begin.clone(), *modes);
            self.put(&begin);
            self.forget_server_unnamed();
            self.ledger.push(Owed::Ours(Ours::Begin));
            self.memory.block = Block::Open { on: self.on, modes, begin };
            self.memory.settings.on_commit();
            if let Some(lease) = self.lease.as_mut() {
                lease.settings.on_commit();
            }
        }
    }

    /// `SHOW pgweir.…` is an ordinary SHOW of a placeholder that holds the answer.
    fn send_placeholder(&mut self, work: &Work) {
        let Some(name) = &work.shows else { return };
        if self.memory.status == Status::Failed || self.unsynced {
            return;
        }
        let wishes = &self.memory.wishes;
        let policy = self.weir.config.load().policy.clone();
        let value = match name.as_str() {
            "pgweir.last_route" => self.memory.last_route.clone(),
            "pgweir.lsn" => work.position.clone().unwrap_or_default(),
            "pgweir.consistency" => wishes.consistency.unwrap_or(policy.consistency).as_str().into(),
            "pgweir.max_lag" => wishes
                .max_lag
                .or(policy.max_lag)
                .map_or(String::new(), |d| humantime::format_duration(d).to_string()),
            "pgweir.route" => wishes.route.map_or("auto", Target::as_str).into(),
            "pgweir.trace" => if wishes.trace { "on" } else { "off" }.into(),
            "pgweir.min_lsn" => self.memory.settings.now().value(name).unwrap_or("").into(),
            _ => return,
        };
        let sql = set_config(name, &value);
        if let Some(out) = self.out() {
            frontend::put_query(out, sql.as_bytes());
            self.ledger.push(Owed::Ours(Ours::Placeholder));
            self.forget_server_unnamed();
        }
    }

    /// A Query ends the unnamed statement, the client's and the server's.
    fn forget_unnamed(&mut self) {
        self.memory.statements.remove(&b""[..]);
        self.forget_server_unnamed();
    }

    /// A Query of ours ends the server's unnamed statement; the client's is brought again when it is bound.
    fn forget_server_unnamed(&mut self) {
        if let Some(lease) = self.lease.as_mut() {
            lease.statements.unnamed = None;
        }
    }

    /// SQL's EXECUTE and DEALLOCATE may name a statement prepared by the protocol, which servers
    /// know by a name of ours: give it the client's name there first.
    fn send_named_for_sql(&mut self, work: &Work) {
        let names: Vec<&String> = work
            .parts
            .iter()
            .filter(|p| !p.plain)
            .flat_map(|p| &p.statements)
            .flat_map(|s| &s.effects)
            .filter_map(|e| match e {
                SessionEffect::Execute(name) | SessionEffect::Deallocate(name) => Some(name),
                _ => None,
            })
            .collect();
        for name in names {
            let Some(prepared) = self.memory.statements.get(name.as_bytes()).cloned() else { continue };
            if self.memory.status == Status::Failed {
                continue;
            }
            let Some(out) = self.lease.as_mut().map(|l| &mut l.connection.output) else { return };
            // In case it is there already from an EXECUTE before.
            frontend::put_named(out, tag::CLOSE, b'S', name.as_bytes());
            frontend::put_parse(out, name.as_bytes(), &prepared.sql, &prepared.types);
            frontend::put_empty(out, tag::SYNC);
            self.ledger.push(Owed::Close { ours: true });
            self.ledger.push(Owed::Parse { ours: true, undo: Undo::default() });
            self.ledger.push(Owed::Sync { ours: true });
            self.memory.pin(router_rules::PinReason::SqlPrepare);
        }
    }

    fn close_doomed(&mut self) {
        let Some(lease) = self.lease.as_mut() else { return };
        if lease.status == Status::Failed {
            return;
        }
        let doomed = lease.statements.take_doomed();
        if doomed.is_empty() {
            return;
        }
        for name in doomed {
            frontend::put_named(&mut lease.connection.output, tag::CLOSE, b'S', &name);
            self.ledger.push(Owed::Close { ours: true });
        }
        if !self.unsynced {
            frontend::put_empty(&mut lease.connection.output, tag::SYNC);
            self.ledger.push(Owed::Sync { ours: true });
        }
    }

    fn send_batch(&mut self, request: &Request, work: &Work, end: End) {
        let mut parsed = work.parsed.iter();
        let last_is_partial = request.left > 0;
        let mut at = 0;
        for (kind, body) in frames(&request.frames) {
            let start = at;
            at += HEADER_BYTES + body.len();
            let whole = &request.frames[start..at];
            let partial = last_is_partial && at == request.frames.len();
            match kind {
                tag::PARSE => {
                    if let (Some(parse), Some(prepared)) = (frontend::parse(&body), parsed.next()) {
                        self.send_parse(whole, body.slice_ref(parse.name), prepared);
                    }
                }
                tag::BIND => self.send_bind(whole, &body, if partial { request.left } else { 0 }),
                tag::DESCRIBE => self.send_describe(whole, &body),
                tag::EXECUTE => {
                    let portal = frontend::execute(&body).unwrap_or_default();
                    let of = self.portals.iter().rev().find(|(name, _)| name == portal);
                    let of = of.map(|(_, of)| of).filter(|of| !of.plain).cloned();
                    self.put(whole);
                    self.ledger.push(Owed::Execute(of));
                }
                tag::CLOSE => self.send_close(whole, &body),
                tag::FLUSH => self.put(whole),
                tag::SYNC => {
                    self.put(whole);
                    self.ledger.push(Owed::Sync { ours: false });
                }
                _ => {}
            }
        }
        self.unsynced = end != End::Sync;
        self.undo_skipped();
    }

    fn send_parse(&mut self, whole: &[u8], name: Bytes, prepared: &Arc<Prepared>) {
        let Some(lease) = self.lease.as_mut() else { return };
        if name.is_empty() {
            lease.statements.unnamed = Some(prepared.key);
            lease.connection.output.extend_from_slice(whole);
            let before = self.memory.statements.insert(name.clone(), prepared.clone());
            let undo = Undo { client: Some((name, before)), server: Some(prepared.key) };
            return self.ledger.push(Owed::Parse { ours: false, undo });
        }
        if self.memory.statements.contains_key(&name) {
            // The server must refuse it, in its own words: let the name be taken there.
            frontend::put_parse(&mut lease.connection.output, &name, b"", &[0, 0]);
            lease.connection.output.extend_from_slice(whole);
            lease.statements.doom_name(name);
            self.ledger.push(Owed::Parse { ours: true, undo: Undo::default() });
            return self.ledger.push(Owed::Parse { ours: false, undo: Undo::default() });
        }
        let before = self.memory.statements.insert(name.clone(), prepared.clone());
        let client = Some((name, before));
        if lease.statements.touch(prepared.key) {
            // Another session has prepared the same on this server.
            self.ledger.push(Owed::Instead(Bytes::from_static(&backend::PARSE_COMPLETE)));
            return;
        }
        self.make_room_for(prepared.key);
        let Some(out) = self.out() else { return };
        frontend::put_parse(out, server_name(prepared.key).as_bytes(), &prepared.sql, &prepared.types);
        let undo = Undo { client, server: Some(prepared.key) };
        self.ledger.push(Owed::Parse { ours: false, undo });
    }

    fn make_room_for(&mut self, key: u64) {
        let max = self.weir.config.load().pool.server_statements_max;
        let Some(lease) = self.lease.as_mut() else { return };
        if let Some(evicted) = lease.statements.insert(key, max) {
            frontend::put_named(
                &mut lease.connection.output,
                tag::CLOSE,
                b'S',
                server_name(evicted).as_bytes(),
            );
            self.ledger.push(Owed::Close { ours: true });
        }
    }

    /// The server is given the statement if it lacks it. Returns the name it knows it by.
    fn bring_statement(&mut self, name: &[u8]) -> Option<(String, Arc<Classified>)> {
        let prepared = self.memory.statements.get(name)?.clone();
        let of = prepared.classified.clone();
        let lease = self.lease.as_mut()?;
        self.bound.push((prepared.key, Bytes::copy_from_slice(name)));
        if name.is_empty() {
            if lease.statements.unnamed != Some(prepared.key) {
                lease.statements.unnamed = Some(prepared.key);
                frontend::put_parse(&mut lease.connection.output, b"", &prepared.sql, &prepared.types);
                let undo = Undo { client: None, server: Some(prepared.key) };
                self.ledger.push(Owed::Parse { ours: true, undo });
            }
            return Some((String::new(), of));
        }
        let on_server = server_name(prepared.key);
        if !lease.statements.touch(prepared.key) {
            self.make_room_for(prepared.key);
            let out = self.out()?;
            frontend::put_parse(out, on_server.as_bytes(), &prepared.sql, &prepared.types);
            let undo = Undo { client: None, server: Some(prepared.key) };
            self.ledger.push(Owed::Parse { ours: true, undo });
        }
        Some((on_server, of))
    }

    fn send_bind(&mut self, whole: &[u8], body: &Bytes, left: usize) {
        let Some(bind) = frontend::bind(body) else { return };
        let found = self.bring_statement(bind.statement);
        let portal = body.slice_ref(bind.portal);
        if let Some((_, of)) = &found {
            self.portals.retain(|(name, _)| *name != portal);
            self.portals.push((portal, of.clone()));
        }
        let Some(out) = self.lease.as_mut().map(|l| &mut l.connection.output) else { return };
        match found {
            Some((name, _)) if !name.is_empty() => {
                let start = out.len();
                frontend::put_bind(out, bind.portal, name.as_bytes(), bind.rest);
                // Of a Bind that streams the rest follows: its length says so.
                let length = (out.len() - start - 1 + left) as u32;
                out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
            }
            _ => out.extend_from_slice(whole),
        }
        self.ledger.push(Owed::Bind);
    }

    fn send_describe(&mut self, whole: &[u8], body: &[u8]) {
        let Some(named) = frontend::named(body) else { return };
        self.describes = true;
        if named.kind == b'S'
            && let Some(prepared) = self.memory.statements.get(named.name)
        {
            prepared.described.store(true, Ordering::Relaxed);
        }
        let found = if named.kind == b'S' { self.bring_statement(named.name) } else { None };
        let Some(out) = self.out() else { return };
        match found {
            Some((name, _)) => frontend::put_named(out, tag::DESCRIBE, b'S', name.as_bytes()),
            None => out.extend_from_slice(whole),
        }
        self.ledger.push(Owed::Describe);
    }

    fn send_close(&mut self, whole: &[u8], body: &[u8]) {
        let Some(named) = frontend::named(body) else { return };
        if named.kind == b'S' && self.memory.statements.remove(named.name).is_some() {
            // The statement stays on the server for whoever prepares the same text.
            self.ledger.push(Owed::Instead(Bytes::from_static(&backend::CLOSE_COMPLETE)));
            return;
        }
        self.put(whole);
        self.ledger.push(Owed::Close { ours: false });
    }

    /// What skipped messages would have changed is taken back.
    pub(super) fn undo_skipped(&mut self) {
        for undo in self.ledger.take_undone() {
            if let (Some(key), Some(lease)) = (undo.server, self.lease.as_mut()) {
                lease.statements.remove(key);
            }
            match undo.client {
                Some((name, Some(before))) => drop(self.memory.statements.insert(name, before)),
                Some((name, None)) => drop(self.memory.statements.remove(&name)),
                None => {}
            }
        }
    }

    /// How long a frame is, for a stream of COPY data.
    pub(super) fn copy_frame(&self) -> Option<(u8, usize)> {
        frame::header(&self.client.input, crate::limits::MESSAGE_BYTES_MAX).ok()?
    }
}
