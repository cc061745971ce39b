//! `pgweir run`: serve.

use crate::Weir;
use crate::auth::Directory;
use crate::cluster::Cluster;
use crate::config::{Config, Mistake};
use crate::limits::{CANCELS_MAX, SWEEP_EVERY};
use crate::listener::{self, EventLoops};
use crate::net::tls::{Acceptor, Connector};
use crate::observe::Metrics;
use crate::observe::http::Site;
use crate::pool::Pools;
use crate::session::registry::{Doing, Registry};
use arc_swap::{ArcSwap, ArcSwapOption};
use clap::Args;
use router_rules::Classifier;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Arguments of `pgweir run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
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
    let logging = match crate::observe::logging::Logging::start(&config.log) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("pgweir: {error}");
            return ExitCode::FAILURE;
        }
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(config, path, &logging)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "pgweir cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, path: &Path, logging: &crate::observe::logging::Logging) -> io::Result<()> {
    let weir = Arc::new(build(config)?);
    let config = weir.config.load_full();
    let loops = Arc::new(EventLoops::start(&weir, config.runtime.threads)?);
    for address in &config.listen.addresses {
        let listener = listener::bind_tcp(*address).map_err(|e| naming(&address.to_string(), &e))?;
        tracing::info!(address = %listener.local_addr()?, "listening");
        tokio::spawn(listener::accept_tcp(listener, loops.clone()));
    }
    let mut sockets = UnixSockets::default();
    let port = config.listen.addresses.first().map_or(5432, std::net::SocketAddr::port);
    for directory in &config.listen.unix_directories {
        let path = directory.join(format!(".s.PGSQL.{port}"));
        let listener = listener::bind_unix(&path).map_err(|e| naming(&path.display().to_string(), &e))?;
        tracing::info!(path = %path.display(), "listening");
        sockets.0.push(path);
        tokio::spawn(listener::accept_unix(listener, loops.clone()));
    }
    if let Some(address) = config.http.address {
        let listener =
            tokio::net::TcpListener::bind(address).await.map_err(|e| naming(&address.to_string(), &e))?;
        tracing::info!(address = %listener.local_addr()?, "HTTP");
        let (seen, told) = (weir.clone(), weir.clone());
        let site = Site {
            picture: Box::new(move || seen.picture()),
            metrics: weir.metrics.clone(),
            token: Box::new(move || told.config.load().http.token.clone()),
        };
        tokio::spawn(crate::observe::http::serve(Arc::new(site), listener, None));
    }
    tokio::spawn(sweep(weir.clone()));
    until_told_to_leave(&weir, path, logging).await
}

fn build(config: Config) -> io::Result<Weir> {
    let metrics = Arc::new(Metrics::new().map_err(io::Error::other)?);
    let acceptor = match &config.listen.tls {
        Some(files) => Some(Arc::new(Acceptor::new(files).map_err(io::Error::other)?)),
        None => None,
    };
    Ok(Weir {
        cluster: Cluster::start(&config, metrics.clone()),
        metrics,
        classifier: Classifier::new(config.routing.cache_bytes_max),
        directory: Directory::new(&config),
        pools: Pools::default(),
        registry: Registry::default(),
        welcomes: Default::default(),
        acceptor: ArcSwapOption::new(acceptor),
        connector: Connector::new(&config.cluster.tls).map_err(io::Error::other)?,
        statement_seed: Default::default(),
        draining: AtomicBool::new(false),
        cancels: tokio::sync::Semaphore::new(CANCELS_MAX),
        config: ArcSwap::from_pointee(config),
    })
}

fn naming(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Unix sockets are files: they go when we go.
#[derive(Default)]
struct UnixSockets(Vec<PathBuf>);

impl Drop for UnixSockets {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "a socket could not be removed");
            }
        }
    }
}

/// Closes idle and old servers, keeps the configured few open.
async fn sweep(weir: Arc<Weir>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let config = weir.config.load_full();
        weir.pools.sweep(&config);
        weir.connector.refresh();
        if let Some(acceptor) = &*weir.acceptor.load() {
            acceptor.refresh();
        }
        if config.pool.server_connections_min > 0 {
            for pool in weir.pools.all() {
                let warmed = pool.warm(config.pool.server_connections_min, &weir.connector, &config).await;
                if let Err(error) = warmed {
                    tracing::debug!(node = pool.key.node, %error, "a pool could not be kept warm");
                }
            }
        }
    }
}

async fn until_told_to_leave(
    weir: &Arc<Weir>,
    path: &Path,
    logging: &crate::observe::logging::Logging,
) -> io::Result<()> {
    let (mut hangup, mut terminate, mut interrupt) =
        (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Err(mistakes) = reload(weir, path, logging) {
                    mistakes.iter().for_each(|m| tracing::error!(mistake = %m, "reload refused"));
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    leave(weir, &mut terminate, &mut interrupt).await;
    Ok(())
}

/// Reads the configuration again. With mistakes the old one stays.
///
/// # Errors
/// Every mistake.
pub fn reload(
    weir: &Arc<Weir>,
    path: &Path,
    logging: &crate::observe::logging::Logging,
) -> Result<(), Vec<Mistake>> {
    let (config, warnings) = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            weir.metrics.reloaded("refused");
            return Err(mistakes);
        }
    };
    warnings.iter().for_each(|w| tracing::warn!(warning = %w, "configuration"));
    logging.apply(&config.log);
    weir.cluster.apply(&config);
    weir.directory.apply(&config);
    weir.pools.apply(&config);
    weir.welcomes.clear();
    apply_tls(weir, &config);
    weir.config.store(Arc::new(config));
    weir.metrics.reloaded("applied");
    tracing::info!("configuration reloaded");
    Ok(())
}

/// Certificates and TLS settings; what cannot be read leaves the old ones.
fn apply_tls(weir: &Weir, config: &Config) {
    if let Err(error) = weir.connector.apply(&config.cluster.tls) {
        tracing::error!(%error, "cluster.tls could not be applied: the old settings stay");
    }
    match config.listen.tls.as_ref().map(Acceptor::new) {
        None => weir.acceptor.store(None),
        Some(Ok(acceptor)) => weir.acceptor.store(Some(Arc::new(acceptor))),
        Some(Err(error)) => {
            tracing::error!(%error, "listen.tls could not be applied: the old certificate stays");
        }
    }
}

/// No new clients; those that are there leave between transactions; the rest when time is up.
async fn leave(weir: &Weir, terminate: &mut Signal, interrupt: &mut Signal) {
    weir.draining.store(true, Ordering::Relaxed);
    let limit = weir.config.load().limits.drain;
    tracing::info!(limit = ?limit, clients = weir.registry.len(), "leaving");
    let until = Instant::now() + limit;
    while !weir.registry.is_empty() && Instant::now() < until {
        for card in weir.registry.all() {
            card.killed.store(true, Ordering::Relaxed);
            if card.doing() == Doing::Idle {
                card.kill.notify_waiters();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!(clients = weir.registry.len(), "left");
}
