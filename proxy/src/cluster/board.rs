//! What the probers have found out: changed under one lock, published as a [`View`].
//!
//! They tell it what they [hear](heard); from that it [measures](measured) and [judges](judged).

mod entry;
mod heard;
mod judged;
mod measured;
#[cfg(test)]
mod world;

pub use entry::Entry;

use super::acknowledged::Acknowledged;
use super::descent::Promotion;
use super::flushing::Flushing;
use super::membership::Membership;
use super::probe::told::{Address, Told};
use super::samples::Samples;
use super::shaping::Shaping;
use super::verdict::{Role, Verdict};
use super::view::{Member, Settings, View};
use crate::node::Node;
use crate::node::lsn::{Lsn, WalLayout};
use crate::node::moment::Moment;
use std::collections::HashSet;
use std::sync::Arc;

/// What one probe saw.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// When the probe was sent.
    pub start: Moment,
    /// What the node is.
    pub role: Role,
    /// The timeline that it writes or follows; `None`: it could not be learnt this time.
    pub timeline: Option<u32>,
    /// The newest timeline that it knows the history of, where that was asked.
    pub known: Option<u32>,
    /// A primary's insert position, a replica's replay position; `None` where there is none.
    pub lsn: Option<Lsn>,
    /// Until where a primary has its log on disk.
    pub flushed: Option<Lsn>,
    /// Until where a primary had replayed when it was promoted: there its timeline forks off.
    pub fork: Option<Lsn>,
    /// Whom a replica receives its log from, as far as it tells.
    pub upstream: Option<Address>,
    /// Writes acknowledged through us when the probe was sent.
    pub writes: u64,
    /// The same when it was answered.
    pub writes_by_answer: u64,
}

impl Sighting {
    /// What was told to a probe sent at `start`, when so many writes were acknowledged, and so many by the answer.
    pub fn of(told: Told, start: Moment, writes: u64, writes_by_answer: u64) -> Self {
        let Told { role, lsn, flushed, timeline, fork, upstream } = told;
        Self { start, role, timeline, known: None, lsn, flushed, fork, upstream, writes, writes_by_answer }
    }
}

/// What a node told of itself when a prober connected.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// `system_identifier`: the same on all nodes of a cluster.
    pub system: u64,
    /// When its postmaster started, in microseconds: no two servers of a cluster have it in common.
    pub started: Option<i64>,
    /// How its log is laid out.
    pub layout: WalLayout,
}

/// Something that people should know.
#[derive(Debug)]
pub struct News {
    /// One word, see [`super::status::Event`].
    pub kind: &'static str,
    /// The node.
    pub node: String,
    /// A sentence.
    pub text: String,
    /// Writes that may be lost.
    pub lost_writes: u64,
}

/// Who has changed the list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A person, by a reload.
    Operator,
    /// A source that tells nodes: it decides nothing about histories.
    Source,
}

/// What the probers have found out.
#[derive(Debug)]
pub struct Board {
    /// The nodes, in the order of the configuration.
    pub entries: Vec<Entry>,
    /// The primary's past positions.
    pub samples: Samples,
    /// How long its log takes to its disk.
    pub flushing: Flushing,
    verdict: Verdict,
    settings: Arc<Settings>,
    /// There may be nodes that are not in the list yet.
    is_searching: bool,
    /// Which cluster this is.
    membership: Membership,
    /// Each node has been heard, or could not be: it is known which are the cluster's, and how its primary is
    /// configured.
    decided: bool,
    incarnations: u64,
    /// Names of drained nodes, so that a reload keeps them drained.
    drained: HashSet<String>,
    /// The last primary, also while there is none.
    last_primary: Option<Arc<Node>>,
    /// The last one that was in a verdict.
    published: Option<Arc<Node>>,
    /// Nodes whose reign has ended or that do not answer, and whose sessions have not been told yet.
    pub ended: Vec<Arc<Node>>,
    /// The newest timeline that two nodes have claimed to write: its number does not name one history.
    doubled: u32,
    /// The timeline that `samples` are of.
    sampled_timeline: u32,
    /// How much of its log goes with which acknowledged writes.
    acknowledged: Acknowledged,
    /// What the configuration of the last primary gives a session.
    shaping: Option<Shaping>,
    /// How often acknowledged writes were lost.
    pub losses: u64,
    /// The last time that they were: what was seen between these moments may be lost.
    pub loss: Option<(Moment, Moment)>,
    /// Not told yet.
    pub news: Vec<News>,
    /// That there is no primary has been told.
    headless_told: bool,
}

