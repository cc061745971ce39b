//! From the log-in to the first ReadyForQuery.

use crate::auth::{Credentials, LoginError, Standing};
use crate::clients::registry::{Doing, Key, Registered};
use crate::clients::welcomes::{Defaults, Welcome};
use crate::config::{Config, PoolMode};
use crate::loops::Heard;
use crate::net::Connection;
use crate::pool::{Key as PoolKey, Lease, LeaseError, Opening};
use crate::server::Server;
use crate::server::placeholders::Placeholders;
use crate::server::settings::{Settings, Track, quote_text, set_config};
use crate::session::client::Client;
use crate::session::exchange::Exchange;
use crate::session::holding::Holding;
use crate::session::lease::refusal_of_login;
use crate::session::memory::{Block, Memory, Told, Wishes};
use crate::session::turn::Turn;
use crate::session::{Session, Who, replication};
use crate::tenure;
use crate::weir::Weir;
use crate::wire::backend::{self, Status};
use crate::wire::startup::Startup;
use crate::wire::{Refusal, sqlstate};
use ring::rand::{SecureRandom, SystemRandom};
use router_rules::Scope;
use router_rules::encoding::Encoding;
use router_rules::statement::Footprint;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

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
    let own_server = if startup.replication.is_none() && has_own_server(&who, &config) {
        // It keeps this server: a replica only when there is no primary to be had.
        if weir.cluster.primary().is_none() {
            Box::pin(weir.cluster.wait_for_primary(config.cluster.primary_wait)).await;
        }
        match Box::pin(lease_primary(weir, &mut who)).await {
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
        tracing::debug!(user = session.client.who.user, database = session.client.who.database, %failure, "session ended");
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
async fn lease_primary(weir: &Weir, who: &mut Who) -> Result<Lease, Refusal> {
    match try_lease_primary(weir, who).await? {
        Ok(lease) => return Ok(lease),
        Err(error) if error.of_somebody().is_none() => return Err(refusal_of_lease(error)),
        Err(_) => weir.census.changed(),
    }
    let standing = tenure::identify(weir, &who.user, &who.database).await?;
    who.identity = standing.identity().unwrap_or_default();
    try_lease_primary(weir, who).await?.map_err(refusal_of_lease)
}

async fn try_lease_primary(weir: &Weir, who: &Who) -> Result<Result<Lease, LeaseError>, Refusal> {
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
    Ok(pool.lease(opening).await)
}

fn refusal_of_lease(error: LeaseError) -> Refusal {
    match error {
        LeaseError::TooLong(refusal) => refusal,
        LeaseError::Login(error) => refusal_of_login(&error),
    }
}

async fn open_session(
    weir: &Arc<Weir>,
    registered: &Registered<'_>,
    mut client: Connection,
    mut who: Who,
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
        // Postgres looks whether it could be, and no more.
        if name != "session_authorization" {
            pairs.push((name.as_str(), value.as_str()));
        }
    }
    let mut freshness = crate::cluster::SessionFreshness::default();
    let settings = Settings::from_pairs(pairs);
    if let Some(token) = settings.value("pgweir.min_lsn")
        && let Err(message) = freshness.set_min_lsn(token)
    {
        return Err((client, Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message)));
    }
    if let Err(refusal) = try_out(weir, &mut who, startup).await {
        return Err((client, refusal));
    }
    let welcome = match welcome(weir, &mut who, &settings).await {
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
        encoding: Encoding::Utf8,
        temporary: Arc::default(),
    };
    let mut placeholders = Placeholders::default();
    placeholders.add_all(&welcome.settings);
    let memory = Memory {
        placeholders,
        // Those of all that start alike: they are kept once.
        settings: Track::starting_with(welcome.settings.clone()),
        told: Told::at_start(welcome.reported.clone()),
        defaults: welcome.defaults.clone(),
        scope: Arc::new(scope),
        doubts: Default::default(),
        scope_settings: u64::MAX,
        scope_changes: 0,
        scope_asked: std::time::Instant::now(),
        statements: Default::default(),
        sql_names: Default::default(),
        block: Block::None,
        moving: Default::default(),
        status: Status::Idle,
        pins: vec![],
        sequences: false,
        process_asked: None,
        maybe_unpinned: false,
        listening: Default::default(),
        maybe_listens: false,
        freshness,
        written: Footprint::none(),
        only_reads: true,
        seen: Footprint::none(),
        altered: Default::default(),
        temporary: Default::default(),
        failed: false,
        wishes,
        last_route: None,
        notifies: false,
        writing: None,
        began: None,
        losses: weir.cluster.losses(),
    };
    Ok(Box::new(Session {
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
    }))
}

/// Parameters that a server looks at when it starts, and never again: it is asked what it says of them.
async fn try_out(weir: &Weir, who: &mut Who, startup: &Startup) -> Result<(), Refusal> {
    let mut questions = vec![];
    let mut loads = false;
    for (name, value) in &startup.settings {
        match name.as_str() {
            "session_authorization" => {
                questions.push(format!("SELECT pg_catalog.set_config('{name}',{},true)", quote_text(value)));
            }
            "session_preload_libraries" | "local_preload_libraries" => {
                questions.push(set_config(name, value).to_string());
                let plugins = if name.starts_with("local") { "$libdir/plugins/" } else { "" };
                let libraries = value.split(',').map(|name| name.trim().trim_matches('"'));
                for library in libraries.filter(|library| !library.is_empty()) {
                    let path = if library.contains('/') {
                        library.to_owned()
                    } else {
                        format!("{plugins}{library}")
                    };
                    questions.push(format!("LOAD {}", quote_text(&path)));
                }
                loads = true;
            }
            _ => {}
        }
    }
    if questions.is_empty() {
        return Ok(());
    }
    let mut lease = lease_primary(weir, who).await?;
    for question in questions {
        lease.ask(&question).await.map_err(|error| refusal_of_login(&error))?;
    }
    if !loads {
        lease.give_back();
    }
    Ok(())
}

