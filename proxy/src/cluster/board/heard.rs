//! What the probers tell: a node is there, is gone, has answered.

use super::{Board, Identity, News, Sighting, end_reign};
use crate::cluster::claim;
use crate::cluster::claim::STRANDED_AFTER;
use crate::cluster::loss::Loss;
use crate::cluster::samples::Samples;
use crate::cluster::shaping::Shaping;
use crate::cluster::verdict::{Role, Verdict};
use crate::node::Node;
use crate::node::moment::Moment;
use std::sync::Arc;

/// A replica that was up and went away serves again after this many good probes.
const RETURN_PROBES: u32 = 3;

impl Board {
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
        for entry in &mut self.entries {
            (entry.newest_timeline, entry.had, entry.strayed) = (0, None, None);
            entry.facts.astray = false;
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
            match entry.facts.role {
                // What is read there can be read elsewhere.
                Role::Replica if is_late => node.give_up(),
                // A primary that is merely slow is given longer: what is written there would be in doubt. Reads
                // that are about to begin there look for another place.
                _ => self.ended.push(node.clone()),
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
        let is_certain =
            entry.facts.astray || since >= STRANDED_AFTER || fork.is_some_and(|fork| entry.lsn > fork);
        if is_certain && entry.stranded.is_none() {
            let text = match entry.strayed.filter(|_| entry.facts.astray) {
                Some(strayed) => claim::astray(entry, strayed.lsn),
                None => claim::stranded(entry, newest, fork),
            };
            self.news.push(News::of("stranded", &entry.node, text.clone()));
            entry.stranded = Some(text);
        }
    }
}
