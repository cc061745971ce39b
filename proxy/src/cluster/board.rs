//! What the probers have found out: changed under one lock, published as a [`View`].

use super::flushing::Flushing;
use super::loss::Loss;
use super::membership::Membership;
use super::samples::{Sample, Samples, lag};
use super::verdict::{Facts, Role, Verdict, is_lagging, judge};
use super::view::{Member, Settings, View};
use crate::config;
use crate::node::Node;
use crate::node::lsn::{Lsn, WalLayout};
use crate::node::moment::Moment;
use crate::observe::cluster::{ClusterMetrics, NodeMetrics};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use tokio::task::JoinHandle;

/// What one probe saw.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// When the probe was sent.
    pub start: Moment,
    /// What the node is.
    pub role: Role,
    /// The timeline that it writes or follows; `None`: it could not be learnt this time.
    pub timeline: Option<u32>,
    /// A primary's insert position, a replica's replay position; `None` where there is none.
    pub lsn: Option<Lsn>,
    /// Until where a primary has its log on disk.
    pub flushed: Option<Lsn>,
    /// Writes acknowledged through us when the probe was sent.
    pub writes: u64,
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

/// All that is known of one node.
#[derive(Debug)]
pub struct Entry {
    /// The node.
    pub node: Arc<Node>,
    /// As configured.
    pub config: config::Node,
    /// For the verdict.
    pub facts: Facts,
    /// Since when it is up, or down.
    pub since: Moment,
    /// What went wrong last.
    pub error: Option<Loss>,
    /// What of that has been told since it was last up.
    told: Option<Loss>,
    /// Its last position, and when the probe that told it was sent.
    pub lsn: Lsn,
    sampled: Moment,
    /// The start of the first probe that told this position.
    moved: Moment,
    /// The last primary sample that it has replayed, also from before it lost its connection:
    /// a replica has what it once replayed on its disk.
    proven: Option<Sample>,
    /// It has been up before.
    was_up: bool,
    /// Good probes in a row while it is down.
    good_probes: u32,
    layout: WalLayout,
    /// As it said when its prober connected; `None` while that is not connected.
    started: Option<i64>,
    /// The cluster that it last said it is of.
    system: Option<u64>,
    gauges: OnceLock<NodeMetrics>,
    /// Its prober.
    pub task: Option<JoinHandle<()>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A replica that was up and went away serves again after this many good probes.
const RETURN_PROBES: u32 = 3;

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
    /// Which cluster this is.
    membership: Membership,
    incarnations: u64,
    /// Names of drained nodes, so that a reload keeps them drained.
    drained: HashSet<String>,
    /// The last primary, also while there is none.
    last_primary: Option<Arc<Node>>,
    /// The timeline that `samples` are of.
    sampled_timeline: u32,
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
            membership: Membership::default(),
            incarnations: 0,
            drained: HashSet::new(),
            last_primary: None,
            sampled_timeline: 0,
            news: Vec::new(),
            headless_told: false,
        }
    }

    /// The picture of now.
    pub fn view(&self) -> View {
        let zone = self.settings.cluster.zone.as_deref();
        let member = |e: &Entry| Member {
            node: e.node.clone(),
            near: zone.is_none() || e.config.zone.as_deref() == zone,
            config: e.config.clone(),
        };
        View::new(self.entries.iter().map(member).collect(), self.verdict, self.settings.clone())
    }

    /// A reload: keeps what is known of nodes that stay. Gives the nodes that need a prober.
    pub fn configure(&mut self, settings: Arc<Settings>, now: Moment) -> Vec<Arc<Node>> {
        self.settings = settings;
        let primary = self.primary().map(|e| e.node.name.clone());
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

    /// A prober has connected: its node starts an incarnation.
    ///
    /// # Errors
    /// When the node belongs to another cluster, or is there already by another name.
    pub fn connected(&mut self, node: &Arc<Node>, identity: Identity, now: Moment) -> Result<(), String> {
        let Some(i) = self.find(node) else { return Err("no longer configured".into()) };
        self.entries[i].system = Some(identity.system);
        let told: Vec<_> = self.entries.iter().map(|e| e.system).collect();
        if self.membership.hear(&told) {
            self.begin_anew(now);
        }
        if let Some(text) = self.membership.stranger(identity.system) {
            return Err(text);
        }
        let others = self.entries.iter().enumerate().filter(|(other, _)| *other != i);
        let mut twins = others.filter(|(_, e)| e.started.is_some() && e.started == identity.started);
        if let Some((_, twin)) = twins.next() {
            return Err(format!("it is the same server as {}, by another name", twin.node.name));
        }
        self.incarnations += 1;
        let entry = &mut self.entries[i];
        node.take_back();
        entry.layout = identity.layout;
        entry.started = identity.started;
        entry.facts.timeline = 0;
        entry.forget_position();
        entry.node.progress.reset(self.incarnations);
        Ok(())
    }

    /// What was taken for the cluster is another one: nothing that was learnt of it counts.
    fn begin_anew(&mut self, now: Moment) {
        (self.samples, self.verdict) = (Samples::default(), Verdict::default());
        (self.last_primary, self.sampled_timeline) = (None, 0);
        for entry in &mut self.entries {
            if let Some(text) = entry.system.and_then(|system| self.membership.stranger(system)) {
                entry.node.progress.reset(0);
                entry.forget_position();
                if std::mem::take(&mut entry.facts.up) {
                    entry.since = now;
                }
                self.news.push(News::of("node_down", &entry.node, format!("{}: {text}", entry.node.name)));
                entry.error = Some(Loss::Unfit(text));
            }
        }
        self.judge(now);
    }

    /// A prober has lost its node, or cannot reach it.
    pub fn lost(&mut self, node: &Arc<Node>, error: Loss, now: Moment) {
        let Some(i) = self.find(node) else { return };
        let entry = &mut self.entries[i];
        entry.node.progress.reset(0);
        entry.forget_position();
        entry.started = None;
        entry.good_probes = 0;
        if entry.facts.up || entry.told.as_ref().is_none_or(|told| !told.is_like(&error)) {
            self.news.push(News::of("node_down", node, format!("{} {error}", node.name)));
            entry.told = Some(error.clone());
        }
        if entry.facts.up {
            entry.facts.up = false;
            entry.since = now;
        } else {
            node.give_up();
        }
        entry.error = Some(error);
        self.judge(now);
    }

    /// A probe was answered.
    pub fn sighted(&mut self, node: &Arc<Node>, seen: Sighting, now: Moment) {
        let Some(i) = self.find(node) else { return };
        let entry = &mut self.entries[i];
        if entry.system.is_some_and(|system| self.membership.stranger(system).is_some()) {
            return;
        }
        let before = entry.facts;
        entry.facts.role = seen.role;
        entry.facts.timeline = entry.facts.timeline.max(seen.timeline.unwrap_or(0));
        if !entry.facts.up {
            entry.good_probes += 1;
            if !entry.was_up || seen.role == Role::Primary || entry.good_probes >= RETURN_PROBES {
                entry.facts.up = true;
                entry.was_up = true;
                entry.since = now;
                (entry.error, entry.told) = (None, None);
                let text = format!("{} answers: it is a {}", node.name, seen.role.as_str());
                self.news.push(News::of("node_up", node, text));
            }
        }
        if before != self.entries[i].facts {
            self.judge(now);
        }
        match (seen.role, seen.lsn) {
            (Role::Primary, Some(lsn)) => self.primary_at(i, lsn, seen, now),
            (Role::Replica, Some(lsn)) => self.replica_at(i, lsn, seen, now),
            _ => {}
        }
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

    fn primary_at(&mut self, i: usize, insert: Lsn, seen: Sighting, now: Moment) {
        let lsn = self.entries[i].layout.end_of_records(insert);
        self.entries[i].lsn = lsn;
        if self.verdict.primary != Some(i) {
            return;
        }
        let node = self.entries[i].node.clone();
        let moved = self.last_primary.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &node));
        if moved || self.sampled_timeline != self.verdict.timeline {
            self.primary_changed(i, seen.writes);
            self.samples.clear();
            self.sampled_timeline = self.verdict.timeline;
            self.last_primary = Some(node.clone());
        }
        let sample = Sample { start: seen.start, first: seen.start, lsn, writes: seen.writes };
        if !self.samples.push(sample) {
            let kept = self.samples.fresh_through(lsn).map_or(seen.writes, |s| s.writes);
            let text = format!("{}'s log went back to {lsn}: it lost what it had not flushed", node.name);
            self.news.push(News { lost_writes: seen.writes - kept, ..News::of("lost_writes", &node, text) });
            self.samples.clear();
            self.samples.push(sample);
        }
        if let Some(flushed) = seen.flushed {
            let missing = self.samples.first_missing(flushed).unwrap_or(sample);
            let unflushed = seen.start.since(missing.first);
            if let Some(text) = self.flushing.saw(unflushed, seen.writes.saturating_sub(missing.writes), now)
            {
                self.news.push(News::of("late_flush", &node, format!("{}: {text}", node.name)));
            }
        }
        for replica in 0..self.entries.len() {
            self.measure(replica, now);
        }
        if let Some(all) = self.serving().map(|e| e.lsn).min() {
            self.samples.forget_before(all);
        }
    }

    /// The cluster has another primary, or its primary another timeline: tells what may be lost.
    fn primary_changed(&mut self, i: usize, writes: u64) {
        let entry = &self.entries[i];
        let name = &entry.node.name;
        let Some(last) = &self.last_primary else {
            let text = format!("{name} is the primary, on timeline {}", self.verdict.timeline);
            self.news.push(News::of("primary", &entry.node, text));
            return;
        };
        let from = format!("{} (timeline {})", last.name, self.sampled_timeline);
        let text = format!("{name} is the primary now, on timeline {}; it was {from}", self.verdict.timeline);
        self.news.push(News::of("failover", &entry.node, text));
        let lost = match entry.proven {
            // It goes on from its own log.
            _ if Arc::ptr_eq(last, &entry.node) => 0,
            Some(sample) => writes.saturating_sub(sample.writes),
            None => writes,
        };
        if lost > 0 {
            let known = self.samples.latest().map_or(Lsn::default(), |s| s.lsn);
            let proven = entry.proven.map_or(Lsn::default(), |s| s.lsn);
            let text = format!(
                "{lost} acknowledged writes may be lost: {name} is known to have had the log until {proven}, \
                 the former primary was at {known} or beyond"
            );
            self.news.push(News { lost_writes: lost, ..News::of("lost_writes", &entry.node, text) });
        }
    }

    fn replica_at(&mut self, i: usize, lsn: Lsn, seen: Sighting, now: Moment) {
        let entry = &mut self.entries[i];
        if entry.lsn != lsn {
            entry.moved = seen.start;
        }
        let (before, proven) = (entry.sampled, entry.proven);
        (entry.lsn, entry.sampled) = (lsn, seen.start);
        entry.node.progress.sample(seen.start, lsn);
        self.measure(i, now);
        let entry = &self.entries[i];
        if let Some(arrived) = entry.proven.filter(|arrived| proven.is_none_or(|p| p.lsn < arrived.lsn)) {
            // The probe before this one had not seen it yet.
            entry.node.progress.set_travel(before.since(arrived.first));
        }
    }

    /// Where a replica stands, by the samples known now. Positions of another timeline prove nothing.
    fn measure(&mut self, i: usize, now: Moment) {
        let entry = &mut self.entries[i];
        let progress = &entry.node.progress;
        if entry.facts.role != Role::Replica
            || entry.sampled == Moment::NEVER
            || entry.facts.timeline != self.sampled_timeline
        {
            return;
        }
        let lag = lag(&self.samples, entry.lsn, entry.sampled);
        progress.set_lag(lag, lag.1.min(entry.sampled.since(entry.moved)));
        if let Some(sample) = self.samples.fresh_through(entry.lsn) {
            entry.proven = Some(sample);
            progress.fresh_through.raise(sample.start);
        }
        let lagging =
            is_lagging(entry.facts.lagging, lag, self.settings.max_lag_bytes, self.settings.max_lag);
        if lagging != entry.facts.lagging {
            entry.facts.lagging = lagging;
            let (kind, what) =
                if lagging { ("lagging", "is over max_lag") } else { ("caught_up", "has caught up") };
            let text =
                format!("{} {what}: {} bytes, {:.3} s behind", entry.node.name, lag.0, lag.1.as_secs_f64());
            let news = News::of(kind, &entry.node, text);
            self.news.push(news);
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Moment) {
        let facts: Vec<Facts> = self.entries.iter().map(|e| e.facts).collect();
        let verdict = judge(&facts, &self.verdict);
        for (i, entry) in self.entries.iter().enumerate() {
            let bit = 1 << i;
            if verdict.replicas & !self.verdict.replicas & bit != 0 {
                entry.node.progress.serving_since.set(now);
            }
            if verdict.rivals & !self.verdict.rivals & bit != 0 {
                let text = format!(
                    "{} says that it is a primary, on timeline {}; the cluster's is {}: it is left out",
                    entry.node.name, entry.facts.timeline, verdict.timeline
                );
                self.news.push(News::of("rival", &entry.node, text));
            }
        }
        let deposed = self.verdict.primary.is_some();
        self.verdict = verdict;
        self.tell_headless(deposed);
    }

    /// Tells once that there is no primary: when it is gone, or when every node has been heard of and none is one.
    fn tell_headless(&mut self, deposed: bool) {
        if self.verdict.primary.is_some() {
            self.headless_told = false;
            return;
        }
        let all_heard = self.entries.iter().all(|e| e.facts.up || e.error.is_some());
        if self.headless_told || self.entries.is_empty() || !(deposed || all_heard) {
            return;
        }
        self.headless_told = true;
        let wait = humantime::format_duration(self.settings.cluster.primary_wait);
        let text =
            format!("there is no primary: writes wait for one, for {wait} each (cluster.primary_wait)");
        self.news.push(News { kind: "no_primary", node: String::new(), text, lost_writes: 0 });
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

impl Entry {
    fn new(node: Arc<Node>, config: config::Node, now: Moment) -> Self {
        let facts = Facts { weight: config.weight, ..Facts::default() };
        Self {
            node,
            config,
            facts,
            since: now,
            error: None,
            told: None,
            lsn: Lsn::default(),
            sampled: Moment::NEVER,
            moved: Moment::NEVER,
            proven: None,
            was_up: false,
            good_probes: 0,
            layout: WalLayout::default(),
            started: None,
            system: None,
            gauges: OnceLock::new(),
            task: None,
        }
    }

    /// It may come back with less than it had.
    fn forget_position(&mut self) {
        (self.lsn, self.sampled, self.moved) = (Lsn::default(), Moment::NEVER, Moment::NEVER);
        self.facts.lagging = false;
    }

    /// Its gauges, looked up once.
    pub fn gauges(&self, metrics: &ClusterMetrics, set: impl FnOnce(&NodeMetrics)) {
        set(self.gauges.get_or_init(|| metrics.node(&self.node.name)));
    }
}

impl News {
    fn of(kind: &'static str, node: &Arc<Node>, text: String) -> Self {
        Self { kind, node: node.name.clone(), text, lost_writes: 0 }
    }
}
