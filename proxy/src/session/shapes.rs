//! What a client was told of its prepared statements holds on whichever server runs them.
//!
//! On a direct connection a statement keeps the meaning and the shape that its Parse gave it: Postgres refuses
//! to run it when a change of the schema would change the shape. A server that lacks the statement is given it
//! under the settings of its Parse, is asked what it looks like there, and is not let run it if that differs.

use crate::server::prepared::{Prepared, ServerName, Sharing};
use crate::session::Session;
use crate::session::exchange::held::Held;
use crate::session::failure::Failure;
use crate::session::holding::Holding;
use crate::session::ledger::{Described, Owed};
use crate::session::memory::Memory;
use crate::session::receive::{Kind, Request};
use crate::session::reroute::Cause;
use crate::session::work::Work;
use crate::wire::backend::Status;
use crate::wire::error::put_stale_plan;
use crate::wire::frontend::{self, tag};
use bytes::{Bytes, BytesMut};
use router_rules::{SessionEffect, Target};
use std::sync::Arc;

impl Session {
    /// A statement prepared earlier is not on this server as it was where it was prepared, or not for certain.
    pub(super) fn disagrees(&self, work: &Work) -> bool {
        work.relied.iter().any(|(prepared, named)| match prepared.shape() {
            Some(_) => !self.holding.has_shape(prepared, *named) || self.is_foreign(prepared, *named),
            None => self.is_foreign(prepared, *named),
        }) || !self.memory.foreign_by_name(work).is_empty()
    }

    /// Sees to it that the statements prepared earlier are on this server what they were where they were
    /// prepared. `Some`: a replica cannot say, and the request runs elsewhere.
    pub(super) async fn agree_on_statements(
        &mut self,
        request: &Request,
        work: &Work,
    ) -> Result<Option<Cause>, Failure> {
        if self.memory.status == Status::Failed {
            return Ok(None);
        }
        if let Some(cause) = self.lend_foreign(work).await? {
            return Ok(Some(cause));
        }
        if !matches!(request.kind, Kind::Batch(_)) {
            return Ok(None);
        }
        if let Some(cause) = self.bring_foreign(work).await? {
            return Ok(Some(cause));
        }
        if !self.exchange.is_open() {
            self.close_doomed();
        }
        let elsewhere = self.holding.on == Target::Replica
            && !self.memory.state.block.is_there()
            && !self.exchange.is_open()
            && request.left == 0;
        if !self.ask_for_shapes(work) {
            return Ok(None);
        }
        self.exchange.set_open(true);
        self.exchange.held =
            if elsewhere { Held::Request { from: self.client.socket.output.len() } } else { Held::No };
        let cause = Box::pin(self.wait_until_nothing_is_owed()).await?;
        if cause.is_none() {
            self.exchange.held = Held::No;
            if self.holding.has_other_shapes(work) {
                if elsewhere {
                    // It may not have replayed what the statement was prepared for.
                    return Ok(Some(Cause::NotReplayed));
                }
                self.refuse_other_shapes();
            }
        }
        Ok(cause)
    }

