//! All that is known of one node.

use crate::cluster::claim;
use crate::cluster::descent::Descent;
use crate::cluster::loss::Loss;
use crate::cluster::probe::told::Address;
use crate::cluster::samples::{Sample, Samples};
use crate::cluster::servers::Servers;
use crate::cluster::shaping::Shaping;
use crate::cluster::verdict::Facts;
use crate::config;
use crate::node::Node;
use crate::node::lsn::{Lsn, WalLayout};
use crate::node::moment::Moment;
use crate::observe::cluster::{ClusterMetrics, NodeMetrics};
use std::sync::{Arc, OnceLock};
use tokio::task::JoinHandle;

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
    pub(super) told: Option<Loss>,
    /// The newest timeline that it has ever been seen on.
    pub newest_timeline: u32,
    /// Where the timeline that it writes forked off, as far as it tells.
    pub(super) fork: Option<Lsn>,
    /// Where its history comes from.
    pub(super) descent: Descent,
    /// Why it is not taken for the primary that it says it is.
    pub claim: Option<String>,
    /// Since when it is on an older timeline than the cluster's.
    pub(super) stranded_since: Moment,
    /// What is wrong with it then, once that is certain.
    pub stranded: Option<String>,
    /// Its last position, and when the probe that told it was sent.
    pub lsn: Lsn,
    pub(super) sampled: Moment,
    /// The furthest that it has been seen as a replica, also before it was lost last.
    pub(super) had: Option<Had>,
    /// The same, when it was seen to be of another history.
    pub(super) strayed: Option<Had>,
    /// Whom it said last that it receives its log from.
    pub(super) upstream: Option<Address>,
    /// Where it was when it had begun to receive its log: up to there it may have what lay on its disk.
    pub(super) receives_from: Option<Lsn>,
    /// The start of the first probe that told this position.
    pub(super) moved: Moment,
    /// The last primary sample that it has replayed, also from before it lost its connection:
    /// a replica has what it once replayed on its disk.
    pub(super) proven: Option<Sample>,
    /// It has answered, or has failed to, since pgweir knows of it.
    pub(super) was_tried: bool,
    /// It has been up before.
    pub(super) was_up: bool,
    /// Good probes in a row while it is down.
    pub(super) good_probes: u32,
    pub(super) layout: WalLayout,
    /// As it said when its prober connected; `None` while that is not connected.
    pub(super) started: Option<i64>,
    /// The cluster that it last said it is of.
    pub(super) system: Option<u64>,
    /// What its configuration gives a session.
    pub(super) shaping: Option<Shaping>,
    /// What of that is not as on the primary, where it is a replica.
    pub differs: Option<String>,
    /// Which servers its address has led to.
    pub(super) servers: Servers,
    gauges: OnceLock<NodeMetrics>,
    /// Its prober.
    pub task: Option<JoinHandle<()>>,
}

/// How much of a timeline's log a replica had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Had {
    /// The timeline.
    pub timeline: u32,
    /// Until where.
    pub lsn: Lsn,
    /// When it said so.
    pub at: Moment,
    /// When its postmaster had started.
    pub started: Option<i64>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Entry {
    pub(super) fn new(node: Arc<Node>, config: config::Node, now: Moment) -> Self {
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
            had: None,
            strayed: None,
            upstream: None,
            receives_from: None,
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
    pub(super) fn forget_position(&mut self) {
        (self.lsn, self.sampled, self.moved) = (Lsn::default(), Moment::NEVER, Moment::NEVER);
        (self.upstream, self.receives_from) = (None, None);
        (self.facts.lagging, self.facts.behind) = (false, false);
    }

    /// A replica says where it is, and maybe whom it receives its log from.
    pub(super) fn stands_at(&mut self, lsn: Lsn, upstream: Option<Address>, start: Moment, now: Moment) {
        if self.lsn != lsn {
            self.moved = start;
        }
        (self.lsn, self.sampled) = (lsn, start);
        self.node.progress.sample(start, lsn);
        let timeline = self.facts.timeline;
        if timeline != 0 && self.had.is_none_or(|had| had.timeline != timeline || had.lsn <= lsn) {
            self.had = Some(Had { timeline, lsn, at: now, started: self.started });
        }
        if upstream.is_some() {
            // Told once before: it had received nothing yet when it read the position of that answer.
            self.receives_from = self.receives_from.or(self.upstream.map(|_| lsn));
            self.upstream = upstream;
        }
    }

    /// It has been built anew, or has followed a later promotion. The former shows when it goes on from where its own
    /// disk has led it by what it receives: of another history's log nothing follows there. `samples`: the primary's
    /// positions.
    pub(super) fn has_come_back(&self, samples: &Samples) -> bool {
        let follows = |from| self.lsn > from && samples.fresh_through(self.lsn).is_some_and(|s| s.lsn > from);
        self.strayed.is_some_and(|strayed| {
            self.facts.timeline > strayed.timeline
                || (self.started != strayed.started && self.receives_from.is_some_and(follows))
        })
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
