//! Where a read may run: the promise of its consistency level, kept.
//!
//! Every promise comes down to one moment through which the replica must be fresh:
//!
//! * `max_lag`: now less `max_lag`;
//! * `session`: when this session last wrote what it reads now, or read it on the primary;
//! * `proxy`: when anybody here last wrote what it reads now; while there are other pgweirs of this cluster,
//!   when the read arrived, since they may have acknowledged anything by then (see [`super::fleet`]);
//! * `global`: when the read arrived;
//!
//! and, from `session` upward, to not showing less than the replica that the session read from last
//! (see [`not_older`]). Without a primary, nothing new can be acknowledged, and no sample can be
//! taken: age then counts up to the last sample, so that reads go on; what was written after that
//! sample is on no replica for certain, so reads that need it find no place until there is a primary.

mod promised;

use super::choose::{Load, bits, choose, filter};
use super::late::Scales;
use super::view::View;
use super::waiters::Waiter;
use super::watermark::SessionFreshness;
use super::{Cluster, Placement, Wish};
use crate::node::moment::Moment;
use crate::node::{Node, Progress};
use router_rules::hint::Consistency;
use router_rules::{Reason, Target};
use smallvec::{SmallVec, smallvec};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// A primary that is well answers a probe, which is sent at once when a read waits, within much less.
const ANSWERS_WITHIN: Duration = Duration::from_millis(250);

/// One try to find a place.
enum Attempt {
    /// Found.
    Placed(Placement),
    /// No replica is fresh through this moment yet (or shows as much as the session has seen).
    Wait(Moment),
    /// No replica will be in time: the primary, if there is one.
    Primary(Reason),
}

/// A read that no replica can serve yet.
struct Late {
    arrived: Moment,
    /// Through this moment.
    need: Moment,
}

/// When a read came.
#[derive(Clone, Copy)]
struct Arrival {
    moment: Moment,
    /// What was [`promised`](Cluster::promise) at that moment of what went through us, if it was worked out.
    promise: Option<Moment>,
}

impl Cluster {
    /// Where a read may run; waits at most `freshness_wait` for a replica, then it is the primary.
    /// `None`: nothing can keep the promise now, and there is no primary; what then holds for
    /// writes ([`Cluster::wait_for_primary`], 57P03) holds for this read.
    ///
    /// Holds nothing while it waits, and may be dropped at any time.
    pub async fn place(&self, wish: &Wish<'_>) -> Option<Placement> {
        match self.try_place(wish) {
            Ok(placement) => placement,
            // Most reads need not wait, and shall not carry what waiting takes.
            Err(late) => Box::pin(self.place_late(wish, late)).await,
        }
    }

    /// The same when it can be said at once.
    fn try_place(&self, wish: &Wish<'_>) -> Result<Option<Placement>, Late> {
        let arrived = self.note_read(wish.decision.consistency);
        let view = self.view.load();
        match self.attempt(&view, wish, arrived, Arrival { moment: arrived, promise: None }) {
            Attempt::Placed(placement) => Ok(Some(placement)),
            Attempt::Primary(reason) => Ok(on_primary(&view, reason, Duration::ZERO)),
            Attempt::Wait(need) => Err(Late { arrived, need }),
        }
    }

