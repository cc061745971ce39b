//! Where the texts of one session would go, one after the other, without a server.
//!
//! The session is the one that live sessions have ([`SessionState`]); what is thought of here is only that every
//! statement succeeds. It serves `pgweir route`, the console's ROUTE, the audit and the tests.

use crate::catalog::Catalog;
use crate::classify::{Classified, Classifier};
use crate::decide::{Decision, Policy};
use crate::encoding::Encoding;
use crate::reason::{Reason, Target};
use crate::session::{Asked, Block, Defaults, Held, SessionState, Settings, Track, Who, Wishes, begin_with};
use crate::statement::{Kind, SessionEffect, Statement, TransactionStep};
use crate::transactions::Transactions;
use std::sync::Arc;

/// A session that is only thought of.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    classifier: &'a Classifier,
    policy: &'a Policy,
    catalog: Option<Arc<Catalog>>,
    who: Who<'a>,
    state: SessionState,
    /// The settings of the server that it is thought to run on.
    server: Track,
}

/// The step that decides for a whole sequence: the first one for the primary, where steps that work
/// on the session alone count only when there are no others.
pub fn worst(steps: &[Step]) -> Option<&Step> {
    let all_neutral = steps.iter().all(|s| s.neutral);
    let mut counted = steps.iter().filter(|s| all_neutral || !s.neutral);
    counted.clone().find(|s| s.target == Target::Primary).or_else(|| counted.next())
}

/// Where one text would go.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where to.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// It works on the session alone (SET, BEGIN, …), so that its target says little.
    pub neutral: bool,
    /// What the text would do.
    pub classified: Arc<Classified>,
    /// The whole decision.
    pub decision: Decision,
    /// The rule that it matches.
    pub rule: Option<String>,
}

impl<'a> Rehearsal<'a> {
    /// A new session of `user` in `database`.
    pub fn new(
        classifier: &'a Classifier,
        policy: &'a Policy,
        catalog: Option<Arc<Catalog>>,
        user: &'a str,
        database: &'a str,
    ) -> Self {
        let state = SessionState::new(Settings::default(), Arc::new(Defaults::default()), Wishes::default());
        let who = Who { user, database, address: None };
        Self { classifier, policy, catalog, who, state, server: Track::default() }
    }

    /// Runs one text in thought.
    pub fn step(&mut self, sql: &str) -> Step {
        let classified = self.classify(sql);
        let neutral = classified.statements.iter().all(works_on_session_only);
        let view = self.state.view(self.who, self.state.in_read_only_block());
        let rule = self.policy.rules.first_match(&classified, &view).map(|rule| rule.name.clone());
        let asked = Asked {
            parts: std::slice::from_ref(&classified),
            texts: &[sql],
            verdict: classified.verdict,
            opens_portal: false,
            goes_on: false,
        };
        // What concerns the session alone runs on the server that it has, if it has one. It is told of as if one
        // were kept: that it would run on any other, too, says nothing about the statement.
        let held = Held { keeps: true, ..Held::NOTHING };
        let decided = self.state.decide(self.who, &asked, held, self.policy, true, || true);
        let mut decision = decided.decision;
        if decision.refuse.is_none() {
            self.run(&classified, sql, &mut decision);
        }
        Step { target: decision.target, reason: decision.reason, neutral, classified, decision, rule }
    }

    fn classify(&self, sql: &str) -> Arc<Classified> {
        // What it has changed itself and not committed is in nobody's catalog.
        let catalog = self.catalog.clone().filter(|_| !self.state.altered.changes_meanings());
        let settings = self.state.settings.in_force();
        let mut scope = self.state.scope(catalog, settings, self.who.user, Encoding::Utf8);
        scope.identify(&foldhash::fast::FixedState::with_seed(1), self.who.database);
        self.classifier.classify(sql.as_bytes(), &scope)
    }

    fn run(&mut self, classified: &Classified, sql: &str, decision: &mut Decision) {
        let state = &mut self.state;
        if let [Statement { transaction: Some(TransactionStep::Begin(modes)), .. }] = &*classified.statements
            && !state.block.is_there()
            && state.pins.is_empty()
        {
            // No server hears of it before its first statement, and it goes where that goes.
            state.block = Block::Deferred { begin: begin_with(modes), modes: *modes };
            (decision.target, decision.reason) = if state.in_read_only_block() {
                (Target::Replica, Reason::ReadOnlyTransaction)
            } else if decision.transactions == Transactions::UntilFirstWrite && state.in_movable_block() {
                (Target::Replica, Reason::BeforeWrite)
            } else {
                (Target::Primary, Reason::Transaction)
            };
            return;
        }
        state.before_request();
        if decision.target == Target::Primary
            && state.may_move()
            && let Some(before) = state.block.before_server()
        {
            // It begins again there.
            state.block = before;
        }
        state.open_deferred(decision.target);
        state.on_sent(classified, sql.as_bytes());
        for statement in &classified.statements {
            statement.effects.iter().for_each(|effect| state.on_effect(effect));
            if let Some(step) = &statement.transaction {
                state.on_step(step, b"", decision.target, &mut self.server);
                let chains = matches!(
                    step,
                    TransactionStep::Commit { chain: true } | TransactionStep::Rollback { chain: true }
                );
                let ends = matches!(
                    step,
                    TransactionStep::Commit { .. }
                        | TransactionStep::Rollback { .. }
                        | TransactionStep::PrepareTransaction
                );
                if ends && !chains {
                    state.block = Block::None;
                }
            }
        }
        if !state.block.is_there() {
            state.end_of_transaction(false, &mut self.server);
            state.altered = Default::default();
        }
    }
}

/// SET, BEGIN, COMMIT and their like: they go wherever the statements beside them go.
fn works_on_session_only(statement: &Statement) -> bool {
    let followable = statement.effects.iter().all(|e| !matches!(e, SessionEffect::Pin(_)));
    followable
        && (matches!(statement.kind, Kind::Set | Kind::Empty)
            || (statement.kind == Kind::Transaction
                && statement.transaction.is_some()
                && statement.transaction != Some(TransactionStep::PrepareTransaction)))
}
