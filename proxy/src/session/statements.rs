//! Prepared statements on the way to a server: which it has, which it is given, by whose name.

use crate::server::prepared::{Prepared, ServerName, Sharing};
use crate::session::Session;
use crate::session::holding::Holding;
use crate::session::ledger::{Described, Owed, Undo};
use crate::session::memory::Memory;
use crate::session::names::{self, Before};
use crate::session::work::Work;
use crate::wire::backend::{self, Status};
use crate::wire::frontend::{self, tag};
use bytes::Bytes;
use router_rules::{Classified, PinReason, SessionEffect};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Session {
    /// A Query ends the unnamed statement, the client's and the server's.
    ///
    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY>
    pub(super) fn forget_unnamed(&mut self) {
        self.memory.statements.remove(&b""[..]);
        self.memory.sql_names.remove(&b""[..]);
        self.holding.forget_server_unnamed();
    }

    /// SQL's PREPARE, EXECUTE and DEALLOCATE may name a statement prepared by the protocol, which servers
    /// know by a name of ours: give it the client's name there first, for as long as the request takes. True
    /// when something was sent.
    pub(super) fn send_named_for_sql(&mut self, of: &Classified) -> bool {
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
            // What only takes or gives the name asks nothing of the text, which may be out of date.
            let is_run = |e: &SessionEffect| matches!(e, SessionEffect::Execute(run) if run == name);
            let only_name = match effect {
                SessionEffect::Prepare(_) => true,
                SessionEffect::Deallocate(_) => !of.statements.iter().flat_map(|s| &s.effects).any(is_run),
                _ => false,
            };
            if only_name {
                self.take_name(name.as_bytes());
                sent = true;
                continue;
            }
            self.lend_name(name.as_bytes(), &prepared.sql, &prepared.types);
            if !prepared.classified.plain {
                // Nobody looks at what EXECUTE runs.
                self.memory.state.pin(PinReason::Unfollowable);
            }
            sent = true;
        }
        sent
    }

    /// The client's own name for a statement is good on the server, too, for as long as the request takes.
    fn lend_name(&mut self, name: &[u8], sql: &[u8], types: &[u8]) {
        let name = Bytes::copy_from_slice(name);
        let Some(lease) = self.holding.lease.as_mut() else { return };
        if lease.statements.is_lent_ahead(&name) {
            return;
        }
        let out = &mut lease.connection.output;
        // In case it is there already for another part of the batch.
        frontend::put_named(out, tag::CLOSE, b'S', &name);
        frontend::put_parse(out, &name, sql, types);
        lease.statements.lend_name(name.clone());
        self.exchange.ledger.push(Owed::Close { ours: true, undo: Box::default() });
        self.exchange
            .ledger
            .push(Owed::Parse { ours: true, undo: Undo { taken: Some(name), ..Undo::default() }.into() });
    }

    /// The server refuses in its own words to give a name that is taken.
    fn take_name(&mut self, name: &[u8]) {
        self.lend_name(name, b"", &[0, 0]);
    }

    pub(super) fn sync_ours(&mut self) {
        if let Some(out) = self.holding.out() {
            frontend::put_empty(out, tag::SYNC);
            self.exchange.ledger.push(Owed::Sync { ours: true });
        }
    }

    /// `pg_prepared_statements` shows a client its own statements, by its own names: what is shared
    /// leaves the server, what the client has prepared comes there for as long as the request takes.
    pub(super) fn show_own_statements(&mut self, work: &Work) {
        // The function's name begins the view's.
        if !work.asks_server(b"pg_prepared_statement") || self.memory.status == Status::Failed {
            return;
        }
        let Some(lease) = self.holding.lease.as_mut() else { return };
        for key in lease.statements.keys().collect::<Vec<_>>() {
            lease.statements.doom(key);
        }
        let own = self.memory.statements.named();
        let doomed = lease.statements.take_doomed(!self.exchange.is_open());
        let nothing = doomed.is_empty() && own.is_empty();
        self.close_named(doomed);
        for (name, prepared) in own {
            self.lend_name(&name, &prepared.sql, &prepared.types);
        }
        if !self.exchange.is_open() && !nothing {
            self.sync_ours();
        }
    }

    fn close_named(&mut self, names: Vec<Bytes>) {
        for name in names {
            if let Some(out) = self.holding.out() {
                frontend::put_named(out, tag::CLOSE, b'S', &name);
                self.exchange.ledger.push(close_ours(name));
            }
        }
    }

    /// What is of no use on the server any more goes.
    pub(super) fn close_doomed(&mut self) {
        let Some(lease) = self.holding.lease.as_mut() else { return };
        let doomed = lease.statements.take_doomed(!self.exchange.is_open());
        if doomed.is_empty() {
            return;
        }
        self.close_named(doomed);
        if !self.exchange.is_open() {
            self.sync_ours();
        }
    }

    /// `next`: the message behind it in its batch.
    pub(super) fn send_parse(
        &mut self,
        whole: &[u8],
        name: Bytes,
        prepared: &Arc<Prepared>,
        next: Option<(u8, &[u8])>,
    ) {
        self.send_named_for_sql(&prepared.classified);
        let schema = self.schema();
        let Some(lease) = self.holding.lease.as_mut() else { return };
        if prepared.sharing == Sharing::Tied {
            prepared.known.settle(&lease.node, lease.cancel.process);
        }
        let asks_itself = describes(next, &name);
        if name.is_empty() {
            self.memory.sql_names.remove(&b""[..]);
            lease.statements.set_unnamed(prepared.key);
            lease.connection.output.extend_from_slice(whole);
            let before = self.rename(&name, Some(prepared));
            let undo = Undo { client: Some((name, before)), unnamed: Some(prepared.key), ..Undo::default() };
            self.exchange.ledger.push(Owed::Parse { ours: false, undo: undo.into() });
            // One that is bound at once has done its work with that, as a rule.
            if !asks_itself && !matches!(next, Some((tag::BIND, _))) {
                self.ask_for_shape(prepared, false);
            }
            return;
        }
        let given_by_sql = self.memory.sql_names.contains(name.as_ref());
        if given_by_sql || self.memory.statements.contains_key(&name) {
            // The server refuses it, in its own words.
            if !given_by_sql {
                self.take_name(&name);
            }
            self.put(whole);
            return self.exchange.ledger.push(Owed::Parse { ours: false, undo: Box::default() });
        }
        // In a failed transaction the server refuses most texts, and is asked.
        let fresh = self.memory.status != Status::Failed
            // The snapshot is taken with the first Parse.
            && !self.memory.state.keeps_snapshot()
            && lease.statements.touch_fresh(prepared.key, schema);
        let shape = lease.statements.shape(prepared.key, true);
        let stale = !fresh && lease.statements.holds(prepared.key);
        let before = self.rename(&name, Some(prepared));
        let client = Some((name, before));
        if fresh {
            // Another session has prepared the same on this server.
            let reply = Bytes::from_static(&backend::PARSE_COMPLETE);
            self.exchange
                .ledger
                .push(Owed::Instead { reply, undo: Undo { client, ..Undo::default() }.into() });
            match shape {
                Some(shape) => prepared.known.learn_shape(shape),
                None if !asks_itself => self.ask_for_shape(prepared, true),
                None => {}
            }
            return;
        }
        if stale {
            self.close_shared(prepared.key);
        }
        self.make_room_for(prepared);
        let Some(out) = self.holding.out() else { return };
        frontend::put_parse(out, ServerName::of(prepared.key).as_bytes(), &prepared.sql, &prepared.types);
        let undo = Undo { client, server: Some(prepared.key), ..Undo::default() };
        self.exchange.ledger.push(Owed::Parse { ours: false, undo: undo.into() });
        if !asks_itself {
            self.ask_for_shape(prepared, true);
        }
    }

    /// A Parse that streams, since it is too long to be looked into: the server that the session keeps from
    /// now on knows its statement by the client's own name, as one that SQL has prepared.
    pub(super) fn send_unread_parse(&mut self, whole: &[u8], name: Bytes) {
        self.memory.state.pin(PinReason::Unfollowable);
        if !name.is_empty() && self.memory.statements.contains_key(&name) {
            // The server refuses it, in its own words.
            self.take_name(&name);
            self.put(whole);
            return self.exchange.ledger.push(Owed::Parse { ours: false, undo: Box::default() });
        }
        let before = self.names_before();
        if name.is_empty() {
            self.memory.statements.remove(b"");
            self.holding.forget_server_unnamed();
        }
        self.memory.sql_names.insert(name.as_ref().into());
        self.put(whole);
        let undo = Undo { names: Some(Box::new(before)), ..Undo::default() };
        self.exchange.ledger.push(Owed::Parse { ours: false, undo: undo.into() });
    }

    fn names_before(&self) -> Before {
        let server =
            self.holding.lease.as_ref().map_or_else(Default::default, |lease| lease.statements.clone());
        let Memory { statements, sql_names, .. } = &self.memory;
        Before { statements: statements.clone(), sql_names: sql_names.clone(), server }
    }

    /// Postgres fixes at the Parse what a statement's result looks like, for a client that asks and for one
    /// that does not: so we ask.
    fn ask_for_shape(&mut self, prepared: &Arc<Prepared>, named: bool) {
        if !prepared.has_fixed_shape() {
            return;
        }
        let name = if named { ServerName::of(prepared.key) } else { ServerName::UNNAMED };
        let Some(out) = self.holding.out() else { return };
        frontend::put_named(out, tag::DESCRIBE, b'S', name.as_bytes());
        let of = Some(Described { prepared: prepared.clone(), named });
        self.exchange.ledger.push(Owed::Describe { of, ours: true });
    }

    /// A name of the client's means another statement now, or none. What it meant before.
    fn rename(&mut self, name: &Bytes, to: Option<&Arc<Prepared>>) -> Option<Arc<Prepared>> {
        let before = match to {
            Some(prepared) => self.memory.statements.insert(Bytes::copy_from_slice(name), prepared.clone()),
            None => self.memory.statements.remove(name),
        };
        self.turn.renamed.push((name.clone(), before.clone()));
        before
    }

    /// The request is going to be sent again: names mean what they meant before it.
    pub(super) fn take_back_names(&mut self) {
        for (name, before) in std::mem::take(&mut self.turn.renamed).into_iter().rev() {
            match before {
                Some(before) => drop(self.memory.statements.insert(name, before)),
                None => drop(self.memory.statements.remove(&name)),
            }
        }
    }

    /// The state of the schema, as far as it is known: grows with every change.
    pub(super) fn schema(&self) -> u64 {
        let catalog = self.memory.scope.catalog.as_ref().map_or(0, |catalog| catalog.generation);
        let own = self.memory.state.temporary.changes() << 48;
        (self.weir.schema_changes.load(Ordering::Relaxed) << 32) ^ own ^ catalog
    }

    /// A shared statement leaves the server at once.
    pub(super) fn close_shared(&mut self, key: u64) {
        let Some(lease) = self.holding.lease.as_mut() else { return };
        lease.statements.remove(key);
        self.close_named(vec![ServerName::of(key).into()]);
    }

    /// The server knows the statement by our name, or as its unnamed one, as of now.
    pub(super) fn parse_ours(&mut self, prepared: &Prepared, named: bool) {
        let name = if named { ServerName::of(prepared.key) } else { ServerName::UNNAMED };
        let foreign = prepared.under.context() != self.memory.state.settings.in_force().context();
        if named {
            self.make_room_for(prepared);
        }
        let Some(lease) = self.holding.lease.as_mut() else { return };
        if foreign && named {
            // It could not be brought under its own settings: nobody else may take it for what it is not.
            lease.statements.doom_later(prepared.key);
        }
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
        self.exchange.ledger.push(Owed::Parse { ours: true, undo: undo.into() });
    }

    fn make_room_for(&mut self, prepared: &Prepared) {
        let max = self.config.pool.server_statements_max;
        let schema = self.schema();
        let Some(lease) = self.holding.lease.as_mut() else { return };
        if let Some(evicted) = lease.statements.insert(prepared.key, prepared.number, schema, max) {
            self.close_named(vec![ServerName::of(evicted).into()]);
        }
    }

    /// The server is given what this name means to the client (`of`) if it lacks it. Returns the name it knows
    /// it by.
    pub(super) fn bring_statement(
        &mut self,
        name: Bytes,
        of: Option<Arc<Prepared>>,
    ) -> Option<(ServerName, Arc<Prepared>)> {
        let Some(prepared) = of else {
            if name.is_empty() && !self.memory.sql_names.contains(&b""[..]) {
                // What the server has by no name is another client's, or ended long ago.
                self.holding.forget_server_unnamed();
                self.close_named(vec![name]);
            }
            return None;
        };
        let is_foreign = self.turn.changes_settings || self.memory.is_under_other_settings(&prepared);
        let lease = self.holding.lease.as_mut()?;
        let key = prepared.key;
        if is_foreign && prepared.sharing == Sharing::All {
            // Where Postgres finds that it must read a statement anew, because the search path is another, say, it
            // does so under the settings of then: from there on it is not what others prepared.
            lease.statements.doom_later(key);
        }
        // What was parsed under other settings is there by a name of ours, even where the client's is none.
        let unnamed = name.is_empty() && lease.statements.unnamed == Some(key);
        let named = !unnamed && lease.statements.touch(key);
        if !unnamed && !named {
            self.parse_ours(&prepared, !name.is_empty());
            if prepared.shape().is_none() {
                self.ask_for_shape(&prepared, !name.is_empty());
            }
        }
        let server_name = if named || !name.is_empty() { ServerName::of(key) } else { ServerName::UNNAMED };
        self.turn.bound.push((key, name));
        Some((server_name, prepared))
    }

    /// What the request has bound has run, and the client knows its results.
    pub(super) fn rely_on_bound(&mut self) {
        for (_, name) in &self.turn.bound {
            if let Some(prepared) = self.memory.statements.get(name) {
                prepared.known.rely();
            }
        }
    }

    pub(super) fn send_close(&mut self, whole: &[u8], body: &[u8]) {
        let Some(named) = frontend::named(body) else { return };
        if named.kind == b'S' && self.memory.statements.contains_key(named.name) {
            // The statement stays on the server for whoever prepares the same text.
            let name = Bytes::copy_from_slice(named.name);
            let before = self.rename(&name, None);
            if let (Some(before), Some(lease)) = (&before, self.holding.lease.as_mut())
                && before.sharing != Sharing::All
            {
                // Nobody else has any use for it.
                lease.statements.doom(before.key);
            }
            let undo = Undo { client: Some((name, before)), ..Undo::default() };
            let reply = Bytes::from_static(&backend::CLOSE_COMPLETE);
            return self.exchange.ledger.push(Owed::Instead { reply, undo: undo.into() });
        }
        let mut undo = Undo::default();
        if named.kind == b'S' {
            undo.sql_name = self.memory.sql_names.take(named.name);
            if named.name.is_empty() {
                self.holding.forget_server_unnamed();
            }
        }
        self.put(whole);
        self.exchange.ledger.push(Owed::Close { ours: false, undo: undo.into() });
    }

    /// An Execute is owed its answer. The names that its statement gives or takes count from here on.
    pub(super) fn push_execute(&mut self, of: Option<Arc<Classified>>) {
        let of = match of {
            Some(of) if names::touches_names(&of) => of,
            of => return self.exchange.ledger.push(Owed::Execute(of)),
        };
        let before = self.names_before();
        for effect in of.statements.iter().flat_map(|statement| &statement.effects) {
            self.give_and_take_names(effect);
        }
        self.exchange.ledger.push(Owed::Execute(Some(of)));
        // It says nothing, and is what an error takes back.
        let undo = Undo { names: Some(Box::new(before)), ..Undo::default() };
        self.exchange.ledger.push(Owed::Instead { reply: Bytes::new(), undo: undo.into() });
    }

    /// What a statement with this effect does to names, the client's and the server's.
    pub(super) fn give_and_take_names(&mut self, effect: &SessionEffect) {
        self.memory.on_names(effect);
        if let Some(lease) = self.holding.lease.as_mut() {
            lease.statements.on_names(effect);
        }
    }

    /// What skipped messages would have changed is taken back.
    pub(super) fn undo_skipped(&mut self) {
        for undo in self.exchange.ledger.take_undone() {
            if let Some(before) = undo.names {
                (self.memory.statements, self.memory.sql_names) = (before.statements, before.sql_names);
                if let Some(lease) = self.holding.lease.as_mut() {
                    lease.statements = before.server;
                }
                self.memory.state.pins.may_have_ended = true;
            }
            if let (Some(key), Some(lease)) = (undo.server, self.holding.lease.as_mut()) {
                lease.statements.remove(key);
            }
            if let (Some(key), Some(lease)) = (undo.unnamed, self.holding.lease.as_mut()) {
                lease.statements.remove_unnamed(key);
            }
            if let (Some(name), Some(lease)) = (undo.kept, self.holding.lease.as_mut()) {
                lease.statements.doom_name(name);
            }
            if let (Some(name), Some(lease)) = (undo.taken, self.holding.lease.as_mut()) {
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
}

impl Holding {
    /// A Query of ours ends the server's unnamed statement; the client's is brought again when it is bound.
    pub(super) fn forget_server_unnamed(&mut self) {
        if let Some(lease) = self.lease.as_mut() {
            lease.statements.unnamed = None;
        }
    }

    /// What was lent for the request has been found, or was not needed.
    pub(super) fn end_ahead(&mut self) {
        if let Some(lease) = self.lease.as_mut() {
            lease.statements.end_ahead();
        }
    }
}

/// The message asks what the statement of this name looks like.
fn describes(message: Option<(u8, &[u8])>, name: &[u8]) -> bool {
    let Some((tag::DESCRIBE, body)) = message else { return false };
    frontend::named(body).is_some_and(|named| named.kind == b'S' && named.name == name)
}

/// A Close of ours; skipped, it is made up for later.
fn close_ours(name: Bytes) -> Owed {
    Owed::Close { ours: true, undo: Undo { kept: Some(name), ..Undo::default() }.into() }
}
