//! What is done to a cluster during a trial, round after round.

use crate::fleet::Loss;
use crate::primary::Blow;
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::time::Duration;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Both replicas show commits 0, 20 and 200 ms late, in turn.
    Late,
    /// A replica's replay is paused for three seconds.
    Paused,
    /// A replica is killed (SIGKILL) and started again.
    Crash,
    /// Nothing passes between pgweir and a replica for three seconds.
    Cut,
    /// All that passes between pgweir and a replica takes 30 ms longer, each way.
    Slow,
    /// The configuration changes and is reloaded, twice a second.
    Reload,
    /// The primary is stopped, a replica promoted, the others follow it.
    Promotion,
    /// See [`Blow::Frozen`].
    Frozen,
    /// See [`Blow::CutOff`].
    CutOff,
    /// See [`Blow::MachinePaused`].
    MachinePaused,
    /// See [`Blow::BackAsSecond`].
    BackAsSecond,
    /// See [`Blow::Torn`].
    Torn,
    /// See [`Blow::WithPgweir`].
    Restart,
    /// The only address of the replicas leads now to one and now to the other, of which one is late.
    Several,
    /// See [`Loss::Killed`].
    FleetKilled,
    /// See [`Loss::Upgraded`].
    FleetUpgraded,
    /// See [`Loss::CutOff`].
    FleetCut,
    /// The same as a promotion, before three pgweirs.
    FleetPromotion,
}

const SECOND: Duration = Duration::from_secs(1);

impl Fault {
    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Late => "apply delay 0, 20, 200 ms",
            Fault::Paused => "replay paused",
            Fault::Crash => "replica killed and restarted",
            Fault::Cut => "network to a replica cut",
            Fault::Slow => "network to a replica slow",
            Fault::Reload => "reload",
            Fault::Promotion => "promotion",
            Fault::Frozen => "primary frozen, succeeded, and back",
            Fault::CutOff => "packets of the primary swallowed, succeeded, and back",
            Fault::MachinePaused => "primary's machine paused, succeeded, and ended",
            Fault::BackAsSecond => "former primary back as a second one",
            Fault::Torn => "connections to the primary ended, and crashes",
            Fault::Restart => "primary and pgweir killed",
            Fault::Several => "one name, two replicas",
            Fault::FleetKilled => "a pgweir of three killed",
            Fault::FleetUpgraded => "a pgweir of three upgraded",
            Fault::FleetCut => "a pgweir of three cut off from the primary",
            Fault::FleetPromotion => "promotion before three pgweirs",
        }
    }

    /// What it does to the primary, if it is that which suffers.
    pub fn blow(self) -> Option<Blow> {
        match self {
            Fault::Frozen => Some(Blow::Frozen),
            Fault::CutOff => Some(Blow::CutOff),
            Fault::MachinePaused => Some(Blow::MachinePaused),
            Fault::BackAsSecond => Some(Blow::BackAsSecond),
            Fault::Torn => Some(Blow::Torn),
            Fault::Restart => Some(Blow::WithPgweir),
            _ => None,
        }
    }

    /// What it does to one pgweir of several, if it is that which suffers.
    pub fn loss(self) -> Option<Loss> {
        match self {
            Fault::FleetKilled => Some(Loss::Killed),
            Fault::FleetUpgraded => Some(Loss::Upgraded),
            Fault::FleetCut => Some(Loss::CutOff),
            _ => None,
        }
    }

    /// It concerns pgweirs that know of each other.
    pub fn needs_fleet(self) -> bool {
        self == Fault::FleetPromotion || self.loss().is_some()
    }

    /// One round of it; the cluster is whole again at its end.
    pub fn strike(self, cluster: &Cluster, weirs: &[Weir], round: usize) -> Result<(), HarnessError> {
        let weir = &weirs[round % weirs.len()];
        if let Some(blow) = self.blow() {
            return blow.strike(cluster, weir);
        }
        if let Some(loss) = self.loss() {
            return loss.strike(cluster, weir, round);
        }
        let replicas = cluster.replicas();
        let victim = replicas[round % replicas.len()];
        match self {
            Fault::Late => {
                let delay = Duration::from_millis([0, 20, 200][round % 3]);
                for replica in replicas {
                    cluster.set_apply_delay(replica, delay)?;
                }
                std::thread::sleep(5 * SECOND);
            }
            Fault::Several => {
                let delay = Duration::from_millis([300, 0][round % 2]);
                cluster.set_apply_delay(2, delay)?;
                std::thread::sleep(5 * SECOND);
            }
            Fault::Paused => {
                cluster.pause_replay(victim)?;
                std::thread::sleep(3 * SECOND);
                cluster.resume_replay(victim)?;
                std::thread::sleep(2 * SECOND);
            }
            Fault::Crash => {
                cluster.crash(victim);
                std::thread::sleep(SECOND);
                cluster.start(victim)?;
                std::thread::sleep(4 * SECOND);
            }
            Fault::Cut => {
                cluster.partition(victim);
                std::thread::sleep(3 * SECOND);
                cluster.heal(victim);
                std::thread::sleep(3 * SECOND);
            }
            Fault::Slow => {
                cluster.slow(victim, Duration::from_millis(30));
                std::thread::sleep(3 * SECOND);
                cluster.heal(victim);
                std::thread::sleep(2 * SECOND);
            }
            Fault::Reload => {
                weir.reconfigure(|config| {
                    let wait = if round.is_multiple_of(2) { "1500ms" } else { "1s" };
                    pgweir_tests::weir::set(config, "routing.freshness_wait", wait.into());
                })?;
                std::thread::sleep(SECOND / 2);
            }
            Fault::Promotion | Fault::FleetPromotion => {
                let old = cluster.primary();
                cluster.stop(old);
                cluster.promote(victim)?;
                for replica in replicas.into_iter().filter(|replica| *replica != victim) {
                    cluster.follow(replica, victim)?;
                }
                cluster.follow(old, victim)?;
                std::thread::sleep(5 * SECOND);
            }
            // What a blow or a loss does is done above.
            _ => {}
        }
        Ok(())
    }
}
