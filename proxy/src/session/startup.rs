//! From accept to the first ReadyForQuery.

use crate::Weir;
use crate::auth::{self, Credentials, LoginError};
use crate::config::{Config, PoolMode};
use crate::loops::Heard;
use crate::net::Connection;
use crate::pool::{Lease, Opening};
use crate::server::{CancelTarget, Reported, Server};
use crate::session::lease::refusal_of_login;
use crate::session::ledger::Ledger;
use crate::session::memory::{Block, Defaults, Memory, Told, Wishes};
use crate::session::registry::{Card, Doing, Key, Registered};
use crate::session::settings::{Settings, Track};
use crate::session::{Session, Who, replication};
use crate::wire::backend::{self, Status};
use crate::wire::startup::{self, Packet, Startup, StartupError};
use crate::wire::{Refusal, sqlstate};
use crate::{console, limits};
use bytes::Buf;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use router_rules::statement::Footprint;
use router_rules::{Scope, Target};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The newest minor version of protocol 3 that we speak.
const MINOR_MAX: u16 = 2;
/// Bytes of a cancel key before protocol 3.2, and with it.
const SECRET_BYTES: [usize; 2] = [4, 32];

/// Serves one client from its first byte to its last.
pub async fn serve(weir: Arc<Weir>, client: Connection, peer: Option<IpAddr>) {
    let logging_in_max = weir.config.load().limits.clients_max;
    if weir.registry.logging_in.load(Ordering::Relaxed) >= logging_in_max {
        tracing::warn!(
            limit = "limits.clients_max",
            max = logging_in_max,
            ?peer,
            "a client refused before its log-in"
        );
        return;
    }
    weir.registry.logging_in.fetch_add(1, Ordering::Relaxed);
    let limit = weir.config.load().limits.login;
    // What a log-in needs is given back when it is over: a client's task is no larger than its session.
    let greeted = tokio::time::timeout(limit, Box::pin(greet(&weir, client, peer))).await;
    weir.registry.logging_in.fetch_sub(1, Ordering::Relaxed);
    match greeted {
        Ok(Ok(Some(guest))) => serve_guest(&weir, *guest, peer).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(?peer, %error, "a client left before it had logged in"),
        Err(_) => tracing::warn!(?peer, limit = "limits.login", "a client took too long to log in"),
    }
}

/// A client that has authenticated.
struct Guest {
    client: Connection,
    startup: Startup,
    credentials: Arc<Credentials>,
}

/// The packets before the log-in, and the log-in.
async fn greet(
    weir: &Arc<Weir>,
    mut client: Connection,
    peer: Option<IpAddr>,
) -> io::Result<Option<Box<Guest>>> {
    let acceptor = weir.acceptor.load_full();
    client.fill_to(1).await?;
    if client.input.first() == Some(&0x16)
        && let Some(acceptor) = &acceptor
    {
        client = acceptor.accept_direct(client).await?;
    }
    // Each may be asked for once, as by Postgres.
    let (mut asked_tls, mut asked_gss) = (false, false);
    loop {
        client.fill_to(4).await?;
        let first = [client.input[0], client.input[1], client.input[2], client.input[3]];
        let packet = match startup::length(first) {
            Ok(length) => {
                client.fill_to(length).await?;
                let packet = client.input.split_to(length);
                startup::parse(&packet[4..])
            }
            Err(error) => Err(error),
        };
        match packet {
            Ok(Packet::Tls) if !asked_tls => match (std::mem::replace(&mut asked_tls, true), &acceptor) {
                (_, Some(acceptor)) if !client.stream().is_tls() => {
                    asked_gss = true;
                    client.output.extend_from_slice(b"S");
                    client.flush().await?;
                    client = acceptor.accept(client).await?;
                }
                _ => {
                    client.output.extend_from_slice(b"N");
                    client.flush().await?;
                }
            },
            Ok(Packet::Gss) if !asked_gss => {
                asked_gss = true;
                client.output.extend_from_slice(b"N");
                client.flush().await?;
            }
            Ok(Packet::Cancel { process, secret }) => {
                cancel(weir, process, &secret).await;
                return Ok(None);
            }
            Ok(Packet::Startup(startup)) => return log_in(weir, client, startup, peer).await,
            Ok(Packet::Tls) => {
                return refuse_packet(&mut client, peer, &StartupError::Version(1234, 5679)).await;
            }
            Ok(Packet::Gss) => {
                return refuse_packet(&mut client, peer, &StartupError::Version(1234, 5680)).await;
            }
            Err(error) => return refuse_packet(&mut client, peer, &error).await,
        }
    }
}

