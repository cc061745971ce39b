//! What a client is told at its log-in.

use crate::auth::LoginError;
use crate::clients::welcomes::Welcome;
use crate::pool::{Key as PoolKey, Lease};
use crate::server::Server;
use crate::session::Who;
use crate::session::lease::refusal_of_login;
use crate::session::reign::Over;
use crate::session::startup::lease_primary;
use crate::weir::Weir;
use crate::wire::startup::Startup;
use crate::wire::{Refusal, backend};
use bytes::BytesMut;
use router_rules::quote::quote_text;
use router_rules::session::Defaults;
use router_rules::session::Settings;
use router_rules::session::context;
use router_rules::session::settings::set_config;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Parameters that a server looks at when it starts, and never again: it is asked what it says of them.
pub(super) async fn try_out(weir: &Weir, who: &mut Who, startup: &Startup) -> Result<(), Refusal> {
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
    let limit = weir.config.load().pool.server_connect;
    for question in questions {
        in_time(limit, lease.ask(&question)).await.map_err(|error| refusal_of_login(&error))?;
    }
    if !loads {
        lease.give_back();
    }
    Ok(())
}

/// What the client is told at log-in; a server is asked when nobody has started like this before.
pub(super) async fn welcome(
    weir: &Weir,
    who: &mut Who,
    settings: &Settings,
) -> Result<Arc<Welcome>, Refusal> {
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
    let limit = weir.config.load().pool.server_connect;
    let asked = in_time(limit, ask_welcome(&mut lease, &settings)).await;
    match asked {
        Ok(welcome) => {
            lease.give_back();
            // Whose it is may have changed on the way.
            Ok(weir.welcomes.insert((key.0, key.1, who.identity, key.3), welcome))
        }
        Err(error) => Err(refusal_of_login(&error)),
    }
}

/// What ALTER ROLE and ALTER DATABASE give to who logs in now, and the server that has told, if one had to be
/// asked. While all servers are busy what was seen last counts: a log-in waits for none of them.
pub(super) async fn role_settings(weir: &Weir, who: &mut Who) -> Result<(Settings, Option<Lease>), Refusal> {
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
    let patience = known(who).map_or(config.pool.server_connect, |_| config.cluster.probe_timeout);
    match in_time(patience, lease.ask_role_settings()).await {
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

/// A log-in does not wait for ever for a node that hangs.
async fn in_time<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, LoginError>>,
) -> Result<T, LoginError> {
    let told = tokio::time::timeout(limit, asked).await;
    told.unwrap_or_else(|_| Err(LoginError::Io(Over::Silent.error())))
}

pub(super) async fn ask_welcome(server: &mut Server, settings: &Settings) -> Result<Welcome, LoginError> {
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
    let time = |name: &str| context::milliseconds(defaults.get(name)?);
    let defaults = Arc::new(Defaults {
        idle_session: time("idle_session_timeout"),
        idle_in_transaction: time("idle_in_transaction_session_timeout"),
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
    let mut told = BytesMut::new();
    for (name, value) in &reported {
        backend::put_parameter_status(&mut told, name, value);
    }
    Ok(Welcome { settings, reported: Arc::new(reported), told: told.freeze(), defaults })
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
