//! When a session lets go of its server, and in what state the server is then.

use crate::pool::Lease;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::holding::Holding;
use crate::session::ledger::Owed;
use crate::session::outcome::Trace;
use crate::wire::backend::Status;
use crate::wire::{ErrorFields, frontend};
use router_rules::{PinReason, Target};
use std::time::{Duration, Instant};

/// For so long after it asked for the process id of its server a session keeps that server: to look for
/// it among the locks and activities, or to have it ended by somebody else.
const PROCESS_KEPT_FOR: Duration = Duration::from_secs(60);

/// Requests of one pipeline that may follow each other on a server while others wait for it.
const IN_A_ROW_MAX: u32 = 32;

impl Session {
    /// The request is done: the server goes back unless something keeps it.
    pub(super) async fn release(&mut self) -> Result<(), Failure> {
        if self.holding.lease.is_none() || !self.exchange.is_clean() {
            return Ok(());
        }
        // What looks into the request ends, and its memory is free.
        self.turn.bound.clear();
        self.turn.renamed.clear();
        if !self.answers.unknown_settings.is_empty() && self.memory.status != Status::Failed {
            Box::pin(self.ask_for_settings()).await?;
        }
        if self.memory.status != Status::Idle {
            return Ok(());
        }
        self.settle_doubts();
        if self.memory.is_pinned() && self.memory.state.pins.may_have_ended {
            Box::pin(self.ask_whether_clean()).await?;
        }
        if self.memory.state.pins.may_listen && self.memory.state.pins.has(PinReason::Listen) {
            Box::pin(self.ask_for_channels()).await?;
        }
        let wanted = self.holding.lease.as_ref().is_some_and(Lease::is_wanted);
        if self.memory.is_pinned() && !(wanted && self.memory.state.pins.is_only(PinReason::ServerProcess)) {
            self.client.card.set_pin(self.memory.state.pins.first());
            if wanted {
                Box::pin(self.leave_what_may_have_changed()).await?;
            }
            return Ok(());
        }
        self.memory.unpin();
        if self.keeps_for_sequences() {
            self.holding.kept = self.holding.lease.take();
            self.client.card.set_running_on(None);
            self.client.card.set_pin(Some(PinReason::SequenceState));
            return Ok(());
        }
        self.client.card.set_pin(self.holding.kept.as_ref().map(|_| PinReason::SequenceState));
        if self.holding.on == Target::Primary
            && !self.client.socket.input.is_empty()
            && self.holding.in_a_row < IN_A_ROW_MAX
        {
            // The next request of a pipeline need not queue for a server again.
            self.holding.in_a_row += 1;
            self.holding.lingers = true;
            return Ok(());
        }
        self.give_back_at(self.turn.ended.unwrap_or_else(Instant::now));
        if self.holding.kept.as_ref().is_some_and(|kept| kept.is_wanted() && !kept.asks_sequences()) {
            self.yield_server();
        }
        Ok(())
    }

    /// True when the session can do without the server that it keeps, should others need one.
    pub(super) fn can_yield(&self) -> bool {
        match (&self.holding.lease, &self.holding.kept) {
            (None, Some(kept)) => !kept.asks_sequences(),
            (Some(lease), _) => {
                (self.memory.state.pins.are_soft() || !self.memory.is_pinned())
                    && self.memory.status == Status::Idle
                    && lease.status == Status::Idle
                    && self.exchange.is_clean()
            }
            (None, None) => false,
        }
    }

    /// Others wait: what is kept without need goes to them.
    pub(super) fn yield_server(&mut self) {
        self.settle_doubts();
        if !self.can_yield() {
            return;
        }
        self.memory.state.pins.clear();
        self.client.card.set_pin(None);
        match self.holding.kept.take() {
            Some(kept) => {
                self.memory.state.pins.sequences = false;
                self.holding.last_primary = Some(kept.last_use());
                kept.give_back();
            }
            None => self.give_back(),
        }
    }

    /// Others wait, and may have the server that is kept, once that has said what is left on it.
    pub(super) async fn yield_on_demand(&mut self) -> Result<(), Failure> {
        self.settle_doubts();
        if let Some(lease) = &self.holding.lease
            && self.memory.state.pins.may_have_changed()
        {
            // Otherwise it has only looked for the catalog.
            return if lease.is_wanted() { self.leave_what_may_have_changed().await } else { Ok(()) };
        }
        self.yield_server();
        Ok(())
    }

    /// The server goes to others when what this session has left there has been taken away.
    pub(super) fn give_back_cleaned(&mut self) {
        self.client.card.set_running_on(None);
        self.client.card.set_pin(None);
        self.holding.in_a_row = 0;
        self.memory.sql_names.clear();
        if let Some(lease) = self.holding.lease.take() {
            tokio::spawn(clean(lease, true));
        }
    }

    /// Who asked for its server's process long ago has no more use for it.
    pub(super) fn forget_process_in_time(&mut self, now: Instant) {
        if self.memory.state.pins.is_only(PinReason::ServerProcess)
            && self.memory.process_asked.is_some_and(|(_, asked)| now - asked > PROCESS_KEPT_FOR)
            && self.can_yield()
        {
            self.yield_server();
        }
    }

