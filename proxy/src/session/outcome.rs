//! What makes it possible to learn the outcome of a COMMIT whose answer is lost (`cluster.commit_outcome`).
//!
//! A transaction block on the primary is given a trace ahead of its first statement that writes, in the same
//! write to the server: its id, and the place of a record in the log that carries that id. The record is an
//! empty logical message, since Postgres logs nothing when it gives out an id; what it proves afterwards, see
//! [`crate::cluster::descent`]. The client sees nothing of it, unless it fails: then the client's statement
//! finds its transaction failed, and is told why by the error that was ours.
//!
//! Where the first write takes no snapshot ahead of all else (LOCK TABLE) it is left alone: a question of ours
//! would take one that is older than the lock. COMMIT is the last opportunity. A statement outside a block is
//! answered and committed at once, and is left to [`super::stake`].

use crate::cluster::descent::{Record, Run};
use crate::session::Session;
use crate::session::exchange::Exchange;
use crate::session::ledger::{Ours, Owed};
use crate::session::memory::Memory;
use crate::session::receive::{End, Kind, Request, frames};
use crate::session::work::Work;
use crate::wire::backend::{self, Status};
use crate::wire::frontend::{self, tag};
use bytes::Bytes;
use router_rules::SessionState;
use router_rules::session::Block;
use router_rules::statement::Kind as StatementKind;
use router_rules::{Alters, Statement, Target, TransactionStep};

/// In which run a server is, by the start of its postmaster and the end of its last replay.
macro_rules! run {
    () => {
        "(pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, \
         pg_catalog.pg_last_wal_replay_lsn()"
    };
}
pub(super) use run;

/// The transaction's id, and a record that carries it.
const TRACE_SQL: &str = concat!(
    "SELECT pg_catalog.pg_current_xact_id(), \
     pg_catalog.pg_logical_emit_message(true, 'pgweir'::pg_catalog.text, ''::pg_catalog.text), \
     pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), ",
    run!()
);

/// What is known of the transaction under way.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Nothing.
    #[default]
    None,
    /// The server has been asked.
    Asked,
    /// Its id and its record.
    Known(Transaction),
}

/// A transaction on a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Its id, with the epoch: no other will ever have it on this history.
    pub(crate) id: u64,
    /// A record of it.
    pub(crate) record: Record,
}

impl Trace {
    /// The answer to [`TRACE_SQL`].
    pub(crate) fn read(row: &[u8]) -> Self {
        match transaction(row) {
            Some(transaction) => Trace::Known(transaction),
            None => Trace::None,
        }
    }
}

fn transaction(row: &[u8]) -> Option<Transaction> {
    let row = backend::data_row(row)?;
    let text = |column: usize| std::str::from_utf8((*row.get(column)?)?).ok();
    let run = Run { started: text(3)?.parse().ok()?, replayed: text(4).and_then(|lsn| lsn.parse().ok()) };
    let record = Record { timeline: timeline_of(text(2)?)?, end: text(1)?.parse().ok()?, run };
    Some(Transaction { id: text(0)?.parse().ok()?, record })
}

/// The timeline in the name of a file of the log.
pub(super) fn timeline_of(file: &str) -> Option<u32> {
    u32::from_str_radix(file.get(..8)?, 16).ok()
}

impl Session {
    /// The request is about to be put into the server's output: asks ahead of it, if this is the time.
    pub(super) fn trace_transaction(&mut self, request: &Request, work: &Work) {
        self.turn.commits = false;
        let wanted = self.memory.state.wishes.commit_outcome.unwrap_or(self.config.cluster.commit_outcome);
        let in_block = matches!(self.memory.state.block, Block::Open { .. })
            && self.holding.on == Target::Primary
            && self.memory.status != Status::Failed;
        if !in_block {
            return;
        }
        let is_quiet = !self.exchange.is_open() && !self.exchange.ledger.is_skipping();
        if wanted
            && self.answers.trace == Trace::None
            && is_quiet
            && !self.memory.state.in_read_only_block()
            && !self.memory.is_bound_to_server()
            && self.memory.writes_first(work)
            && !self.exchange.would_lose_portal(request)
            && let Some(lease) = self.holding.lease.as_mut()
        {
            frontend::put_query(&mut lease.connection.output, TRACE_SQL.as_bytes());
            self.exchange.ledger.push(Owed::Ours(Ours::Trace));
            self.holding.forget_server_unnamed();
            self.answers.trace = Trace::Asked;
        }
        self.turn.commits = self.answers.trace != Trace::None
            && is_quiet
            && self.turn.begins_batch
            && !self.memory.is_bound_to_server()
            && is_lone_commit(request, work);
    }

