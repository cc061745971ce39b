//! What decides whether a transaction that is open on a replica can go on elsewhere, unseen.

use crate::classify::Classified;
use crate::statement::{Kind, SessionEffect, Statement, TransactionStep};
use crate::transactions::{Replay, names_the_clock};
use std::sync::LazyLock;

/// Takes no memory outside of transactions.
#[derive(Debug, Default)]
pub struct Moving(Option<Box<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// What is done again on the next node.
    replay: Replay,
    /// The client has seen when the transaction began, or opened something that lives in it.
    tied: bool,
    /// It has run a query, and with it taken a snapshot.
    has_read: bool,
    /// `replay` as it was before the request under way.
    before_request: Replay,
    /// The transaction was there before the request under way.
    was_there: bool,
}

impl Moving {
    /// What is done again on the next node.
    pub fn replay(&self) -> &Replay {
        static NOTHING: LazyLock<Replay> = LazyLock::new(Replay::default);
        self.0.as_ref().map_or(&NOTHING, |inner| &inner.replay)
    }

    /// A move would show.
    pub fn is_tied(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.tied)
    }

    /// It has taken a snapshot.
    pub fn has_read(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.has_read)
    }

    /// A request is about to be sent.
    pub fn before_request(&mut self, in_block: bool) {
        if !in_block {
            self.0 = None;
            return;
        }
        let inner = self.0.get_or_insert_default();
        inner.before_request.clone_from(&inner.replay);
        inner.was_there = true;
    }

    /// The request runs again elsewhere. True if the transaction was there before it.
    pub fn take_back_request(&mut self) -> bool {
        let Some(inner) = &mut self.0 else { return false };
        inner.replay = std::mem::take(&mut inner.before_request);
        std::mem::take(&mut inner.was_there)
    }

    /// A part of the request is about to be sent.
    pub fn on_sent(&mut self, classified: &Classified, sql: &[u8]) {
        let any = |is: fn(&Statement) -> bool| classified.statements.iter().any(is);
        if self.0.is_none() && any(|s| matches!(s.transaction, Some(TransactionStep::Begin(_)))) {
            self.0 = Some(Box::default());
        }
        let Some(inner) = &mut self.0 else { return };
        inner.has_read |=
            any(|s| !matches!(s.kind, Kind::Set | Kind::Show | Kind::Transaction | Kind::Empty));
        inner.tied |= classified.tells_begin() || names_the_clock(sql) || any(|s| s.kind == Kind::Cursor);
    }

    /// There is a transaction.
    pub fn is_begun(&self) -> bool {
        self.0.is_some()
    }

    /// The client has opened something that lives in the transaction.
    pub fn tie(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.tied = true;
        }
    }

    /// A step of the transaction succeeded on a replica.
    pub fn on_step(&mut self, step: &TransactionStep) {
        if let Some(inner) = &mut self.0 {
            inner.replay.on_step(step);
        }
    }

    /// A statement with this effect succeeded on a replica.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        if let Some(inner) = &mut self.0 {
            inner.replay.on_effect(effect);
        }
    }

    /// The transaction has ended.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_did_is_taken_back_with_it() {
        let mut moving = Moving::default();
        moving.before_request(true);
        moving.on_step(&TransactionStep::Savepoint("a".into()));
        moving.before_request(true);
        moving.on_step(&TransactionStep::Savepoint("b".into()));
        assert_eq!(moving.replay().steps().count(), 2);
        assert!(moving.take_back_request());
        assert_eq!(moving.replay().steps().count(), 1);
        moving.clear();
        assert!(moving.replay().is_empty() && !moving.take_back_request());
    }

    #[test]
    fn outside_of_a_transaction_it_takes_no_memory() {
        let mut moving = Moving::default();
        moving.before_request(false);
        moving.on_step(&TransactionStep::Savepoint("a".into()));
        assert!(moving.0.is_none() && !moving.is_tied() && !moving.has_read());
    }
}