    /// Waits, at most for `limit`, until this replica, where a transaction has begun, is fresh enough for its next
    /// read. False when it will not be.
    pub async fn keeps_up(&self, node: &Node, wish: &Wish<'_>, limit: Duration) -> bool {
        let arrived = self.note_read(wish.decision.consistency);
        let view = self.view.load();
        let progress = &node.progress;
        let promise = self.promise(wish, arrived).max(self.promise_of_others(&view, wish, arrived));
        let need = self.oldest_allowed(&view, wish, arrived).max(promise);
        let is_fresh = || {
            let view = self.view.load();
            progress.fresh_through.get() >= need
                && !view.is_stranded(node)
                && self.shows_enough(&view, progress, wish)
        };
        if is_fresh() {
            return true;
        }
        let incarnation = progress.incarnation();
        if incarnation == 0 || view.is_stranded(node) || need.plus(progress.lag().1) > arrived.plus(limit) {
            return false;
        }
        let caught_up = async {
            loop {
                let mut waiter = self.waiters.wait_on(incarnation, need);
                if waiter.is_first() {
                    self.waited.raise(self.now());
                    self.rouse_probers();
                }
                // A sample may have come between the look and joining the queue.
                if is_fresh() {
                    return;
                }
                poll_fn(|cx| waiter.poll_woken(cx)).await;
                if is_fresh() {
                    return;
                }
            }
        };
        let kept = tokio::time::timeout(limit, caught_up).await.is_ok();
        let waits = &self.metrics.cluster.waits;
        if kept {
            waits.caught_up.inc()
        } else {
            waits.timed_out.inc()
        }
        waits.seconds.observe(self.now().since(arrived).as_secs_f64());
        kept
    }

    async fn place_late(&self, wish: &Wish<'_>, late: Late) -> Option<Placement> {
        let limit = self.view.load().settings.freshness_wait;
        let mut waited = false;
        let outcome = tokio::time::timeout(limit, self.wait_for_place(wish, &late, &mut waited)).await;
        let spent = self.now().since(late.arrived);
        let view = self.view.load();
        let waits = &self.metrics.cluster.waits;
        let (placement, count) = match outcome {
            Ok(Attempt::Placed(placement)) => {
                (Some(Placement { waited: spent, ..placement }), &waits.caught_up)
            }
            Ok(Attempt::Primary(reason)) => (on_primary(&view, reason, spent), &waits.given_up),
            Ok(Attempt::Wait(_)) | Err(_) => {
                (on_primary(&view, Reason::FreshnessTimeout, spent), &waits.timed_out)
            }
        };
        if waited {
            count.inc();
            waits.seconds.observe(spent.as_secs_f64());
        }
        placement
    }

