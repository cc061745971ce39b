//! Reads without a primary, or with one that does not answer.

use super::*;
use crate::config::WhenLate;

#[test]
fn a_primary_that_owes_its_prober_an_answer_is_sent_no_reads() {
    let mut config = Config::for_tests(&["a:1", "b:1", "c:1"]);
    config.routing.when_late = WhenLate::Primary;
    let stage = Stage::of(&config);
    let mut session = SessionFreshness::default();
    stage.wrote(ORDERS, &mut session);
    let late = Some((0, Reason::Late));
    assert_eq!(stage.place(&at(Consistency::Proxy), ORDERS, &session), late);
    std::thread::sleep(ANSWERS_WITHIN);
    assert_eq!(stage.place(&at(Consistency::Proxy), ORDERS, &session), None);
    stage.primary_at(0, 2000);
    assert_eq!(stage.place(&at(Consistency::Proxy), ORDERS, &session), late);
}

#[test]
fn without_a_primary_reads_go_on_as_far_as_the_promise_can_be_kept() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    stage.wrote(ORDERS, &mut session);
    stage.lose(0);
    assert_eq!(stage.places(&at(Consistency::Eventual), ORDERS, &session), [1, 2]);
    assert_eq!(stage.places(&at(Consistency::Proxy), PRODUCTS, &session), [1, 2]);
    assert_eq!(stage.place(&at(Consistency::Proxy), ORDERS, &session), None);
    // What reads nothing is as good anywhere.
    assert_eq!(stage.place(&at(Consistency::Global), PRODUCTS, &session), None);
    assert_eq!(stage.places(&at(Consistency::Global), &[], &session), [1, 2]);
}
