//! A running pgweir whose place is taken by this one.
//!
//! Both listen on the same addresses for a moment, which `SO_REUSEPORT` allows: there is no moment at
//! which nobody does, and no client is refused.

use crate::weir::Weir;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io;
use std::time::Duration;

/// How long this process may take to know the cluster; after that the other one stays.
const PRIMARY_WAIT: Duration = Duration::from_secs(30);

/// The process that is to leave.
pub(super) struct Replaced(Pid);

impl Replaced {
    /// Sees to it that there is such a process, and that it can be told.
    ///
    /// # Errors
    /// When there is none, or it is somebody else's.
    pub fn find(process: i32) -> io::Result<Self> {
        let other = |error: &dyn std::fmt::Display| io::Error::other(format!("--replace {process}: {error}"));
        // 0 and negative numbers mean groups of processes.
        let pid = (process > 0)
            .then(|| Pid::from_raw(process))
            .flatten()
            .ok_or_else(|| other(&"not a process id"))?;
        test_kill_process(pid).map_err(|error| other(&error))?;
        Ok(Self(pid))
    }

    /// As SIGTERM: no new clients, transactions end.
    pub fn leave(self) {
        match kill_process(self.0, Signal::TERM) {
            Ok(()) => tracing::info!(process = self.0.as_raw_nonzero(), "taken over"),
            Err(error) => tracing::warn!(%error, "the process to take over from has left by itself"),
        }
    }
}

/// Before that nobody is better served here.
///
/// # Errors
/// When no primary is found in time.
pub(super) async fn wait_for_primary(weir: &Weir) -> io::Result<()> {
    match weir.cluster.wait_for_primary(PRIMARY_WAIT).await {
        Some(_) => Ok(()),
        None => Err(io::Error::other(format!(
            "--replace: no primary within {PRIMARY_WAIT:?}; nothing has changed"
        ))),
    }
}
