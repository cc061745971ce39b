//! Who is the primary and who serves reads: the verdict, what follows from it, and what is told of it.

use super::{Board, News, end_reign};
use crate::cluster::claim;
use crate::cluster::verdict::{Facts, Role, Verdict, judge};
use crate::node::moment::Moment;
use std::sync::Arc;

impl Board {
    pub(super) fn judge(&mut self, now: Moment) {
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
}
