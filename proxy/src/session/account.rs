//! What a request took: counted, traced, and told to whoever asks where it went.

use crate::observe::traces::Told;
use crate::session::Session;
use crate::session::memory::Route;
use crate::session::work::Work;
use crate::wire::backend::Status;
use router_rules::{Decision, Reason};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Session {
    /// Counts what is about to run.
    pub(super) fn count(&self, work: &Work, decision: &Decision) {
        let statements = work.parts.len().max(1) as u64;
        self.client.counters.statements(decision.target, decision.reason, statements);
        if decision.reason == Reason::Transaction
            && work.is_ordinary()
            && self.memory.state.could_read_elsewhere()
        {
            self.client.counters.reads_before_write(statements);
        }
        self.client.card.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the time that pgweir itself has taken until a server was asked.
    pub(super) fn account_for_itself(&self) {
        let ours = self.turn.started.elapsed().saturating_sub(self.turn.waited);
        self.weir.metrics.proxy_seconds.observe(ours.as_secs_f64());
    }

    /// Counts what the statement took, and the transaction if it ended one.
    pub(super) fn account(&mut self, work: &Work) {
        self.rely_on_bound();
        if !work.is_ordinary() {
            self.ask_after_procedures(work);
        }
        let now = self.turn.ended.unwrap_or_else(Instant::now);
        let took = now - self.turn.started;
        if self.config.log.slow_statement.is_some_and(|bound| took > bound) {
            crate::limited!(
                warn,
                shape = format_args!("{:016x}", work.shape()),
                milliseconds = took.as_millis(),
                role = %self.holding.on,
                user = self.client.who.user,
                database = self.client.who.database,
                "slow statement"
            );
        }
        if self.config.traces.is_some() {
            self.tell_traces(work, took);
        }
        self.weir.metrics.statement_seconds(self.holding.on).observe(took.as_secs_f64());
        if let Some(route) = self.memory.last_route.as_ref().filter(|_| work.shows.is_none()) {
            route.node.statement_took(took, &self.weir.metrics.cluster);
        }
        self.client.counters.statement_took(took);
        let began = *self.memory.began.get_or_insert(self.turn.started);
        if self.memory.status == Status::Idle {
            self.client.counters.transaction(now - began);
            self.memory.began = None;
        }
        let (received, sent) = self.client.socket.take_counts();
        self.client.counters.received(received);
        self.client.counters.sent(sent);
    }

    pub(super) fn tell_traces(&self, work: &Work, took: Duration) {
        let Some(route) = self.memory.last_route.as_ref().filter(|_| work.shows.is_none()) else { return };
        let told = Told {
            kind: work.single().map_or("batch", |statement| statement.kind.as_str()),
            database: &self.client.who.database,
            node: &route.node.name,
            on: route.on,
            reason: route.reason,
            shape: work.shape(),
            took,
            freshness_wait: route.waited,
            lease_wait: self.turn.waited.saturating_sub(route.waited),
        };
        self.weir.traces.tell(&told, work.texts.last().map_or(&[], |sql| sql));
    }

    /// `SET pgweir.trace = on`: a NOTICE per statement. Also what `SHOW pgweir.last_route` says.
    pub(super) fn explain(&mut self, decision: &Decision, waited: Duration, lag: Duration, work: &Work) {
        if work.shows.is_some() {
            return;
        }
        let Some(lease) = self.holding.lease.as_ref() else { return };
        let route =
            Route { node: lease.node.clone(), on: self.holding.on, reason: decision.reason, waited, lag };
        if self.memory.state.wishes.trace {
            crate::wire::error::put_notice(&mut self.client.socket.output, "00000", &route.to_string());
        }
        self.memory.last_route = Some(route);
    }
}
