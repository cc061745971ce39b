//! PAUSE and RESUME: while the gate is closed nobody is lent a server.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Closed for all databases, or for some. Open, it costs one load.
#[derive(Debug, Default)]
pub struct Gate {
    any: AtomicBool,
    closed: Mutex<Closed>,
    opened: Notify,
}

#[derive(Debug, Default)]
struct Closed {
    all: bool,
    databases: HashSet<String>,
}

impl Gate {
    /// Waits while the gate is closed for `database`. Cancel-safe.
    pub async fn pass(&self, database: &str) {
        while self.is_closed_for(database) {
            let opened = self.opened.notified();
            if !self.is_closed_for(database) {
                return;
            }
            opened.await;
        }
    }

    /// Closed for all.
    pub fn is_closed(&self) -> bool {
        self.any.load(Ordering::Acquire) && self.closed.lock().all
    }

    /// Closed for this database.
    pub fn is_closed_for(&self, database: &str) -> bool {
        self.any.load(Ordering::Acquire) && {
            let closed = self.closed.lock();
            closed.all || closed.databases.contains(database)
        }
    }

    /// The databases for which alone it is closed.
    pub fn closed_databases(&self) -> Vec<String> {
        self.closed.lock().databases.iter().cloned().collect()
    }

    /// Closes it for one database, or for all; `false` when it was closed.
    pub fn close(&self, database: Option<&str>) -> bool {
        let mut closed = self.closed.lock();
        let changed = match database {
            Some(database) => closed.databases.insert(database.to_owned()),
            None => !std::mem::replace(&mut closed.all, true),
        };
        self.any.store(true, Ordering::Release);
        changed
    }

    /// Opens it for one database, or for all of them; `false` when it was not closed so.
    pub fn open(&self, database: Option<&str>) -> bool {
        let mut closed = self.closed.lock();
        let changed = match database {
            Some(database) => closed.databases.remove(database),
            None => {
                let changed = closed.all || !closed.databases.is_empty();
                *closed = Closed::default();
                changed
            }
        };
        self.any.store(closed.all || !closed.databases.is_empty(), Ordering::Release);
        drop(closed);
        self.opened.notify_waiters();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn who_waits_at_a_closed_gate_passes_when_it_opens() {
        let gate = Arc::new(Gate::default());
        gate.pass("shop").await;
        assert!(gate.close(None));
        assert!(!gate.close(None));
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass("shop").await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        assert!(gate.open(None));
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_database_is_paused_without_the_others() {
        let gate = Gate::default();
        gate.close(Some("shop"));
        gate.pass("other").await;
        assert!(gate.is_closed_for("shop") && !gate.is_closed());
        assert!(!gate.open(Some("other")));
        assert!(gate.open(Some("shop")));
        gate.pass("shop").await;
    }
}
