//! A session that has begun on one server goes on on another.

use crate::cluster::Wish;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::work::Work;
use crate::wire::backend::Status;
use router_rules::{Decision, Reason, Target};
use std::time::Instant;

impl Session {
    /// What a batch has begun on a replica ends there, before the primary goes on with it. False when it has
    /// failed: Postgres skips the rest.
    pub(super) async fn end_batch_on_replica(&mut self) -> Result<bool, Failure> {
        let begun =
            self.holding.lease.is_some() && self.holding.on == Target::Replica && self.exchange.is_open();
        if !begun || self.memory.state.block.is_there() || self.memory.is_pinned() {
            return Ok(true);
        }
        if self.exchange.ledger.is_skipping() {
            return Ok(false);
        }
        self.exchange.batch_failed = false;
        self.sync_unseen();
        Box::pin(self.wait_until_nothing_is_owed()).await?;
        let done = !self.exchange.batch_failed;
        if self.exchange.ledger.is_settled() && self.memory.status == Status::Idle {
            self.give_back();
        }
        Ok(done)
    }

    /// Leaves a replica in the middle: what comes next needs the primary.
    pub(super) async fn leave_replica(&mut self, work: &Work) -> Result<(), Failure> {
        if !self.memory.state.block.is_there() {
            if self.exchange.ledger.is_settled() && matches!(work.verdict, Err(Reason::Write | Reason::Ddl)) {
                // A transaction whose snapshot could not leave has pinned the session here. Better without what
                // the pin is for than unable to write.
                self.retire_lease();
                self.memory.unpin();
            }
            return Ok(());
        }
        if !self.memory.state.may_move()
            || !self.exchange.ledger.is_settled()
            || self.memory.status != Status::Transaction
        {
            return Ok(());
        }
        let Some(deferred) = self.memory.state.block.before_server() else { return Ok(()) };
        // What it has set there is set again on the next server.
        match self.ask("ROLLBACK").await {
            Ok(_) => {
                if let Some(lease) = self.holding.lease.as_mut() {
                    lease.settings.on_rollback();
                }
                self.give_back();
            }
            Err(_) => self.drop_lease(),
        }
        self.memory.state.block = deferred;
        Ok(())
    }

    /// A transaction that can still move comes to a read on its replica.
    pub(super) fn reads_on_in_block(&self, decision: &Decision, work: &Work) -> bool {
        self.holding.lease.is_some()
            && self.holding.on == Target::Replica
            && decision.target == Target::Replica
            && !work.reads.is_none()
            && self.memory.state.may_move()
    }

    /// The replica is fresh enough for that read, or is so within `routing.freshness_wait`.
    pub(super) async fn keeps_up(&mut self, decision: &Decision, work: &Work) -> bool {
        let Some(lease) = self.holding.lease.as_ref() else { return false };
        let (database, session) = (&self.client.who.database, &self.memory.freshness);
        let wish = Wish { database, decision, reads: &work.reads, session };
        let waiting = Instant::now();
        let keeps_up = self.weir.cluster.keeps_up(&lease.node, &wish).await;
        self.turn.waited += waiting.elapsed();
        keeps_up
    }
}