    async fn wait_for_place(&self, wish: &Wish<'_>, late: &Late, waited: &mut bool) -> Attempt {
        // What is written from now on is not waited for: else a read of a table that is written all the
        // time would never find a place.
        let arrival = Arrival { moment: late.arrived, promise: Some(self.promise(wish, late.arrived)) };
        let mut need = late.need;
        loop {
            let mut waiters = self.wait_for_progress(&self.view.load(), wish, need);
            // Probers know what others wait for.
            if waiters.iter().any(Waiter::is_first) {
                self.waited.raise(self.now());
                self.rouse_probers();
            }
            // A sample may have come between the attempt and joining the queue.
            let attempt = self.attempt(&self.view.load(), wish, self.now(), arrival);
            let Attempt::Wait(_) = attempt else { return attempt };
            *waited = true;
            poll_fn(|cx| match waiters.iter_mut().any(|waiter| waiter.poll_woken(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            drop(waiters);
            match self.attempt(&self.view.load(), wish, self.now(), arrival) {
                Attempt::Wait(later) => need = later,
                found => return found,
            }
        }
    }

    /// Waits for a replica that is fresh through `need`. When there is one, and it is of another group
    /// or shows less than the one that the session read from last: for each of the others, and for more
    /// than now.
    fn wait_for_progress(&self, view: &View, wish: &Wish<'_>, need: Moment) -> SmallVec<[Waiter<'_>; 1]> {
        let freshest = self.freshest.get();
        if freshest < need {
            return smallvec![self.waiters.wait_for(need)];
        }
        let behind = bits(view.replicas(wish.decision.group.as_deref())).filter_map(|i| {
            let progress = &view.members[i].node.progress;
            let incarnation = progress.incarnation();
            (incarnation != 0 && progress.fresh_through.get() < need)
                .then(|| self.waiters.wait_on(incarnation, need))
        });
        behind.chain([self.waiters.wait_for(Moment(freshest.0 + 1))]).collect()
    }

    fn attempt(&self, view: &View, wish: &Wish<'_>, now: Moment, arrival: Arrival) -> Attempt {
        let decision = wish.decision;
        if decision.target == Target::Primary {
            return Attempt::Primary(decision.reason);
        }
        let all = view.replicas(decision.group.as_deref());
        if all == 0 {
            return Attempt::Primary(Reason::NoReplica);
        }
        let near = all & !view.verdict.lagging;
        // What reads nothing is as good anywhere.
        let is_bound = !wish.reads.is_none()
            && !self.is_wider_than_configured(view, wish)
            // Behind a primary that is gone nobody gets any nearer.
            && (near != 0 || view.verdict.primary.is_some());
        let candidates = if is_bound { near } else { all };
        if candidates == 0 {
            return Attempt::Primary(Reason::LagTooLarge);
        }
        let fresh = |need: Moment| {
            filter(candidates, |i| {
                let progress = &view.members[i].node.progress;
                progress.fresh_through.get() >= need && self.shows_enough(view, progress, wish)
            })
        };
        // Looked at each time: it may turn out that nobody else was there.
        let bound =
            self.oldest_allowed(view, wish, now).max(self.promise_of_others(view, wish, arrival.moment));
        // Most of the time every replica has everything, and nobody has to look what was written when.
        let at_most = arrival.promise.unwrap_or_else(|| self.latest_promise(wish, arrival.moment));
        let mut need = bound.max(at_most);
        let mut qualified = fresh(need);
        if qualified != candidates && arrival.promise.is_none() {
            need = bound.max(self.promise(wish, arrival.moment));
            qualified = fresh(need);
        }
        if let Some(chosen) = self.pick(view, qualified, now) {
            return self.placed(view, chosen, wish);
        }
        if !self.is_primary_answering(view, now, arrival.moment) {
            // It may be about to be given up, and then a replica keeps the promise.
            return Attempt::Wait(need);
        }
        if self.is_hopeless(view, candidates, need, now, arrival.moment) {
            self.metrics.cluster.waits.hopeless.inc();
            return Attempt::Primary(Reason::FreshnessTimeout);
        }
        if view.settings.when_late.goes_to_primary(|| self.scales(view, candidates, need, now)) {
            return Attempt::Primary(Reason::Late);
        }
        Attempt::Wait(need)
    }

    /// There is a primary, and it has answered a probe of late, or one that began after this read arrived.
    fn is_primary_answering(&self, view: &View, now: Moment, arrival: Moment) -> bool {
        let sampled = self.primary_sampled.get();
        view.verdict.primary.is_some() && (sampled >= arrival || now.since(sampled) < ANSWERS_WITHIN)
    }

    /// What speaks for waiting until one of these is fresh through `need`, and what against.
    fn scales(&self, view: &View, candidates: u64, need: Moment, now: Moment) -> Scales {
        let unflushed = Duration::from_nanos(self.flush_delay.load(Ordering::Relaxed));
        let wait = |i: usize| {
            let progress = &view.members[i].node.progress;
            need.plus(progress.travel().max(progress.lag().1).max(unflushed)).since(now)
        };
        Scales {
            wait: bits(candidates).map(wait).min().unwrap_or_default(),
            on_primary: view.primary().map_or(0, |primary| primary.outstanding()),
            on_replicas: bits(candidates).map(|i| view.members[i].node.outstanding()).sum(),
            replicas: candidates.count_ones() as usize,
        }
    }

    /// True when a replica keeps what is asked of it beside freshness.
    fn shows_enough(&self, view: &View, replica: &Progress, wish: &Wish<'_>) -> bool {
        let Wish { decision, session, .. } = wish;
        // From where the primary is known to be to where the replica is known to have been: an old
        // sample of a replica is no proof that it is near.
        let behind = || self.primary_lsn.load(Ordering::Acquire).saturating_sub(replica.replayed().0);
        decision.max_lag_bytes.is_none_or(|max| behind() <= max)
            && (decision.consistency == Consistency::Eventual || not_older(view, replica, session))
            && session.min_lsn.is_none_or(|token| {
                token.timeline <= view.verdict.timeline && replica.replayed() >= token.lsn
            })
    }

    fn pick(&self, view: &View, qualified: u64, now: Moment) -> Option<usize> {
        let load = |i: usize| {
            let member = &view.members[i];
            Load {
                weight: member.config.weight,
                near: member.near,
                outstanding: member.node.outstanding(),
                serving: now.since(member.node.progress.serving_since.get()),
            }
        };
        match qualified {
            0 => None,
            one if one.is_power_of_two() => Some(one.trailing_zeros() as usize),
            several => choose(several, load, rand::random()),
        }
    }

    fn placed(&self, view: &View, chosen: usize, wish: &Wish<'_>) -> Attempt {
        let node = view.members[chosen].node.clone();
        wish.session.placed.store(node.progress.incarnation(), Ordering::Relaxed);
        let lag = node.progress.lag().1;
        let reign = view.members[chosen].reign;
        let (is_primary, reason) = (view.verdict.primary == Some(chosen), wish.decision.reason);
        Attempt::Placed(Placement { node, is_primary, reign, reason, waited: Duration::ZERO, lag })
    }

    /// A read that allows more lag than the configuration may use replicas that are over the latter.
    fn is_wider_than_configured(&self, view: &View, wish: &Wish<'_>) -> bool {
        let wider = |asked: Option<u128>, configured: Option<u128>| match (asked, configured) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(asked), Some(configured)) => asked > configured,
        };
        let time = |d: Option<Duration>| d.map(|d| d.as_nanos());
        wider(time(wish.decision.max_lag), time(view.settings.max_lag))
            || wider(wish.decision.max_lag_bytes.map(u128::from), view.settings.max_lag_bytes.map(u128::from))
    }

    /// True when, going by their lag, all replicas will be too late for `freshness_wait`: one that
    /// replays steadily stays as late as it is, one that stands still will not move sooner than in as
    /// long as it has been standing.
    fn is_hopeless(&self, view: &View, candidates: u64, need: Moment, now: Moment, arrival: Moment) -> bool {
        let deadline = arrival.plus(view.settings.freshness_wait);
        let unflushed = Duration::from_nanos(self.flush_delay.load(Ordering::Relaxed));
        now < deadline
            && bits(candidates).all(|i| {
                let progress = &view.members[i].node.progress;
                need.plus(progress.lag().1.max(unflushed)) > deadline
                    || now.plus(progress.stalled()) > deadline
            })
    }
}

/// Monotonic reads: true when this replica shows at least what the session's last replica showed.
///
/// Within one incarnation a replica never goes back. Another replica qualifies when it is fresh
/// through that last read, or when it has replayed what the last one had replayed in a sample taken
/// after that read. A replica that restarted may show less than before and has to qualify anew.
fn not_older(view: &View, replica: &Progress, session: &SessionFreshness) -> bool {
    let last = session.saw_incarnation;
    if last == 0 || replica.incarnation() == last || replica.fresh_through.get() >= session.saw_replica {
        return true;
    }
    let mut others = view.members.iter().map(|m| &m.node.progress);
    let shown = others.find_map(|p| p.replayed_after(session.saw_replica, last));
    shown.is_some_and(|lsn| replica.replayed() >= lsn)
}

fn on_primary(view: &View, reason: Reason, waited: Duration) -> Option<Placement> {
    let (node, reign) = view.reigning()?;
    Some(Placement { node: node.clone(), is_primary: true, reign, reason, waited, lag: Duration::ZERO })
}

#[cfg(test)]
mod tests;
