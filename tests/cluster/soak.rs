//! Random session work by many clients over few servers, each compared with a direct twin.

use crate::support::Outcome;
use pgweir_tests::soak::{Options, prepare, run};
use pgweir_tests::{Cluster, Weir};
use std::time::Duration;

#[test]
fn random_session_work_is_answered_as_by_a_direct_twin() -> Outcome {
    let cluster = Cluster::builder().start()?;
    prepare(&cluster)?;
    let weir = Weir::builder(&cluster)
        .set("pool.server_connections_max", 8)
        .set("pool.lease_wait", "60s")
        .set("pool.lease_wait_notice", "60s")
        .start()?;
    let time = Duration::from_secs(20);
    let think = Duration::from_millis(100);
    let options = Options { clients: 60, time, think, seed: rand::random(), only_chatter: false };
    let report = run(&cluster, &weir, &options)?;
    report.verdict()
}
