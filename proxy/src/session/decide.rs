//! Step three: where may it run.

use crate::session::Session;
use crate::session::classify::Work;
use crate::session::memory::Block;
use crate::session::receive::{Kind, Request, frames};
use crate::wire::frontend::{self, tag};
use router_rules::hint::Consistency;
use router_rules::statement::{Kind as SqlKind, Statement};
use router_rules::transactions::names_the_clock;
use router_rules::{
    Classified, Decision, Reason, SessionEffect, SessionView, Target, TransactionModes, TransactionStep,
    Transactions, cut_name, decide,
};

impl Session {
    /// Decides for the whole request: one node runs all of it.
    pub(super) fn decide(&self, request: &Request, work: &Work) -> Decision {
        let config = &self.config;
        let policy = &config.policy;
        let settings = self.memory.settings.now();
        let in_read_only_block = self.memory.in_read_only_block() || self.becomes_read_only(work);
        let mut view = SessionView {
            sql: &[],
            user: &self.client.who.user,
            database: &self.client.who.database,
            application_name: cut_name(settings.value("application_name").unwrap_or("")),
            client_address: self.client.who.address,
            route: self.memory.wishes.route,
            consistency: self.memory.wishes.consistency,
            max_lag: self.memory.wishes.max_lag,
            transactions: self.memory.wishes.transactions,
            read_only_transaction: in_read_only_block,
            serializable: matches!(self.memory.block, Block::None) && self.memory.default_serializable(),
        };
        let begins = work.parts.first().filter(|_| work.parts.len() > 1).and_then(|part| begins(part));
        let begins_read_only = begins.is_some_and(is_read_only);
        let begins_movable = !begins_read_only
            && matches!(self.memory.block, Block::None)
            && begins.is_some_and(|modes| self.memory.begins_movable(&modes));
        let begins_block = begins_read_only || begins_movable;
        let movable = (begins_movable || self.memory.in_movable_block()) && !opens_portal(request);
        let mut decision: Option<Decision> = None;
        let mut logged: Vec<(String, &Classified)> = vec![];
        for (part, sql) in work.parts.iter().zip(&work.texts).skip(usize::from(begins_block)) {
            view.sql = sql;
            let mut next = decide(part, &view, policy);
            if movable && next.transactions == Transactions::UntilFirstWrite {
                self.before_a_move(part, sql, &mut next);
            }
            logged.extend(next.log.take().map(|rule| (rule, &**part)));
            decision = Some(match decision {
                None => next,
                Some(so_far) => stricter(so_far, next),
            });
        }
        let reason = work.verdict.err().unwrap_or(Reason::Session);
        let mut decision = decision.unwrap_or_else(|| Decision::of_ours(reason, policy));
        if work.parts.is_empty() && work.verdict.is_ok() && self.holding.lease.is_some() {
            // It goes on with what it has begun, where it has begun.
            decision.target = self.holding.on;
            if self.memory.in_movable_block() {
                decision.reason = Reason::BeforeWrite;
            }
        }
        if let Err(reason) = work.verdict
            && decision.target == Target::Replica
            && !begins_block
            && !work.parts.iter().any(|part| part.verdict.is_err() && self.fits_block(part, &decision))
        {
            (decision.target, decision.reason) = (Target::Primary, reason);
        }
        if decision.target == Target::Primary && self.is_housekeeping(work, &decision) {
            (decision.target, decision.reason) = (Target::Replica, Reason::Session);
        }
        self.within_transaction(&mut decision, in_read_only_block || begins_read_only, begins_block);
        if decision.target == Target::Primary && self.needs_no_primary(work) {
            (decision.target, decision.reason) = (Target::Replica, Reason::Session);
            decision.consistency = Consistency::Eventual;
        }
        if !config.routing.split && decision.target == Target::Replica {
            (decision.target, decision.reason) = (Target::Primary, Reason::Rule);
        }
        for (rule, part) in logged {
            self.weir.ruled.log(&rule, part, &decision, &view);
        }
        decision
    }

    /// In a transaction that can still move, what can be done again there may run ahead of the move, and
    /// what would show the move may not.
    fn before_a_move(&self, part: &Classified, sql: &[u8], decision: &mut Decision) {
        let settled = matches!(decision.reason, Reason::Rule | Reason::Hint);
        if part.may_run_before_a_move(self.memory.moving.replay()) && !names_the_clock(sql) && !settled {
            (decision.target, decision.reason) = (Target::Replica, Reason::BeforeWrite);
        } else if decision.target == Target::Replica {
            (decision.target, decision.reason) = (Target::Primary, Reason::Transaction);
        }
    }

    /// The block has not begun on any server yet, and this makes it READ ONLY before it does.
    fn becomes_read_only(&self, work: &Work) -> bool {
        let Block::Deferred { modes, .. } = &self.memory.block else { return false };
        let asked = work.single().and_then(|statement| match statement.effects.as_slice() {
            [SessionEffect::SetTransaction(asked)] => Some(*asked),
            _ => None,
        });
        asked.is_some_and(|asked| {
            is_read_only(TransactionModes { isolation: asked.isolation.or(modes.isolation), ..asked })
                && !self.memory.default_serializable()
        })
    }