async fn refuse_packet(
    client: &mut Connection,
    peer: Option<IpAddr>,
    error: &StartupError,
) -> io::Result<Option<Box<Guest>>> {
    tracing::info!(?peer, %error, limit = "startup_bytes_max", max = limits::STARTUP_BYTES_MAX, "a start-up packet that cannot be understood");
    let code = match error {
        StartupError::Version(..) => sqlstate::FEATURE_NOT_SUPPORTED,
        StartupError::NoUser => sqlstate::INVALID_AUTHORIZATION,
        _ => sqlstate::PROTOCOL_VIOLATION,
    };
    tell(client, &Refusal::new(code, error.to_string())).await;
    Ok(None)
}

async fn log_in(
    weir: &Arc<Weir>,
    mut client: Connection,
    startup: Startup,
    peer: Option<IpAddr>,
) -> io::Result<Option<Box<Guest>>> {
    // 3.1 was never released: who asks for it is offered what it surely knows.
    if startup.minor > MINOR_MAX || startup.minor == 1 || !startup.unknown_options.is_empty() {
        let minor = if startup.minor == 1 { 0 } else { startup.minor.min(MINOR_MAX) };
        backend::put_negotiate(&mut client.output, minor, &startup.unknown_options);
    }
    let config = weir.config.load_full();
    match auth::authenticate(&mut client, &startup, peer, &weir.directory, &weir.cluster, &config).await {
        Ok(credentials) => Ok(Some(Box::new(Guest { client, startup, credentials }))),
        Err(LoginError::Io(error)) => Err(error),
        Err(error) => {
            let refusal = refusal_of_login(&error);
            crate::limited!(info, user = startup.user, database = startup.database, ?peer, %refusal, "log-in refused");
            tell(&mut client, &refusal).await;
            Ok(None)
        }
    }
}

