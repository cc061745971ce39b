//! What can be done to a cluster: paused, delayed, killed, promoted, cut off.

use crate::cluster::{Cluster, wait_until};
use crate::door::Weather;
use crate::error::HarnessError;
use std::time::Duration;

impl Cluster {
    /// The replica receives WAL but shows nothing new.
    pub fn pause_replay(&self, index: usize) -> Result<(), HarnessError> {
        self.sql(index, "postgres", "SELECT pg_wal_replay_pause()")?;
        // Since version 14 pausing is a request that the startup process grants later.
        if self.binaries().major() < 14 {
            return Ok(());
        }
        let state = "SELECT pg_get_wal_replay_pause_state()";
        wait_until(&format!("node{index} has paused replay"), || {
            self.value(index, "postgres", state).is_ok_and(|state| state == "paused")
        })
    }

    /// Replay goes on.
    pub fn resume_replay(&self, index: usize) -> Result<(), HarnessError> {
        self.sql(index, "postgres", "SELECT pg_wal_replay_resume()").map(drop)
    }

    /// Commits become visible on the replica this much later (`recovery_min_apply_delay`).
    pub fn set_apply_delay(&self, index: usize, delay: Duration) -> Result<(), HarnessError> {
        let delay = format!("{}ms", delay.as_millis());
        self.set_on(index, "recovery_min_apply_delay", &delay)
    }

    /// `ALTER SYSTEM` and a reload, awaited, on one node.
    pub fn set_on(&self, index: usize, name: &str, value: &str) -> Result<(), HarnessError> {
        let value = value.replace('\'', "''");
        self.sql(index, "postgres", &format!("ALTER SYSTEM SET {name} = '{value}'"))?;
        let loaded = "SELECT pg_conf_load_time()";
        let before = self.value(index, "postgres", loaded)?;
        self.sql(index, "postgres", "SELECT pg_reload_conf()")?;
        wait_until(&format!("node{index} has reloaded"), || {
            self.value(index, "postgres", loaded).is_ok_and(|now| now != before)
        })
    }

    /// Immediate shutdown: clients get a FATAL 57P02 and the end of their connection.
    pub fn kill(&self, index: usize) {
        self.node(index).end("QUIT");
    }

    /// SIGKILL to every process of the node: clients get nothing but the end.
    pub fn crash(&self, index: usize) {
        self.node(index).crash();
    }

    /// Fast shutdown, as by an administrator: clients get a FATAL 57P01.
    pub fn stop(&self, index: usize) {
        self.node(index).end("INT");
    }

    /// Starts a node that was stopped or killed, in its old role, on its old port.
    pub fn start(&self, index: usize) -> Result<(), HarnessError> {
        self.node(index).start(self.site())
    }

    /// Starts the node again with a clock that is wrong by `by` (`"+5h"`), which needs libfaketime.
    pub fn shift_clock(&self, index: usize, by: &str) -> Result<(), HarnessError> {
        let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library =
            libraries.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file());
        let library = library.ok_or_else(|| HarnessError::failed("libfaketime is not installed"))?;
        let variables = [
            ("LD_PRELOAD", library.to_string_lossy().into_owned()),
            ("FAKETIME", by.to_owned()),
            // Time-outs go on as they should.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.stop(index);
        self.node(index).set_environment(variables.map(|(name, value)| (name.into(), value)).into());
        self.start(index)
    }

    /// The node hangs: its processes do nothing, its connections stay open.
    pub fn freeze(&self, index: usize) {
        self.node(index).signal_all("STOP");
    }

    /// It goes on after [`Cluster::freeze`].
    pub fn thaw(&self, index: usize) {
        self.node(index).signal_all("CONT");
    }

    /// Makes a replica the primary. Stopping the old one first is the caller's business, and so
    /// is what the other nodes follow.
    pub fn promote(&self, index: usize) -> Result<(), HarnessError> {
        self.sql(index, "postgres", "SELECT pg_promote(true, 60)")?;
        self.set_primary(index);
        Ok(())
    }

    /// The node becomes a replica of `primary`.
    ///
    /// A running replica is pointed there; a node that is down (an old primary, say) is copied
    /// afresh and started.
    pub fn follow(&self, index: usize, primary: usize) -> Result<(), HarnessError> {
        let (node, target) = (self.node(index), self.node(primary));
        if !node.is_running() {
            node.copy_from(self.site(), target)?;
            return node.start(self.site());
        }
        node.make_slot(target)?;
        self.set_on(index, "primary_conninfo", &node.connection_to(target))?;
        // Before version 13 this setting is read at start only.
        if self.binaries().major() < 13 {
            self.stop(index);
            self.start(index)?;
        }
        let connected = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{}' AND state = 'streaming'",
            node.name()
        );
        wait_until(&format!("node{index} streams from node{primary}"), || {
            self.value(primary, "postgres", &connected).is_ok_and(|count| count == "1")
        })
    }

    /// Nothing passes between pgweir and the node, and nobody is told. Needs doors.
    pub fn partition(&self, index: usize) {
        self.set_weather(index, Weather::Partitioned);
    }

    /// All that passes between pgweir and the node takes this much longer, each way. Needs doors.
    pub fn slow(&self, index: usize, delay: Duration) {
        self.set_weather(index, Weather::Slow(delay));
    }

    /// Connections between pgweir and the node are closed, and new ones as well. Needs doors.
    pub fn close_door(&self, index: usize) {
        self.set_weather(index, Weather::Closed);
    }

    /// The network is good again.
    pub fn heal(&self, index: usize) {
        self.set_weather(index, Weather::Clear);
    }

    fn set_weather(&self, index: usize, weather: Weather) {
        self.door(index).expect("build the cluster with doors()").set(weather);
    }
}
