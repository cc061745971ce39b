//! Replicas of another history than the primary's.

use super::*;
use crate::cluster::probe::told::{Address, Told};

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
fn a_replica_of_a_rival_is_known_by_whom_it_receives_its_log_from() {
    let stage = Stage::new();
    stage.lose(0);
    stage.promoted(1, 2, 5000, 1100);
    stage.connect(0);
    stage.sight(0, Role::Primary, 2, 1300);
    let follow = |upstream: usize| {
        let (start, writes) = (stage.cluster.now(), stage.cluster.writes());
        let told = Told {
            role: Role::Replica,
            lsn: Some(Lsn(1200)),
            flushed: None,
            timeline: Some(2),
            fork: None,
            upstream: Some(Address::of(&stage.nodes[upstream].name)),
        };
        let seen = Sighting::of(told, start, writes, writes);
        stage.cluster.node_sighted(&stage.nodes[2], seen).unwrap();
        stage.place(&at(Consistency::Eventual), PRODUCTS, &SessionFreshness::default())
    };
    assert_eq!(follow(1), Some((2, Reason::ReadOnly)));
    assert_eq!(follow(0), Some((1, Reason::NoReplica)));
    // It does not become one of ours by following our primary all at once.
    assert_eq!(follow(1), Some((1, Reason::NoReplica)));
}