    /// The server goes back to its pool, or to a short rest while a cancel is on its way to it.
    pub(super) fn give_back(&mut self) {
        self.give_back_at(Instant::now());
    }

    fn give_back_at(&mut self, now: Instant) {
        self.holding.in_a_row = 0;
        let Some(lease) = self.holding.lease.take() else { return };
        self.client.card.set_running_on(None);
        if self.holding.on == Target::Primary {
            self.holding.last_primary = Some(lease.last_use());
        }
        if *lease.cancel.pending.lock() > 0 {
            tokio::spawn(settle(lease));
        } else {
            lease.give_back_at(now);
        }
    }

    /// The server is of no use any more.
    pub(super) fn drop_lease(&mut self) {
        self.lose_lease();
        self.exchange.lose_server();
    }

    /// The server is gone; what it owed is the caller's to forget.
    pub(super) fn lose_lease(&mut self) {
        self.client.card.set_running_on(None);
        self.holding.lease = None;
        // They went with the server.
        self.memory.sql_names.clear();
        self.answers.trace = Trace::None;
    }

    /// The session ends: its server is cleaned for the next one, or closed.
    pub(super) fn retire_lease(&mut self) {
        self.client.card.set_running_on(None);
        if let Some(kept) = self.holding.kept.take() {
            kept.give_back();
        }
        let Some(lease) = self.holding.lease.take() else { return };
        if !self.exchange.is_clean() {
            // It may be running something for nobody.
            let (target, weir) = (lease.cancel.clone(), self.weir.clone());
            drop(lease);
            tokio::spawn(async move {
                let cancel = crate::server::cancel(&target, &weir.connector);
                let _ = tokio::time::timeout(Duration::from_secs(5), cancel).await;
            });
            return;
        }
        let cleanable = self.memory.state.pins.can_be_cleaned();
        let pinned = self.memory.is_pinned() && !self.memory.state.pins.is_only(PinReason::ServerProcess);
        if !pinned && lease.status == Status::Idle {
            self.holding.lease = Some(lease);
            return self.give_back();
        }
        if cleanable {
            tokio::spawn(clean(lease, pinned));
        }
    }

    /// A server that was leased and not used: it goes back, or is closed when something waits to be sent.
    pub(super) fn yield_unused(&mut self) {
        if self.exchange.ledger.is_settled() {
            self.give_back();
        } else {
            self.drop_lease();
        }
    }

    /// After a refusal by a replica: what it still owes is waited for unseen, then it goes back.
    pub(super) async fn drain_lease(&mut self) {
        let Some(lease) = self.holding.lease.as_mut() else { return };
        if self.exchange.is_open() {
            frontend::put_empty(&mut lease.connection.output, frontend::tag::SYNC);
            self.exchange.ledger.push(Owed::Sync { ours: true });
            self.exchange.set_open(false);
        }
        let drained = tokio::time::timeout(Duration::from_secs(10), self.drain()).await;
        if matches!(drained, Ok(true)) && self.holding.end_block().await {
            self.exchange.portals.clear();
            self.give_back();
        } else {
            self.drop_lease();
        }
    }
}

impl Holding {
    /// Ends the block that is open on the server. False when that cannot be had.
    pub(super) async fn end_block(&mut self) -> bool {
        let Some(lease) = self.lease.as_mut() else { return false };
        if lease.status == Status::Idle {
            return true;
        }
        let asked = tokio::time::timeout(Duration::from_secs(10), lease.ask("ROLLBACK")).await;
        lease.settings.on_rollback();
        matches!(asked, Ok(Ok(_)))
    }
}

/// A cancel is on its way to this server: nobody else may be hit by it.
async fn settle(mut lease: Lease) {
    let target = lease.cancel.clone();
    let arrived = async {
        loop {
            let next = target.arrived.notified();
            if *target.pending.lock() == 0 {
                break;
            }
            next.await;
        }
        // The signal may come a moment after the request was taken: let it hit this.
        lease.ask("SELECT").await
    };
    let outcome = tokio::time::timeout(Duration::from_secs(10), arrived).await;
    let hit = |e: &crate::auth::LoginError| matches!(e, crate::auth::LoginError::ByServer(body) if ErrorFields::parse(body).sqlstate == "57014");
    match outcome {
        Ok(Ok(_)) => lease.give_back(),
        Ok(Err(error)) if hit(&error) => lease.give_back(),
        _ => {}
    }
}

/// Takes away what a session left on its server.
async fn clean(mut lease: Lease, pinned: bool) {
    let cleaned = async {
        if lease.status != Status::Idle {
            lease.ask("ROLLBACK").await?;
            lease.settings.on_rollback();
        }
        if pinned {
            lease.ask("DISCARD ALL").await?;
            lease.statements.clear();
            lease.settings.restart();
        }
        Ok::<_, crate::auth::LoginError>(())
    };
    if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(10), cleaned).await {
        if *lease.cancel.pending.lock() > 0 { settle(lease).await } else { lease.give_back() }
    }
}
