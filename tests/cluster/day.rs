//! An operator's day, shortened: `pgweir-day` runs the long one.

use crate::support::Outcome;
use pgweir_tests::day::Day;
use std::time::Duration;

#[test]
fn under_reloads_drains_and_node_changes_no_client_sees_anything_and_sums_agree() -> Outcome {
    let day = Day { duration: Duration::from_secs(25), clients: 8, pause: Duration::from_millis(200) };
    let outcome = day.run()?;
    let complaints = outcome.complaints();
    assert!(complaints.is_empty(), "{outcome}\n{complaints:#?}");
    assert!(outcome.deeds.reloads > 0 && outcome.deeds.removals > 0 && outcome.deeds.drains > 0, "{outcome}");
    Ok(())
}
