//! One task per node that asks it, over a connection of its own, what it is and where it stands.

pub(super) mod told;

use super::Cluster;
use super::board::{Identity, Sighting};
use super::connect::open_server;
use super::fleet::registration::{self, Registration};
use super::loss::Loss;
use super::patience::Patience;
use super::servers::LOOK_AGAIN;
use super::shaping::{self, Shaping};
use super::verdict::Role;
use crate::auth::LoginError;
use crate::node::Node;
use crate::node::alarm::Alarm;
use crate::node::lsn::WalLayout;
use crate::server::{Row, Server};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use told::{BRIEF, Told, WHOLE, Whole};

/// The first pause after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// A node that is away is looked for at least this often.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// And this often while there is no primary, which it may be: everybody's writes wait.
const BACKOFF_HEADLESS_MAX: Duration = Duration::from_millis(200);
/// What is read from a node's control file changes rarely and costs a file read: at most this often.
const CONTROL_PAUSE: Duration = Duration::from_secs(1);

/// A change of a node's configuration is noticed within so long.
const CONFIGURATION_PAUSE: Duration = Duration::from_secs(1);

/// What never changes while a node runs.
const IDENTITY: &str = "SELECT (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s), \
     (SELECT g.setting::pg_catalog.int8 FROM pg_catalog.pg_settings g WHERE g.name = 'wal_segment_size'), \
     (SELECT g.setting::pg_catalog.int8 FROM pg_catalog.pg_settings g WHERE g.name = 'wal_block_size'), \
     (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8";

/// A timeline that a replica has reached for certain, though perhaps long ago.
const CONTROL: &str = "SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) \
     FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r";

