//! What the probers have found out: changed under one lock, published as a [`View`].

use super::acknowledged::Acknowledged;
use super::claim::{self, STRANDED_AFTER};
use super::descent::{Descent, Promotion};
use super::flushing::Flushing;
use super::loss::Loss;
use super::membership::Membership;
use super::samples::{Sample, Samples, lag};
use super::servers::Servers;
use super::shaping::Shaping;
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
    /// The newest timeline that it knows the history of, where that was asked.
    pub known: Option<u32>,
    /// A primary's insert position, a replica's replay position; `None` where there is none.
    pub lsn: Option<Lsn>,
    /// Until where a primary has its log on disk.
    pub flushed: Option<Lsn>,
    /// Until where a primary had replayed when it was promoted: there its timeline forks off.
    pub fork: Option<Lsn>,
    /// Writes acknowledged through us when the probe was sent.
    pub writes: u64,
    /// The same when it was answered.
    pub writes_by_answer: u64,
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
    /// The newest timeline that it has ever been seen on.
    pub newest_timeline: u32,
    /// Where the timeline that it writes forked off, as far as it tells.
    fork: Option<Lsn>,
    /// Where its history comes from.
    descent: Descent,
    /// Why it is not taken for the primary that it says it is.
    pub claim: Option<String>,
    /// Since when it is on an older timeline than the cluster's.
    stranded_since: Moment,
    /// What is wrong with it then, once that is certain.
    pub stranded: Option<String>,
    /// Its last position, and when the probe that told it was sent.
    pub lsn: Lsn,
    sampled: Moment,
    /// The start of the first probe that told this position.
    moved: Moment,
    /// The last primary sample that it has replayed, also from before it lost its connection:
    /// a replica has what it once replayed on its disk.
    proven: Option<Sample>,
    /// It has answered, or has failed to, since pgweir knows of it.
    was_tried: bool,
    /// It has been up before.
    was_up: bool,
    /// Good probes in a row while it is down.
    good_probes: u32,
    layout: WalLayout,
    /// As it said when its prober connected; `None` while that is not connected.
    started: Option<i64>,
    /// The cluster that it last said it is of.
    system: Option<u64>,
    /// What its configuration gives a session.
    shaping: Option<Shaping>,
    /// What of that is not as on the primary, where it is a replica.
    pub differs: Option<String>,
    /// Which servers its address has led to.
    servers: Servers,
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

