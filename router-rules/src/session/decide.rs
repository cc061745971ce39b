//! Where a whole request may run: one node runs all of it.
//!
//! [`crate::decide()`] looks at one text alone. Here the texts of a request come together with the session's
//! transaction, its pins and the server that it has. Nothing overrules what is decided here, but for the safety
//! net: a replica that refuses.

use super::{Block, SessionState};
use crate::classify::Classified;
use crate::decide::{Decision, Policy, SessionView, decide};
use crate::hint::Consistency;
use crate::lex::cut_name;
use crate::reason::{PinReason, Reason, Target};
use crate::statement::{Isolation, Kind, SessionEffect, Statement, TransactionModes, TransactionStep};
use crate::transactions::{Transactions, names_the_clock};
use std::net::IpAddr;
use std::sync::Arc;

/// Whose session it is.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The user that logged in.
    pub user: &'a str,
    /// The database.
    pub database: &'a str,
    /// Where the client comes from; `None` on a Unix socket.
    pub address: Option<IpAddr>,
}

/// What a request asks for.
#[derive(Debug)]
pub struct Asked<'a, T> {
    /// What its texts would do, in order.
    pub parts: &'a [Arc<Classified>],
    /// The SQL of each.
    pub texts: &'a [T],
    /// Every part is proved read-only, or why the first is not.
    pub verdict: Result<Reason, Reason>,
    /// It leaves a portal behind that has a name, or may have rows left: on another node there is none.
    pub opens_portal: bool,
    /// The client has not ended the batch: its rest is not known.
    pub goes_on: bool,
}

/// What the session has at hand.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The node of the server that it has.
    pub lease: Option<Target>,
    /// A server is kept for its sequences.
    pub keeps: bool,
    /// A batch is under way on the server that it has.
    pub in_batch: bool,
}

/// A decision, and what is to be said of it.
#[derive(Debug)]
pub struct Decided {
    /// Where, and why.
    pub decision: Decision,
    /// The rules that want to be logged, each with the number of the part that they match.
    pub logged: Vec<(String, usize)>,
}

/// The transaction around a request.
#[derive(Clone, Copy)]
struct Around {
    /// It was declared READ ONLY, before or by the request itself.
    read_only: bool,
    /// It can still move to the primary.
    movable: bool,
    /// It begins with the request, and can run on a replica.
    begins: bool,
}

impl Held {
    /// Nothing.
    pub const NOTHING: Held = Held { lease: None, keeps: false, in_batch: false };

    fn is_free(&self) -> bool {
        self.lease.is_none() && !self.keeps
    }

    /// It has begun on the primary, and goes on there.
    fn in_batch_on_primary(&self) -> bool {
        self.in_batch && self.lease == Some(Target::Primary)
    }
}

impl SessionState {
    /// Decides for the whole request. `split`: reads may go to replicas at all. `takes_writes`: there is a
    /// primary; asked only where it matters.
    pub fn decide<T: AsRef<[u8]>>(
        &self,
        who: Who<'_>,
        asked: &Asked<'_, T>,
        held: Held,
        policy: &Policy,
        split: bool,
        takes_writes: impl Fn() -> bool,
    ) -> Decided {
        let begins = asked.begins();
        let begins_read_only = begins.is_some_and(is_read_only);
        let begins_movable = !begins_read_only
            && !self.block.is_there()
            // No replica begins what is declared READ WRITE, in the client's own words.
            && begins.is_some_and(|modes| modes.read_only.is_none() && self.begins_movable(&modes));
        let around = Around {
            read_only: self.in_read_only_block() || self.becomes_read_only(asked),
            movable: (begins_movable || self.in_movable_block()) && !asked.opens_portal,
            begins: begins_read_only || begins_movable,
        };
        let mut decided = self.strictest(who, asked, held, policy, around);
        let decision = &mut decided.decision;
        if let Err(reason) = asked.verdict
            && decision.target == Target::Replica
            && !around.begins
            && !asked.parts.iter().any(|part| part.verdict.is_err() && self.fits_block(part, decision))
        {
            (decision.target, decision.reason) = (Target::Primary, reason);
        }
        if decision.target == Target::Primary && self.is_housekeeping(asked, held, decision) {
            (decision.target, decision.reason) = (Target::Replica, Reason::Session);
        }
        self.within_transaction(decision, held, around.read_only || begins_read_only, around.begins);
        if decision.target == Target::Primary && self.needs_no_primary(asked, held) && !takes_writes() {
            (decision.target, decision.reason) = (Target::Replica, Reason::Session);
            decision.consistency = Consistency::Eventual;
        }
        if !split && decision.target == Target::Replica {
            (decision.target, decision.reason) = (Target::Primary, Reason::Rule);
        }
        if decision.target == Target::Replica && decision.refuse.is_none() && self.may_write_yet(asked) {
            (decision.target, decision.reason) = (Target::Primary, Reason::BatchBegun);
        }
        decided
    }

