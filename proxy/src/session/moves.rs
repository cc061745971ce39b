//! A session that has begun on one server goes on on another.

use crate::cluster::Wish;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::lease::called_off;
use crate::session::receive::Request;
use crate::session::work::Work;
use crate::wire::backend::Status;
use crate::wire::{Refusal, sqlstate};
use router_rules::{Decision, Reason, Target};
use std::time::{Duration, Instant};

/// A transaction that cannot go on elsewhere waits for its replica at least so long.
const STAYS_FOR: Duration = Duration::from_secs(10);

impl Session {
    /// A batch goes on where it has begun, as long as it may. How it has ended, if it has.
    pub(super) async fn go_on_in_batch(
        &mut self,
        request: &Request,
        decision: &mut Decision,
        work: &Work,
    ) -> Result<Option<Result<(), Refusal>>, Failure> {
        if !self.memory.state.block.is_there()
            && self.reads_on(decision, work)
            && let Err(refusal) = Box::pin(self.read_on(decision, work)).await
        {
            return Ok(Some(Err(refusal)));
        }
        if decision.target != Target::Primary || self.end_batch_on_replica().await? {
            return Ok(None);
        }
        // What has been sent of it has failed: the rest is skipped, as there.
        Ok(Some(self.skip_failed(request)))
    }

    /// What a batch has begun on a replica ends there, before the primary goes on with it. False when it has
    /// failed: Postgres skips the rest.
    async fn end_batch_on_replica(&mut self) -> Result<bool, Failure> {
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

    /// It comes to a read on the replica that it holds, for which that takes a new snapshot.
    pub(super) fn reads_on(&self, decision: &Decision, work: &Work) -> bool {
        self.holding.lease.is_some()
            && self.holding.on == Target::Replica
            && decision.target == Target::Replica
            && self.memory.status != Status::Failed
            && !work.reads.is_none()
            && match self.memory.state.block.is_there() {
                true => self.memory.state.may_move() || !self.memory.state.keeps_snapshot(),
                false => self.exchange.is_open(),
            }
    }

    /// That read sees what it must see: its replica is fresh enough for it, or is so in time, or it goes on on the
    /// primary.
    ///
    /// # Errors
    /// It can go on nowhere else, and its replica does not keep up: the client begins again.
    pub(super) async fn read_on(&mut self, decision: &mut Decision, work: &Work) -> Result<(), Refusal> {
        let Some(lease) = self.holding.lease.as_ref() else { return Ok(()) };
        let moves = match self.memory.state.block.is_there() {
            true => self.memory.state.may_move(),
            false => self.exchange.portals.is_empty(),
        };
        let limit = self.config.routing.freshness_wait;
        let limit = if moves { limit } else { limit.max(STAYS_FOR) };
        let (database, session) = (&self.client.who.database, &self.memory.freshness);
        let wish = Wish { database, decision, reads: &work.reads, session };
        let waiting = Instant::now();
        let keeps_up = tokio::select! {
            biased;
            keeps_up = self.weir.cluster.keeps_up(&lease.node, &wish, limit) => keeps_up,
            () = self.client.card.called_off(), if !moves => return Err(called_off()),
        };
        self.turn.waited += waiting.elapsed();
        if keeps_up {
            return Ok(());
        }
        if moves {
            (decision.target, decision.reason) = (Target::Primary, Reason::FreshnessTimeout);
            return Ok(());
        }
        if self.memory.state.block.is_there() && !self.exchange.is_open() && self.exchange.ledger.is_settled()
        {
            // As an error of the server's own it fails the transaction.
            let _ = self.ask("ROLLBACK TO SAVEPOINT pgweir_late").await;
            self.memory.status = Status::Failed;
        }
        Err(Refusal::new(
            sqlstate::SERIALIZATION_FAILURE,
            "the replica that this transaction reads from does not show what has been committed since it began",
        )
        .with_hint("It has asked for the time, or has a cursor, and cannot go on elsewhere. Begin it again."))
    }
}
