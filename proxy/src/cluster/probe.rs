//! One task per node that asks it, over a connection of its own, what it is and where it stands.

use super::Cluster;
use super::board::{Identity, Sighting};
use super::connect::open_server;
use super::loss::Loss;
use super::verdict::Role;
use crate::auth::LoginError;
use crate::node::Node;
use crate::node::alarm::Alarm;
use crate::node::lsn::{Lsn, WalLayout};
use crate::server::{Row, Server};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

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

/// What [`PROBE`] is prepared as.
const PROBE_NAME: &str = "probe";

/// A timeline that a replica has reached for certain, though perhaps long ago.
const CONTROL: &str = "SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) \
     FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r";

/// Probes `node` until the cluster, or this task, ends.
pub async fn watch(cluster: Weak<Cluster>, node: Arc<Node>) {
    let alarm = Alarm::new();
    let mut backoff = BACKOFF_MIN;
    loop {
        let connected = Instant::now();
        let error = probe_until_lost(&cluster, &node, &alarm).await;
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
        node.prober.doze(&alarm, || next().unwrap_or_default()).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Connects and probes as long as that goes well; says what ended it.
async fn probe_until_lost(cluster: &Weak<Cluster>, node: &Arc<Node>, alarm: &Alarm) -> Loss {
    match probe_all(cluster, node, alarm).await {
        Ok(()) => Loss::Silent("stopped".into()),
        Err(error) => error,
    }
}

async fn probe_all(cluster: &Weak<Cluster>, node: &Arc<Node>, alarm: &Alarm) -> Result<(), Loss> {
    let mut probe = {
        let Some(cluster) = cluster.upgrade() else { return Ok(()) };
        Probe::open(&cluster, node).await?
    };
    loop {
        match cluster.upgrade() {
            Some(cluster) => {
                let sighting = probe.once(&cluster).await?;
                cluster.node_sighted(node, sighting);
            }
            None => return Ok(()),
        }
        let next = || cluster.upgrade().map(|cluster| cluster.next_probe(node)).unwrap_or_default();
        tokio::select! {
            // The server ended it: known at once, not with the next probe.
            error = probe.server.ended() => return Err(Loss::of(&error, true)),
            () = node.prober.doze(alarm, next) => {}
        }
    }
}

/// An open connection.
struct Probe {
    server: Server,
    /// When the control file was last asked for the timeline.
    control_read: Option<Instant>,
}

impl Probe {
    async fn open(cluster: &Arc<Cluster>, node: &Arc<Node>) -> Result<Self, Loss> {
        let settings = cluster.settings();
        let limit = settings.cluster.probe_timeout;
        let mut server = open_server(&settings.cluster, node).await?;
        let told = within(limit, server.ask(IDENTITY)).await?;
        let identity = identity(&told).ok_or_else(|| unexpected(&told))?;
        cluster.node_connected(node, identity).map_err(Loss::Unfit)?;
        within(limit, server.prepare(PROBE_NAME, PROBE)).await?;
        Ok(Self { server, control_read: None })
    }

    /// Asks once.
    async fn once(&mut self, cluster: &Cluster) -> Result<Sighting, Loss> {
        let limit = cluster.settings().cluster.probe_timeout;
        let writes = cluster.writes();
        let start = cluster.now();
        let told = within(limit, self.server.ask_prepared(PROBE_NAME)).await?;
        let Told { role, lsn, timeline } = Told::read(&told).ok_or_else(|| unexpected(&told))?;
        let timeline = match (role, timeline) {
            (Role::Replica, None) => self.control_timeline(limit).await?,
            _ => timeline,
        };
        Ok(Sighting { start, role, timeline, lsn, writes })
    }

    /// The timeline in the control file, if it is time to read it again.
    async fn control_timeline(&mut self, limit: Duration) -> Result<Option<u32>, Loss> {
        if self.control_read.is_some_and(|at| at.elapsed() < CONTROL_PAUSE) {
            return Ok(None);
        }
        self.control_read = Some(Instant::now());
        let told = within(limit, self.server.ask(CONTROL)).await?;
        Ok(value(&told, 0).and_then(|timeline| timeline.parse().ok()))
    }
}

/// The answer to [`IDENTITY`].
fn identity(told: &[Row]) -> Option<Identity> {
    let number = |column| value(told, column)?.parse::<i64>().ok();
    let bytes = |column| Some(number(column)?.unsigned_abs().max(1));
    Some(Identity {
        system: number(0)? as u64,
        started: Some(number(3)?),
        layout: WalLayout { segment_bytes: bytes(1)?, page_bytes: bytes(2)? },
    })
}

/// The answer to [`PROBE`].
#[derive(Debug, PartialEq)]
struct Told {
    role: Role,
    lsn: Option<Lsn>,
    timeline: Option<u32>,
}

impl Told {
    fn read(told: &[Row]) -> Option<Self> {
        let role = match value(told, 0)? {
            "t" => Role::Replica,
            "f" => Role::Primary,
            _ => return None,
        };
        let timeline = match role {
            Role::Replica => value(told, 3).and_then(|received| received.parse().ok()),
            _ => value(told, 2).and_then(|file| u32::from_str_radix(file.get(..8)?, 16).ok()),
        };
        let lsn = value(told, 1).and_then(|lsn| lsn.parse().ok());
        Some(Self { role, lsn, timeline: timeline.filter(|timeline| *timeline > 0) })
    }
}

/// A column of the only row.
fn value(rows: &[Row], column: usize) -> Option<&str> {
    rows.first()?.get(column)?.as_deref()
}

fn unexpected(rows: &[Row]) -> Loss {
    let shown = |row: &Row| row.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(", ");
    let rows: Vec<_> = rows.iter().map(shown).collect();
    Loss::Unfit(format!("it gives an answer that makes no sense to a probe: ({})", rows.join("), (")))
}

/// The answer, or what came instead of it, within `limit`.
async fn within<T>(limit: Duration, asking: impl Future<Output = Result<T, LoginError>>) -> Result<T, Loss> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|e| Loss::of(&e, true)),
        Err(_) => Err(Loss::Silent(format!("no answer within {}", humantime::format_duration(limit)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [Option<&str>; 4]) -> Vec<Row> {
        vec![values.map(|value| value.map(str::to_owned)).into()]
    }

    #[test]
    fn a_primary_tells_its_timeline_by_the_file_it_writes() {
        let told = row([Some("f"), Some("0/3000060"), Some("000000020000000000000003"), None]);
        let read = Told { role: Role::Primary, lsn: Some(Lsn(0x3000060)), timeline: Some(2) };
        assert_eq!(Told::read(&told), Some(read));
    }

    #[test]
    fn a_replica_that_receives_nothing_tells_no_timeline() {
        let read = |received| Told::read(&row([Some("t"), None, None, received])).unwrap();
        assert_eq!(read(None), Told { role: Role::Replica, lsn: None, timeline: None });
        assert_eq!(read(Some("0")).timeline, None);
        assert_eq!(read(Some("3")).timeline, Some(3));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(Told::read(&[]), None);
        assert_eq!(Told::read(&row([None; 4])), None);
        assert!(identity(&row([Some("7"), Some("16777216"), Some("x"), None])).is_none());
        let told = identity(&row([Some("-7"), Some("16777216"), Some("8192"), Some("9")])).unwrap();
        assert_eq!((told.system, told.layout), (-7_i64 as u64, WalLayout::default()));
    }
}
