//! After the answer to a COMMIT was lost with its server: what became of it is asked of the next primary.
//!
//! The client gets what the history that the cluster goes on with says: its COMMIT, or that nothing of it was
//! committed (40001). Where that cannot be proved ([`crate::cluster::descent`]), within the time that a write
//! waits for a primary, it is told that nobody knows (08007).

use crate::auth::LoginError;
use crate::cluster::descent::{Has, Heir, Run};
use crate::node::Node;
use crate::server::Row;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::outcome::{Trace, Transaction, run, timeline_of};
use crate::session::receive::{Kind, Request, frames};
use crate::session::reign::{Over, lost};
use crate::session::work::Work;
use crate::wire::backend::{self, Status};
use crate::wire::error::put_warning;
use crate::wire::frontend::{self, tag};
use crate::wire::{ErrorFields, Refusal, sqlstate};
use bytes::BytesMut;
use router_rules::session::Block;
use router_rules::{Decision, Reason, TransactionStep};
use std::sync::Arc;
use std::time::Duration;

/// Before the next question, where there is no answer yet.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a primary is; nothing of a node that is none.
const HEIR_SQL: &str = concat!(
    "SELECT pg_catalog.pg_walfile_name(r.lsn), r.lsn, ",
    run!(),
    ", pg_catalog.current_setting('synchronous_standby_names') OPERATOR(pg_catalog.<>) '' \
     FROM (SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_insert_lsn() END AS lsn \
     OFFSET 0) r WHERE r.lsn IS NOT NULL"
);

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is committed.
    Committed {
        /// Whether it is where synchronous replication was to bring it is not known.
        is_replicated: bool,
    },
    /// Nothing of it is there.
    Aborted,
    /// Nobody can tell.
    Unknown,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Committed { .. } => "committed",
            Outcome::Aborted => "aborted",
            Outcome::Unknown => "unknown",
        }
    }
}

/// A primary has been asked.
enum Told {
    Outcome(Outcome),
    /// Not yet: there is no primary, or the transaction is still under way.
    NotYet,
}

/// An answer to [`HEIR_SQL`], with whether there are synchronous standbys; `None`: it is no primary.
fn heir(rows: &[Row]) -> Option<(Heir, bool)> {
    let text = |column: usize| rows.first()?.get(column)?.as_deref();
    let run = Run { started: text(2)?.parse().ok()?, replayed: text(3).and_then(|lsn| lsn.parse().ok()) };
    let (timeline, insert) = (timeline_of(text(0)?)?, text(1)?.parse().ok()?);
    Some((Heir { timeline, insert, run, is_same_node: false, promotion: None }, text(4)? == "t"))
}

impl Session {
    /// The request is a COMMIT of which the client has heard nothing, and whose outcome can be asked.
    pub(super) fn may_ask_outcome(&self) -> bool {
        self.turn.commits
            && self.exchange.held.is_held()
            && !self.exchange.is_answered()
            && matches!(self.answers.trace, Trace::Known(_))
    }

    /// The server is lost with the answer to a COMMIT: the client is given the answer all the same, or the
    /// refusal that is its outcome.
    ///
    /// # Errors
    /// Where the outcome is not known.
    pub(super) async fn learn_outcome(
        &mut self,
        over: Over,
        request: &Request,
    ) -> Result<Result<(), Refusal>, Failure> {
        let says = over.says(self.holding.node_name());
        let from = std::mem::take(&mut self.exchange.held).from().unwrap_or(0);
        self.client.socket.output.truncate(from);
        self.exchange.forget_rest();
        let (Trace::Known(transaction), Some(node)) =
            (std::mem::take(&mut self.answers.trace), self.holding.lease.as_ref().map(|l| l.node.clone()))
        else {
            return Err(self.outcome_unknown(&says));
        };
        self.weir.cluster.suspect(&node);
        self.drop_lease();
        let (card, limit) = (self.client.card.clone(), self.config.cluster.primary_wait);
        let asking = tokio::time::timeout(limit, self.ask_until_told(&transaction, &node));
        let outcome = tokio::select! {
            outcome = asking => outcome.unwrap_or(Outcome::Unknown),
            () = card.called_off() => Outcome::Unknown,
        };
        if outcome == Outcome::Unknown {
            // It may be in the midst of an answer.
            self.drop_lease();
        }
        tracing::info!(
            node = node.name,
            outcome = outcome.as_str(),
            "the outcome of a COMMIT was asked: {says}"
        );
        self.weir.metrics.commit_outcomes_total.with_label_values(&[outcome.as_str()]).inc();
        self.memory.unpin();
        self.client.card.set_pin(None);
        match outcome {
            Outcome::Committed { is_replicated } => {
                if !is_replicated {
                    put_warning(
                        &mut self.client.socket.output,
                        "the transaction is committed, but might not have been replicated to the standby: its \
                         server was lost meanwhile",
                    );
                }
                put_commit(&mut self.client.socket.output, request);
                self.on_step(&TransactionStep::Commit { chain: false }, b"COMMIT");
                self.on_ready(Status::Idle, None);
                Ok(Ok(()))
            }
            Outcome::Aborted => {
                self.take_back_names();
                self.memory.lose_block(Block::None);
                self.memory.status = Status::Idle;
                self.give_back();
                Ok(Err(lost(&says, true)))
            }
            Outcome::Unknown => Err(self.outcome_unknown(&says)),
        }
    }

