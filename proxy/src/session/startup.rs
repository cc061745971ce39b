//! From the log-in to the first ReadyForQuery.

use crate::auth::{Credentials, Standing};
use crate::clients::registry::{Doing, Key, Registered};
use crate::clients::welcomes::Welcome;
use crate::cluster::SessionFreshness;
use crate::config::{Config, PoolMode};
use crate::loops::Heard;
use crate::net::Connection;
use crate::pool::{Lease, LeaseError, Opening};
use crate::server::placeholders::{Allowed, Placeholders};
use crate::session::client::Client;
use crate::session::exchange::Exchange;
use crate::session::holding::Holding;
use crate::session::lease::refusal_of_login;
use crate::session::memory::{Memory, Told};
use crate::session::turn::Turn;
use crate::session::welcome::{try_out, welcome};
use crate::session::{Session, Who, replication};
use crate::tenure;
use crate::weir::Weir;
use crate::wire::backend::{self, Status};
use crate::wire::startup::Startup;
use crate::wire::{Refusal, sqlstate};
use ring::rand::{SecureRandom, SystemRandom};
use router_rules::Scope;
use router_rules::SessionState;
use router_rules::encoding::Encoding;
use router_rules::session::Settings;
use router_rules::session::Wishes;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a cancel key before protocol 3.2, and with it.
const SECRET_BYTES: [usize; 2] = [4, 32];

/// A client that has authenticated.
pub(crate) struct Guest {
    pub(crate) client: Connection,
    /// Where it comes from; `None`: a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) startup: Startup,
    pub(crate) credentials: Arc<Credentials>,
    /// What it is on Postgres.
    pub(crate) standing: Arc<Standing>,
}

/// Serves a client to its last byte.
pub(crate) async fn serve(weir: &Arc<Weir>, guest: Box<Guest>) {
    // What a session begins with is given back when it has begun: a client's task is no larger than that.
    let Some((_registered, mut session)) = Box::pin(begin(weir, guest)).await else { return };
    if let Err(failure) = session.run().await {
        tracing::debug!(user = session.client.who.user, database = session.client.who.database, %failure, "session ended");
    }
}

/// The client's entry among all clients, and its session. `None`: it was served otherwise, or refused.
async fn begin(weir: &Arc<Weir>, guest: Box<Guest>) -> Option<(Registered<'_>, Box<Session>)> {
    let Guest { mut client, peer, startup, credentials, standing } = *guest;
    let config = weir.config.load_full();
    let from = (peer, client.stream().is_tls());
    let mut who = Who {
        user: startup.user.clone(),
        database: startup.database.clone(),
        identity: standing.identity().unwrap_or_default(),
        servers_max: standing.servers_max(),
        credentials,
        address: peer.map(|peer| peer.ip()),
    };
    drop(standing);
    let begun = match startup.replication {
        None if has_own_server(&who, &config) => begin_with_own(weir, &mut who, &startup).await.map(Some),
        _ => Ok(None),
    };
    let (found, own_server) = or_tell(&mut client, begun).await?.unzip();
    let key = cancel_key(startup.minor, own_server.as_ref())?;
    let registered = match weir.registry.register(&who.user, &who.database, from, key, &config) {
        Ok(registered) => registered,
        Err((limit, refusal)) => {
            weir.metrics.refused(limit);
            tell(&mut client, &refusal).await;
            return None;
        }
    };
    registered.card.database_oid.store(who.identity.database, Ordering::Relaxed);
    if startup.replication.is_some() {
        let served = replication::serve(weir, &mut client, &who, &registered.card, &startup);
        if let Err(refusal) = Box::pin(served).await {
            tell(&mut client, &refusal).await;
        }
        return None;
    }
    let found = match found {
        Some(found) => found,
        None => {
            let found = Box::pin(Found::of(weir, &mut who, &startup)).await;
            or_tell(&mut client, found).await?
        }
    };
    let mut session = open_session(weir, &registered, client, who, found);
    if let Some(lease) = own_server {
        session.keep(lease);
    }
    Some((registered, session))
}

/// A client's own server, and before that what others tell: while it holds one it waits for none.
async fn begin_with_own(weir: &Weir, who: &mut Who, startup: &Startup) -> Result<(Found, Lease), Refusal> {
    // A replica only when there is no primary to be had.
    if weir.cluster.primary().is_none() {
        let limit = weir.config.load().cluster.primary_wait;
        Box::pin(weir.cluster.wait_for_primary(limit)).await;
    }
    let found = Box::pin(Found::of(weir, who, startup)).await?;
    Ok((found, Box::pin(lease_own(weir, who, startup)).await?))
}

/// What went well; otherwise the client is told why it did not.
async fn or_tell<T>(client: &mut Connection, outcome: Result<T, Refusal>) -> Option<T> {
    match outcome {
        Ok(good) => Some(good),
        Err(refusal) => {
            tell(client, &refusal).await;
            None
        }
    }
}

