//! How a pgweir shows itself on the primary and looks for others: advisory locks of its prober's session.
//!
//! Each pgweir holds the lock ([`MEMBER`], its number) in shared mode, and while it claims to be alone the
//! lock ([`CLAIM`], its number) too. On every node that it watches it holds ([`WATCHER`], its number): a replica
//! that is promoted keeps its sessions, and so shows at once who has to register there. Locks end with the
//! session, however it ends, are seen at once, from every database and by every role, and write nothing.
//! <https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>

use super::super::Cluster;
use super::super::loss::Loss;
use super::super::probe::{unexpected, value, within};
use super::{Newcomer, Seen, Settled, Step};
use crate::limits::{FLEET_LEASE, FLEET_LOOK_EVERY};
use crate::node::Node;
use crate::node::moment::Moment;
use crate::rows::Sibling;
use crate::server::{Row, Server};
use std::sync::Arc;
use std::time::Duration;

/// The first key of the lock that shows a pgweir: "pgwe".
const MEMBER: u32 = 0x7067_7765;
/// The first key of the lock of one that claims to be alone: "pgwa".
const CLAIM: u32 = 0x7067_7761;
/// The first key of the lock that shows who watches a node: "pgww".
const WATCHER: u32 = 0x7067_7777;
/// One that has come looks so often whether it has been seen.
const SEEN_PAUSE: Duration = Duration::from_millis(20);
/// Other numbers tried when somebody has locked ours.
const NUMBERS_MAX: usize = 8;

/// What [`look_for`] is prepared as.
const LOOK_NAME: &str = "look";

/// A registration in one session; ends with it.
#[derive(Debug)]
pub struct Registration {
    claims: bool,
    /// When the last look began.
    looked: Moment,
}

impl Registration {
    /// Registers in this session of `node`, which is a primary, and returns when all other pgweirs of the
    /// cluster must have seen it.
    pub async fn enter(server: &mut Server, cluster: &Cluster, node: &Arc<Node>) -> Result<Self, Loss> {
        let fleet = &cluster.fleet;
        show_up(server, cluster).await?;
        within(limit(cluster), server.prepare(LOOK_NAME, &look_for())).await?;
        let settled = settled(server, cluster).await?;
        let mut looked = cluster.now();
        let mut seen = look(server, cluster).await?;
        let newcomer = Newcomer::new(&seen, settled, fleet.registered.get(), cluster.now());
        if !seen.others.is_empty() {
            fleet.doubt();
        }
        let mut said = false;
        while !newcomer.is_known(&seen, cluster.now()) {
            if !std::mem::replace(&mut said, true) {
                tracing::info!(
                    node = node.name,
                    others = seen.others.len(),
                    at_most = ?FLEET_LEASE,
                    "waiting until other pgweirs of this cluster must have seen this one"
                );
            }
            tokio::time::sleep(SEEN_PAUSE).await;
            looked = cluster.now();
            seen = look(server, cluster).await?;
        }
        let mut this = Self { claims: false, looked };
        fleet.heard.raise(cluster.now());
        this.judge(seen.others, server, cluster, node).await?;
        Ok(this)
    }

    /// Looks for the others, if it is time to.
    pub async fn look_again(
        &mut self,
        server: &mut Server,
        cluster: &Cluster,
        node: &Arc<Node>,
    ) -> Result<(), Loss> {
        let now = cluster.now();
        let lapsed = self.claims && now >= cluster.fleet.alone_until.get();
        if now.since(self.looked) < FLEET_LOOK_EVERY && !lapsed {
            return Ok(());
        }
        self.looked = now;
        let seen = look(server, cluster).await?;
        self.judge(seen.others, server, cluster, node).await
    }

    /// Draws the conclusions of a look that began at `self.looked`.
    async fn judge(
        &mut self,
        others: Vec<Sibling>,
        server: &mut Server,
        cluster: &Cluster,
        node: &Arc<Node>,
    ) -> Result<(), Loss> {
        let fleet = &cluster.fleet;
        // What holds on a primary that is left out says nothing of the one in force.
        let counts = cluster.may_be_primary(node);
        let now = cluster.now();
        if counts {
            fleet.registered.raise(self.looked);
        }
        if !others.is_empty() {
            fleet.met.raise(now);
        }
        match Step::after(others.is_empty(), self.claims, fleet.met.get(), now) {
            Step::Rely if counts => fleet.rely(self.looked, now),
            Step::Claim if counts && self.claim(server, cluster).await? => {
                self.looked = cluster.now();
                let others = look(server, cluster).await?.others;
                if others.is_empty() {
                    fleet.rely(self.looked, cluster.now());
                } else {
                    fleet.met.raise(cluster.now());
                    self.renounce(server, cluster).await?;
                    return tell(others, server, cluster, node).await;
                }
            }
            Step::Renounce => self.renounce(server, cluster).await?,
            Step::Share if counts => fleet.doubt(),
            Step::Rely | Step::Claim | Step::Share => {}
        }
        if counts { tell(others, server, cluster, node).await } else { Ok(()) }
    }

