//! `pgweir run`: serve.

mod open_files;
mod reloader;
mod replace;
mod supervisor;

use super::check;
use crate::auth::Directory;
use crate::cancel;
use crate::clients::registry::{Card, Doing, Registry};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::config::times::minute_of;
use crate::limits::{CANCELS_MAX, CONSOLES_MAX, SWEEP_EVERY};
use crate::listen::doors::Doors;
use crate::loops::EventLoops;
use crate::net::tls::{Acceptor, Connector};
use crate::observe::Metrics;
use crate::observe::logging::Logging;
use crate::observe::ruled::Ruled;
use crate::order::{Leave, Order};
use crate::peers::{self, Peers, machines};
use crate::pool::Pools;
use crate::weir::Weir;
use arc_swap::{ArcSwap, ArcSwapOption};
use clap::Args;
use reloader::Reloader;
use replace::Replaced;
use router_rules::Classifier;
use sd_notify::NotifyState;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UdpSocket;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// Arguments of `pgweir run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// Take over from the pgweir with this process id: when this one knows the cluster it opens the same
    /// addresses and tells the other to leave, which lets its transactions end
    #[arg(long, value_name = "PID")]
    replace: Option<i32>,
}

/// Serves until SIGTERM or SIGINT. Exit code 0 after an orderly leave, 1 when it could not start.
pub fn run(args: &RunArgs) -> ExitCode {
    let path = &args.config.config;
    let config = match Config::load(path) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|w| eprintln!("{w}"));
            config
        }
        Err(mistakes) => {
            mistakes.iter().for_each(|m| eprintln!("{m}"));
            return ExitCode::FAILURE;
        }
    };
    let unusable = super::loads::unusable(&config);
    if !unusable.is_empty() {
        unusable.iter().for_each(|mistake| eprintln!("{}: {mistake}", path.display()));
        return ExitCode::FAILURE;
    }
    let logging = match Logging::start(&config.log) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("pgweir: {error}");
            return ExitCode::FAILURE;
        }
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(config, path, &logging, args.replace)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "pgweir cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, path: &Path, logging: &Logging, replace: Option<i32>) -> io::Result<()> {
    let replaced = replace.map(Replaced::find).transpose()?;
    open_files::raise(&config);
    let (orders, ordered) = unbounded_channel();
    let (peers, heard) = Peers::meet(&config);
    let loops = EventLoops::start(config.runtime.threads)?;
    let weir = Arc::new(build(config, orders, peers, &loops)?);
    let config = weir.config.load_full();
    weir.traces.apply(config.traces.as_ref());
    if replaced.is_some() {
        replace::wait_for_primary(&weir).await?;
    }
    let mut doors = Doors::new(weir.clone(), loops, replaced.is_some());
    let bound = doors.bind(&config).map_err(|mistakes| io::Error::other(mistakes.join("; ")))?;
    doors.open(bound, &config);
    if let Some(socket) = heard {
        let weir = weir.clone();
        tokio::spawn(peers::listen(socket, move |process, secret| {
            cancel::cancel_for_peer(&weir, process, secret);
        }));
    }
    if let Some(address) = config.fleet.listen {
        let socket =
            machines::bind(address).map_err(|e| io::Error::other(format!("fleet.listen: {address}: {e}")))?;
        tokio::spawn(hear_machines(weir.clone(), socket));
    }
    if let Some(replaced) = replaced {
        replaced.leave();
    }
    tokio::spawn(sweep(weir.clone()));
    tokio::spawn(keep_warm(weir.clone()));
    tokio::spawn(advise(weir.clone()));
    tokio::spawn(crate::tenure::follow(weir.clone()));
    tokio::spawn(watch_file(weir.clone(), path.to_owned()));
    supervisor::ready(&weir);
    let mut reloader = Reloader { weir: weir.clone(), doors, path: path.to_owned(), logging };
    let (how, mut signals) = until_told_to_leave(&mut reloader, ordered).await?;
    supervisor::tell(&[NotifyState::Stopping]);
    leave(&weir, &mut reloader.doors, how, &mut signals).await;
    weir.traces.end();
    Ok(())
}

/// Cancel requests that reached other machines.
async fn hear_machines(weir: Arc<Weir>, socket: UdpSocket) {
    let fleet = || weir.config.load().fleet.clone();
    let cancel = |process, secret: &[u8]| cancel::cancel_for_machine(&weir, process, secret);
    weir.machines.listen(socket, fleet, cancel).await;
}

fn build(
    config: Config,
    orders: UnboundedSender<Order>,
    peers: Peers,
    loops: &EventLoops,
) -> io::Result<Weir> {
    let metrics = Arc::new(Metrics::new().map_err(io::Error::other)?);
    let acceptor = Acceptor::of(config.listen.tls.as_ref()).map_err(io::Error::other)?.map(Arc::new);
    Ok(Weir {
        cluster: Cluster::start(&config, metrics.clone(), loops.always_in_use()),
        metrics,
        classifier: Classifier::new(config.routing.cache_bytes_max),
        ruled: Ruled::default(),
        directory: Directory::new(&config),
        census: Default::default(),
        pools: Pools::default(),
        anteroom: Default::default(),
        registry: Registry::default(),
        gate: Default::default(),
        consoles: tokio::sync::Semaphore::new(CONSOLES_MAX),
        orders,
        welcomes: Default::default(),
        acceptor: ArcSwapOption::new(acceptor),
        connector: Connector::new(&config.cluster.tls).map_err(io::Error::other)?,
        statement_seed: Default::default(),
        schema_changes: Default::default(),
        draining: AtomicBool::new(false),
        peers,
        machines: Default::default(),
        traces: Default::default(),
        cancels: tokio::sync::Semaphore::new(CANCELS_MAX),
        config: ArcSwap::from_pointee(config),
    })
}