    /// What the strictest of the parts needs. A BEGIN ahead of them says nothing of its own.
    fn strictest<T: AsRef<[u8]>>(
        &self,
        who: Who<'_>,
        asked: &Asked<'_, T>,
        held: Held,
        policy: &Policy,
        around: Around,
    ) -> Decided {
        let mut view = self.view(who, around.read_only);
        let mut all: Option<Decision> = None;
        let mut logged = vec![];
        // Where nothing is ruled one ordinary read is decided as the next.
        let are_alike = policy.rules.is_empty()
            && !around.movable
            && asked.verdict.is_ok()
            && asked.parts.iter().all(|part| part.is_ordinary_read());
        let differing = if are_alike { 1 } else { usize::MAX };
        let parts = asked.parts.iter().zip(asked.texts).enumerate();
        for (at, (part, sql)) in parts.skip(usize::from(around.begins)).take(differing) {
            view.sql = sql.as_ref();
            let mut next = decide(part, &view, policy);
            if around.movable && next.transactions == Transactions::UntilFirstWrite {
                self.before_a_move(part, view.sql, &mut next);
            }
            logged.extend(next.log.take().map(|rule| (rule, at)));
            all = Some(match all {
                None => next,
                Some(so_far) => stricter(so_far, next),
            });
        }
        let reason = asked.verdict.err().unwrap_or(Reason::Session);
        let mut decision = all.unwrap_or_else(|| Decision::of_ours(reason, policy));
        if let (true, Some(on)) = (asked.is_nothing_new(), held.lease) {
            // It goes on with what it has begun, where it has begun.
            decision.target = on;
            if self.in_movable_block() {
                decision.reason = Reason::BeforeWrite;
            }
        }
        Decided { decision, logged }
    }

    /// Of a batch that the client has not ended the rest may write: outside of a transaction that only reads
    /// it begins on the primary.
    fn may_write_yet<T>(&self, asked: &Asked<'_, T>) -> bool {
        asked.goes_on && !asked.parts.is_empty() && !self.block.is_there()
    }

    /// The session as the rules and the proof see it.
    pub fn view<'a>(&'a self, who: Who<'a>, read_only: bool) -> SessionView<'a> {
        SessionView {
            sql: &[],
            user: who.user,
            database: who.database,
            application_name: cut_name(self.settings.now().value("application_name").unwrap_or("")),
            client_address: who.address,
            route: self.wishes.route,
            consistency: self.wishes.consistency,
            max_lag: self.wishes.max_lag,
            transactions: self.wishes.transactions,
            read_only_transaction: read_only,
            serializable: !self.block.is_there() && self.default_serializable(),
        }
    }

    /// In a transaction that can still move, what can be done again there may run ahead of the move, and
    /// what would show the move may not.
    fn before_a_move(&self, part: &Classified, sql: &[u8], decision: &mut Decision) {
        let settled = matches!(decision.reason, Reason::Rule | Reason::Hint);
        if part.may_run_before_a_move(self.moving.replay()) && !names_the_clock(sql) && !settled {
            (decision.target, decision.reason) = (Target::Replica, Reason::BeforeWrite);
        } else if decision.target == Target::Replica {
            (decision.target, decision.reason) = (Target::Primary, Reason::Transaction);
        }
    }

    /// The block has not begun on any server yet, and this makes it READ ONLY before it does.
    fn becomes_read_only<T>(&self, asked: &Asked<'_, T>) -> bool {
        let Block::Deferred { modes, .. } = &self.block else { return false };
        let wanted = asked.single().and_then(|statement| match statement.effects.as_slice() {
            [SessionEffect::SetTransaction(wanted)] => Some(*wanted),
            _ => None,
        });
        wanted.is_some_and(|wanted| {
            is_read_only(TransactionModes { isolation: wanted.isolation.or(modes.isolation), ..wanted })
                && !self.default_serializable()
        })
    }

