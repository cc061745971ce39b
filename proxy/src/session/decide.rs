//! Step three: where may it run.

use crate::session::Session;
use crate::session::classify::Work;
use crate::session::memory::Block;
use router_rules::{Classified, Decision, Reason, SessionView, Target, TransactionStep, decide};

impl Session {
    /// Decides for the whole request: one node runs all of it.
    pub(super) fn decide(&self, work: &Work) -> Decision {
        let config = &self.config;
        let policy = &config.policy;
        let settings = self.memory.settings.now();
        let in_read_only_block = self.memory.in_read_only_block();
        let mut view = SessionView {
            sql: &[],
            user: &self.who.user,
            database: &self.who.database,
            application_name: settings.value("application_name").unwrap_or(""),
            client_address: self.who.address,
            route: self.memory.wishes.route,
            consistency: self.memory.wishes.consistency,
            max_lag: self.memory.wishes.max_lag,
            read_only_transaction: in_read_only_block,
            serializable: matches!(self.memory.block, Block::None) && self.memory.default_serializable(),
        };
        let begins_read_only =
            work.parts.len() > 1 && work.parts.first().is_some_and(|p| begins_read_only(p));
        let mut decision: Option<Decision> = None;
        let mut logged: Vec<(String, &Classified)> = vec![];
        for (part, sql) in work.parts.iter().zip(&work.texts).skip(usize::from(begins_read_only)) {
            view.sql = sql;
            let mut next = decide(part, &view, policy);
            logged.extend(next.log.take().map(|rule| (rule, &**part)));
            decision = Some(match decision {
                None => next,
                Some(so_far) => stricter(so_far, next),
            });
        }
        let mut decision = decision.unwrap_or_else(|| Decision {
            target: Target::Primary,
            reason: work.verdict.err().unwrap_or(Reason::Session),
            consistency: policy.consistency,
            max_lag: policy.max_lag,
            max_lag_bytes: policy.max_lag_bytes,
            group: None,
            refuse: None,
            log: None,
        });
        if work.parts.is_empty() && work.verdict.is_ok() && self.lease.is_some() {
            // It goes on with what it has begun, where it has begun.
            decision.target = self.on;
        }
        if let Err(reason) = work.verdict
            && decision.target == Target::Replica
            && !begins_read_only
        {
            (decision.target, decision.reason) = (Target::Primary, reason);
        }
        self.within_transaction(&mut decision, in_read_only_block || begins_read_only);
        if !config.routing.split && decision.target == Target::Replica {
            (decision.target, decision.reason) = (Target::Primary, Reason::Rule);
        }
        for (rule, part) in logged {
            self.weir.ruled.log(&rule, part, &decision, &view);
        }
        decision
    }

    /// A transaction or a pin has settled the matter before.
    fn within_transaction(&self, decision: &mut Decision, read_only: bool) {
        if self.memory.is_pinned() {
            (decision.target, decision.reason) = (Target::Primary, Reason::Pinned);
            return;
        }
        let in_block = !matches!(self.memory.block, Block::None);
        if decision.target == Target::Replica {
            if read_only {
                decision.reason = Reason::ReadOnlyTransaction;
            } else if in_block || (self.unsynced && self.on == Target::Primary) {
                (decision.target, decision.reason) = (Target::Primary, Reason::Transaction);
            }
        }
    }
}

/// A lone BEGIN READ ONLY (not SERIALIZABLE), as a driver sends it ahead of the first statement.
fn begins_read_only(part: &Classified) -> bool {
    use router_rules::statement::Isolation;
    match part.statements.as_slice() {
        [statement] => matches!(
            &statement.transaction,
            Some(TransactionStep::Begin(modes))
                if modes.read_only == Some(true) && modes.isolation != Some(Isolation::Serializable)
        ),
        _ => false,
    }
}

/// One node runs both: what is for the primary wins, then what must be fresher.
fn stricter(a: Decision, b: Decision) -> Decision {
    if a.refuse.is_some() || (a.target == Target::Primary && b.refuse.is_none()) {
        return a;
    }
    if b.refuse.is_some() || b.target == Target::Primary {
        return b;
    }
    let least = |x: Option<_>, y: Option<_>| x.into_iter().chain(y).min();
    Decision {
        consistency: a.consistency.max(b.consistency),
        max_lag: least(a.max_lag, b.max_lag),
        max_lag_bytes: a.max_lag_bytes.into_iter().chain(b.max_lag_bytes).min(),
        ..a
    }
}
