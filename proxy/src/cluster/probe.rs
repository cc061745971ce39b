//! One task per node that asks it, over a connection of its own, what it is and where it stands.

use super::Cluster;
use super::board::{Identity, Sighting};
use super::connect::{Link, explain};
use super::lsn::{Lsn, WalLayout};
use super::node::Node;
use super::verdict::Role;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_postgres::Statement;
use tokio_postgres::types::PgLsn;

/// The first pause after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// A node that is away is looked for at least this often.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// And this often while there is no primary, which it may be: everybody's writes wait.
const BACKOFF_HEADLESS_MAX: Duration = Duration::from_millis(200);
/// What is read from a node's control file changes rarely and costs a file read: at most this often.
const CONTROL_PAUSE: Duration = Duration::from_secs(1);

/// What never changes while a node runs.
const IDENTITY: &str = "SELECT (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s), \
     (SELECT g.setting::pg_catalog.int8 FROM pg_catalog.pg_settings g WHERE g.name = 'wal_segment_size'), \
     (SELECT g.setting::pg_catalog.int8 FROM pg_catalog.pg_settings g WHERE g.name = 'wal_block_size'), \
     (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8";

/// Role, position and timeline in one round trip.
///
/// A primary's timeline is in the name of the file it writes; the control file would still have
/// the former one for a while after a promotion. A replica's is the one that its receiver follows,
/// which it does only when its own log leads there (`rescanLatestTimeLine` in PostgreSQL's
/// `xlogrecovery.c` refuses a timeline that forked off before the position reached). It is visible
/// to members of `pg_read_all_stats`; for others, and while nothing is received, see [`CONTROL`].
const PROBE: &str = "SELECT r.standby, \
     CASE WHEN r.standby THEN pg_catalog.pg_last_wal_replay_lsn() \
          ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
     CASE WHEN NOT r.standby THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END, \
     CASE WHEN r.standby THEN (SELECT w.received_tli FROM pg_catalog.pg_stat_get_wal_receiver() w) END \
     FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) r";

/// A timeline that a replica has reached for certain, though perhaps long ago.
const CONTROL: &str = "SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) \
     FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r";

/// Probes `node` until the cluster, or this task, ends.
pub async fn watch(cluster: Weak<Cluster>, node: Arc<Node>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let connected = Instant::now();
        let error = probe_until_lost(&cluster, &node).await;
        let lost = {
            let Some(cluster) = cluster.upgrade() else { return };
            cluster.node_lost(&node, error);
            cluster.now()
        };
        if connected.elapsed() > BACKOFF_MAX {
            backoff = BACKOFF_MIN;
        }
        let next = || {
            let cluster = cluster.upgrade()?;
            let most = if cluster.primary().is_some() { BACKOFF_MAX } else { BACKOFF_HEADLESS_MAX };
            let next = lost.plus(backoff.min(most));
            Some((next, next.since(cluster.now())))
        };
        node.prober.doze(|| next().unwrap_or_default()).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Connects and probes as long as that goes well; says what ended it.
async fn probe_until_lost(cluster: &Weak<Cluster>, node: &Arc<Node>) -> String {
    match probe_all(cluster, node).await {
        Ok(()) => "stopped".into(),
        Err(error) => error,
    }
}

async fn probe_all(cluster: &Weak<Cluster>, node: &Arc<Node>) -> Result<(), String> {
    let (ended, mut end) = oneshot::channel();
    let mut probe = {
        let Some(cluster) = cluster.upgrade() else { return Ok(()) };
        Probe::open(&cluster, node, ended).await?
    };
    loop {
        let limit = {
            let Some(cluster) = cluster.upgrade() else { return Ok(()) };
            cluster.settings().cluster.probe_timeout
        };
        match cluster.upgrade() {
            Some(cluster) => {
                let sighting = probe.once(&cluster, limit).await?;
                cluster.node_sighted(node, sighting);
            }
            None => return Ok(()),
        }
        let next = || cluster.upgrade().map(|cluster| cluster.next_probe(node)).unwrap_or_default();
        tokio::select! {
            // The server ended it: known at once, not with the next probe.
            error = &mut end => return Err(error.unwrap_or_else(|_| "the connection is gone".into())),
            () = node.prober.doze(next) => {}
        }
    }
}

/// An open connection and what is prepared on it.
struct Probe {
    link: Link,
    probe: Statement,
    control: Statement,
    /// When the control file was last asked for the timeline.
    control_read: Option<Instant>,
}

impl Probe {
    async fn open(
        cluster: &Arc<Cluster>,
        node: &Arc<Node>,
        ended: oneshot::Sender<String>,
    ) -> Result<Self, String> {
        let settings = cluster.settings();
        let (config, limit) = (&settings.cluster, settings.cluster.probe_timeout);
        let tell = move |error| drop(ended.send(error));
        let link = Link::open(config, &node.name, &config.database, limit, tell).await?;
        let row = within(limit, link.client.query_one(IDENTITY, &[])).await?;
        let bytes = |column| row.get::<_, i64>(column) as u64;
        let layout = WalLayout { segment_bytes: bytes(1).max(1), page_bytes: bytes(2).max(1) };
        let identity = Identity { system: bytes(0), started: Some(row.get(3)), layout };
        cluster.node_connected(node, identity)?;
        let probe = within(limit, link.client.prepare(PROBE)).await?;
        let control = within(limit, link.client.prepare(CONTROL)).await?;
        Ok(Self { link, probe, control, control_read: None })
    }

    /// Asks once.
    async fn once(&mut self, cluster: &Cluster, limit: Duration) -> Result<Sighting, String> {
        let writes = cluster.writes();
        let start = cluster.now();
        let row = within(limit, self.link.client.query_one(&self.probe, &[])).await?;
        let standby: bool = row.get(0);
        let lsn: Option<PgLsn> = row.get(1);
        let timeline = if standby {
            match row.get::<_, Option<i32>>(3).and_then(|t| u32::try_from(t).ok()) {
                Some(received) if received > 0 => Some(received),
                _ => self.control_timeline(limit).await?,
            }
        } else {
            let file: Option<&str> = row.get(2);
            file.and_then(|name| name.get(..8)).and_then(|hex| u32::from_str_radix(hex, 16).ok())
        };
        let role = if standby { Role::Replica } else { Role::Primary };
        Ok(Sighting { start, role, timeline, lsn: lsn.map(|lsn| Lsn(lsn.into())), writes })
    }

    /// The timeline in the control file, if it is time to read it again.
    async fn control_timeline(&mut self, limit: Duration) -> Result<Option<u32>, String> {
        if self.control_read.is_some_and(|at| at.elapsed() < CONTROL_PAUSE) {
            return Ok(None);
        }
        self.control_read = Some(Instant::now());
        let row = within(limit, self.link.client.query_one(&self.control, &[])).await?;
        Ok(row.get::<_, Option<i32>>(0).and_then(|t| u32::try_from(t).ok()))
    }
}

/// The answer, or a sentence for people, within `limit`.
async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|e| explain(&e)),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}
