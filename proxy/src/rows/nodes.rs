//! What people are told of the cluster: the state of its nodes, its recent past.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// One node as the console and the status page show it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// `primary` (in force), `replica` or `unknown`; what it last said it is.
    pub role: &'static str,
    /// It answers.
    pub up: bool,
    /// It may answer reads now, or writes if it is the primary.
    pub serving: bool,
    /// How long it has been up, or down.
    pub since: Duration,
    /// Bytes of log that it has not replayed.
    pub lag_bytes: u64,
    /// How long something has been missing on it.
    pub lag: Duration,
    /// It is left out for its lag.
    pub lagging: bool,
    /// It is a replica on an older timeline than the cluster's.
    pub stranded: bool,
    /// Its address leads to several servers.
    pub several: bool,
    /// It is a replica that is configured otherwise than the primary.
    pub differs: bool,
    /// Until where it has replayed (a primary: written).
    pub lsn: String,
    /// Its timeline.
    pub timeline: u32,
    /// Statements that it is working on for us.
    pub outstanding: usize,
    /// The operator wants no reads there.
    pub drained: bool,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its share of reads.
    pub weight: u32,
    /// The source that tells it; `None`: it is written down.
    pub source: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A place that tells nodes.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// As it is written in the configuration.
    pub name: String,
    /// `unheard`, `answers` or `fails`.
    pub state: &'static str,
    /// The nodes that it tells, or told last.
    pub nodes: Vec<String>,
    /// Why it fails.
    pub error: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// One word: `node_up`, `node_down`, `primary`, `rival`, `stranded`, `several_servers`,
    /// `settings_differ`, `lost_writes`, `lagging`, `caught_up`, ….
    pub kind: &'static str,
    /// The node, or empty.
    pub node: String,
    /// A sentence.
    pub text: String,
}

/// Events kept: a screen or two of the status page.
const EVENTS_MAX: usize = 128;

/// The last [`EVENTS_MAX`] events, oldest first.
#[derive(Debug, Default)]
pub struct Events(Mutex<VecDeque<Event>>);

impl Events {
    /// Adds one, now.
    pub fn push(&self, kind: &'static str, node: &str, text: impl Into<String>) {
        let event = Event { at: SystemTime::now(), kind, node: node.to_owned(), text: text.into() };
        let mut events = self.0.lock();
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// All that are kept, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_events_are_kept() {
        let events = Events::default();
        for i in 0..EVENTS_MAX + 5 {
            events.push("node_up", "a:1", i.to_string());
        }
        let kept = events.recent();
        assert_eq!((kept.len(), kept[0].text.as_str()), (EVENTS_MAX, "5"));
    }
}