    /// Statements that were parsed under other settings than are in force now are brought under those.
    async fn bring_foreign(&mut self, work: &Work) -> Result<Option<Cause>, Failure> {
        let foreign: Vec<_> = work
            .relied
            .iter()
            .filter(|(prepared, named)| self.is_foreign(prepared, *named))
            .cloned()
            .collect();
        if foreign.is_empty() || self.exchange.is_open() {
            return Ok(None);
        }
        if let Some(cause) = Box::pin(self.wait_until_nothing_is_owed()).await? {
            return Ok(Some(cause));
        }
        for (prepared, _) in foreign {
            let schema = self.schema();
            let max = self.config.pool.server_statements_max;
            let Some(lease) = self.holding.lease.as_mut() else { return Ok(None) };
            let settings = lease.settings.in_force().change_to(&prepared.under);
            lease.statements.doom(prepared.key);
            let mut closes = lease.statements.take_doomed(true);
            closes.extend(
                lease
                    .statements
                    .insert(prepared.key, prepared.number, schema, max)
                    .map(|key| ServerName::of(key).into()),
            );
            let name = ServerName::of(prepared.key);
            let parsed = self.parse_under(&settings, name.as_bytes(), &closes, &prepared).await;
            let shape = parsed.map_err(|error| self.server_failure(error))?;
            let Some(lease) = self.holding.lease.as_mut() else { return Ok(None) };
            match shape {
                Some(shape) => lease.statements.set_shape(prepared.key, true, shape),
                // Parsed under the present settings it fails likewise, and where the client is to hear of it.
                None => lease.statements.remove(prepared.key),
            }
        }
        Ok(None)
    }

    /// Statements of the protocol that SQL names, or looks at, under other settings than they were parsed under:
    /// the server is given them by the client's own names, as they were parsed.
    async fn lend_foreign(&mut self, work: &Work) -> Result<Option<Cause>, Failure> {
        let foreign = self.memory.foreign_by_name(work);
        if foreign.is_empty() || self.exchange.is_open() {
            return Ok(None);
        }
        if let Some(cause) = Box::pin(self.wait_until_nothing_is_owed()).await? {
            return Ok(Some(cause));
        }
        for (name, prepared) in foreign {
            let Some(lease) = self.holding.lease.as_mut() else { return Ok(None) };
            let settings = lease.settings.in_force().change_to(&prepared.under);
            let parsed = self.parse_under(&settings, &name, std::slice::from_ref(&name), &prepared).await;
            // Parsed under the present settings it fails likewise, and where the client is to hear of it.
            if parsed.map_err(|error| self.server_failure(error))?.is_some()
                && let Some(lease) = self.holding.lease.as_mut()
            {
                lease.statements.lend_ahead(name);
            }
        }
        Ok(None)
    }

    /// The server lacks it, as the client knows it, and would give it another meaning now.
    fn is_foreign(&self, prepared: &Prepared, named: bool) -> bool {
        if !self.memory.is_under_other_settings(prepared) {
            return false;
        }
        let Some(lease) = &self.holding.lease else { return false };
        if prepared.sharing == Sharing::Tied && lease.statements.holds(prepared.key) {
            // Its moment could not be had again.
            return false;
        }
        if !self.exchange.is_open() && lease.statements.is_passing(prepared.key) {
            return true;
        }
        let is_unnamed = !named && lease.statements.unnamed == Some(prepared.key);
        let is_others = if is_unnamed {
            !lease.statements.has_just_parsed(prepared.key)
        } else {
            lease.statements.is_older(prepared.key, prepared.number)
        };
        if is_others {
            return true;
        }
        match prepared.shape() {
            Some(_) => !self.holding.has_shape(prepared, named),
            None => !is_unnamed && !lease.statements.holds(prepared.key),
        }
    }

    /// Where it is not known what a statement looks like on this server, the server is asked before
    /// anything is run there. True when it owes answers that must be waited for.
    fn ask_for_shapes(&mut self, work: &Work) -> bool {
        let mut asked = false;
        if self.exchange.ledger.is_skipping() {
            return asked;
        }
        for (prepared, named) in &work.relied {
            if prepared.shape().is_none() || self.holding.has_shape(prepared, *named) {
                continue;
            }
            self.close_doomed();
            self.send_begin();
            if *named && self.holding.lease.as_ref().is_some_and(|l| l.statements.holds(prepared.key)) {
                self.close_shared(prepared.key);
            }
            self.parse_ours(prepared, *named);
            let name = if *named { ServerName::of(prepared.key) } else { ServerName::UNNAMED };
            if let Some(out) = self.holding.out() {
                frontend::put_named(out, tag::DESCRIBE, b'S', name.as_bytes());
            }
            let of = Some(Described { prepared: prepared.clone(), named: *named });
            self.exchange.ledger.push(Owed::Describe { of, ours: true });
            asked = true;
        }
        if asked && let Some(out) = self.holding.out() {
            frontend::put_empty(out, tag::FLUSH);
        }
        asked
    }

