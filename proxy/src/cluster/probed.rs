//! What probers find out goes to the board; what comes of it is published, shown and told.

use super::Cluster;
use super::board::{Board, Identity, News, Sighting};
use super::loss::Loss;
use super::pace::{Demand, Standing};
use super::shaping::Shaping;
use super::verdict::Role;
use super::view::View;
use crate::node::Node;
use crate::node::moment::Moment;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Cluster {
    /// Changes the board, publishes what came of it and tells the news.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Board, Moment) -> T) -> T {
        let now = self.now();
        let mut board = self.board.lock();
        let before = *board.verdict();
        let (nodes, system) = (board.entries.len(), board.membership().system());
        let result = change(&mut board, now);
        let after = *board.verdict();
        if system.is_some() && system != board.membership().system() {
            self.fleet.begin_anew();
        }
        match (before.primary, after.primary) {
            (Some(_), None) => self.fleet.cut_off(),
            // Who is there on the new one its own prober tells.
            (Some(before), Some(after)) if before != after => self.fleet.doubt(),
            _ => {}
        }
        let configured = nodes != board.entries.len() || !self.is_published(&board);
        if before != after || configured {
            let view = board.view();
            self.catalogs.primary_is(view.reign().as_ref());
            self.view.store(Arc::new(view));
            self.published.send_modify(|n| *n += 1);
            self.waiters.wake_all();
        }
        // Only now: who is woken finds the new picture.
        board.ended.drain(..).for_each(|node| node.ring());
        self.losses.store(board.losses, Ordering::Release);
        let news = std::mem::take(&mut board.news);
        if before != after || configured || !news.is_empty() {
            self.show(&board);
        }
        drop(board);
        news.into_iter().for_each(|news| self.tell(news));
        result
    }

    /// True when the view in force is of the board's nodes and settings.
    fn is_published(&self, board: &Board) -> bool {
        let view = self.view.load();
        view.members.len() == board.entries.len()
            && Arc::ptr_eq(&view.settings, board.settings())
            && view.members.iter().zip(&board.entries).all(|(m, e)| Arc::ptr_eq(&m.node, &e.node))
    }

    pub(super) fn node_connected(&self, node: &Arc<Node>, identity: Identity) -> Result<(), String> {
        self.change(|board, now| board.connected(node, identity, now))
    }

    /// Its configuration gives a session these settings.
    pub(super) fn node_shaped(&self, node: &Arc<Node>, shaping: Shaping) {
        self.change(|board, now| board.shaped(node, shaping, now));
    }

    /// A connection to its address has reached this server.
    pub(super) fn node_reached(&self, node: &Arc<Node>, started: i64) {
        self.change(|board, now| board.reached(node, started, now));
    }

    /// Its address leads to several servers.
    pub(super) fn is_several(&self, node: &Arc<Node>) -> bool {
        self.board.lock().entries.iter().any(|e| Arc::ptr_eq(&e.node, node) && e.is_several())
    }

    pub(super) fn node_lost(&self, node: &Arc<Node>, loss: Loss) {
        self.change(|board, now| board.lost(node, loss, now));
    }

    pub(super) fn node_sighted(&self, node: &Arc<Node>, seen: Sighting) -> Result<(), String> {
        node.prober.asked.set(seen.start);
        let freshest = self.change(|board, now| {
            board.sighted(node, seen, now)?;
            if let Some(latest) = board.samples.latest() {
                self.primary_sampled.raise(latest.start);
                self.primary_lsn.store(latest.lsn.0, Ordering::Release);
                self.show_flush_delay(board.flushing.delay());
            }
            self.show_lag(board, node);
            Ok::<_, String>(board.freshest())
        })?;
        self.freshest.set(freshest);
        self.waiters.wake_through(freshest);
        for progress in self.view.load().members.iter().map(|member| &member.node.progress) {
            self.waiters.wake_on(progress.incarnation(), progress.fresh_through.get());
        }
        if seen.role == Role::Primary {
            self.rouse_probers();
        }
        Ok(())
    }

    /// When `node` is to be asked again, and how long that is.
    pub(super) fn next_probe(&self, node: &Arc<Node>) -> (Moment, Duration) {
        let asked = node.prober.asked.get();
        let view = self.view.load();
        let intervals = view.settings.intervals();
        let now = self.now();
        let demand = Demand {
            now,
            has_primary: view.primary().is_some(),
            primary_sampled: self.primary_sampled.get(),
            wrote: self.marks.latest.get(),
            read: self.read.get(),
            promised: self.promised.get(),
            waited: self.waited.get(),
        };
        let is_primary = view.primary().is_some_and(|primary| Arc::ptr_eq(primary, node));
        let next = if is_primary {
            intervals.primary_next(asked, self.waiters.latest_need(), &demand)
        } else {
            let progress = &node.progress;
            let fresh_through = progress.fresh_through.get();
            let (lag, travel) = (progress.lag().1, progress.travel());
            let at = Standing { asked, fresh_through, lag, travel };
            let awaited = self.waiters.next_need(progress.incarnation(), fresh_through);
            intervals.replica_next(&at, awaited, &demand)
        };
        (next, next.since(now))
    }

    /// What is wanted has changed: whoever is to be asked sooner than it was going to be learns that.
    pub(super) fn rouse_probers(&self) {
        let view = self.view.load();
        view.members.iter().for_each(|member| self.rouse(&view, &member.node));
    }

    pub(super) fn rouse(&self, view: &View, node: &Arc<Node>) {
        let soonest = node.prober.asked.get().plus(view.settings.intervals().shortest());
        // One that does not answer is looked for at a pace of its own.
        if node.progress.incarnation() != 0 && node.prober.dozes_beyond(soonest) {
            node.prober.rouse(self.next_probe(node).0);
        }
    }

    /// Sets the gauges of all nodes.
    pub(super) fn show(&self, board: &Board) {
        for (i, entry) in board.entries.iter().enumerate() {
            entry.gauges(&self.metrics.cluster, |gauges| {
                gauges.up.set(i64::from(entry.facts.up));
                gauges.is_primary.set(i64::from(board.verdict().primary == Some(i)));
                gauges.is_several.set(i64::from(entry.facts.several));
                gauges.differs.set(i64::from(entry.differs.is_some()));
                gauges.is_stranded.set(i64::from(board.verdict().stranded >> i & 1 == 1));
            });
        }
    }

    fn show_flush_delay(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        if self.flush_delay.swap(nanos, Ordering::Relaxed) != nanos {
            self.metrics.cluster.flush_delay_seconds.set(delay.as_secs_f64());
        }
    }

    /// Sets the lag gauges that a sample of `node` has changed.
    fn show_lag(&self, board: &Board, node: &Arc<Node>) {
        for entry in board.entries.iter().filter(|e| Arc::ptr_eq(&e.node, node)) {
            let is_replica = entry.facts.role == Role::Replica && entry.facts.up;
            let (bytes, time) = if is_replica { entry.node.progress.lag() } else { (0, Duration::ZERO) };
            entry.gauges(&self.metrics.cluster, |gauges| {
                gauges.lag_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                gauges.lag_seconds.set(time.as_secs_f64());
            });
        }
    }

    /// Another pgweir has come, or one has left.
    pub(super) fn tell_of_sibling(&self, kind: &'static str, node: &Arc<Node>, text: String) {
        tracing::info!(node = node.name, kind, "{text}");
        self.events.push(kind, &node.name, text);
    }

    /// Logs, counts and remembers.
    pub(super) fn tell(&self, news: News) {
        let News { kind, node, text, lost_writes } = news;
        let metrics = &self.metrics.cluster;
        metrics.lost_writes_total.inc_by(lost_writes);
        match kind {
            "failover" => metrics.failovers_total.inc(),
            "rival" => metrics.rival_primaries_total.inc(),
            _ => {}
        }
        match kind {
            "lost_writes" | "rival" | "stranded" | "several_servers" => {
                tracing::error!(node, kind, lost_writes, "{text}")
            }
            "node_down" | "no_primary" | "settings_differ" | "source_failed" | "failover" | "lagging"
            | "late_flush" => {
                tracing::warn!(node, kind, "{text}")
            }
            _ => tracing::info!(node, kind, "{text}"),
        }
        self.events.push(kind, &node, text);
    }
}
