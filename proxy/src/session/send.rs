//! Step five, the way there: a request becomes messages to a server, each owed an answer.

use crate::session::Session;
use crate::session::classify::Work;
use crate::session::lease::asks_sequences;
use crate::session::ledger::{Described, Ours, Owed, Undo};
use crate::session::memory::Block;
use crate::session::prepared::{Prepared, ServerName};
use crate::session::receive::{self, End, Kind, Request, frames};
use crate::session::settings::set_config;
use crate::wire::backend::{self, Status};
use crate::wire::frame::{FrameError, HEADER_BYTES};
use crate::wire::frontend::{self, tag};
use bytes::{Bytes, BytesMut};
use router_rules::statement::Kind as StatementKind;
use router_rules::{Classified, Decision, PinReason, Reason, SessionEffect, Target};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Session {
    /// Puts the request into the server's output. Nothing is awaited.
    pub(super) fn send(&mut self, request: &Request, work: &Work, decision: &Decision) {
        self.count(work, decision);
        self.bound.clear();
        self.describes = false;
        self.close_doomed();
        let begun = self.send_begin();
        self.send_placeholder(work);
        for part in &work.parts {
            self.memory.on_sent(part);
        }
        if self.memory.pins.contains(&PinReason::ServerProcess)
            && pins_process(work)
            && let Some(lease) = &self.lease
        {
            self.memory.process_asked = Some((lease.cancel.process, Instant::now()));
        }
        self.notifies |= work.parts.iter().any(|part| notifies(part));
        if self.notifies
            && let Some(lease) = &self.lease
        {
            let server = lease.cancel.process;
            self.weir.registry.note_notifier(server, self.knows_itself_as(server));
        }
        if asks_sequences(work)
            && let Some(lease) = &self.lease
        {
            lease.set_asks_sequences();
        }
        if work.parts.is_empty() && work.verdict.is_err() {
            self.memory.written = router_rules::statement::Footprint::Everything;
            self.memory.seen = router_rules::statement::Footprint::Everything;
            if request.left > 0 && request.kind == Kind::Query {
                self.memory.pin(router_rules::PinReason::Unfollowable);
            }
        }
        self.show_own_statements(work);
        self.hold_back(request, begun || ends_transaction(work) || self.memory.may_move());
        match request.kind {
            Kind::Query => {
                let mut sent = false;
                for part in &work.parts {
                    sent |= self.send_named_for_sql(part);
                }
                if sent {
                    self.sync_ours();
                }
                if !self.ledger.is_skipping() {
                    self.forget_unnamed();
                }
                let of = work.parts.first().filter(|p| !p.plain).cloned();
                self.put(&request.frames);
                self.ledger.push(Owed::Query { of, next: 0 });
                // Behind an error a server skips it, as everything up to the Sync.
                self.unsynced = self.ledger.is_skipping();
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

    pub(super) fn out(&mut self) -> Option<&mut BytesMut> {
        self.lease.as_mut().map(|lease| &mut lease.connection.output)
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(out) = self.out() {
            out.extend_from_slice(bytes);
        }
    }

    /// Until the first row the answer may still come from elsewhere: outside a transaction, on a
    /// replica, or where a stale plan can be replaced; and only what has come whole can be sent again.
    ///
    /// `movable`: the request begins or ends a block, or the block takes a snapshot per statement. If
    /// the replica is lost, such a block, which only reads, can begin again elsewhere.
    fn hold_back(&mut self, request: &Request, movable: bool) {
        self.held_in_block = movable
            && self.on == Target::Replica
            && self.memory.status != Status::Failed
            && matches!(&self.memory.block, Block::Open { begin, .. } if !begin.is_empty());
        let may_run_again = request.left == 0
            && (self.held_in_block || matches!(self.memory.block, Block::None))
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

    /// The client's BEGIN that was answered by us goes first. True when there was one.
    pub(super) fn send_begin(&mut self) -> bool {
        let Block::Deferred { begin, modes } = &self.memory.block else { return false };
        let (begin, modes) = (begin.clone(), *modes);
        self.put(&begin);
        self.forget_server_unnamed();
        self.ledger.push(Owed::Ours(Ours::Begin));
        self.memory.block = Block::Open { on: self.on, modes, begin };
        self.memory.settings.on_commit();
        if let Some(lease) = self.lease.as_mut() {
            lease.settings.on_commit();
        }
        true
    }

    /// `SHOW pgweir.…` is an ordinary SHOW of a placeholder that holds the answer.
    fn send_placeholder(&mut self, work: &Work) {
        let Some(name) = &work.shows else { return };
        if self.memory.status == Status::Failed || self.unsynced {
            return;
        }
        let wishes = &self.memory.wishes;
        let policy = self.config.policy.clone();
        let value = match name.as_str() {
            "pgweir.last_route" => self.memory.last_route.as_ref().map_or(String::new(), ToString::to_string),
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
    ///
    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY>
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

    /// SQL's PREPARE, EXECUTE and DEALLOCATE may name a statement prepared by the protocol, which servers
    /// know by a name of ours: give it the client's name there first, for as long as the request takes. True
    /// when something was sent.
    fn send_named_for_sql(&mut self, of: &Classified) -> bool {
        let mut sent = false;
        if of.plain || self.memory.status == Status::Failed {
            return sent;
        }
        for effect in of.statements.iter().flat_map(|s| &s.effects) {
            let (SessionEffect::Prepare(name)
            | SessionEffect::Execute(name)
            | SessionEffect::Deallocate(name)) = effect
            else {
                continue;
            };
            let Some(prepared) = self.memory.statements.get(name.as_bytes()).cloned() else { continue };
            if self.memory.sql_names.contains(name.as_bytes()) {
                continue;
            }
            if matches!(effect, SessionEffect::Prepare(_)) {
                self.take_name(name.as_bytes());
                sent = true;
                continue;
            }
            self.lend_name(name.as_bytes(), &prepared.sql, &prepared.types);
            if !prepared.classified.plain {
                // Nobody looks at what EXECUTE runs.
                self.memory.pin(router_rules::PinReason::Unfollowable);
            }
            sent = true;
        }
        sent
    }

    /// The client's own name for a statement is good on the server, too, for as long as the request takes.
    fn lend_name(&mut self, name: &[u8], sql: &[u8], types: &[u8]) {
        let name = Bytes::copy_from_slice(name);
        let Some(lease) = self.lease.as_mut() else { return };
        let out = &mut lease.connection.output;
        // In case it is there already for another part of the batch.
        frontend::put_named(out, tag::CLOSE, b'S', &name);
        frontend::put_parse(out, &name, sql, types);
        lease.statements.lend_name(name.clone());
        self.ledger.push(Owed::Close { ours: true, undo: Undo::default() });
        self.ledger.push(Owed::Parse { ours: true, undo: Undo { taken: Some(name), ..Undo::default() } });
    }

    /// The server refuses in its own words to give a name that is taken.
    fn take_name(&mut self, name: &[u8]) {
        self.lend_name(name, b"", &[0, 0]);
    }

    fn sync_ours(&mut self) {
        if let Some(out) = self.out() {
            frontend::put_empty(out, tag::SYNC);
            self.ledger.push(Owed::Sync { ours: true });
        }
    }

    /// `pg_prepared_statements` shows a client its own statements, by its own names: what is shared
    /// leaves the server, what the client has prepared comes there for as long as the request takes.
    fn show_own_statements(&mut self, work: &Work) {
        // The function's name begins the view's.
        if !work.asks_server(b"pg_prepared_statement") || self.memory.status == Status::Failed {
            return;
        }
        let Some(lease) = self.lease.as_mut() else { return };
        for key in lease.statements.keys().collect::<Vec<_>>() {
            lease.statements.doom(key);
        }
        let mut own: Vec<_> =
            self.memory.statements.iter().filter(|(name, _)| !name.is_empty()).collect::<Vec<_>>();
        own.sort_by_key(|(_, prepared)| prepared.number);
        let own: Vec<_> = own.into_iter().map(|(name, prepared)| (name.clone(), prepared.clone())).collect();
        let doomed = lease.statements.take_doomed(!self.unsynced);
        let nothing = doomed.is_empty() && own.is_empty();
        self.close_named(doomed);
        for (name, prepared) in own {
            self.lend_name(&name, &prepared.sql, &prepared.types);
        }
        if !self.unsynced && !nothing {
            self.sync_ours();
        }
    }

    fn close_named(&mut self, names: Vec<Bytes>) {
        for name in names {
            if let Some(out) = self.out() {
                frontend::put_named(out, tag::CLOSE, b'S', &name);
                self.ledger.push(close_ours(name));
            }
        }
    }

    /// What is of no use on the server any more goes.
    pub(super) fn close_doomed(&mut self) {
        let Some(lease) = self.lease.as_mut() else { return };
        let doomed = lease.statements.take_doomed(!self.unsynced);
        if doomed.is_empty() {
            return;
        }
        self.close_named(doomed);
        if !self.unsynced {
            self.sync_ours();
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
                    if let (Some(parse), Some(prepared)) = (frontend::parse(body), parsed.next()) {
                        self.send_parse(whole, request.frames.slice_ref(parse.name), prepared);
                    }
                }
                tag::BIND => self.send_bind(request, whole, body, if partial { request.left } else { 0 }),
                tag::DESCRIBE => self.send_describe(request, whole, body),
                tag::EXECUTE => {
                    let portal = frontend::execute(body).unwrap_or_default();
                    let of = self.portals.iter().rev().find(|(name, _)| name == portal);
                    let of = of.map(|(_, of)| of).filter(|of| !of.plain).cloned();
                    self.put(whole);
                    self.ledger.push(Owed::Execute(of));
                }
                tag::CLOSE => self.send_close(whole, body),
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
        self.send_named_for_sql(&prepared.classified);
        let schema = self.schema();
        let Some(lease) = self.lease.as_mut() else { return };
        if name.is_empty() {
            lease.statements.set_unnamed(prepared.key);
            lease.connection.output.extend_from_slice(whole);
            let before = self.rename(&name, Some(prepared));
            let undo = Undo { client: Some((name, before)), unnamed: Some(prepared.key), ..Undo::default() };
            return self.ledger.push(Owed::Parse { ours: false, undo });
        }
        let given_by_sql = self.memory.sql_names.contains(name.as_ref());
        if given_by_sql || self.memory.statements.contains_key(&name) {
            // The server refuses it, in its own words.
            if !given_by_sql {
                self.take_name(&name);
            }
            self.put(whole);
            return self.ledger.push(Owed::Parse { ours: false, undo: Undo::default() });
        }
        // In a failed transaction the server refuses most texts, and is asked.
        let fresh =
            self.memory.status != Status::Failed && lease.statements.touch_fresh(prepared.key, schema);
        let stale = !fresh && lease.statements.holds(prepared.key);
        let before = self.rename(&name, Some(prepared));
        let client = Some((name, before));
        if fresh {
            // Another session has prepared the same on this server.
            let reply = Bytes::from_static(&backend::PARSE_COMPLETE);
            return self.ledger.push(Owed::Instead { reply, undo: Undo { client, ..Undo::default() } });
        }
        if stale {
            self.close_shared(prepared.key);
        }
        self.make_room_for(prepared.key);
        let Some(out) = self.out() else { return };
        frontend::put_parse(out, ServerName::of(prepared.key).as_bytes(), &prepared.sql, &prepared.types);
        let undo = Undo { client, server: Some(prepared.key), ..Undo::default() };
        self.ledger.push(Owed::Parse { ours: false, undo });
    }

    /// A name of the client's means another statement now, or none. What it meant before.
    fn rename(&mut self, name: &Bytes, to: Option<&Arc<Prepared>>) -> Option<Arc<Prepared>> {
        let before = match to {
            Some(prepared) => self.memory.statements.insert(Bytes::copy_from_slice(name), prepared.clone()),
            None => self.memory.statements.remove(name),
        };
        self.renamed.push((name.clone(), before.clone()));
        before
    }

    /// The request is going to be sent again: names mean what they meant before it.
    pub(super) fn take_back_names(&mut self) {
        for (name, before) in std::mem::take(&mut self.renamed).into_iter().rev() {
            match before {
                Some(before) => drop(self.memory.statements.insert(name, before)),
                None => drop(self.memory.statements.remove(&name)),
            }
        }
    }

    /// The state of the schema, as far as it is known: grows with every change.
    fn schema(&self) -> u64 {
        let catalog = self.memory.scope.catalog.as_ref().map_or(0, |catalog| catalog.generation);
        self.weir.schema_changes.load(Ordering::Relaxed) << 32 ^ catalog
    }

    /// A shared statement leaves the server at once.
    pub(super) fn close_shared(&mut self, key: u64) {
        let Some(lease) = self.lease.as_mut() else { return };
        lease.statements.remove(key);
        self.close_named(vec![ServerName::of(key).into()]);
    }

    /// The server knows the statement by our name, or as its unnamed one, as of now.
    pub(super) fn parse_ours(&mut self, prepared: &Prepared, named: bool) {
        let name = if named { ServerName::of(prepared.key) } else { ServerName::UNNAMED };
        if named {
            self.make_room_for(prepared.key);
        }
        let Some(lease) = self.lease.as_mut() else { return };
        if !named {
            lease.statements.set_unnamed(prepared.key);
        }
        frontend::put_parse(&mut lease.connection.output, name.as_bytes(), &prepared.sql, &prepared.types);
        let key = Some(prepared.key);
        let undo = if named {
            Undo { server: key, ..Undo::default() }
        } else {
            Undo { unnamed: key, ..Undo::default() }
        };
        self.ledger.push(Owed::Parse { ours: true, undo });
    }

    fn make_room_for(&mut self, key: u64) {
        let max = self.config.pool.server_statements_max;
        let schema = self.schema();
        let Some(lease) = self.lease.as_mut() else { return };
        if let Some(evicted) = lease.statements.insert(key, schema, max) {
            self.close_named(vec![ServerName::of(evicted).into()]);
        }
    }

    /// The server is given the statement if it lacks it. Returns the name it knows it by.
    fn bring_statement(&mut self, name: Bytes) -> Option<(ServerName, Arc<Prepared>)> {
        let Some(prepared) = self.memory.statements.get(&name).cloned() else {
            if name.is_empty() {
                // What the server has by no name is another client's, or ended long ago.
                self.forget_server_unnamed();
                self.close_named(vec![name]);
            }
            return None;
        };
        let lease = self.lease.as_mut()?;
        let named = !name.is_empty();
        let key = prepared.key;
        let is_there =
            if named { lease.statements.touch(key) } else { lease.statements.unnamed == Some(key) };
        if !is_there {
            self.parse_ours(&prepared, named);
        }
        self.bound.push((key, name));
        Some((if named { ServerName::of(key) } else { ServerName::UNNAMED }, prepared))
    }

    fn send_bind(&mut self, request: &Request, whole: &[u8], body: &[u8], left: usize) {
        let Some(bind) = frontend::bind(body) else { return };
        let names_others =
            self.memory.statements.get(bind.statement).filter(|p| !p.classified.plain).cloned();
        if let Some(prepared) = names_others {
            self.send_named_for_sql(&prepared.classified);
        }
        let found = self.bring_statement(request.frames.slice_ref(bind.statement));
        let portal = request.frames.slice_ref(bind.portal);
        if let Some((_, prepared)) = &found {
            let of = match sets_to_parameter(&prepared.classified) {
                true => self.with_values(prepared, if left == 0 { bind.rest } else { &[] }),
                false => prepared.classified.clone(),
            };
            self.portals.retain(|(name, _)| *name != portal);
            self.portals.push((portal, of));
        }
        let Some(out) = self.lease.as_mut().map(|l| &mut l.connection.output) else { return };
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
        self.ledger.push(Owed::Bind);
    }

    /// What the statement does now that its parameters are known. Where one cannot be told for certain,
    /// the session keeps its server.
    fn with_values(&mut self, prepared: &Prepared, rest: &[u8]) -> Arc<Classified> {
        let values = frontend::bind_texts(rest, &prepared.types).unwrap_or_default();
        // Bytes that mean other characters in another encoding are not carried to another server.
        let utf8 = self.memory.told.get("client_encoding") == Some("UTF8");
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
                    self.memory.pin(PinReason::Unfollowable);
                    SessionEffect::Pin(PinReason::Unfollowable)
                }
            };
        }
        Arc::new(classified)
    }

    fn send_describe(&mut self, request: &Request, whole: &[u8], body: &[u8]) {
        let Some(named) = frontend::named(body) else { return };
        self.describes = true;
        let of = if named.kind == b'S' { self.memory.statements.get(named.name).cloned() } else { None };
        let of = of.map(|prepared| Described { prepared, named: !named.name.is_empty() });
        let found = if named.kind == b'S' {
            self.bring_statement(request.frames.slice_ref(named.name))
        } else {
            None
        };
        let Some(out) = self.out() else { return };
        match found {
            Some((name, _)) => frontend::put_named(out, tag::DESCRIBE, b'S', name.as_bytes()),
            None => out.extend_from_slice(whole),
        }
        self.ledger.push(Owed::Describe { of, ours: false });
    }

    fn send_close(&mut self, whole: &[u8], body: &[u8]) {
        let Some(named) = frontend::named(body) else { return };
        if named.kind == b'S' && self.memory.statements.contains_key(named.name) {
            // The statement stays on the server for whoever prepares the same text.
            let name = Bytes::copy_from_slice(named.name);
            let before = self.rename(&name, None);
            let undo = Undo { client: Some((name, before)), ..Undo::default() };
            let reply = Bytes::from_static(&backend::CLOSE_COMPLETE);
            return self.ledger.push(Owed::Instead { reply, undo });
        }
        let mut undo = Undo::default();
        if named.kind == b'S' {
            undo.sql_name = self.memory.sql_names.take(named.name);
            if named.name.is_empty() {
                self.forget_server_unnamed();
            }
        }
        self.put(whole);
        self.ledger.push(Owed::Close { ours: false, undo });
    }

    /// What skipped messages would have changed is taken back.
    pub(super) fn undo_skipped(&mut self) {
        for undo in self.ledger.take_undone() {
            if let (Some(key), Some(lease)) = (undo.server, self.lease.as_mut()) {
                lease.statements.remove(key);
            }
            if let (Some(key), Some(lease)) = (undo.unnamed, self.lease.as_mut()) {
                lease.statements.remove_unnamed(key);
            }
            if let (Some(name), Some(lease)) = (undo.kept, self.lease.as_mut()) {
                lease.statements.doom_name(name);
            }
            if let (Some(name), Some(lease)) = (undo.taken, self.lease.as_mut()) {
                lease.statements.unlend_name(&name);
            }
            self.memory.sql_names.extend(undo.sql_name);
            match undo.client {
                Some((name, Some(before))) => drop(self.memory.statements.insert(name, before)),
                Some((name, None)) => drop(self.memory.statements.remove(&name)),
                None => {}
            }
        }
    }

    /// How long a frame is, for a stream of COPY data.
    pub(super) fn copy_frame(&self) -> Result<Option<(u8, usize)>, FrameError> {
        receive::header(&self.client.input)
    }
}

/// A lone COMMIT or ROLLBACK.
fn ends_transaction(work: &Work) -> bool {
    use router_rules::TransactionStep::{Commit, Rollback};
    work.single().is_some_and(|s| matches!(s.transaction, Some(Commit { .. } | Rollback { .. })))
}

/// A Close of ours; skipped, it is made up for later.
fn close_ours(name: Bytes) -> Owed {
    Owed::Close { ours: true, undo: Undo { kept: Some(name), ..Undo::default() } }
}

fn sets_to_parameter(classified: &Classified) -> bool {
    let sets = |effect: &SessionEffect| matches!(effect, SessionEffect::SetToParameter { .. });
    classified.statements.iter().any(|statement| statement.effects.iter().any(sets))
}

fn notifies(part: &Classified) -> bool {
    part.verdict == Err(Reason::Notify)
        || part.statements.iter().any(|s| s.kind == StatementKind::Notify && s.effects.is_empty())
}

fn pins_process(work: &Work) -> bool {
    let pin = SessionEffect::Pin(PinReason::ServerProcess);
    work.parts.iter().flat_map(|part| &part.statements).any(|s| s.effects.contains(&pin))
}
