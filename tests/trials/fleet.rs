//! What is done to one pgweir of a fleet during a trial, while replicas show commits 80 ms late.

use pgweir_tests::{Cluster, HarnessError, Weir};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is killed and started again.
    Killed,
    /// It gives way to a successor, as in a rolling upgrade.
    Upgraded,
    /// The first of the fleet cannot reach the primary for three seconds; the others can.
    CutOff,
}

impl Loss {
    /// One round: at its end all of them serve.
    pub fn strike(self, cluster: &Cluster, weir: &Weir, round: usize) -> Result<(), HarnessError> {
        if round == 0 {
            for replica in cluster.replicas() {
                cluster.set_apply_delay(replica, Duration::from_millis(80))?;
            }
        }
        match self {
            Loss::Killed => weir.restart()?,
            Loss::Upgraded => weir.replace()?,
            Loss::CutOff => {
                let primary = cluster.primary();
                cluster.partition(primary);
                std::thread::sleep(3 * SECOND);
                cluster.heal(primary);
            }
        }
        std::thread::sleep(4 * SECOND);
        Ok(())
    }
}
