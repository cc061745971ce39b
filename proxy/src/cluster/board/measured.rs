//! Where nodes stand: the primary's positions, and what of them the replicas have.

use super::entry::Entry;
use super::{Board, News, Sighting};
use crate::cluster::acknowledged::Acknowledged;
use crate::cluster::probe::told::Address;
use crate::cluster::samples::{Sample, lag};
use crate::cluster::verdict::{Role, is_lagging};
use crate::node::lsn::Lsn;
use crate::node::moment::Moment;
use std::sync::Arc;

impl Board {
    pub(super) fn primary_at(&mut self, i: usize, insert: Lsn, seen: Sighting, now: Moment) {
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
            let kept = self.samples.fresh_through(lsn).or_else(|| self.samples.first_missing(lsn));
            let lost_writes = kept.map_or(0, |s| seen.writes.saturating_sub(s.writes));
            let text =
                format!("{}'s log went back to {lsn}: what was written behind that is lost", node.name);
            self.news.push(News { lost_writes, ..News::of("lost_writes", &node, text) });
            if let Some(kept) = kept.filter(|_| lost_writes > 0) {
                self.lose((kept.start, now));
            }
            self.samples.clear();
            self.samples.push(sample);
            self.acknowledged = Acknowledged::default();
            self.acknowledged.note(lsn, seen.writes_by_answer, now);
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
            self.look_for_astray(replica, (lsn, seen.start), now);
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
        // Otherwise it does not tell where it came from.
        let Some(fork) = entry.fork else { return };
        if let Some(lost) = self.acknowledged.beyond(fork, writes) {
            let known = self.samples.latest().map_or(Lsn::default(), |s| s.lsn);
            let text = format!(
                "{} acknowledged writes are lost: {name} has the log of {} until {fork} only, which went on to \
                 {known} at least",
                lost.writes, last.name
            );
            self.news.push(News { lost_writes: lost.writes, ..News::of("lost_writes", &entry.node, text) });
            self.lose((lost.since, now));
        }
    }

    /// What was seen between these moments may be lost.
    fn lose(&mut self, seen: (Moment, Moment)) {
        self.losses += 1;
        self.loss = Some(seen);
    }

    pub(super) fn replica_at(&mut self, i: usize, lsn: Lsn, seen: Sighting, now: Moment) {
        let entry = &mut self.entries[i];
        let (before, proven) = (entry.sampled, entry.proven);
        entry.stands_at(lsn, seen.upstream, seen.start, now);
        if entry.has_come_back(&self.samples) {
            (entry.had, entry.strayed, entry.facts.astray) = (None, None, false);
            self.judge(now);
        }
        if self.receives_from_another_history(i) {
            self.stray(i, now);
        }
        self.measure(i, now);
        let entry = &self.entries[i];
        if let Some(arrived) = entry.proven.filter(|arrived| proven.is_none_or(|p| p.lsn < arrived.lsn)) {
            // The probe before this one had not seen it yet.
            entry.node.progress.set_travel(before.since(arrived.first));
        }
    }

    /// A replica that had more of its timeline's log than the primary had afterwards has it from another history: of a
    /// primary that was put back to what it once was, or of another one on a timeline of the same number. It may be
    /// down by now.
    fn look_for_astray(&mut self, i: usize, (lsn, asked): (Lsn, Moment), now: Moment) {
        let entry = &self.entries[i];
        let timeline = self.verdict.timeline;
        let had_more = entry.had.is_some_and(|h| h.timeline == timeline && h.at <= asked && h.lsn > lsn);
        if had_more && entry.facts.role == Role::Replica && !entry.facts.astray {
            self.stray(i, now);
        }
    }

    /// It says that it receives its log from a node on a timeline of the same number that is no primary of ours, or is
    /// of another history itself.
    fn receives_from_another_history(&self, i: usize) -> bool {
        let timeline = self.verdict.timeline;
        let Entry { facts, upstream: Some(upstream), .. } = &self.entries[i] else { return false };
        let is_another = |(at, entry): (usize, &Entry)| {
            entry.facts.timeline == timeline
                && (self.verdict.rivals >> at & 1 == 1 || entry.facts.astray)
                && *upstream == Address::of(&entry.node.name)
        };
        !facts.astray && facts.timeline == timeline && self.entries.iter().enumerate().any(is_another)
    }

    fn stray(&mut self, i: usize, now: Moment) {
        let entry = &mut self.entries[i];
        entry.facts.astray = true;
        entry.strayed = entry.had;
        self.judge(now);
        // What it sends on is of no other history.
        for other in 0..self.entries.len() {
            if self.receives_from_another_history(other) {
                self.stray(other, now);
            }
        }
    }

    /// Where a replica stands, by the samples known now. Positions of another timeline prove nothing.
    fn measure(&mut self, i: usize, now: Moment) {
        let entry = &mut self.entries[i];
        let progress = &entry.node.progress;
        if entry.facts.role != Role::Replica
            || entry.sampled == Moment::NEVER
            || entry.facts.timeline != self.sampled_timeline
            || entry.facts.astray
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
}
