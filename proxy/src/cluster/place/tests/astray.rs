//! Replicas of another history than the primary's.

use super::*;

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