/// Sends a FATAL; a client that does not read it misses it.
async fn tell(client: &mut Connection, refusal: &Refusal) {
    refusal.put(&mut client.output, "FATAL");
    if let Err(error) = client.flush().await {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

async fn serve_guest(weir: &Arc<Weir>, guest: Guest, peer: Option<IpAddr>) {
    let Guest { mut client, startup, credentials } = guest;
    if matches!(startup.database.as_str(), "pgweir" | "pgbouncer") {
        return Box::pin(console::serve(weir.clone(), client, &startup.user)).await;
    }
    let config = weir.config.load_full();
    let address = peer.map_or_else(|| "unix".to_owned(), |p| p.to_string());
    let from = (address, client.stream().is_tls());
    let who =
        Who { user: startup.user.clone(), database: startup.database.clone(), credentials, address: peer };
    let own_server = if startup.replication.is_none() && has_own_server(&who, &config) {
        // It keeps this server: a replica only when there is no primary to be had.
        if weir.cluster.primary().is_none() {
            Box::pin(weir.cluster.wait_for_primary(config.cluster.primary_wait)).await;
        }
        match Box::pin(lease_primary(weir, &who)).await {
            Ok(lease) => Some(lease),
            Err(refusal) => return tell(&mut client, &refusal).await,
        }
    } else {
        None
    };
    let Some(key) = cancel_key(startup.minor, own_server.as_ref()) else { return };
    let registered = match weir.registry.register(&who.user, &who.database, from, key, &config) {
        Ok(registered) => registered,
        Err((limit, refusal)) => {
            weir.metrics.refused(limit);
            return tell(&mut client, &refusal).await;
        }
    };
    if startup.replication.is_some() {
        let served = replication::serve(weir, &mut client, &who, &registered.card, &startup);
        if let Err(refusal) = Box::pin(served).await {
            tell(&mut client, &refusal).await;
        }
        return;
    }
    let mut session = match Box::pin(open_session(weir, &registered, client, who, &startup)).await {
        Ok(session) => session,
        Err((mut client, refusal)) => return tell(&mut client, &refusal).await,
    };
    if let Some(lease) = own_server {
        session.keep(lease);
    }
    // It may be long: what it began with is of no use any more.
    drop((startup, config));
    if let Err(failure) = session.run().await {
        tracing::debug!(user = session.who.user, database = session.who.database, %failure, "session ended");
    }
}

/// Pool mode `session`, for this user or for all.
fn has_own_server(who: &Who, config: &Config) -> bool {
    let of_user = config.users.iter().find(|u| u.name == who.user).and_then(|u| u.mode);
    of_user.unwrap_or(config.pool.mode) == PoolMode::Session
}

/// What the client may cancel with; `None` when the system has no randomness to give.
fn cancel_key(minor: u16, own_server: Option<&Lease>) -> Option<Key> {
    if let Some(lease) = own_server {
        return Some(Key::OfServer(lease.cancel.process, lease.cancel.secret.clone()));
    }
    let mut secret = vec![0; SECRET_BYTES[usize::from(minor >= 2)]];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(Key::Secret(secret))
}

/// A server of the primary, or of any node that is there while nothing is primary.
async fn lease_primary(weir: &Weir, who: &Who) -> Result<Lease, Refusal> {
    let config = weir.config.load_full();
    let node = match weir.cluster.primary().or_else(|| weir.cluster.any_node()) {
        Some(node) => node,
        None => weir.cluster.wait_for_primary(config.cluster.primary_wait).await.ok_or_else(|| {
            Refusal::new(sqlstate::CANNOT_CONNECT_NOW, "no node of the cluster is up")
                .with_hint("See SHOW NODES in the console of pgweir.")
        })?,
    };
    let pool = weir.pools.get(&node, &who.database, &who.user, &config);
    let opening = Opening { credentials: &who.credentials, tls: &weir.connector, config: &config };
    pool.lease(opening).await.map_err(|error| match error {
        crate::pool::LeaseError::TooLong(refusal) => refusal,
        crate::pool::LeaseError::Login(error) => refusal_of_login(&error),
    })
}

async fn open_session(
    weir: &Arc<Weir>,
    registered: &Registered<'_>,
    mut client: Connection,
    who: Who,
    startup: &Startup,
) -> Result<Box<Session>, (Connection, Refusal)> {
    let card = registered.card.clone();
    let mut wishes = Wishes::default();
    let mut pairs = vec![];
    for (name, value) in &startup.settings {
        if name.starts_with("pgweir.")
            && let Err(message) = wishes.set(name, Some(value))
        {
            return Err((client, Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message)));
        }
        pairs.push((name.as_str(), value.as_str()));
    }
    let mut freshness = crate::cluster::SessionFreshness::default();
    let settings = Settings::from_pairs(pairs);
    if let Some(token) = settings.value("pgweir.min_lsn")
        && let Err(message) = freshness.set_min_lsn(token)
    {
        return Err((client, Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message)));
    }
    let welcome = match welcome(weir, &who, &settings).await {
        Ok(welcome) => welcome,
        Err(refusal) => return Err((client, refusal)),
    };
    for (name, value) in &*welcome.reported {
        backend::put_parameter_status(&mut client.output, name, value);
    }
    backend::put_backend_key_data(&mut client.output, card.process, &card.secret);
    backend::put_ready(&mut client.output, Status::Idle);
    if let Some(name) = welcome.reported.get("application_name") {
        name.clone_into(&mut card.application_name.lock());
    }
    card.set_doing(Doing::Idle);
    let scope = Scope {
        id: 0,
        catalog: None,
        search_path: vec![],
        role: String::new(),
        standard_conforming_strings: true,
    };
    let memory = Memory {
        // Those of all that start alike: they are kept once.
        settings: Track::starting_with(welcome.settings.clone()),
        told: Told::at_start(welcome.reported.clone()),
        defaults: welcome.defaults.clone(),
        scope: Arc::new(scope),
        scope_settings: u64::MAX,
        scope_changes: 0,
        scope_asked: std::time::Instant::now(),
        statements: HashMap::default(),
        sql_names: Default::default(),
        block: Block::None,
        status: Status::Idle,
        pins: vec![],
        sequences: false,
        process_asked: None,
        maybe_unpinned: false,
        freshness,
        written: Footprint::none(),
        seen: Footprint::none(),
        schema_changed: false,
        failed: false,
        wishes,
        last_route: None,
    };
    Ok(Box::new(Session {
        counters: weir.metrics.database(&who.database),
        config: weir.config.load_full(),
        weir: weir.clone(),
        card,
        who,
        client,
        memory,
        lease: None,
        lingers: false,
        in_a_row: 0,
        kept: None,
        on: Target::Primary,
        ledger: Ledger::default(),
        unsynced: false,
        skipping: false,
        copy_in: false,
        passing: 0,
        held_from: None,
        held_in_block: false,
        held_result: false,
        portals: vec![],
        bound: vec![],
        renamed: vec![],
        parameters: vec![],
        notifies: false,
        describes: false,
        pools: vec![],
        last_primary: None,
        started: std::time::Instant::now(),
        waited: std::time::Duration::ZERO,
        began: None,
        unpin_answer: None,
        heard: Heard::all_before(),
    }))
}

