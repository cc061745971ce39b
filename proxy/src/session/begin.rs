//! BEGIN is sent late.
//!
//! A plain BEGIN is answered by pgweir and sent ahead of the transaction's first statement, in the
//! same write: the target can be chosen by that statement, a round trip is saved, and an idle BEGIN
//! holds no server. Only what Postgres is sure to accept is answered so; anything else goes to the
//! server, which says what is wrong with it.

use crate::session::Session;
use crate::session::receive::{End, Kind, Request, frames};
use crate::session::work::Work;
use crate::wire::Refusal;
use crate::wire::backend::{self, Status};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::{self, tag};
use router_rules::session::Block;
use router_rules::{PinReason, SessionEffect, TransactionStep};

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
                let answered = self.answer_step(request, work) || self.answer_deallocate(work);
                if answered {
                    // As any Query ends it.
                    self.memory.statements.remove(&b""[..]);
                }
                answered
            }
            Kind::Batch(end) if self.holding.lease.is_none() => self.answer_closes(request, work, end),
            _ => false,
        }
    }

    fn answer_step(&mut self, request: &Request, work: &Work) -> bool {
        let Some(step) = work.single().and_then(|s| s.transaction.as_ref()) else { return false };
        let sql = frontend::query(&request.frames[HEADER_BYTES..]).unwrap_or_default();
        match (&self.memory.state.block, step) {
            // Behind a Parse that was flushed and not synced, a server is at work for us already: it
            // hears of the BEGIN now, so that it is left for the right one first. A server that is kept hears of
            // it, too: notifications wait there for the end of the transaction.
            (Block::None, TransactionStep::Begin(modes))
                if self.memory.status == Status::Idle
                    && !self.exchange.is_open()
                    && !self.memory.is_pinned() =>
            {
                let Some((command, begin)) = plain_begin(sql) else { return false };
                self.memory.state.block = Block::Deferred { begin: begin.into(), modes: *modes };
                self.say(command, Status::Transaction)
            }
            (Block::Deferred { .. }, TransactionStep::Commit { chain: false }) => {
                self.memory.state.block = Block::None;
                self.say("COMMIT", Status::Idle)
            }
            (Block::Deferred { .. }, TransactionStep::Rollback { chain: false })
            | (
                Block::Aborted,
                TransactionStep::Commit { chain: false } | TransactionStep::Rollback { chain: false },
            ) => {
                self.memory.state.block = Block::None;
                self.say("ROLLBACK", Status::Idle)
            }
            _ => false,
        }
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

/// A BEGIN that Postgres is sure to accept: its command tag, and the text.
///
/// <https://www.postgresql.org/docs/current/sql-begin.html>
fn plain_begin(sql: &[u8]) -> Option<(&'static str, &str)> {
    let begin = std::str::from_utf8(sql).ok()?;
    let text = begin.trim_ascii().to_ascii_uppercase();
    let text = text.strip_suffix(';').unwrap_or(&text).replace(',', " , ");
    let mut words = text.split_ascii_whitespace().peekable();
    let command = match words.next()? {
        "BEGIN" => {
            words.next_if(|w| matches!(*w, "WORK" | "TRANSACTION"));
            "BEGIN"
        }
        "START" if words.next()? == "TRANSACTION" => "START TRANSACTION",
        _ => return None,
    };
    let mut comma = false;
    while let Some(word) = words.next() {
        match word {
            "ISOLATION" if words.next()? == "LEVEL" => match (words.next()?, words.peek().copied()) {
                ("SERIALIZABLE", _) => {}
                ("REPEATABLE", Some("READ")) | ("READ", Some("COMMITTED" | "UNCOMMITTED")) => {
                    words.next();
                }
                _ => return None,
            },
            "READ" if matches!(words.next()?, "ONLY" | "WRITE") => {}
            "DEFERRABLE" => {}
            "NOT" if words.next()? == "DEFERRABLE" => {}
            _ => return None,
        }
        comma = words.next_if_eq(&",").is_some();
    }
    (!comma).then_some((command, begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_postgres_accepts_is_a_plain_begin() {
        for good in [
            "BEGIN",
            "begin;",
            "BEGIN WORK",
            "START TRANSACTION READ ONLY",
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE",
            "begin transaction isolation level read committed read write",
        ] {
            assert!(plain_begin(good.as_bytes()).is_some(), "{good}");
        }
        for bad in
            ["START", "BEGIN READ", "BEGIN ISOLATION LEVEL CHAOS", "BEGIN x", "BEGIN READ ONLY,", "BEGIN;;"]
        {
            assert!(plain_begin(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
