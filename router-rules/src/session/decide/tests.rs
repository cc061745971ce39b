//! Where requests go, by what their session has done before.

use crate::catalog::Unknown;
use crate::decide::Policy;
use crate::rehearse::Rehearsal;
use crate::session::settings::Settings;
use crate::session::{Asked, Decided, Defaults, Held, SessionState, Who, Wishes};
use crate::{Catalog, Classified, Classifier, PinReason, Reason, Scope, Target, Transactions};
use std::sync::Arc;

const WHO: Who<'_> = Who { user: "app", database: "shop", address: None };

fn catalog() -> Arc<Catalog> {
    let relations = ["public.orders:r:p", "public.numbers:S:p"];
    Arc::new(Catalog::from_short_form([], relations, Unknown::Primary))
}

fn state() -> SessionState {
    SessionState::new(Settings::default(), Arc::new(Defaults::default()), Wishes::default())
}

fn policy(transactions: Transactions) -> Policy {
    Policy { transactions, ..Policy::default() }
}

/// Statements, one after the other, each with where it goes.
type Story = &'static [(&'static str, Target, Reason)];

fn tell(policy: &Policy, story: Story) {
    let classifier = Classifier::new(1 << 20);
    let mut session = Rehearsal::new(&classifier, policy, Some(catalog()), "app", "shop");
    for (sql, target, reason) in story {
        let step = session.step(sql);
        assert_eq!((step.target, step.reason), (*target, *reason), "{sql} in {story:?}");
    }
}

const READ: &str = "SELECT * FROM orders";
const WRITE: &str = "INSERT INTO orders VALUES (1)";

#[test]
fn a_session_decides_with_what_it_has_done() {
    use Reason::*;
    use Target::{Primary, Replica};
    let stories: &[Story] = &[
        &[(READ, Replica, ReadOnly), (WRITE, Primary, Write), (READ, Replica, ReadOnly)],
        &[
            ("BEGIN", Primary, Transaction),
            (READ, Primary, Transaction),
            ("COMMIT", Primary, Transaction),
            (READ, Replica, ReadOnly),
        ],
        &[
            ("BEGIN READ ONLY", Replica, ReadOnlyTransaction),
            (READ, Replica, ReadOnlyTransaction),
            ("COMMIT", Replica, ReadOnlyTransaction),
        ],
        &[
            ("BEGIN", Primary, Transaction),
            ("SET TRANSACTION READ ONLY", Replica, ReadOnlyTransaction),
            (READ, Replica, ReadOnlyTransaction),
        ],
        &[
            ("SET default_transaction_read_only = t", Primary, Session),
            ("BEGIN", Replica, ReadOnlyTransaction),
            (READ, Replica, ReadOnlyTransaction),
        ],
        &[
            ("SET default_transaction_isolation = serializable", Primary, Session),
            (READ, Primary, Serializable),
        ],
        &[
            ("LISTEN news", Primary, Notify),
            (READ, Primary, Pinned),
            ("DISCARD ALL", Primary, Pinned),
            (READ, Replica, ReadOnly),
        ],
        &[("SELECT nextval('numbers')", Primary, Sequence), (READ, Replica, ReadOnly)],
        &[
            ("SET pgweir.route = primary", Primary, Session),
            (READ, Primary, Hint),
            ("RESET ALL", Primary, Session),
            (READ, Replica, ReadOnly),
        ],
        &[
            ("BEGIN", Primary, Transaction),
            ("CREATE TABLE q (n int)", Primary, Ddl),
            ("ROLLBACK", Primary, Transaction),
            (READ, Replica, ReadOnly),
        ],
    ];
    stories.iter().for_each(|story| tell(&policy(Transactions::Primary), story));
}