    /// The session keeps no server, and resets or sets what follows it to every server: any node will do.
    fn is_housekeeping(&self, work: &Work, decision: &Decision) -> bool {
        matches!(self.memory.block, Block::None)
            && self.holding.lease.is_none()
            && self.holding.kept.is_none()
            && !matches!(decision.reason, Reason::Rule | Reason::Hint)
            && decision.refuse.is_none()
            && !work.parts.is_empty()
            && work.parts.iter().all(|part| part.is_housekeeping())
    }

    /// Though it is not proved a read, it may run on the replica that its block is on.
    fn fits_block(&self, part: &Classified, decision: &Decision) -> bool {
        match decision.reason {
            Reason::BeforeWrite => part.may_run_before_a_move(self.memory.moving.replay()),
            _ => decision.reason == Reason::ReadOnlyTransaction && part.fits_read_only_transaction(),
        }
    }

    /// Of a batch that the client has not ended the rest is not known, and may write: outside of a
    /// transaction that only reads it begins on the primary.
    pub(super) fn keep_begun_on_primary(&self, request: &Request, work: &Work, decision: &mut Decision) {
        let begun = matches!(request.kind, Kind::Batch(end) if end.goes_on()) && !work.parts.is_empty();
        if begun && decision.target == Target::Replica && matches!(self.memory.block, Block::None) {
            (decision.target, decision.reason) = (Target::Primary, Reason::BatchBegun);
        }
    }

    /// A transaction or a pin has settled the matter before.
    fn within_transaction(&self, decision: &mut Decision, read_only: bool, begins: bool) {
        if self.memory.is_pinned_by_doubt_only() {
            if decision.target == Target::Replica {
                (decision.target, decision.reason) = (Target::Primary, Reason::NoCatalog);
            }
            return;
        }
        if self.memory.is_pinned() {
            (decision.target, decision.reason) = (Target::Primary, Reason::Pinned);
            return;
        }
        let in_block = !matches!(self.memory.block, Block::None);
        if decision.target == Target::Replica {
            if read_only {
                decision.reason = Reason::ReadOnlyTransaction;
            } else if (in_block || begins || self.exchange.is_open())
                && decision.reason == Reason::BeforeWrite
                && !(self.exchange.is_open() && self.holding.on == Target::Primary)
            {
                // Until it needs the primary.
            } else if in_block || begins || (self.exchange.is_open() && self.holding.on == Target::Primary) {
                (decision.target, decision.reason) = (Target::Primary, Reason::Transaction);
            }
        }
    }

    /// Without a primary any server can say whether a setting is one, and what it is.
    fn needs_no_primary(&self, work: &Work) -> bool {
        let is_free = self.holding.lease.is_none()
            && self.holding.kept.is_none()
            && matches!(self.memory.block, Block::None)
            && !self.memory.is_pinned();
        let sets = |statement: &Statement| {
            let is_setting = |e: &SessionEffect| {
                use SessionEffect::{DeallocateAll, DiscardAll, DiscardSome, MayUnpin, Reset, ResetAll, Set};
                let all = [DeallocateAll, DiscardAll, DiscardSome, MayUnpin, ResetAll];
                matches!(e, Set { .. } | Reset { .. }) || all.contains(e)
            };
            matches!(statement.kind, SqlKind::Set | SqlKind::Show) && statement.effects.iter().all(is_setting)
        };
        is_free && is_all(work, sets) && self.weir.cluster.primary().is_none()
    }
}

/// The request is known, and each of its statements is such a one.
fn is_all(work: &Work, such: impl Fn(&Statement) -> bool) -> bool {
    let mut statements = work.parts.iter().flat_map(|part| &part.statements);
    !work.parts.is_empty() && statements.all(such)
}

/// A lone BEGIN, as a driver sends it ahead of the first statement.
fn begins(part: &Classified) -> Option<TransactionModes> {
    match part.statements.as_slice() {
        [statement] => match statement.transaction {
            Some(TransactionStep::Begin(modes)) => Some(modes),
            _ => None,
        },
        _ => None,
    }
}

/// READ ONLY and not SERIALIZABLE.
fn is_read_only(modes: TransactionModes) -> bool {
    use router_rules::statement::Isolation;
    modes.read_only == Some(true) && modes.isolation != Some(Isolation::Serializable)
}

/// It leaves a portal behind that has a name, or may have rows left: on another node there is none.
fn opens_portal(request: &Request) -> bool {
    matches!(request.kind, Kind::Batch(_))
        && frames(&request.frames).any(|(kind, body)| match kind {
            tag::BIND => frontend::bind(body).is_none_or(|bind| !bind.portal.is_empty()),
            tag::EXECUTE => frontend::execute_rows_max(body) != Some(0),
            _ => false,
        })
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