/// What the client is told at log-in; a server is asked when nobody has started like this before.
async fn welcome(weir: &Weir, who: &mut Who, settings: &Settings) -> Result<Arc<Welcome>, Refusal> {
    let (role_settings, lease) = role_settings(weir, who).await?;
    let settings = role_settings.overlaid(settings);
    let key = (who.database.clone(), who.user.clone(), who.identity, settings.id());
    if let Some(known) = weir.welcomes.get(&key) {
        if let Some(lease) = lease {
            lease.give_back();
        }
        return Ok(known);
    }
    let mut lease = match lease {
        Some(lease) => lease,
        None => lease_primary(weir, who).await?,
    };
    let asked = ask_welcome(&mut lease, &settings).await;
    match asked {
        Ok(welcome) => {
            lease.give_back();
            let welcome = Arc::new(welcome);
            // Whose it is may have changed on the way.
            weir.welcomes.insert((key.0, key.1, who.identity, key.3), welcome.clone());
            Ok(welcome)
        }
        Err(error) => Err(refusal_of_login(&error)),
    }
}

/// What ALTER ROLE and ALTER DATABASE give to who logs in now, and the server that has told, if one had to be
/// asked. While all servers are busy what was seen last counts: a log-in waits for none of them.
async fn role_settings(weir: &Weir, who: &mut Who) -> Result<(Settings, Option<Lease>), Refusal> {
    let config = weir.config.load_full();
    let pool = weir.cluster.primary().map(|node| weir.pools.get(&node, who.tenant(), &config));
    let idle = pool.and_then(|pool| pool.try_lease());
    let known = |who: &Who| weir.welcomes.role_settings(&who.database, &who.user);
    let mut lease = match idle {
        Some(lease) => lease,
        None => match known(who) {
            Some(known) => return Ok((known, None)),
            None => lease_primary(weir, who).await?,
        },
    };
    match lease.ask_role_settings().await {
        Ok(settings) => {
            let is_news =
                known(who).is_some_and(|known| known != settings) || *lease.settings.base() != settings;
            weir.welcomes.note_role_settings(&who.database, &who.user, settings.clone());
            if !is_news {
                return Ok((settings, Some(lease)));
            }
            // Servers that have started with others make room for new ones.
            drop(lease);
            let tenant = who.tenant();
            let of_user = |key: &PoolKey| {
                (&*key.database, &*key.user) == (tenant.database, tenant.user)
                    && key.identity.is_same_person(&tenant.identity)
            };
            weir.pools
                .all()
                .iter()
                .filter(|pool| of_user(&pool.key))
                .for_each(|pool| pool.reconnect(&config));
            Ok((settings, None))
        }
        // The server is of no use any more; another one may be.
        Err(error) => match known(who) {
            Some(known) => Ok((known, None)),
            None => Err(refusal_of_login(&error)),
        },
    }
}

async fn ask_welcome(server: &mut Server, settings: &Settings) -> Result<Welcome, LoginError> {
    let defaults = ask_defaults(server).await?;
    for sql in server.settings.now().change_to(settings) {
        server.ask(&sql).await?;
    }
    let settings = settings.as_reported(&server.reported);
    server.settings.applied(settings.clone());
    server.placeholders.add_all(&settings);
    let rows = server
        .ask(
            "SELECT pg_catalog.current_setting('search_path'), \
             pg_catalog.current_setting('default_transaction_isolation'), \
             pg_catalog.current_setting('default_transaction_read_only')",
        )
        .await?;
    let mut row = rows.into_iter().next().unwrap_or_default().into_iter().map(Option::unwrap_or_default);
    let mut next = || row.next().unwrap_or_default();
    let defaults = Arc::new(Defaults {
        search_path: next(),
        isolation: next(),
        read_only: next() == "on",
        all: defaults,
    });
    let mut reported = server.reported.clone();
    // As far as the client is concerned it talks to the primary.
    if let Some(value) = reported.get_mut("in_hot_standby") {
        "off".clone_into(value);
    }
    Ok(Welcome { settings, reported: Arc::new(reported), defaults })
}

/// What every setting that the user may change goes back to on this server.
async fn ask_defaults(server: &mut Server) -> Result<HashMap<Box<str>, Box<str>>, LoginError> {
    let sql = "SELECT pg_catalog.lower(name), reset_val FROM pg_catalog.pg_settings \
        WHERE context = 'user' AND reset_val IS NOT NULL";
    let rows = server.ask(sql).await?.into_iter();
    let pairs = rows.filter_map(|row| {
        let mut row = row.into_iter().flatten();
        Some((row.next()?.into(), row.next()?.into()))
    });
    Ok(pairs.collect())
}