    /// False when others hold the lock in a mode that excludes us: then we are not alone.
    async fn claim(&mut self, server: &mut Server, cluster: &Cluster) -> Result<bool, Loss> {
        self.claims = take(CLAIM, cluster.fleet.number(), server, cluster).await?;
        Ok(self.claims)
    }

    /// Stops relying on being alone before anybody can see that the claim is gone.
    async fn renounce(&mut self, server: &mut Server, cluster: &Cluster) -> Result<(), Loss> {
        cluster.fleet.doubt();
        let number = cluster.fleet.number();
        let sql = format!("SELECT pg_catalog.pg_advisory_unlock_shared({CLAIM}, {number})");
        within(limit(cluster), server.ask(&sql)).await?;
        self.claims = false;
        Ok(())
    }
}

fn limit(cluster: &Cluster) -> Duration {
    cluster.settings().cluster.probe_timeout
}

/// Shows that we watch the node of this session, which may be promoted one day.
pub async fn watch(server: &mut Server, cluster: &Cluster) -> Result<(), Loss> {
    take_own(WATCHER, server, cluster).await.map(drop)
}

/// Takes the lock that shows us, and the name.
async fn show_up(server: &mut Server, cluster: &Cluster) -> Result<(), Loss> {
    let number = take_own(MEMBER, server, cluster).await?;
    let name = format!("SET application_name = 'pgweir {number:08x}'");
    within(limit(cluster), server.ask(&name)).await.map(drop)
}

/// Takes a lock of this class by our number, or by another one where somebody keeps that from us.
async fn take_own(class: u32, server: &mut Server, cluster: &Cluster) -> Result<u32, Loss> {
    let mut number = cluster.fleet.number();
    for _ in 0..NUMBERS_MAX {
        if take(class, number, server, cluster).await? {
            return Ok(number);
        }
        // Nobody of ours takes it in a mode that excludes others.
        number = cluster.fleet.renumber();
    }
    Err(Loss::Unfit("pgweir cannot show itself to its siblings there: others hold its advisory locks".into()))
}

async fn take(class: u32, number: u32, server: &mut Server, cluster: &Cluster) -> Result<bool, Loss> {
    let sql = format!("SELECT pg_catalog.pg_try_advisory_lock_shared({class}, {number})");
    let told = within(limit(cluster), server.ask(&sql)).await?;
    Ok(value(&told, 0) == Some("t"))
}

fn look_for() -> String {
    format!(
        "SELECT l.objid::pg_catalog.int8, l.classid::pg_catalog.int8, l.pid FROM pg_catalog.pg_locks l \
         WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted \
         AND l.classid IN ({MEMBER}::pg_catalog.oid, {CLAIM}::pg_catalog.oid, {WATCHER}::pg_catalog.oid)"
    )
}

/// The others that are there now.
async fn look(server: &mut Server, cluster: &Cluster) -> Result<Seen, Loss> {
    let told = within(limit(cluster), server.ask_prepared(LOOK_NAME)).await?;
    let mut seen = seen(&told).ok_or_else(|| unexpected(&told))?;
    seen.others.retain(|other| !cluster.fleet.is_own(other.number));
    seen.watchers.retain(|number| !cluster.fleet.is_own(*number));
    Ok(seen)
}

/// Those that hold locks, by their numbers.
fn seen(told: &[Row]) -> Option<Seen> {
    let mut seen = Seen::default();
    for row in told {
        let number: i64 = row.first()?.as_deref()?.parse().ok()?;
        let number = u32::try_from(number).ok()?;
        let class: i64 = row.get(1)?.as_deref()?.parse().ok()?;
        if class == i64::from(WATCHER) {
            seen.watchers.push(number);
            continue;
        }
        let process = row.get(2)?.as_deref().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        let others = &mut seen.others;
        let at = others.iter().position(|other| other.number == number).unwrap_or_else(|| {
            others.push(Sibling { number, process, ..Sibling::default() });
            others.len() - 1
        });
        others[at].claims |= class == i64::from(CLAIM);
    }
    seen.others.sort_unstable_by_key(|other| other.number);
    Some(seen)
}