    async fn ask_until_told(&mut self, transaction: &Transaction, node: &Arc<Node>) -> Outcome {
        loop {
            match Box::pin(self.ask_primary(transaction, node)).await {
                Ok(Told::Outcome(outcome))
                    if self.holding.lease.as_ref().is_none_or(|l| l.over().is_none()) =>
                {
                    return outcome;
                }
                Ok(Told::Outcome(_) | Told::NotYet) => {}
                Err(LoginError::ByServer(body)) if !ErrorFields::parse(&body).is_fatal() => {
                    return Outcome::Unknown;
                }
                Err(_) => {}
            }
            self.drop_lease();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks the primary of now, if there is one.
    async fn ask_primary(&mut self, of: &Transaction, node: &Arc<Node>) -> Result<Told, LoginError> {
        let mut decision = Decision::of_ours(Reason::Pinned, &self.config.policy);
        match self.lease_anew(&mut decision, &Work::nothing()).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) if refusal.sqlstate == sqlstate::QUERY_CANCELED => {
                return Ok(Told::Outcome(Outcome::Unknown));
            }
            Ok(Err(_)) => return Ok(Told::NotYet),
            Err(_) => return Ok(Told::Outcome(Outcome::Unknown)),
        }
        let Some(now) = self.holding.lease.as_ref().map(|lease| lease.node.clone()) else {
            return Ok(Told::NotYet);
        };
        let Some((heir, synchronous)) = heir(&self.ask(HEIR_SQL).await?) else { return Ok(Told::NotYet) };
        let is_same_node = Arc::ptr_eq(&now, node);
        let heir = Heir { is_same_node, promotion: self.weir.cluster.promotion(&now), ..heir };
        match of.record.is_known_to(&heir) {
            Has::Less => return Ok(Told::Outcome(Outcome::Aborted)),
            Has::Unknown => return Ok(Told::Outcome(Outcome::Unknown)),
            Has::Record => {}
        }
        let rows =
            self.ask(&format!("SELECT pg_catalog.pg_xact_status('{}'::pg_catalog.xid8)", of.id)).await?;
        let status = rows.first().and_then(|row| row.first()?.as_deref());
        Ok(match status {
            Some("committed") => {
                // The server that has committed it may have waited for a standby until it was lost.
                let is_replicated = !(synchronous && heir.timeline == of.record.timeline);
                Told::Outcome(Outcome::Committed { is_replicated })
            }
            Some("aborted") => Told::Outcome(Outcome::Aborted),
            Some("in progress") => Told::NotYet,
            _ => Told::Outcome(Outcome::Unknown),
        })
    }
}

/// What a server answers to a COMMIT that succeeds.
fn put_commit(out: &mut BytesMut, request: &Request) {
    let complete = |out: &mut BytesMut| backend::put_command_complete(out, "COMMIT");
    if request.kind == Kind::Query {
        complete(out);
    }
    for (kind, body) in frames(&request.frames) {
        match kind {
            tag::PARSE => out.extend_from_slice(&backend::PARSE_COMPLETE),
            tag::BIND => out.extend_from_slice(&backend::BIND_COMPLETE),
            tag::CLOSE => out.extend_from_slice(&backend::CLOSE_COMPLETE),
            tag::DESCRIBE => {
                if frontend::named(body).is_some_and(|named| named.kind == b'S') {
                    out.extend_from_slice(&backend::NO_PARAMETERS);
                }
                out.extend_from_slice(&backend::NO_DATA);
            }
            tag::EXECUTE => complete(out),
            _ => {}
        }
    }
    backend::put_ready(out, Status::Idle);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::lsn::Lsn;
    use crate::session::receive::{End, next_request};
    use crate::wire::frame;

    fn row(values: [Option<&str>; 5]) -> Vec<Row> {
        vec![values.map(|value| value.map(str::to_owned)).into()]
    }

    #[test]
    fn only_a_primary_is_an_heir() {
        let told =
            [Some("000000020000000000000003"), Some("0/3000060"), Some("9"), Some("0/3000010"), Some("f")];
        let run = Run { started: 9, replayed: Some(Lsn(0x300_0010)) };
        let heir_told =
            Heir { timeline: 2, insert: Lsn(0x300_0060), run, is_same_node: false, promotion: None };
        assert_eq!(heir(&row(told)), Some((heir_told, false)));
        assert_eq!(heir(&[]), None);
        assert_eq!(heir(&row([None; 5])), None);
    }

    #[test]
    fn a_commit_is_answered_as_it_was_asked() {
        let tags = |request: &Request| {
            let mut out = BytesMut::new();
            put_commit(&mut out, request);
            let mut tags = vec![];
            while let Ok(Some((kind, _))) = frame::take(&mut out, 1_000) {
                tags.push(kind);
            }
            String::from_utf8(tags).unwrap()
        };
        let mut bytes = BytesMut::new();
        frontend::put_query(&mut bytes, b"COMMIT");
        assert_eq!(tags(&next_request(&mut bytes).unwrap().unwrap()), "CZ");
        frontend::put_parse(&mut bytes, b"", b"COMMIT", &[0, 0]);
        frontend::put_named(&mut bytes, tag::DESCRIBE, b'S', b"");
        frontend::put_bind(&mut bytes, b"", b"", &[0; 6]);
        frontend::put_named(&mut bytes, tag::DESCRIBE, b'P', b"");
        frontend::put_execute(&mut bytes, b"");
        frontend::put_named(&mut bytes, tag::CLOSE, b'P', b"");
        frontend::put_empty(&mut bytes, tag::SYNC);
        let request = next_request(&mut bytes).unwrap().unwrap();
        assert_eq!(request.kind, Kind::Batch(End::Sync));
        assert_eq!(tags(&request), "1tn2nC3Z");
    }
}
