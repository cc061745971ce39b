//! BEGIN is sent late.
//!
//! A plain BEGIN is answered by pgweir and sent ahead of the transaction's first statement, in the
//! same write: the target can be chosen by that statement, a round trip is saved, and an idle BEGIN
//! holds no server. Only what Postgres is sure to accept is answered so; anything else goes to the
//! server, which says what is wrong with it.

use crate::session::Session;
use crate::session::names::ClientStatements;
use crate::session::receive::{End, Kind, Request, frames};
use crate::session::work::Work;
use crate::wire::Refusal;
use crate::wire::backend::{self, Status};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::{self, tag};
use bytes::{Bytes, BytesMut};
use router_rules::session::Block;
use router_rules::{PinReason, SessionEffect, TransactionStep, plain_begin};

impl Session {
    /// What needs no server is answered, what cannot be is refused. `None`: a server runs it.
    pub(super) async fn answer_here(
        &mut self,
        request: &Request,
        work: &Work,
    ) -> Option<Result<(), Refusal>> {
        if self.answer_locally(request, work) {
            return Some(Ok(()));
        }
        self.check_position(work).await.err().map(Err)
    }

    /// Answers what needs no server. True when that was all.
    fn answer_locally(&mut self, request: &Request, work: &Work) -> bool {
        match request.kind {
            Kind::Query => {
                let sql = frontend::query(&request.frames[HEADER_BYTES..]).unwrap_or_default();
                let answered = match self.step(sql, work) {
                    Some(step) => self.take_step(step),
                    None => self.answer_deallocate(work),
                };
                if answered {
                    // As any Query ends it.
                    self.memory.statements.remove(&b""[..]);
                }
                answered
            }
            Kind::Batch(end) if self.holding.lease.is_none() => {
                self.answer_closes(request, work, end) || self.answer_lone(request, work, end)
            }
            _ => false,
        }
    }

    /// A batch that runs one statement, which begins or ends a block of which no server has heard.
    fn answer_lone(&mut self, request: &Request, work: &Work, end: End) -> bool {
        if end != End::Sync || request.left > 0 || self.exchange.is_open() {
            return false;
        }
        let Some(lone) = Lone::read(&request.frames, &self.memory.statements) else { return false };
        let is_taken =
            |name: &[u8]| self.memory.statements.contains_key(name) || self.memory.sql_names.contains(name);
        if lone.parsed.is_some_and(|name| !name.is_empty() && is_taken(name)) {
            return false;
        }
        let Some(step) = self.step(&lone.sql, work) else { return false };
        if let (Some(name), Some(prepared)) = (lone.parsed, work.parsed.first()) {
            self.memory.statements.insert(Bytes::copy_from_slice(name), prepared.clone());
        }
        self.client.socket.output.extend_from_slice(&lone.replies);
        self.take_step(step)
    }

    /// What this makes of the block, and how that is answered, where no server need hear of it.
    fn step(&self, sql: &[u8], work: &Work) -> Option<Step> {
        let step = work.single().and_then(|s| s.transaction.as_ref())?;
        match (&self.memory.state.block, step) {
            // Behind a Parse that was flushed and not synced, a server is at work for us already: it
            // hears of the BEGIN now, so that it is left for the right one first. A server that is kept hears of
            // it, too: notifications wait there for the end of the transaction.
            (Block::None, TransactionStep::Begin(modes))
                if self.memory.status == Status::Idle
                    && !self.exchange.is_open()
                    && !self.memory.is_pinned() =>
            {
                let (command, begin) = plain_begin(sql)?;
                let block = Block::Deferred { begin: begin.into(), modes: *modes };
                Some(Step { block, command, status: Status::Transaction })
            }
            (Block::Deferred { .. }, TransactionStep::Commit { chain: false }) => {
                Some(Step { block: Block::None, command: "COMMIT", status: Status::Idle })
            }
            (Block::Deferred { .. }, TransactionStep::Rollback { chain: false })
            | (
                Block::Aborted,
                TransactionStep::Commit { chain: false } | TransactionStep::Rollback { chain: false },
            ) => Some(Step { block: Block::None, command: "ROLLBACK", status: Status::Idle }),
            _ => None,
        }
    }