/// How long `server`'s node has taken writes, and has been up; `None`: our role may not see it. The process that
/// writes the log starts when a node becomes a primary, whether by starting or by promotion.
async fn settled(server: &mut Server, cluster: &Cluster) -> Result<Option<Settled>, Loss> {
    const SETTLED: &str = "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() \
         - pg_catalog.max(a.backend_start)), pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() \
         - pg_catalog.pg_postmaster_start_time()) FROM pg_catalog.pg_stat_activity a \
         WHERE a.backend_type = 'walwriter'";
    let told = within(limit(cluster), server.ask(SETTLED)).await?;
    let duration = |column| {
        let seconds = value(&told, column).and_then(|seconds| seconds.parse::<f64>().ok())?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    Ok(duration(0).zip(duration(1)).map(|(primary, up)| Settled { primary, up }))
}

/// Publishes who is there, and says who has come and gone.
async fn tell(
    mut others: Vec<Sibling>,
    server: &mut Server,
    cluster: &Cluster,
    node: &Arc<Node>,
) -> Result<(), Loss> {
    let known = cluster.fleet.siblings();
    let is_same = |a: &Sibling, b: &Sibling| (a.number, a.process) == (b.number, b.process);
    if known.len() == others.len() && known.iter().zip(&others).all(|(a, b)| is_same(a, b)) {
        return Ok(());
    }
    describe(&mut others, server, cluster).await?;
    for other in others.iter().filter(|other| known.iter().all(|k| k.number != other.number)) {
        let from = other.address.as_deref().unwrap_or("an address that is not shown");
        let text = format!("another pgweir, {:08x}, serves this cluster from {from}", other.number);
        cluster.tell_of_sibling("sibling_came", node, text);
    }
    for gone in known.iter().filter(|known| others.iter().all(|o| o.number != known.number)) {
        let text = format!("the pgweir {:08x} serves this cluster no more", gone.number);
        cluster.tell_of_sibling("sibling_left", node, text);
    }
    cluster.metrics.cluster.siblings.set(i64::try_from(others.len()).unwrap_or(i64::MAX));
    *cluster.fleet.siblings.lock() = others;
    Ok(())
}

/// Adds where they come from and since when, as far as our role may see it.
async fn describe(others: &mut [Sibling], server: &mut Server, cluster: &Cluster) -> Result<(), Loss> {
    if others.is_empty() {
        return Ok(());
    }
    let processes: Vec<_> = others.iter().map(|other| other.process.to_string()).collect();
    let sql = format!(
        "SELECT a.pid, pg_catalog.host(a.client_addr), \
         pg_catalog.date_part('epoch', a.backend_start)::pg_catalog.int8 \
         FROM pg_catalog.pg_stat_activity a WHERE a.pid IN ({})",
        processes.join(", ")
    );
    for row in within(limit(cluster), server.ask(&sql)).await? {
        let text = |column: usize| row.get(column).and_then(|value| value.as_deref());
        let process: Option<i32> = text(0).and_then(|pid| pid.parse().ok());
        for other in others.iter_mut().filter(|other| Some(other.process) == process) {
            other.address = text(1).map(str::to_owned);
            other.since = text(2).and_then(|seconds| seconds.parse().ok());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32, class: u32, process: i32) -> Row {
        vec![Some(number.to_string()), Some(class.to_string()), Some(process.to_string())]
    }

    #[test]
    fn who_claims_to_be_alone_is_told_from_who_does_not() {
        let told = [row(9, MEMBER, 1), row(7, MEMBER, 2), row(9, CLAIM, 1)];
        let others: Vec<_> =
            seen(&told).unwrap().others.iter().map(|o| (o.number, o.process, o.claims)).collect();
        assert_eq!(others, [(7, 2, false), (9, 1, true)]);
    }

    #[test]
    fn who_watches_a_node_is_not_registered_there() {
        let told = [row(9, WATCHER, 1), row(7, MEMBER, 2), row(7, WATCHER, 2)];
        let seen = seen(&told).unwrap();
        assert_eq!((seen.others.len(), seen.watchers), (1, vec![9, 7]));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert!(seen(&[vec![None, None, None]]).is_none());
        assert!(seen(&[]).is_some_and(|seen| seen.others.is_empty()));
    }
}