impl Board {
    /// Without nodes.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            entries: Vec::new(),
            samples: Samples::default(),
            flushing: Flushing::default(),
            verdict: Verdict::default(),
            settings,
            is_searching: false,
            membership: Membership::default(),
            decided: false,
            incarnations: 0,
            drained: HashSet::new(),
            last_primary: None,
            published: None,
            ended: Vec::new(),
            doubled: 0,
            sampled_timeline: 0,
            acknowledged: Acknowledged::default(),
            shaping: None,
            losses: 0,
            loss: None,
            news: Vec::new(),
            headless_told: false,
        }
    }

    /// The picture of now.
    pub fn view(&self) -> View {
        let zone = self.settings.cluster.zone.as_deref();
        let member = |e: &Entry| Member {
            node: e.node.clone(),
            reign: e.node.reign(),
            near: zone.is_none() || e.config.zone.as_deref() == zone,
            config: e.config.clone(),
        };
        View::new(self.entries.iter().map(member).collect(), self.verdict, self.settings.clone())
    }

    /// Nodes come and go: keeps what is known of those that stay. Gives the nodes that need a prober.
    pub fn configure(
        &mut self,
        settings: Arc<Settings>,
        by: By,
        is_searching: bool,
        now: Moment,
    ) -> Vec<Arc<Node>> {
        (self.settings, self.is_searching) = (settings, is_searching);
        let named = |i: Option<usize>| i.map(|i| self.entries[i].node.name.clone());
        let (primary, holder) = (named(self.verdict.primary), named(self.verdict.holder));
        let mut old = std::mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        for config in &self.settings.cluster.nodes {
            let known = old.iter().position(|e| e.config.address == config.address);
            let mut entry = known.map(|i| old.swap_remove(i)).unwrap_or_else(|| {
                let node = Node::new(&config.address);
                fresh.push(node.clone());
                Entry::new(node, config.clone(), now)
            });
            entry.config = config.clone();
            entry.facts.weight = config.weight;
            entry.facts.drained = self.drained.contains(&config.address);
            self.entries.push(entry);
        }
        // Indexes have moved: the verdict in force is about names.
        self.verdict.primary = primary.and_then(|name| self.position(&name));
        self.verdict.holder = holder.and_then(|name| self.position(&name));
        if !old.is_empty() && by == By::Operator {
            // A person has decided which histories are not the cluster's.
            self.verdict.timeline = self.entries.iter().map(|e| e.newest_timeline).max().unwrap_or(0);
            self.verdict.contested = false;
        }
        self.judge(now);
        fresh
    }

    /// Takes a node out of the choice for reads, or back.
    pub fn set_drained(&mut self, name: &str, drained: bool, now: Moment) -> bool {
        let Some(i) = self.position(name) else { return false };
        self.entries[i].facts.drained = drained;
        if drained {
            self.drained.insert(name.to_owned())
        } else {
            self.drained.remove(name)
        };
        self.judge(now);
        true
    }

    /// How a node became the primary that it is, where that was seen.
    pub fn promotion(&self, node: &Arc<Node>) -> Option<Promotion> {
        let promotion = self.entries[self.find(node)?].descent.promotion()?;
        (promotion.from > self.doubled).then_some(promotion)
    }

    /// The moment through which the freshest serving replica is fresh.
    pub fn freshest(&self) -> Moment {
        let serving = self.serving().map(|e| e.node.progress.fresh_through.get());
        serving.max().unwrap_or_default()
    }

    /// What is configured.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The verdict in force.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Which cluster this is.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// A node of another cluster: what to say of it.
    fn stranger(&self, i: usize) -> Option<String> {
        self.membership.stranger(self.entries[i].system?)
    }

    /// A node of another cluster.
    pub fn is_stranger(&self, node: &Arc<Node>) -> bool {
        self.find(node).is_some_and(|i| self.stranger(i).is_some())
    }

    /// The names of the nodes that are, or may be, this cluster's; `None` while nobody knows which cluster it is.
    pub fn members(&self) -> Option<Vec<String>> {
        let members = (0..self.entries.len()).filter(|i| self.stranger(*i).is_none());
        let is_known = self.decided || self.membership.is_settled();
        is_known.then(|| members.map(|i| self.entries[i].node.name.clone()).collect())
    }

    fn primary(&self) -> Option<&Entry> {
        self.verdict.primary.map(|i| &self.entries[i])
    }

    fn serving(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().enumerate().filter(|(i, _)| self.verdict.replicas >> i & 1 == 1).map(|(_, e)| e)
    }

    fn find(&self, node: &Arc<Node>) -> Option<usize> {
        self.entries.iter().position(|e| Arc::ptr_eq(&e.node, node))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|e| e.node.name == name)
    }
}

/// Whoever holds a server of `node` for what it was must let go of it.
fn end_reign(ended: &mut Vec<Arc<Node>>, node: &Arc<Node>) {
    node.end_reign();
    ended.push(node.clone());
}

impl News {
    fn of(kind: &'static str, node: &Arc<Node>, text: String) -> Self {
        Self { kind, node: node.name.clone(), text, lost_writes: 0 }
    }
}
