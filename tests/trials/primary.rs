//! What is done to a primary during a trial, and how the cluster gets a new one.
//!
//! Each commit waits until one replica has it on its disk, and the replica that has most is promoted: what is
//! acknowledged before a promotion is on the next primary. The former primary is let loose of that as soon as
//! it has a successor, as one with asynchronous replication would be: whatever it acknowledges then will be
//! lost, so that an acknowledged write that is lost in the end was acknowledged by pgweir and should not have been.

use pgweir_tests::{Cluster, HarnessError, Weir};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// For one replica at least.
const SYNCHRONOUS: &str = "ANY 1 (node0, node1, node2)";

/// What happens to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// It hangs, has a successor, and goes on as if nothing had happened.
    Frozen,
    /// Nothing passes between it and pgweir; it has a successor, and is within reach again.
    CutOff,
    /// It hangs together with what watches it, which ends it as soon as both go on.
    MachinePaused,
    /// It dies, has a successor, and is started again as a primary.
    BackAsSecond,
    /// Its connections are ended, ten times, and then it crashes and recovers.
    Torn,
    /// It dies, and pgweir is killed and started anew before there is a successor.
    WithPgweir,
}

/// From now on commits wait for a replica, whoever is primary.
pub fn make_synchronous(cluster: &Cluster) -> Result<(), HarnessError> {
    (0..3).try_for_each(|node| cluster.set_on(node, "synchronous_standby_names", SYNCHRONOUS))
}

impl Blow {
    /// One round: at its end the cluster is whole, with another primary where it lost its own.
    pub fn strike(self, cluster: &Cluster, weir: &Weir) -> Result<(), HarnessError> {
        let old = cluster.primary();
        match self {
            Blow::Frozen => {
                cluster.freeze(old);
                std::thread::sleep(2 * SECOND);
                replace(cluster, old)?;
                std::thread::sleep(SECOND);
                let_loose(cluster, old)?;
                cluster.thaw(old);
                std::thread::sleep(4 * SECOND);
            }
            Blow::CutOff => {
                cluster.partition(old);
                std::thread::sleep(2 * SECOND);
                replace(cluster, old)?;
                let_loose(cluster, old)?;
                std::thread::sleep(2 * SECOND);
                cluster.heal(old);
                std::thread::sleep(4 * SECOND);
            }
            Blow::MachinePaused => {
                cluster.freeze(old);
                std::thread::sleep(4 * SECOND);
                replace(cluster, old)?;
                std::thread::sleep(4 * SECOND);
                let_loose(cluster, old)?;
                cluster.thaw(old);
                cluster.stop(old);
            }
            Blow::BackAsSecond => {
                cluster.crash(old);
                replace(cluster, old)?;
                std::thread::sleep(SECOND);
                let_loose(cluster, old)?;
                cluster.start(old)?;
                std::thread::sleep(4 * SECOND);
            }
            Blow::Torn => {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'";
                for _ in 0..10 {
                    cluster.sql(old, "postgres", end)?;
                    std::thread::sleep(SECOND / 3);
                }
                cluster.crash(old);
                cluster.start(old)?;
                std::thread::sleep(SECOND);
                return Ok(());
            }
            Blow::WithPgweir => {
                cluster.crash(old);
                weir.restart()?;
                std::thread::sleep(SECOND);
                replace(cluster, old)?;
            }
        }
        let new = cluster.primary();
        cluster.crash(old);
        cluster.follow(old, new)?;
        std::thread::sleep(3 * SECOND);
        Ok(())
    }
}

/// The replica that has most is promoted, and the other follows it.
fn replace(cluster: &Cluster, old: usize) -> Result<(), HarnessError> {
    let received = |node: &usize| {
        let sql =
            "SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')";
        cluster.value(*node, "postgres", sql).ok().and_then(|bytes| bytes.parse::<u64>().ok())
    };
    let mut replicas: Vec<usize> = cluster.replicas().into_iter().filter(|node| *node != old).collect();
    replicas.sort_by_key(received);
    let [other, new] = replicas[..] else { return Err(HarnessError::failed("there are no two replicas")) };
    cluster.promote(new)?;
    cluster.follow(other, new)
}

/// The former primary waits for no replica any more, from when it can read its configuration on.
fn let_loose(cluster: &Cluster, old: usize) -> Result<(), HarnessError> {
    let path = cluster.node(old).data().join("postgresql.auto.conf");
    let failed = |error| HarnessError::Io(format!("writing {}", path.display()), error);
    let mut file = File::options().append(true).open(&path).map_err(failed)?;
    file.write_all(b"synchronous_standby_names = ''\n").map_err(failed)?;
    cluster.node(old).signal_all("HUP");
    Ok(())
}