/// Sends a FATAL; a client that does not read it misses it.
pub(crate) async fn tell(client: &mut Connection, refusal: &Refusal) {
    refusal.put(&mut client.output, "FATAL");
    if let Err(error) = client.flush().await {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

/// Pool mode `session`, for this user or for all.
fn has_own_server(who: &Who, config: &Config) -> bool {
    config.pool_mode(&who.user) == PoolMode::Session
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

/// A server of the primary, or of any node that is there while nothing is primary. Should the names have been
/// given anew since the log-in began, it is for who has them now.
pub(super) async fn lease_primary(weir: &Weir, who: &mut Who) -> Result<Lease, Refusal> {
    lease_for(weir, who, None).await
}

/// The client's own from now on: one that shows nothing of whoever had it before.
async fn lease_own(weir: &Weir, who: &mut Who, startup: &Startup) -> Result<Lease, Refusal> {
    let mut known = Placeholders::default();
    startup.settings.iter().for_each(|(name, _)| known.add(name));
    lease_for(weir, who, Some(&Allowed::new(Cow::Owned(known), false))).await
}

async fn lease_for(weir: &Weir, who: &mut Who, allowed: Option<&Allowed<'_>>) -> Result<Lease, Refusal> {
    match try_lease_primary(weir, who, allowed).await? {
        Ok(lease) => return Ok(lease),
        Err(error) if error.of_somebody().is_none() => return Err(refusal_of_lease(error)),
        Err(_) => weir.census.changed(),
    }
    let standing = tenure::identify(weir, &who.user, &who.database).await?;
    who.identity = standing.identity().unwrap_or_default();
    try_lease_primary(weir, who, allowed).await?.map_err(refusal_of_lease)
}

async fn try_lease_primary(
    weir: &Weir,
    who: &Who,
    allowed: Option<&Allowed<'_>>,
) -> Result<Result<Lease, LeaseError>, Refusal> {
    let config = weir.config.load_full();
    let node = match weir.cluster.primary().or_else(|| weir.cluster.any_node()) {
        Some(node) => node,
        None => {
            let reigning = weir.cluster.wait_for_primary(config.cluster.primary_wait).await;
            let (node, _) = reigning.ok_or_else(|| {
                Refusal::new(sqlstate::CANNOT_CONNECT_NOW, "no node of the cluster is up")
                    .with_hint("See SHOW NODES in the console of pgweir.")
            })?;
            node
        }
    };
    let pool = weir.pools.get(&node, who.tenant(), &config);
    let opening = Opening { credentials: &who.credentials, tls: &weir.connector, config: &config };
    Ok(match allowed {
        Some(allowed) => pool.lease_within(opening, allowed).await,
        None => pool.lease(opening).await,
    })
}

fn refusal_of_lease(error: LeaseError) -> Refusal {
    match error {
        LeaseError::TooLong(refusal) => refusal,
        LeaseError::Login(error) => refusal_of_login(&error),
    }
}

/// What a session begins with.
struct Found {
    wishes: Wishes,
    freshness: SessionFreshness,
    welcome: Arc<Welcome>,
}

impl Found {
    /// By what its start-up packet asks for, and what a server says of it.
    async fn of(weir: &Weir, who: &mut Who, startup: &Startup) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message);
        let mut wishes = Wishes::default();
        let mut pairs = vec![];
        for (name, value) in &startup.settings {
            if name.starts_with("pgweir.") {
                wishes.set(name, Some(value)).map_err(invalid)?;
            }
            // Postgres looks whether it could be, and no more.
            if name != "session_authorization" {
                pairs.push((name.as_str(), value.as_str()));
            }
        }
        let mut freshness = SessionFreshness::default();
        let settings = Settings::from_pairs(pairs);
        if let Some(token) = settings.value("pgweir.min_lsn") {
            freshness.set_min_lsn(token).map_err(invalid)?;
        }
        try_out(weir, who, startup).await?;
        let welcome = welcome(weir, who, &settings).await?;
        Ok(Self { wishes, freshness, welcome })
    }
}

fn open_session(
    weir: &Arc<Weir>,
    registered: &Registered<'_>,
    mut client: Connection,
    who: Who,
    found: Found,
) -> Box<Session> {
    let card = registered.card.clone();
    card.database_oid.store(who.identity.database, Ordering::Relaxed);
    let Found { wishes, freshness, welcome } = found;
    client.output.extend_from_slice(&welcome.told);
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
        encoding: Encoding::Utf8,
        temporary: Arc::default(),
    };
    let mut placeholders = Placeholders::default();
    placeholders.add_all(&welcome.settings);
    let memory = Memory {
        placeholders,
        // Those of all that start alike: they are kept once.
        state: SessionState::new(welcome.settings.clone(), welcome.defaults.clone(), wishes),
        told: Told::at_start(welcome.reported.clone()),
        scope: Arc::new(scope),
        doubts: Default::default(),
        strangers: Default::default(),
        scope_settings: u64::MAX,
        scope_told: None,
        scope_changes: 0,
        scope_until: std::time::Instant::now(),
        statements: Default::default(),
        sql_names: Default::default(),
        status: Status::Idle,
        process_asked: None,
        freshness,
        failed: false,
        last_route: None,
        notifies: false,
        writing: None,
        began: None,
        losses: weir.cluster.losses(),
    };
    Box::new(Session {
        config: weir.config.load_full(),
        weir: weir.clone(),
        client: Client {
            socket: client,
            card,
            counters: weir.metrics.database(&who.database),
            who,
            heard: Heard::all_before(),
        },
        holding: Holding::default(),
        exchange: Exchange::default(),
        turn: Turn::default(),
        memory,
        answers: Default::default(),
    })
}
