//! The picture of the cluster that sessions read: replaced as a whole when something changes.

use super::pace::Intervals;
use super::verdict::Verdict;
use crate::config::{self, Config, WhenLate};
use crate::node::Node;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A primary, and the reign of it.
#[derive(Debug, Clone)]
pub struct Reign(pub Arc<Node>, pub u64);

impl PartialEq for Reign {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) && self.1 == other.1
    }
}

/// One node and how it is configured.
#[derive(Debug, Clone)]
pub struct Member {
    /// The node.
    pub node: Arc<Node>,
    /// The reign of it that this picture is of.
    pub reign: u64,
    /// Its configuration.
    pub config: config::Node,
    /// It is in our zone, or we have none.
    pub near: bool,
}

/// What a reload may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach the nodes.
    pub cluster: config::Cluster,
    /// How long a read waits for a replica.
    pub freshness_wait: Duration,
    /// Whether it waits at all.
    pub when_late: WhenLate,
    /// The bound that lag is judged by.
    pub max_lag: Option<Duration>,
    /// The same in bytes.
    pub max_lag_bytes: Option<u64>,
}

impl Settings {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            cluster: config.cluster.clone(),
            freshness_wait: config.routing.freshness_wait,
            when_late: config.routing.when_late,
            max_lag: config.policy.max_lag,
            max_lag_bytes: config.policy.max_lag_bytes,
        }
    }

    /// How often nodes are probed.
    pub fn intervals(&self) -> Intervals {
        Intervals { idle: self.cluster.probe_interval, fast: self.cluster.probe_interval_fast }
    }
}

/// The picture.
#[derive(Debug)]
pub struct View {
    /// The nodes, in the order of the configuration; masks have a bit for each.
    pub members: Vec<Member>,
    /// Who does what.
    pub verdict: Verdict,
    /// Nodes in no group.
    pub ungrouped: u64,
    /// Nodes by group.
    pub groups: HashMap<String, u64>,
    /// What is configured.
    pub settings: Arc<Settings>,
}

impl View {
    /// Of these members and that verdict.
    pub fn new(members: Vec<Member>, verdict: Verdict, settings: Arc<Settings>) -> Self {
        let mut ungrouped = 0;
        let mut groups: HashMap<String, u64> = HashMap::new();
        for (i, member) in members.iter().enumerate() {
            if member.config.groups.is_empty() {
                ungrouped |= 1 << i;
            }
            for group in &member.config.groups {
                *groups.entry(group.clone()).or_default() |= 1 << i;
            }
        }
        Self { members, verdict, ungrouped, groups, settings }
    }

    /// The primary, if there is exactly one that is up.
    pub fn primary(&self) -> Option<&Arc<Node>> {
        self.verdict.primary.map(|i| &self.members[i].node)
    }

    /// The primary with the reign that it is in, if there is exactly one that is up.
    pub fn reigning(&self) -> Option<(&Arc<Node>, u64)> {
        self.verdict.primary.map(|i| (&self.members[i].node, self.members[i].reign))
    }

    /// The same, as one thing to compare.
    pub(super) fn reign(&self) -> Option<Reign> {
        self.reigning().map(|(node, number)| Reign(node.clone(), number))
    }

    /// It is a replica of a history that is not the cluster's.
    pub fn is_stranded(&self, node: &Node) -> bool {
        let place = self.members.iter().position(|member| std::ptr::eq(&*member.node, node));
        place.is_some_and(|i| self.verdict.stranded >> i & 1 == 1)
    }

    /// The replicas that may serve reads of `group`.
    pub fn replicas(&self, group: Option<&str>) -> u64 {
        let of_group = match group {
            None => self.ungrouped,
            Some(group) => self.groups.get(group).copied().unwrap_or(0),
        };
        self.verdict.replicas & of_group
    }
}