/// Who has changed the list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A person, by a reload.
    Operator,
    /// A source that tells nodes: it decides nothing about histories.
    Source,
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
    /// Nodes whose reign has ended, and whose sessions have not been told yet.
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
        node.take_back();
        let started = identity.started.unwrap_or(0);
        if node.set_server(started) {
            // What sessions have there is on another server.
            end_reign(&mut self.ended, node);
        }
        self.reached(node, started, now);
        let entry = &mut self.entries[i];
        entry.layout = identity.layout;
        entry.started = identity.started;
        (entry.facts.timeline, entry.facts.known, entry.fork) = (0, 0, None);
        entry.descent.connected(identity.started);
        entry.forget_position();
        entry.node.progress.reset(self.incarnations);
        Ok(())
    }

    /// Its configuration gives a session these settings.
    pub fn shaped(&mut self, node: &Arc<Node>, shaping: Shaping, now: Moment) {
        let Some(i) = self.find(node) else { return };
        self.entries[i].shaping = Some(shaping);
        self.judge(now);
    }

    /// A connection to its address, its prober's or a pool's, has reached this server.
    pub fn reached(&mut self, node: &Arc<Node>, started: i64, now: Moment) {
        let Some(i) = self.find(node) else { return };
        let entry = &mut self.entries[i];
        let had_several = std::mem::replace(&mut entry.facts.several, false);
        entry.servers.reached(started, now);
        entry.facts.several = entry.servers.is_several();
        if entry.facts.several && !had_several {
            let text = claim::several(&entry.node.name);
            self.news.push(News::of("several_servers", node, text));
        }
        if entry.facts.several != had_several {
            self.judge(now);
        }
    }

    /// What was taken for the cluster is another one: nothing that was learnt of it counts.
    fn begin_anew(&mut self, now: Moment) {
        (self.samples, self.verdict) = (Samples::default(), Verdict::default());
        (self.last_primary, self.sampled_timeline, self.shaping) = (None, 0, None);
        self.entries.iter_mut().for_each(|entry| entry.newest_timeline = 0);
        for entry in &mut self.entries {
            if let Some(text) = entry.system.and_then(|system| self.membership.stranger(system)) {
                entry.node.progress.reset(0);
                entry.forget_position();
                // Whatever it answers from now on, nobody waits for it, and what is held there ends.
                entry.was_tried = true;
                end_reign(&mut self.ended, &entry.node);
                if std::mem::take(&mut entry.facts.up) {
                    entry.since = now;
                }
                self.news.push(News::of("node_down", &entry.node, format!("{}: {text}", entry.node.name)));
                entry.told = Some(Loss::Unfit(text.clone()));
                entry.error = Some(Loss::Unfit(text));
            }
        }
        self.judge(now);
    }

    /// A prober has lost its node, or cannot reach it.
    pub fn lost(&mut self, node: &Arc<Node>, error: Loss, now: Moment) {
        let is_late = matches!(error, Loss::Late(_));
        let is_silent = is_late || matches!(error, Loss::Silent(_));
        let Some(i) = self.find(node) else { return };
        let entry = &mut self.entries[i];
        entry.node.progress.reset(0);
        entry.forget_position();
        entry.started = None;
        entry.good_probes = 0;
        entry.was_tried = true;
        if entry.facts.up || entry.told.as_ref().is_none_or(|told| !told.is_like(&error)) {
            self.news.push(News::of("node_down", node, format!("{} {error}", node.name)));
            entry.told = Some(error.clone());
        }
        if entry.facts.up {
            entry.facts.up = false;
            entry.since = now;
            if is_late && entry.facts.role == Role::Replica {
                // What is read there can be read elsewhere. A primary that is merely slow is given longer:
                // what is written there would be in doubt.
                node.give_up();
            }
        } else if is_silent {
            node.give_up();
        }
        entry.error = Some(error);
        self.judge(now);
    }

    /// A probe was answered.
    ///
    /// # Errors
    /// When the node has turned out to belong to another cluster, or seemed to since its prober connected.
    pub fn sighted(&mut self, node: &Arc<Node>, seen: Sighting, now: Moment) -> Result<(), String> {
        let Some(i) = self.find(node) else { return Ok(()) };
        if let Some(text) = self.stranger(i) {
            return Err(text);
        }
        let entry = &mut self.entries[i];
        if entry.node.progress.incarnation() == 0 {
            return Err("it was taken for a node of another cluster, and is asked anew".into());
        }
        let before = entry.facts;
        let is_first = !std::mem::replace(&mut entry.was_tried, true);
        entry.facts.role = seen.role;
        entry.facts.timeline = entry.facts.timeline.max(seen.timeline.unwrap_or(0));
        entry.facts.known = entry.facts.known.max(seen.known.unwrap_or(0));
        entry.newest_timeline = entry.newest_timeline.max(entry.facts.timeline).max(entry.facts.known);
        entry.fork = seen.fork.or(entry.fork);
        entry.descent.saw(seen.role, seen.timeline, seen.fork, entry.started);
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
        self.entries[i].facts.behind = seen.role == Role::Primary && self.has_less(i, seen);
        if is_first || before != self.entries[i].facts {
            self.judge(now);
        }
        if self.verdict.stranded >> i & 1 == 1 {
            self.look_at_stranded(i, now);
        }
        match (seen.role, seen.lsn) {
            (Role::Primary, Some(lsn)) => self.primary_at(i, lsn, seen, now),
            (Role::Replica, Some(lsn)) => self.replica_at(i, lsn, seen, now),
            _ => {}
        }
        Ok(())
    }

    /// A claimant to the primacy lacks what a replica of its timeline had before it was asked.
    fn has_less(&self, i: usize, seen: Sighting) -> bool {
        let Some(insert) = seen.lsn.filter(|_| self.verdict.primary != Some(i)) else { return false };
        let (timeline, end) = (self.entries[i].facts.timeline, self.entries[i].layout.end_of_records(insert));
        self.entries.iter().any(|other| {
            let follows = other.facts.up && other.facts.role == Role::Replica;
            follows && other.facts.timeline == timeline && other.sampled <= seen.start && other.lsn > end
        })
    }

    /// A replica that answers is on an older timeline than the cluster's: after a while that is told.
    fn look_at_stranded(&mut self, i: usize, now: Moment) {
        let (newest, fork) = (self.verdict.timeline, self.primary().and_then(|primary| primary.fork));
        let latest = self.samples.latest().filter(|_| self.sampled_timeline == newest).map(|s| s.lsn);
        let entry = &mut self.entries[i];
        let shared = entry.lsn.min(fork.unwrap_or(entry.lsn));
        let behind = latest.map_or(0, |latest| latest.ahead_of(shared));
        let since = now.since(entry.stranded_since);
        entry.node.progress.set_lag((behind, since), since);
        let is_certain = since >= STRANDED_AFTER || fork.is_some_and(|fork| entry.lsn > fork);
        if is_certain && entry.stranded.is_none() {
            let text = claim::stranded(entry, newest, fork);
            self.news.push(News::of("stranded", &entry.node, text.clone()));
            entry.stranded = Some(text);
        }
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

    fn primary_at(&mut self, i: usize, insert: Lsn, seen: Sighting, now: Moment) {
        let lsn = self.entries[i].layout.end_of_records(insert);
        self.entries[i].lsn = lsn;
        if self.verdict.primary != Some(i) {
            return;
        }
        let node = self.entries[i].node.clone();
        let moved = self.last_primary.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &node));
        if moved || self.sampled_timeline != self.verdict.timeline {
            self.primary_changed(i, seen.writes, now);
            self.samples.clear();
            self.acknowledged = Acknowledged::default();
            self.sampled_timeline = self.verdict.timeline;
            self.last_primary = Some(node.clone());
        }
        let sample = Sample { start: seen.start, first: seen.start, lsn, writes: seen.writes };
        self.acknowledged.note(lsn, seen.writes_by_answer, now);
        if !self.samples.push(sample) {
            let kept = self.samples.fresh_through(lsn).map_or(seen.writes, |s| s.writes);
            let text = format!("{}'s log went back to {lsn}: it lost what it had not flushed", node.name);
            self.news.push(News { lost_writes: seen.writes - kept, ..News::of("lost_writes", &node, text) });
            self.samples.clear();
            self.samples.push(sample);
            self.acknowledged = Acknowledged::default();
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
    fn primary_changed(&mut self, i: usize, writes: u64, now: Moment) {
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
        // It goes on from its own log, or does not tell where it came from.
        let Some(fork) = entry.fork.filter(|_| !Arc::ptr_eq(last, &entry.node)) else { return };
        if let Some(lost) = self.acknowledged.beyond(fork, writes) {
            let known = self.samples.latest().map_or(Lsn::default(), |s| s.lsn);
            let text = format!(
                "{} acknowledged writes are lost: {name} has the log of {} until {fork} only, which went on to \
                 {known} at least",
                lost.writes, last.name
            );
            self.news.push(News { lost_writes: lost.writes, ..News::of("lost_writes", &entry.node, text) });
            self.losses += 1;
            self.loss = Some((lost.since, now));
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

    fn judge(&mut self, now: Moment) {
        let facts: Vec<Facts> = self.entries.iter().map(|e| e.facts).collect();
        let before = self.verdict;
        let mut verdict = judge(&facts, &before);
        self.decided |= !self.entries.is_empty() && self.entries.iter().all(|e| e.was_tried);
        if !self.decided {
            (verdict.replicas, verdict.lagging) = (0, 0);
        }
        if self.published.is_none() && (self.is_searching || self.entries.iter().any(|e| !e.was_tried)) {
            // One that has not been heard yet may know of a newer history.
            (verdict.primary, verdict.holder, verdict.rivals) = (None, None, 0);
        }
        self.leave_out_what_differs(&mut verdict);
        let deposed = self.verdict.primary.is_some();
        self.verdict = verdict;
        for (i, entry) in self.entries.iter_mut().enumerate() {
            let is_new = |mask: fn(&Verdict) -> u64| mask(&verdict) & !mask(&before) & 1 << i != 0;
            if is_new(|v| v.replicas) {
                entry.node.progress.serving_since.set(now);
            }
            if is_new(|v| v.stranded) {
                entry.stranded_since = now;
            }
            if verdict.stranded >> i & 1 == 0 {
                entry.stranded = None;
            }
            if is_new(|v| v.rivals) {
                // It may have been a replica a moment ago, and what is read there is another history now.
                end_reign(&mut self.ended, &entry.node);
            }
        }
        self.refuse_rivals();
        self.tell_headless(deposed);
        if let Some(primary) = self.primary().map(|entry| entry.node.clone()) {
            let former = self.published.replace(primary.clone());
            former.filter(|former| !Arc::ptr_eq(former, &primary)).iter().for_each(|former| {
                end_reign(&mut self.ended, former);
            });
        }
    }

    /// A replica that is configured otherwise than the primary, or than the last there was, shows other results.
    fn leave_out_what_differs(&mut self, verdict: &mut Verdict) {
        if let Some(shaping) = verdict.primary.and_then(|i| self.entries[i].shaping.clone()) {
            self.shaping = Some(shaping);
        }
        let Some(primary) = &self.shaping else { return };
        for (i, entry) in self.entries.iter_mut().enumerate() {
            let own = entry.shaping.as_ref().filter(|_| entry.facts.role == Role::Replica);
            let may = &self.settings.cluster.settings_may_differ;
            let differs = own.and_then(|own| own.difference(&entry.node.name, primary, may));
            if differs.is_some() {
                verdict.replicas &= !(1 << i);
                verdict.lagging &= !(1 << i);
            }
            if differs != entry.differs {
                let alike = || format!("{} is configured as the primary is", entry.node.name);
                let kind = if differs.is_some() { "settings_differ" } else { "settings_alike" };
                self.news.push(News::of(kind, &entry.node, differs.clone().unwrap_or_else(alike)));
                entry.differs = differs;
            }
        }
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

    /// Says of each node that claims to be primary and is not taken for it, why.
    fn refuse_rivals(&mut self) {
        for i in 0..self.entries.len() {
            let is_rival = self.verdict.rivals >> i & 1 == 1;
            let claim = is_rival.then(|| claim::refusal(&self.entries, &self.verdict, i));
            let timeline = self.entries[i].facts.timeline;
            if is_rival && timeline == self.verdict.timeline && self.verdict.holder != Some(i) {
                self.doubled = self.doubled.max(timeline);
            }
            let entry = &mut self.entries[i];
            if entry.claim != claim
                && let Some(text) = &claim
            {
                self.news.push(News::of("rival", &entry.node, text.clone()));
            }
            entry.claim = claim;
        }
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
            newest_timeline: 0,
            fork: None,
            descent: Descent::default(),
            claim: None,
            stranded_since: now,
            stranded: None,
            lsn: Lsn::default(),
            sampled: Moment::NEVER,
            moved: Moment::NEVER,
            proven: None,
            was_tried: false,
            was_up: false,
            good_probes: 0,
            layout: WalLayout::default(),
            started: None,
            system: None,
            shaping: None,
            differs: None,
            servers: Servers::default(),
            gauges: OnceLock::new(),
            task: None,
        }
    }

    /// It may come back with less than it had.
    fn forget_position(&mut self) {
        (self.lsn, self.sampled, self.moved) = (Lsn::default(), Moment::NEVER, Moment::NEVER);
        (self.facts.lagging, self.facts.behind) = (false, false);
    }

    /// What is wrong with it, for people.
    pub fn trouble(&self) -> Option<String> {
        let several = self.facts.several.then(|| claim::several(&self.node.name));
        let told = self.claim.clone().or_else(|| self.stranded.clone()).or_else(|| self.differs.clone());
        several.or(told).or_else(|| self.error.as_ref().map(ToString::to_string))
    }

    /// Its address leads to several servers, and is to be looked at again and again.
    pub fn is_several(&self) -> bool {
        self.facts.several
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