/// Closes idle and old servers.
async fn sweep(weir: Arc<Weir>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let config = weir.config.load_full();
        weir.pools.set_siblings(weir.cluster.siblings().len(), &config);
        weir.pools.sweep(&config, |pool, before| crate::tenure::has_session(&weir, &pool.key, before));
        weir.metrics.tick(Instant::now());
        supervisor::watchdog();
        weir.connector.refresh();
        if let Some(acceptor) = &*weir.acceptor.load() {
            acceptor.refresh();
        }
    }
}

/// When pgweir was too busy to look, it is done up to so many minutes late.
const WARM_LATE_MAX: u64 = 5;

/// Keeps the configured few open, and fills the pools when it is time to. Apart from the sweep, since a
/// node that does not answer holds this up.
async fn keep_warm(weir: Arc<Weir>) {
    let mut seen = minute_of(SystemTime::now());
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let config = weir.config.load_full();
        let now = minute_of(SystemTime::now());
        let mut minutes = now.saturating_sub(WARM_LATE_MAX).max(seen + 1)..=now;
        let is_peak = minutes.any(|minute| config.pool.warm_at.iter().any(|time| time.is_due(minute)));
        seen = now;
        let mut dead: Vec<String> = vec![];
        for pool in weir.pools.all() {
            let count = if is_peak { pool.limit() } else { config.pool.server_connections_min };
            if count == 0 || pool.is_abandoned() || dead.contains(&pool.key.node) {
                continue;
            }
            if let Err(error) = pool.warm(count, &weir.connector, &config).await {
                tracing::debug!(node = pool.key.node, %error, "a pool could not be kept warm");
                if error.is_nodes_fault() {
                    dead.push(pool.key.node.clone());
                }
            }
        }
        if is_peak {
            tracing::info!(pools = weir.pools.all().len(), "pools filled (pool.warm_at)");
        }
    }
}

/// A change of the file is a reload, where that is wanted.
async fn watch_file(weir: Arc<Weir>, path: PathBuf) {
    let watched = crate::config::reload::watch(path, move || {
        if !weir.config.load().runtime.watch_config {
            return true;
        }
        tracing::info!("the configuration file has changed");
        // The log says what came of it.
        weir.orders.send(Order::Reload(oneshot::channel().0)).is_ok()
    });
    watched.await;
}

/// The signals that say: leave.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn until_told_to_leave(
    reloader: &mut Reloader<'_>,
    mut ordered: UnboundedReceiver<Order>,
) -> io::Result<(Leave, Signals)> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    loop {
        tokio::select! {
            _ = hangup.recv() => drop(reloader.reload()),
            () = signals.any() => return Ok((Leave::AfterTransactions, signals)),
            order = ordered.recv() => match order {
                Some(Order::Reload(answer)) => {
                    // Who asked may be gone.
                    let _ = answer.send(reloader.reload());
                }
                Some(Order::Leave(how)) => return Ok((how, signals)),
                None => return Ok((Leave::AfterTransactions, signals)),
            },
        }
    }
}

/// How long a primary is waited for before nobody is advised on it any more.
const ADVICE_WAIT: Duration = Duration::from_secs(600);

/// Says once in the log what the primary does not let pgweir do, or is set to that undoes splitting.
async fn advise(weir: Arc<Weir>) {
    let Some((primary, _)) = weir.cluster.wait_for_primary(ADVICE_WAIT).await else { return };
    let config = weir.config.load_full();
    for finding in check::connect::advice(&config, &primary.name).await {
        let remedy = finding.remedy.unwrap_or_default();
        tracing::warn!(node = primary.name, remedy, "{}", finding.text);
    }
}

/// Clients that stay for a few statements only (connect, ask, leave) leave by themselves: so old they may get.
const BRIEF_STAY: Duration = Duration::from_secs(2);

/// No new clients; those that are there leave between transactions; the rest when time is up.
async fn leave(weir: &Weir, doors: &mut Doors, how: Leave, signals: &mut Signals) {
    weir.draining.store(true, Ordering::Relaxed);
    let limit = weir.config.load().limits.drain;
    tracing::info!(
        limit = %humantime::format_duration(limit),
        clients = weir.registry.len(),
        how = how.as_str(),
        "leaving"
    );
    doors.close().await;
    let began = Instant::now();
    let over = |began: Instant| match how {
        Leave::AtOnce => true,
        Leave::AfterTransactions => began.elapsed() >= limit,
        Leave::AfterClients => false,
    };
    while weir.registry.len() + weir.anteroom.len() > 0 && !over(began) {
        if how == Leave::AfterTransactions {
            end_idle_clients(weir);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = signals.any() => break,
        }
    }
    tracing::info!(clients = weir.registry.len(), "left");
}

fn end_idle_clients(weir: &Weir) {
    let stays = |card: &&Arc<Card>| card.connected.elapsed().is_ok_and(|age| age < BRIEF_STAY);
    for card in weir.registry.all().iter().filter(|card| !stays(card)) {
        card.killed.store(true, Ordering::Relaxed);
        if card.doing() == Doing::Idle {
            card.bell.ring();
        }
    }
}