/// What a server reports to a user who starts with certain settings.
#[derive(Debug)]
pub struct Welcome {
    settings: Settings,
    reported: Arc<Reported>,
    defaults: Arc<Defaults>,
}

/// Welcomes by database, user and settings, so that most log-ins need no server.
#[derive(Debug, Default)]
pub struct Welcomes(Mutex<HashMap<(String, String, u64), Arc<Welcome>>>);

impl Welcomes {
    /// Forget all: settings may have changed on the cluster.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// What the client is told at log-in; a server is asked when nobody has started like this before.
async fn welcome(weir: &Weir, who: &Who, settings: &Settings) -> Result<Arc<Welcome>, Refusal> {
    let key = (who.database.clone(), who.user.clone(), settings.id());
    if let Some(known) = weir.welcomes.0.lock().get(&key) {
        return Ok(known.clone());
    }
    let mut lease = lease_primary(weir, who).await?;
    let asked = ask_welcome(&mut lease, settings).await;
    match asked {
        Ok(welcome) => {
            lease.give_back();
            let welcome = Arc::new(welcome);
            let mut all = weir.welcomes.0.lock();
            if all.len() >= limits::WELCOMES_MAX {
                all.clear();
            }
            all.insert(key, welcome.clone());
            Ok(welcome)
        }
        Err(error) => Err(refusal_of_login(&error)),
    }
}

async fn ask_welcome(server: &mut Server, settings: &Settings) -> Result<Welcome, LoginError> {
    for sql in server.settings.now().change_to(settings) {
        server.ask(&sql).await?;
    }
    server.settings.applied(settings.clone());
    let rows = server
        .ask(
            "SELECT pg_catalog.current_setting('search_path'), \
             pg_catalog.current_setting('default_transaction_isolation'), \
             pg_catalog.current_setting('default_transaction_read_only')",
        )
        .await?;
    let mut row = rows.into_iter().next().unwrap_or_default().into_iter().map(Option::unwrap_or_default);
    let mut next = || row.next().unwrap_or_default();
    let defaults = Arc::new(Defaults { search_path: next(), isolation: next(), read_only: next() == "on" });
    let mut reported = server.reported.clone();
    // As far as the client is concerned it talks to the primary.
    if let Some(value) = reported.get_mut("in_hot_standby") {
        "off".clone_into(value);
    }
    Ok(Welcome { settings: settings.clone(), reported: Arc::new(reported), defaults })
}

/// A cancel request: passed on to the server that works for that client, if any.
///
/// As Postgres does, nothing is said about whether the key was right.
async fn cancel(weir: &Arc<Weir>, process: i32, secret: &[u8]) {
    let Some(card) = weir.registry.find(process, secret) else {
        tracing::debug!(process, "a cancel request with a key that is not of this process");
        return weir.peers.tell(process, secret);
    };
    if let Some(target) = cancelled(&card) {
        pass_cancel(weir, target).await;
    }
}

/// Ends a client at once; what it runs is cancelled.
pub(crate) fn end_client(weir: &Arc<Weir>, card: &Card) {
    card.killed_now.store(true, Ordering::Relaxed);
    card.bell.ring();
    if let Some(target) = card.start_cancel() {
        send_cancel(weir.clone(), target);
    }
}

/// A cancel request that reached another process of this machine.
pub(crate) fn cancel_for_peer(weir: &Arc<Weir>, process: i32, secret: &[u8]) {
    let Some(card) = weir.registry.find(process, secret) else { return };
    if let Some(target) = cancelled(&card) {
        send_cancel(weir.clone(), target);
    }
}

/// The server to be told, if the client has one; else its wait for one ends.
fn cancelled(card: &Card) -> Option<Arc<CancelTarget>> {
    let target = card.start_cancel();
    if target.is_none() {
        card.cancelled.store(true, Ordering::Relaxed);
        card.bell.ring();
    }
    target
}

/// Sends a cancel request from a task of its own.
pub(crate) fn send_cancel(weir: Arc<Weir>, target: Arc<CancelTarget>) {
    tokio::spawn(async move { pass_cancel(&weir, target).await });
}

/// Passes a cancel request on that is already counted at its target.
async fn pass_cancel(weir: &Weir, target: Arc<CancelTarget>) {
    let Ok(_permit) = weir.cancels.acquire().await else { return };
    let sent = crate::server::cancel(&target, &weir.connector);
    let sent = tokio::time::timeout(std::time::Duration::from_secs(5), sent).await;
    if let Ok(Err(error)) = sent {
        tracing::warn!(node = target.address, %error, "a cancel request could not be passed on");
    }
    *target.pending.lock() -= 1;
    target.arrived.notify_waiters();
}

/// Skips a PROXY protocol v2 header at the start of the connection; returns the client's address.
///
/// <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>
///
/// # Errors
/// When there is no such header.
pub async fn read_proxy_header(client: &mut Connection) -> io::Result<Option<IpAddr>> {
    const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
    const HEADER: usize = 16;
    client.fill_to(HEADER).await?;
    let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if client.input[..12] != SIGNATURE || client.input[12] >> 4 != 2 {
        return Err(bad("no PROXY protocol v2 header"));
    }
    let (command, family) = (client.input[12] & 0xf, client.input[13] >> 4);
    let length = usize::from(u16::from_be_bytes([client.input[14], client.input[15]]));
    client.fill_to(HEADER + length).await?;
    client.input.advance(HEADER);
    let body = client.input.split_to(length);
    Ok(match (command, family) {
        (1, 1) => {
            let octets: [u8; 4] = body.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(|| bad("torn"))?;
            Some(octets.into())
        }
        (1, 2) => {
            let octets: [u8; 16] =
                body.get(..16).and_then(|b| b.try_into().ok()).ok_or_else(|| bad("torn"))?;
            Some(octets.into())
        }
        _ => None,
    })
}