    /// Our question has failed, and with it the client's transaction: what the client is to be told.
    pub(super) fn trace_failed(&mut self, error: &[u8]) {
        crate::limited!(
            warn,
            node = self.holding.node_name(),
            error = crate::wire::ErrorFields::parse(error).message,
            "the id of a transaction could not be asked (cluster.commit_outcome)"
        );
        self.answers.trace = Trace::None;
        self.answers.failed_ahead = Some(Bytes::copy_from_slice(error));
    }
}

impl Exchange {
    /// A Query of ours ends the unnamed portal, of which the client may still want rows.
    fn would_lose_portal(&self, request: &Request) -> bool {
        let is_open = self.portals.iter().any(|(name, _)| name.is_empty());
        let replaces = || {
            let mut uses = frames(&request.frames).filter_map(|(kind, body)| match kind {
                tag::BIND => Some((kind, frontend::bind(body)?.portal)),
                tag::EXECUTE => Some((kind, frontend::execute(body)?)),
                tag::DESCRIBE | tag::CLOSE => {
                    frontend::named(body).filter(|named| named.kind == b'P').map(|named| (kind, named.name))
                }
                _ => None,
            });
            uses.find(|(_, portal)| portal.is_empty()).is_some_and(|(kind, _)| kind == tag::BIND)
        };
        is_open && request.kind != Kind::Query && !replaces()
    }
}

impl Memory {
    /// The first of it writes, and takes its snapshot before anything else; or all that was written ends here.
    fn writes_first(&self, work: &Work) -> bool {
        let Some(first) = work.parts.first().and_then(|part| part.statements.first()) else { return false };
        let SessionState { written, altered, .. } = &self.state;
        match first.kind {
            StatementKind::Insert | StatementKind::Update | StatementKind::Delete | StatementKind::Merge => {
                true
            }
            StatementKind::Select | StatementKind::Copy => first.verdict.is_err(),
            StatementKind::Transaction if commits(first) => {
                !written.is_none() || *altered != Alters::Nothing || self.notifies
            }
            _ => false,
        }
    }
}

fn commits(statement: &Statement) -> bool {
    matches!(statement.transaction, Some(TransactionStep::Commit { chain: false }))
}

/// A COMMIT that is here whole, and nothing beside it.
fn is_lone_commit(request: &Request, work: &Work) -> bool {
    let once = || frames(&request.frames).filter(|(kind, _)| *kind == tag::EXECUTE).count() == 1;
    let is_whole = match request.kind {
        Kind::Query => true,
        Kind::Batch(End::Sync) => once(),
        _ => false,
    };
    is_whole && request.left == 0 && work.single().is_some_and(commits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::lsn::Lsn;

    fn row(values: &[Option<&str>]) -> Vec<u8> {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            let length = value.map_or(-1, |value| value.len() as i32);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
        body
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let file = "0000000B0000000000000003";
        let told = [Some("4294967296"), Some("0/3000068"), Some(file), Some("795763824000000"), None];
        let run = Run { started: 795_763_824_000_000, replayed: None };
        let record = Record { timeline: 11, end: Lsn(0x300_0068), run };
        assert_eq!(Trace::read(&row(&told)), Trace::Known(Transaction { id: 1 << 32, record }));
        for missing in 0..4 {
            let mut told = told;
            told[missing] = None;
            assert_eq!(Trace::read(&row(&told)), Trace::None);
        }
        assert_eq!(Trace::read(&row(&told[..3])), Trace::None);
        assert_eq!(Trace::read(b""), Trace::None);
    }
}
