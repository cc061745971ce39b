//! Replicas of another history than the primary's.

use super::*;
use crate::cluster::probe::told::{Address, Told};

impl Stage {
    /// Its server has been started anew.
    fn restart(&self, i: usize, started: i64) {
        let identity = Identity { system: 7, started: Some(started), layout: WalLayout::default() };
        self.cluster.node_connected(&self.nodes[i], identity).unwrap();
    }

    /// A replica says whom it receives its log from.
    fn receives(&self, i: usize, upstream: usize, timeline: u32, lsn: u64) {
        let (start, writes) = (self.cluster.now(), self.cluster.writes());
        let told = Told {
            role: Role::Replica,
            lsn: Some(Lsn(lsn)),
            flushed: None,
            timeline: Some(timeline),
            fork: None,
            upstream: Some(Address::of(&self.nodes[upstream].name)),
        };
        let seen = Sighting::of(told, start, writes, writes);
        self.cluster.node_sighted(&self.nodes[i], seen).unwrap();
    }
}

#[test]
fn a_replica_that_had_more_than_its_primary_has_is_of_another_history() {
    let stage = Stage::new();
    stage.wrote(ORDERS, &mut SessionFreshness::default());
    stage.primary_at(0, 2000);
    stage.replica_at(1, 2000);
    stage.replica_at(2, 1500);
    // It was put back to what it once was, and goes on from there.
    stage.primary_at(0, 1600);
    assert_eq!(stage.cluster.metrics.cluster.lost_writes_total.get(), 1);
    let (proxy, session) = (at(Consistency::Proxy), SessionFreshness::default());
    for primary in [1600, 3000] {
        stage.primary_at(0, primary);
        stage.replica_at(1, 2000);
        stage.replica_at(2, primary);
        assert_eq!(stage.places(&proxy, PRODUCTS, &session), [2]);
    }
    // A later promotion leaves its history behind.
    stage.sight(1, Role::Replica, 2, 3000);
    stage.sight(2, Role::Primary, 2, 3000);
    stage.sight(1, Role::Replica, 2, 3000);
    assert_eq!(stage.places(&proxy, PRODUCTS, &session), [1]);
}

#[test]
fn a_replica_that_was_down_while_its_primary_went_back_is_of_another_history_as_well() {
    let stage = Stage::new();
    stage.wrote(ORDERS, &mut SessionFreshness::default());
    stage.primary_at(0, 2000);
    stage.replica_at(1, 2000);
    stage.lose(1);
    stage.primary_at(0, 1600);
    stage.primary_at(0, 3000);
    stage.restart(1, 5);
    stage.replica_at(2, 3000);
    for lsn in [2000, 2900, 3000] {
        stage.replica_at(1, lsn);
        assert_eq!(stage.places(&at(Consistency::Eventual), PRODUCTS, &SessionFreshness::default()), [2]);
    }
}

#[test]
fn a_replica_of_another_history_comes_back_when_it_goes_on_by_what_it_receives() {
    let stage = Stage::new();
    stage.primary_at(0, 2000);
    stage.replica_at(1, 2000);
    stage.primary_at(0, 1600);
    stage.primary_at(0, 3000);
    stage.replica_at(2, 3000);
    let serving = || stage.places(&at(Consistency::Eventual), PRODUCTS, &SessionFreshness::default());
    // What it had received of its own history is replayed, and does not lead on.
    stage.restart(1, 5);
    for lsn in [2100, 2500] {
        stage.replica_at(1, lsn);
    }
    for _ in 0..3 {
        stage.receives(1, 0, 1, 2500);
        assert_eq!(serving(), [2]);
    }
    // Built anew.
    stage.lose(1);
    stage.restart(1, 6);
    stage.replica_at(1, 2900);
    stage.receives(1, 0, 1, 3000);
    stage.receives(1, 0, 1, 3000);
    assert_eq!(serving(), [2]);
    stage.primary_at(0, 3100);
    stage.replica_at(2, 3100);
    stage.receives(1, 0, 1, 3100);
    for _ in 0..3 {
        stage.primary_at(0, 3100);
        stage.receives(1, 0, 1, 3100);
    }
    assert_eq!(serving(), [1, 2]);
}

#[test]
fn what_is_lost_where_a_primary_goes_back_is_told_to_whoever_saw_it() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    stage.wrote(ORDERS, &mut session);
    stage.primary_at(0, 2000);
    assert_eq!(stage.cluster.losses(), 0);
    stage.primary_at(0, 1600);
    assert_eq!(stage.cluster.losses(), 1);
    assert!(stage.cluster.may_have_lost(&session));
    // Put back onto a timeline of its own.
    stage.wrote(ORDERS, &mut session);
    stage.primary_at(0, 2000);
    stage.lose(0);
    stage.restart(0, 9);
    stage.promoted(0, 2, 1700, 1650);
    assert_eq!(stage.cluster.losses(), 2);
    assert!(stage.cluster.may_have_lost(&session));
}

#[test]
fn a_replica_of_a_rival_is_known_by_whom_it_receives_its_log_from() {
    let stage = Stage::new();
    stage.lose(0);
    stage.promoted(1, 2, 5000, 1100);
    stage.connect(0);
    stage.sight(0, Role::Primary, 2, 1300);
    let follow = |upstream: usize| {
        stage.receives(2, upstream, 2, 1200);
        stage.place(&at(Consistency::Eventual), PRODUCTS, &SessionFreshness::default())
    };
    assert_eq!(follow(1), Some((2, Reason::ReadOnly)));
    assert_eq!(follow(0), Some((1, Reason::NoReplica)));
    // It does not become one of ours by following our primary all at once.
    assert_eq!(follow(1), Some((1, Reason::NoReplica)));
}

#[test]
fn a_replica_of_a_rivals_replica_is_of_its_history() {
    let stage = Stage::of(&Config::for_tests(&["a:1", "b:1", "c:1", "d:1"]));
    stage.connect(3);
    stage.replica_at(3, 1000);
    stage.lose(0);
    stage.promoted(1, 2, 5000, 1100);
    stage.connect(0);
    stage.sight(0, Role::Primary, 2, 1300);
    let serving = || stage.places(&at(Consistency::Eventual), PRODUCTS, &SessionFreshness::default());
    // Seen before its upstream is known to be one of another history.
    stage.receives(3, 2, 2, 1200);
    stage.receives(2, 0, 2, 1200);
    assert_eq!(serving(), [1]);
    stage.receives(3, 2, 2, 1200);
    assert_eq!(serving(), [1]);
}