    fn take_step(&mut self, step: Step) -> bool {
        self.memory.state.block = step.block;
        self.say(step.command, step.status)
    }

    /// SQL's DEALLOCATE of a statement prepared by the protocol, as caches of drivers send it: only a name
    /// ends, the statement stays on servers for whoever prepares the same text. A server that may know
    /// the client's own name for it is asked.
    fn answer_deallocate(&mut self, work: &Work) -> bool {
        let Some(SessionEffect::Deallocate(name)) = work.single().and_then(|s| s.effects.first()) else {
            return false;
        };
        let asks = self.memory.status == Status::Failed
            || self.exchange.is_open()
            || !self.exchange.ledger.is_settled()
            || self.memory.state.pins.has(PinReason::SqlPrepare);
        if asks || self.memory.statements.remove(name.as_bytes()).is_none() {
            return false;
        }
        self.say("DEALLOCATE", self.memory.status)
    }

    fn say(&mut self, command: &str, status: Status) -> bool {
        self.memory.status = status;
        backend::put_command_complete(&mut self.client.socket.output, command);
        backend::put_ready(&mut self.client.socket.output, status);
        true
    }

    /// A batch that only closes or syncs: without a server there is no portal, and a statement is
    /// only a name of ours.
    fn answer_closes(&mut self, request: &Request, work: &Work, end: End) -> bool {
        let only_closes = work.parts.is_empty()
            && work.verdict.is_ok()
            && request.left == 0
            && frames(&request.frames).all(|(kind, _)| matches!(kind, tag::CLOSE | tag::SYNC | tag::FLUSH));
        if !only_closes {
            return false;
        }
        for (kind, body) in frames(&request.frames) {
            if kind == tag::CLOSE {
                if let Some(named) = frontend::named(body)
                    && named.kind == b'S'
                {
                    self.memory.statements.remove(named.name);
                }
                self.client.socket.output.extend_from_slice(&backend::CLOSE_COMPLETE);
            }
        }
        if end == End::Sync {
            backend::put_ready(&mut self.client.socket.output, self.memory.status);
        }
        true
    }
}

/// What a statement makes of the block, and how it is answered.
struct Step {
    block: Block,
    command: &'static str,
    status: Status,
}

/// A batch that runs one statement without parameters or result, by the unnamed portal.
struct Lone<'a> {
    sql: Bytes,
    /// The name that its Parse gives, where it has one.
    parsed: Option<&'a [u8]>,
    /// What is answered ahead of the statement's own answer.
    replies: BytesMut,
}

impl<'a> Lone<'a> {
    /// `None`: it is anything else.
    fn read(batch: &'a Bytes, statements: &ClientStatements) -> Option<Self> {
        let (mut parsed, mut described, mut bound, mut is_run) = (None, None, None, false);
        let mut sql = Bytes::new();
        let mut replies = BytesMut::new();
        let mut last = 0;
        for (kind, body) in frames(batch) {
            let describes = || frontend::named(body).filter(|_| kind == tag::DESCRIBE);
            let at = match kind {
                tag::PARSE => 1,
                tag::DESCRIBE if describes()?.kind == b'S' => 2,
                tag::BIND => 3,
                tag::DESCRIBE => 4,
                tag::EXECUTE => 5,
                tag::SYNC => 6,
                _ => return None,
            };
            // In this order, each once at most.
            if at <= std::mem::replace(&mut last, at) {
                return None;
            }
            match at {
                1 => {
                    let parse = frontend::parse(body).filter(|parse| has_no_parameters(parse.types))?;
                    (parsed, sql) = (Some(parse.name), batch.slice_ref(parse.sql));
                    replies.extend_from_slice(&backend::PARSE_COMPLETE);
                }
                2 => {
                    described = Some(describes()?.name);
                    replies.extend_from_slice(&backend::NO_PARAMETERS);
                    replies.extend_from_slice(&backend::NO_DATA);
                }
                3 => {
                    let bind = frontend::bind(body).filter(|bind| bind.portal.is_empty())?;
                    bound = binds_nothing(bind.rest).then_some(bind.statement);
                    replies.extend_from_slice(&backend::BIND_COMPLETE);
                }
                4 => {
                    describes().filter(|named| named.name.is_empty())?;
                    replies.extend_from_slice(&backend::NO_DATA);
                }
                5 => is_run = frontend::execute(body)?.is_empty(),
                _ => {}
            }
        }
        let name = bound.filter(|_| is_run && last == 6)?;
        if [parsed, described].into_iter().flatten().any(|other| other != name) {
            return None;
        }
        if parsed.is_none() {
            sql = statements.get(name).filter(|known| has_no_parameters(&known.types))?.sql.clone();
        }
        Some(Self { sql, parsed, replies })
    }
}