    /// The session keeps no server, and resets or sets what follows it to every server: any node will do.
    fn is_housekeeping<T>(&self, asked: &Asked<'_, T>, held: Held, decision: &Decision) -> bool {
        !self.block.is_there()
            && held.is_free()
            && !matches!(decision.reason, Reason::Rule | Reason::Hint)
            && decision.refuse.is_none()
            && !asked.parts.is_empty()
            && asked.parts.iter().all(|part| part.is_housekeeping())
    }

    /// Though it is not proved a read, it may run on the replica that its block is on.
    fn fits_block(&self, part: &Classified, decision: &Decision) -> bool {
        match decision.reason {
            Reason::BeforeWrite => part.may_run_before_a_move(self.moving.replay()),
            _ => decision.reason == Reason::ReadOnlyTransaction && part.fits_read_only_transaction(),
        }
    }

    /// A transaction or a pin has settled the matter before.
    fn within_transaction(&self, decision: &mut Decision, held: Held, read_only: bool, begins: bool) {
        let primary = |decision: &mut Decision, reason| {
            (decision.target, decision.reason) = (Target::Primary, reason);
        };
        if !self.pins.is_empty() {
            if !self.pins.is_only(PinReason::NoCatalog) {
                primary(decision, Reason::Pinned);
            } else if decision.target == Target::Replica {
                primary(decision, Reason::NoCatalog);
            }
            return;
        }
        if decision.target == Target::Primary {
            return;
        }
        if read_only {
            decision.reason = Reason::ReadOnlyTransaction;
            return;
        }
        let in_block = self.block.is_there() || begins;
        // Until it needs the primary.
        let may_still_move = (in_block || held.in_batch)
            && decision.reason == Reason::BeforeWrite
            && !held.in_batch_on_primary();
        if (in_block || held.in_batch_on_primary()) && !may_still_move {
            primary(decision, Reason::Transaction);
        }
    }

    /// Without a primary any server can say whether a setting is one, and what it is.
    fn needs_no_primary<T>(&self, asked: &Asked<'_, T>, held: Held) -> bool {
        let sets = |statement: &Statement| {
            let is_setting = |e: &SessionEffect| {
                use SessionEffect::{DeallocateAll, DiscardAll, DiscardSome, MayUnpin, Reset, ResetAll, Set};
                let all = [DeallocateAll, DiscardAll, DiscardSome, MayUnpin, ResetAll];
                matches!(e, Set { .. } | Reset { .. }) || all.contains(e)
            };
            matches!(statement.kind, Kind::Set | Kind::Show) && statement.effects.iter().all(is_setting)
        };
        held.is_free() && !self.block.is_there() && self.pins.is_empty() && asked.is_all(sets)
    }
}

impl<T> Asked<'_, T> {
    /// The single statement that this is, if it is one.
    fn single(&self) -> Option<&Statement> {
        match self.parts {
            [part] if part.statements.len() == 1 => part.statements.first(),
            _ => None,
        }
    }

    /// A lone BEGIN, as a driver sends it ahead of the first statement in one batch with it.
    fn begins(&self) -> Option<TransactionModes> {
        let first = self.parts.first().filter(|_| self.parts.len() > 1)?;
        match first.statements.as_slice() {
            [Statement { transaction: Some(TransactionStep::Begin(modes)), .. }] => Some(*modes),
            _ => None,
        }
    }

    /// It runs what it has prepared or bound before, or nothing.
    fn is_nothing_new(&self) -> bool {
        self.parts.is_empty() && self.verdict.is_ok()
    }

    /// The request is known, and each of its statements is such a one.
    fn is_all(&self, such: impl Fn(&Statement) -> bool) -> bool {
        !self.parts.is_empty() && self.parts.iter().flat_map(|part| &part.statements).all(such)
    }
}

/// READ ONLY and not SERIALIZABLE.
fn is_read_only(modes: TransactionModes) -> bool {
    modes.read_only == Some(true) && modes.isolation != Some(Isolation::Serializable)
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

#[cfg(test)]
mod tests;