/// The newest timeline whose history lies in a node's log, as that of a replica does that has followed it
/// or was told of it: for members of `pg_monitor`.
const HISTORIES: &str = "SELECT pg_catalog.max(pg_catalog.left(f.name, 8)) FROM pg_catalog.pg_ls_waldir() f \
     WHERE f.name LIKE '%.history'";

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
    let mut looked = Instant::now();
    loop {
        if let Some(cluster) = cluster.upgrade() {
            // Somebody has reached another server at this address: where does it lead now?
            let other = node.take_doubt();
            if let Some(other) = other {
                cluster.node_reached(node, other);
            }
            if other.is_some() || (looked.elapsed() > LOOK_AGAIN && cluster.is_several(node)) {
                looked = Instant::now();
                probe = Probe::open(&cluster, node).await?;
            }
        }
        match cluster.upgrade() {
            Some(cluster) => {
                let sighting = probe.once(&cluster, node).await?;
                cluster.node_sighted(node, sighting).map_err(Loss::Unfit)?;
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
    /// When it last told all that it is asked.
    whole: Option<Whole>,
    patience: Patience,
    /// When its configuration was last looked at, and as of when that was read by it.
    configured: (Instant, String),
    /// How other pgweirs see us, where this is a primary.
    registration: Option<Registration>,
}

impl Probe {
    async fn open(cluster: &Arc<Cluster>, node: &Arc<Node>) -> Result<Self, Loss> {
        let settings = cluster.settings();
        let limit = settings.cluster.probe_timeout;
        let mut server = within(limit, open_server(&settings.cluster, node)).await?;
        let told = within(limit, server.ask(IDENTITY)).await?;
        let identity = identity(&told).ok_or_else(|| unexpected(&told))?;
        cluster.node_connected(node, identity).map_err(Loss::Unfit)?;
        for question in [WHOLE, BRIEF] {
            within(limit, server.prepare(question.name, question.sql)).await?;
        }
        let mut probe = Self {
            server,
            control_read: None,
            whole: None,
            patience: Patience::new(),
            configured: (Instant::now(), String::new()),
            registration: None,
        };
        probe.look_at_configuration(cluster, node).await?;
        registration::watch(&mut probe.server, cluster).await?;
        Ok(probe)
    }

    /// Tells what its configuration gives a session, if it has read that anew.
    async fn look_at_configuration(&mut self, cluster: &Cluster, node: &Arc<Node>) -> Result<(), Loss> {
        let limit = cluster.settings().cluster.probe_timeout;
        let told = within(limit, self.server.ask(shaping::LOADED)).await?;
        let loaded = value(&told, 0).unwrap_or_default().to_owned();
        if loaded != self.configured.1 {
            let told = within(limit, self.server.ask(&shaping::question())).await?;
            cluster.node_shaped(node, Shaping::read(&told));
        }
        self.configured = (Instant::now(), loaded);
        Ok(())
    }

    /// Asks once; of a primary not before all other pgweirs of the cluster must have seen us there.
    async fn once(&mut self, cluster: &Cluster, node: &Arc<Node>) -> Result<Sighting, Loss> {
        if let Some(registration) = &mut self.registration {
            registration.look_again(&mut self.server, cluster, node).await?;
        }
        if self.configured.0.elapsed() >= CONFIGURATION_PAUSE {
            self.look_at_configuration(cluster, node).await?;
        }
        let seen = self.ask(cluster).await?;
        if seen.role != Role::Primary || self.registration.is_some() {
            return Ok(seen);
        }
        self.registration = Some(Registration::enter(&mut self.server, cluster, node).await?);
        // What it told before nobody has heard of.
        self.whole = None;
        self.ask(cluster).await
    }

    async fn ask(&mut self, cluster: &Cluster) -> Result<Sighting, Loss> {
        let limit = cluster.settings().cluster.probe_timeout;
        if Whole::lets_out(self.whole, cluster.primary().is_some(), cluster.now()) {
            let (start, writes) = (cluster.now(), cluster.writes());
            let told = self.question(BRIEF.name, limit).await?;
            if self.whole.is_some_and(|whole| whole.role == told.role) {
                return Ok(Sighting::of(told, start, writes, cluster.writes()));
            }
        }
        let (start, writes) = (cluster.now(), cluster.writes());
        let told = self.question(WHOLE.name, limit).await?;
        let Told { role, timeline, .. } = told;
        self.whole = Some(Whole { role, at: start });
        let mut seen = Sighting::of(told, start, writes, cluster.writes());
        let is_time = self.control_read.is_none_or(|at| at.elapsed() >= CONTROL_PAUSE);
        if role == Role::Replica && timeline.is_none() && is_time {
            self.control_read = Some(Instant::now());
            seen.timeline = self.control_timeline(limit).await?;
            seen.known = self.known_timeline(limit).await?;
        }
        Ok(seen)
    }

    async fn question(&mut self, name: &str, limit: Duration) -> Result<Told, Loss> {
        let mut told = None;
        let asking = self.server.look_at(name, |row| told = Told::read(row));
        slowly(&mut self.patience, limit, asking).await?;
        told.ok_or_else(|| Loss::Unfit("it gives an answer that makes no sense to a probe".into()))
    }

    /// The timeline in the control file.
    async fn control_timeline(&mut self, limit: Duration) -> Result<Option<u32>, Loss> {
        let told = within(limit, self.server.ask(CONTROL)).await?;
        Ok(value(&told, 0).and_then(|timeline| timeline.parse().ok()))
    }

    /// The newest timeline that the node has the history of, where we may look.
    async fn known_timeline(&mut self, limit: Duration) -> Result<Option<u32>, Loss> {
        match within(limit, self.server.ask(HISTORIES)).await {
            Ok(told) => Ok(value(&told, 0).and_then(|name| u32::from_str_radix(name, 16).ok())),
            Err(Loss::Refused(_)) => Ok(None),
            Err(loss) => Err(loss),
        }
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

/// A column of the only row.
pub(super) fn value(rows: &[Row], column: usize) -> Option<&str> {
    rows.first()?.get(column)?.as_deref()
}

pub(super) fn unexpected(rows: &[Row]) -> Loss {
    let shown = |row: &Row| row.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(", ");
    let rows: Vec<_> = rows.iter().map(shown).collect();
    Loss::Unfit(format!("it gives an answer that makes no sense to a probe: ({})", rows.join("), (")))
}

/// Into so many parts a probe's time is cut.
const SLICES: u32 = 8;

/// The answer, or what came instead of it, within `limit`.
///
/// The time is counted in slices: where our own machine is so busy that we look late, the answer may have
/// been there for long, and what a slice took longer than it should have is not held against the node.
async fn slowly<T>(
    patience: &mut Patience,
    limit: Duration,
    asking: impl Future<Output = Result<T, LoginError>>,
) -> Result<T, Loss> {
    let mut asking = std::pin::pin!(asking);
    for _ in 0..SLICES {
        if let Some(answer) = patience.within(limit / SLICES, asking.as_mut()).await {
            return answer.map_err(|e| Loss::of(&e, true));
        }
    }
    Err(no_answer(limit))
}

/// The same with a timer of its own.
pub(super) async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, LoginError>>,
) -> Result<T, Loss> {
    slowly(&mut Patience::new(), limit, asking).await
}

fn no_answer(limit: Duration) -> Loss {
    Loss::Late(format!("no answer within {}", humantime::format_duration(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(values: [Option<&str>; N]) -> Vec<Row> {
        vec![values.map(|value| value.map(str::to_owned)).into()]
    }

    #[test]
    fn what_is_no_identity_is_none() {
        assert!(identity(&row([Some("7"), Some("16777216"), Some("x"), None])).is_none());
        let told = identity(&row([Some("-7"), Some("16777216"), Some("8192"), Some("9")])).unwrap();
        assert_eq!((told.system, told.layout), (-7_i64 as u64, WalLayout::default()));
    }
}