/// A Parse tells no types.
fn has_no_parameters(types: &[u8]) -> bool {
    types == [0, 0]
}

/// A Bind, behind its names, gives no value. How results are to be written does not matter where there are none.
fn binds_nothing(rest: &[u8]) -> bool {
    let Some(formats) = rest.strip_prefix(&[0, 0, 0, 0]) else { return false };
    let count = formats.first_chunk().map(|count| u16::from_be_bytes(*count));
    count.is_some_and(|count| formats.len() == 2 + 2 * usize::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of these messages, whose Bind gives no values.
    fn batch(messages: &[(u8, &[u8])]) -> Bytes {
        let mut out = BytesMut::new();
        for (kind, body) in messages {
            crate::wire::frame::put(&mut out, *kind, |out| out.extend_from_slice(body));
        }
        out.freeze()
    }

    #[test]
    fn one_statement_without_parameters_is_answered_as_its_batch_asks() {
        const PARSE: (u8, &[u8]) = (tag::PARSE, b"\0BEGIN\0\0\0");
        const BIND: (u8, &[u8]) = (tag::BIND, b"\0\0\0\0\0\0\0\x01\0\x01");
        const OF_STATEMENT: (u8, &[u8]) = (tag::DESCRIBE, b"S\0");
        const OF_PORTAL: (u8, &[u8]) = (tag::DESCRIBE, b"P\0");
        const EXECUTE: (u8, &[u8]) = (tag::EXECUTE, b"\0\0\0\0\0");
        const SYNC: (u8, &[u8]) = (tag::SYNC, b"");
        let statements = ClientStatements::default();
        let replies = |messages: &[(u8, &[u8])]| {
            let batch = batch(messages);
            let lone = Lone::read(&batch, &statements)?;
            Some(frames(&lone.replies).map(|(kind, _)| kind as char).collect::<String>())
        };
        assert_eq!(replies(&[PARSE, BIND, EXECUTE, SYNC]).as_deref(), Some("12"));
        let all = [PARSE, OF_STATEMENT, BIND, OF_PORTAL, EXECUTE, SYNC];
        assert_eq!(replies(&all).as_deref(), Some("1tn2n"));
        for other in [
            &[PARSE, BIND, SYNC][..],
            &[PARSE, EXECUTE, SYNC],
            &[BIND, EXECUTE, SYNC],
            &[PARSE, BIND, EXECUTE],
            &[PARSE, BIND, EXECUTE, EXECUTE, SYNC],
            &[PARSE, BIND, EXECUTE, PARSE, BIND, EXECUTE, SYNC],
            &[(tag::PARSE, b"\0BEGIN\0\0\x01\0\0\0\x17"), BIND, EXECUTE, SYNC],
            &[PARSE, (tag::BIND, b"\0\0\0\0\0\x01\0\0\0\0\0\0"), EXECUTE, SYNC],
            &[PARSE, (tag::BIND, b"\0a\0\0\0\0\0\0\0"), EXECUTE, SYNC],
            &[PARSE, (tag::BIND, b"p\0\0\0\0\0\0\0\0"), EXECUTE, SYNC],
        ] {
            assert_eq!(replies(other), None, "{other:?}");
        }
    }
}
