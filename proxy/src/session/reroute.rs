//! The safety net: what a replica refuses is run once on the primary, unseen; what a lost server has not
//! done, on any other.
//!
//! Each catch is a report against the classifier, so it is counted, logged once per shape and
//! remembered.

use crate::session::Session;
use crate::session::exchange::held::Held;
use crate::session::failure::{Failure, Farewell};
use crate::session::receive::Request;
use crate::session::work::Work;
use crate::wire::ErrorFields;
use crate::wire::backend::Status;
pub(super) use router_rules::RerouteCause as Cause;
use router_rules::{Decision, Reason, Target};
use std::time::Instant;

/// Whether an error is one that another run may cure.
pub(super) fn cause_of(fields: &ErrorFields) -> Option<Cause> {
    let says = |text: &str| fields.message.contains(text);
    match fields.sqlstate.as_str() {
        "25006" => Some(Cause::ReadOnly),
        _ if fields.is_stale_plan() => Some(Cause::StalePlan),
        "0A000" | "55000" | "XX000" if says("recovery") || says("hot standby") => Some(Cause::Recovery),
        "40001" | "40P01" if says("conflict with recovery") || says("deadlock") => Some(Cause::Conflict),
        "57P01" if says("conflict with recovery") => Some(Cause::Conflict),
        "57P01" | "57P02" | "57P03" => Some(Cause::Lost),
        // Of a replica that has less room than the primary, or a broken disk.
        "53100" | "53200" | "53400" | "58030" | "58P01" | "XX001" | "XX002" => Some(Cause::Resources),
        "42P01" | "42704" | "42883" | "42703" | "3F000" => Some(Cause::NotReplayed),
        _ => None,
    }
}

impl Session {
    /// Prepares the second run: the server is left, another is next.
    pub(super) async fn reroute(
        &mut self,
        cause: Cause,
        decision: &mut Decision,
        (request, work): (&Request, &Work),
    ) -> Result<(), Failure> {
        self.weir.metrics.reroutes_total.with_label_values(&[cause.as_str()]).inc();
        if let Some(from) = self.exchange.held.from() {
            self.client.socket.output.truncate(from);
        }
        if matches!(cause, Cause::ReadOnly | Cause::Recovery) {
            for part in &work.parts {
                crate::limited!(
                    warn,
                    cause = cause.as_str(),
                    shape = format_args!("{:016x}", part.shape),
                    node = self.holding.node_name(),
                    "a replica refused a statement that was taken for read-only"
                );
                self.weir.classifier.learn(part.shape);
            }
        }
        self.memory.state.written = router_rules::statement::Footprint::none();
        self.take_back_names();
        let moves = self.memory.state.block.is_there() && self.memory.state.may_move();
        if !self.memory.state.block.is_there() {
            // What succeeded ahead of the error goes with it.
            self.memory.state.settings.on_rollback();
            if let Some(lease) = self.holding.lease.as_mut() {
                lease.settings.on_rollback();
            }
        }
        match cause {
            Cause::Lost => {
                if let Some(lease) = self.holding.lease.as_ref() {
                    self.weir.cluster.suspect(&lease.node);
                }
                self.drop_lease();
                self.begin_again();
            }
            Cause::StalePlan if self.memory.is_pinned() => {
                // The same server: it only has to get in step again.
                if !tokio::time::timeout(std::time::Duration::from_secs(10), self.drain())
                    .await
                    .unwrap_or(false)
                {
                    return Err(Failure::ServerSaidGoodbye(Farewell::default()));
                }
            }
            _ => self.drain_lease().await,
        }
        if moves && self.holding.lease.is_none() {
            self.memory.take_back_request();
        }
        self.exchange.held = Held::No;
        if cause == Cause::Lost && decision.reason != Reason::Reroute {
            // Any other that keeps its promise will do, with or without a primary.
            *decision = self.decide(request, work);
            decision.reason = Reason::Reroute;
        } else {
            (decision.target, decision.reason) = (Target::Primary, Reason::Reroute);
        }
        Ok(())
    }

    /// Between two statements of a block that only reads, and takes a snapshot per statement, its
    /// server was lost: the next statement finds another server. False where that cannot be.
    pub(super) fn leave_lost_server(&mut self) -> bool {
        let Some(lease) = self.holding.lease.as_ref() else { return false };
        let quiet = self.memory.status == Status::Transaction
            && self.exchange.ledger.is_settled()
            && !self.exchange.is_open();
        if !quiet || !self.memory.state.may_begin_again() || self.memory.is_pinned() {
            return false;
        }
        let Some(deferred) = self.memory.state.block.before_server() else { return false };
        crate::limited!(info, node = lease.node.name, "a server was lost between two reads of a transaction");
        // What the block has shown must not be unseen elsewhere.
        self.weir.cluster.suspect(&lease.node);
        self.weir.cluster.read_of(
            &lease.node,
            &self.memory.state.seen,
            &mut self.memory.freshness,
            Instant::now(),
        );
        self.drop_lease();
        self.memory.state.block = deferred;
        true
    }

    /// The block that was lost with its replica begins anew on the next server.
    fn begin_again(&mut self) {
        if self.exchange.held.is_of_block() && self.memory.state.block.is_open() {
            self.memory.state.block = self.memory.state.block.before_server().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_that_another_node_may_cure_are_caught() {
        let of = |sqlstate: &str, message: &str| {
            cause_of(&ErrorFields {
                severity: "ERROR".into(),
                sqlstate: sqlstate.into(),
                message: message.into(),
                ..ErrorFields::default()
            })
        };
        assert_eq!(of("25006", "cannot execute INSERT in a read-only transaction"), Some(Cause::ReadOnly));
        assert_eq!(
            of("0A000", "cannot access temporary or unlogged relations during recovery"),
            Some(Cause::Recovery)
        );
        assert_eq!(of("0A000", "something else"), None);
        assert_eq!(of("40001", "canceling statement due to conflict with recovery"), Some(Cause::Conflict));
        assert_eq!(of("53100", "could not write to file: No space left on device"), Some(Cause::Resources));
        assert_eq!(of("40001", "could not serialize access due to concurrent update"), None);
        assert_eq!(of("22012", "division by zero"), None);
    }
}
