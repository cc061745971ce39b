//! Random session work by many clients over few servers, each compared with a direct twin.

use crate::support::Outcome;
use pgweir_tests::Cluster;
use pgweir_tests::soak::{Options, prepare, run, weir};
use std::time::Duration;

#[test]
fn random_session_work_is_answered_as_by_a_direct_twin() -> Outcome {
    let cluster = Cluster::builder().start()?;
    prepare(&cluster)?;
    let weir = weir(&cluster, 8).start()?;
    let time = Duration::from_secs(20);
    let think = Duration::from_millis(100);
    let options = Options { clients: 60, time, think, seed: rand::random(), only_chatter: false };
    let report = run(&cluster, &weir, &options)?;
    report.verdict()
}
