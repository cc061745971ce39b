//! What a client was told of its prepared statements holds on whichever server runs them.

use crate::server::prepared::{Prepared, ServerName};
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::ledger::{Described, Owed};
use crate::session::memory::Block;
use crate::session::receive::{Kind, Request, frames};
use crate::session::reroute::Cause;
use crate::wire::backend::Status;
use crate::wire::error::put_stale_plan;
use crate::wire::frontend::{self, tag};
use bytes::BytesMut;
use router_rules::Target;
use std::sync::Arc;

impl Session {
    /// Sees to it that what the client was told of its statements holds on this server. `Some`: a
    /// replica cannot say, and the request runs elsewhere.
    pub(super) async fn agree_on_shapes(&mut self, request: &Request) -> Result<Option<Cause>, Failure> {
        let elsewhere = self.on == Target::Replica
            && matches!(self.memory.block, Block::None)
            && !self.unsynced
            && request.left == 0;
        if !self.ask_for_shapes(request) {
            return Ok(None);
        }
        self.unsynced = true;
        self.held_from = elsewhere.then_some(self.client.output.len());
        let cause = Box::pin(self.wait_until_nothing_is_owed()).await?;
        self.held_from = None;
        if cause.is_none() {
            self.refuse_other_shapes(request);
        }
        Ok(cause)
    }

    /// What the client was told of a statement must hold on this server, too: where that is not known,
    /// the server is asked before anything is run there. (On a direct connection a statement keeps its
    /// shape: Postgres refuses to run it when a change of the schema would change it.) True when the
    /// server owes answers that must be waited for.
    fn ask_for_shapes(&mut self, request: &Request) -> bool {
        let mut asked = false;
        if self.ledger.is_skipping() {
            return asked;
        }
        for (prepared, named) in self.relied_upon(request) {
            self.close_doomed();
            let known = self.lease.as_ref().and_then(|l| l.statements.shape(prepared.key, named));
            if known.is_some() && known == prepared.shape() {
                continue;
            }
            self.send_begin();
            if named && self.lease.as_ref().is_some_and(|l| l.statements.holds(prepared.key)) {
                self.close_shared(prepared.key);
            }
            self.parse_ours(&prepared, named);
            let name = if named { ServerName::of(prepared.key) } else { ServerName::UNNAMED };
            if let Some(out) = self.out() {
                frontend::put_named(out, tag::DESCRIBE, b'S', name.as_bytes());
            }
            let of = Some(Described { prepared, named });
            self.ledger.push(Owed::Describe { of, ours: true });
            asked = true;
        }
        if asked && let Some(out) = self.out() {
            frontend::put_empty(out, tag::FLUSH);
        }
        asked
    }

    /// Statements that a request binds and whose description the client got earlier; each with
    /// whether it is a named one.
    fn relied_upon(&self, request: &Request) -> Vec<(Arc<Prepared>, bool)> {
        let mut found: Vec<(Arc<Prepared>, bool)> = vec![];
        if !matches!(request.kind, Kind::Batch(_)) || self.memory.status == Status::Failed {
            return found;
        }
        let mut told_anew: Vec<&[u8]> = vec![];
        for (kind, body) in frames(&request.frames) {
            match kind {
                tag::PARSE => told_anew.extend(frontend::parse(body).map(|parse| parse.name)),
                tag::DESCRIBE => {
                    told_anew.extend(frontend::named(body).filter(|n| n.kind == b'S').map(|named| named.name))
                }
                tag::BIND => {
                    let Some(name) = frontend::bind(body).map(|bind| bind.statement) else { continue };
                    if told_anew.contains(&name) {
                        continue;
                    }
                    if let Some(prepared) = self.memory.statements.get(name)
                        && prepared.shape().is_some()
                        && !found.iter().any(|(known, _)| Arc::ptr_eq(known, prepared))
                    {
                        found.push((prepared.clone(), !name.is_empty()));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// After [`Self::ask_for_shapes`]: where a statement has another shape now the client is told what
    /// Postgres tells, in the same place and with the same consequences.
    fn refuse_other_shapes(&mut self, request: &Request) {
        let changed = self.relied_upon(request).into_iter().any(|(prepared, named)| {
            let known = self.lease.as_ref().and_then(|l| l.statements.shape(prepared.key, named));
            known.is_some() && known != prepared.shape()
        });
        if !changed {
            return;
        }
        let mut told = BytesMut::new();
        put_stale_plan(&mut told);
        if let Some(out) = self.out() {
            // No such portal: this fails, and takes the transaction with it.
            frontend::put_named(out, tag::DESCRIBE, b'P', b"pgweir: a statement has changed its shape");
            self.ledger.push(Owed::Fails(told.freeze()));
        }
    }
}