#[test]
fn a_transaction_moves_to_the_primary_with_its_first_write_and_stays() {
    use Reason::*;
    use Target::{Primary, Replica};
    let stories: &[Story] = &[
        &[
            ("BEGIN", Replica, BeforeWrite),
            (READ, Replica, BeforeWrite),
            (WRITE, Primary, Write),
            (READ, Primary, Transaction),
            ("COMMIT", Primary, Transaction),
            (READ, Replica, ReadOnly),
        ],
        &[("BEGIN ISOLATION LEVEL REPEATABLE READ", Primary, Transaction), (READ, Primary, Transaction)],
        &[
            ("BEGIN", Replica, BeforeWrite),
            ("SAVEPOINT a", Replica, BeforeWrite),
            (READ, Replica, BeforeWrite),
            ("ROLLBACK TO a", Replica, BeforeWrite),
        ],
        &[("BEGIN", Replica, BeforeWrite), ("SELECT now()", Primary, Transaction)],
    ];
    stories.iter().for_each(|story| tell(&policy(Transactions::UntilFirstWrite), story));
}

/// One batch of these texts.
fn batch(state: &SessionState, texts: &[&str], held: Held, goes_on: bool) -> Decided {
    let classifier = Classifier::new(1 << 20);
    let mut scope = Scope::new(Some(catalog()), vec!["public".into()], "app".into(), true);
    scope.identify(&foldhash::fast::FixedState::default(), "shop");
    let parts: Vec<Arc<Classified>> =
        texts.iter().map(|sql| classifier.classify(sql.as_bytes(), &scope)).collect();
    let verdict = parts.iter().map(|part| part.verdict).find(Result::is_err).unwrap_or(Ok(Reason::ReadOnly));
    let asked = Asked { parts: &parts, texts, verdict, opens_portal: false, goes_on };
    state.decide(WHO, &asked, held, &Policy::default(), true, || true)
}

#[test]
fn one_node_runs_a_whole_batch() {
    let place = |texts: &[&str]| {
        let decision = batch(&state(), texts, Held::NOTHING, false).decision;
        (decision.target, decision.reason)
    };
    assert_eq!(place(&[READ, READ]), (Target::Replica, Reason::ReadOnly));
    assert_eq!(place(&[READ, WRITE]), (Target::Primary, Reason::Write));
    assert_eq!(place(&["BEGIN READ ONLY", READ]), (Target::Replica, Reason::ReadOnlyTransaction));
    assert_eq!(place(&["BEGIN", READ]), (Target::Primary, Reason::Transaction));
}

#[test]
fn what_a_batch_has_begun_on_the_primary_goes_on_there() {
    let on = |on| Held { lease: Some(on), in_batch: true, ..Held::NOTHING };
    let decision = batch(&state(), &[READ], on(Target::Primary), false).decision;
    assert_eq!((decision.target, decision.reason), (Target::Primary, Reason::Transaction));
    let decision = batch(&state(), &[], on(Target::Replica), false).decision;
    assert_eq!(decision.target, Target::Replica);
}

#[test]
fn a_batch_that_may_go_on_writing_begins_on_the_primary() {
    let decision = batch(&state(), &[READ], Held::NOTHING, true).decision;
    assert_eq!((decision.target, decision.reason), (Target::Primary, Reason::BatchBegun));
}

#[test]
fn a_pin_comes_before_everything_and_a_doubt_keeps_reads_only() {
    let mut pinned = state();
    pinned.pin(PinReason::AdvisoryLock);
    let decision = batch(&pinned, &[READ], Held::NOTHING, false).decision;
    assert_eq!((decision.target, decision.reason), (Target::Primary, Reason::Pinned));
    let mut doubtful = state();
    doubtful.pin(PinReason::NoCatalog);
    let decision = batch(&doubtful, &[READ], Held::NOTHING, false).decision;
    assert_eq!((decision.target, decision.reason), (Target::Primary, Reason::NoCatalog));
    let decision = batch(&doubtful, &[WRITE], Held::NOTHING, false).decision;
    assert_eq!(decision.reason, Reason::Write);
}

#[test]
fn without_splitting_everything_goes_to_the_primary() {
    let parts: Vec<Arc<Classified>> = vec![];
    let asked = Asked::<&str> {
        parts: &parts,
        texts: &[],
        verdict: Ok(Reason::ReadOnly),
        opens_portal: false,
        goes_on: false,
    };
    let held = Held { lease: Some(Target::Replica), ..Held::NOTHING };
    let decision = state().decide(WHO, &asked, held, &Policy::default(), false, || true).decision;
    assert_eq!((decision.target, decision.reason), (Target::Primary, Reason::Rule));
}