    /// The client is told what Postgres tells, in the same place and with the same consequences.
    fn refuse_other_shapes(&mut self) {
        let mut told = BytesMut::new();
        put_stale_plan(&mut told);
        if let Some(out) = self.holding.out() {
            // No such portal: this fails, and takes the transaction with it.
            frontend::put_named(out, tag::DESCRIBE, b'P', b"pgweir: a statement has changed its shape");
            self.exchange.ledger.push(Owed::Fails(told.freeze()));
        }
    }

    /// The server has said of what was bound that its result has changed. `anew`: the request runs again
    /// with what it is now, which the client must not have relied on.
    pub(super) fn doom_bound(&mut self, anew: bool) {
        let Some(lease) = self.holding.lease.as_mut() else { return };
        for (key, name) in self.turn.bound.drain(..) {
            lease.statements.doom(key);
            if anew && let Some(prepared) = self.memory.statements.get(&name) {
                prepared.known.forget_shape();
            }
        }
    }

    /// The client knows what the result looks like: rows of another shape would confuse it, while the
    /// error makes it prepare anew.
    pub(super) fn relies_on_old_shape(&self) -> bool {
        let schema = self.schema();
        let relied = |prepared: &Arc<Prepared>| prepared.known.is_relied_upon() || prepared.schema != schema;
        self.turn.bound.iter().any(|(_, name)| self.memory.statements.get(name).is_some_and(relied))
    }
}

impl Memory {
    /// The client's statements that SQL is to find by their names, and that would mean something else if they
    /// were parsed now.
    fn foreign_by_name(&self, work: &Work) -> Vec<(Bytes, Arc<Prepared>)> {
        if work.is_ordinary() || self.status == Status::Failed {
            return vec![];
        }
        let statements = &self.statements;
        let mut named = if work.asks_server(b"pg_prepared_statement") {
            statements.named()
        } else {
            let effects = work.parts.iter().flat_map(|part| &part.statements).flat_map(|s| &s.effects);
            let run = effects.filter_map(|effect| match effect {
                SessionEffect::Execute(name) => {
                    let prepared = statements.get(name.as_bytes())?.clone();
                    Some((Bytes::copy_from_slice(name.as_bytes()), prepared))
                }
                _ => None,
            });
            run.collect()
        };
        if !named.is_empty() {
            let context = self.state.settings.in_force().context();
            named.retain(|(name, prepared)| {
                prepared.under.context() != context && !self.sql_names.contains(name.as_ref())
            });
        }
        named
    }

    /// A Parse might give it another meaning now.
    pub(super) fn is_under_other_settings(&self, prepared: &Prepared) -> bool {
        prepared.under.context() != self.state.settings.in_force().context()
    }
}

impl Holding {
    /// After [`Self::ask_for_shapes`]: a statement has another shape on this server.
    pub(super) fn has_other_shapes(&self, work: &Work) -> bool {
        work.relied.iter().any(|(prepared, named)| {
            let there = self.lease.as_ref().and_then(|l| l.statements.shape(prepared.key, *named));
            there.is_some() && there != prepared.shape() && !self.has_shape(prepared, *named)
        })
    }

    /// The statement is on this server, and looks there as the client knows it.
    pub(super) fn has_shape(&self, prepared: &Prepared, named: bool) -> bool {
        let Some(lease) = &self.lease else { return false };
        let is_there = |named| {
            let there = lease.statements.shape(prepared.key, named);
            there.is_some() && there == prepared.shape()
        };
        is_there(true) || (!named && is_there(false))
    }
}
