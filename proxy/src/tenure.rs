//! Who is let in by what Postgres says of the role now, and what ends when that changes.
//!
//! A log-in here opens no connection there, so what Postgres would have checked is checked here. What is known
//! of sessions that are there already is followed as on Postgres: they go on, but as nobody else than who they
//! were, and those of a database that is gone end with it.
//!
//! <https://www.postgresql.org/docs/current/sql-alterrole.html>

use crate::auth::census::{Change, Pair};
use crate::auth::client::wrong_password;
use crate::auth::lookup::truncated;
use crate::auth::{Identity, Standing};
use crate::clients::registry::{Card, Doing};
use crate::pool::Key;
use crate::weir::Weir;
use crate::wire::Refusal;
use crate::wire::startup::Startup;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// What a client is that has proved itself, unless Postgres would not let it in.
///
/// # Errors
/// As Postgres words it.
pub async fn admit(weir: &Weir, startup: &Startup, by_password: bool) -> Result<Arc<Standing>, Refusal> {
    let Startup { user, database, .. } = startup;
    if is_console(database) {
        return admit_to_console(weir, user, by_password).await;
    }
    let standing = look_up(weir, user, database).await?;
    if by_password && standing.has_expired(SystemTime::now()) {
        return Err(wrong_password(user));
    }
    if startup.replication.is_some() {
        // It has a server of its own, which sees to the rest.
        return match standing.refusal_of_role(user) {
            Some(refusal) => Err(refusal),
            None => Ok(standing),
        };
    }
    accepted(standing, user, database)
}

/// The console is there when the cluster is not, and for users that it does not know; but who was shut out
/// there is shut out here.
async fn admit_to_console(weir: &Weir, user: &str, by_password: bool) -> Result<Arc<Standing>, Refusal> {
    if weir.directory.is_configured(user) {
        return Ok(Arc::default());
    }
    let database = weir.config.load().cluster.database.clone();
    let Ok(standing) = look_up(weir, user, &database).await else { return Ok(Arc::default()) };
    if by_password && standing.has_expired(SystemTime::now()) {
        return Err(wrong_password(user));
    }
    match standing.refusal_of_role(user) {
        Some(refusal) if standing.role.is_some() => Err(refusal),
        _ => Ok(standing),
    }
}

/// Whom these names mean now.
///
/// # Errors
/// When Postgres would not let it in, or nobody can tell.
pub async fn identify(weir: &Weir, user: &str, database: &str) -> Result<Arc<Standing>, Refusal> {
    accepted(look_up(weir, user, database).await?, user, database)
}

/// A database of this name is the console.
pub fn is_console(database: &str) -> bool {
    matches!(database, "pgweir" | "pgbouncer")
}

async fn look_up(weir: &Weir, user: &str, database: &str) -> Result<Arc<Standing>, Refusal> {
    let config = weir.config.load_full();
    weir.census.standing(user, database, (&weir.directory, &*weir.cluster, &config)).await
}

fn accepted(standing: Arc<Standing>, user: &str, database: &str) -> Result<Arc<Standing>, Refusal> {
    match standing.refusal(user, database) {
        None => Ok(standing),
        Some(refusal) => Err(refusal),
    }
}

/// Ends what a change of roles, databases or rights ends, for as long as pgweir runs.
pub async fn follow(weir: Arc<Weir>) {
    loop {
        let config = weir.config.load_full();
        let in_use = |pair: &Pair| weir.pools.all().iter().any(|pool| is_of(&pool.key, pair));
        let changes = weir.census.next(in_use, (&weir.directory, &*weir.cluster, &config)).await;
        for change in changes {
            apply(&weir, &change);
        }
    }
}

/// A session of this pool is there that came before a certain time.
pub fn has_session(weir: &Weir, key: &Key, before: SystemTime) -> bool {
    let of_pool = |card: &&Arc<Card>| card.user == key.user && card.database == key.database;
    weir.registry.all().iter().filter(of_pool).any(|card| card.connected <= before)
}

fn is_of(key: &Key, pair: &Pair) -> bool {
    is_named(pair, &key.user, &key.database)
}

fn is_named(pair: &Pair, user: &str, database: &str) -> bool {
    truncated(user) == pair.user && truncated(database) == pair.database
}

fn apply(weir: &Weir, change: &Change) {
    let Change { of: pair, before, now, proved } = change;
    let (was, is) = (before.identity(), now.identity());
    let refusal = now.refusal(&pair.user, &pair.database);
    tracing::info!(
        user = pair.user,
        database = pair.database,
        refused = refusal.as_ref().map(|refusal| &*refusal.message),
        "a role or a database has changed"
    );
    weir.directory.forget(&pair.user);
    weir.welcomes.forget(|user, database| is_named(pair, user, database));
    let has_other_power = |a: Identity, b: Identity| a.superuser != b.superuser;
    let config = weir.config.load_full();
    for pool in weir.pools.all().iter().filter(|pool| is_of(&pool.key, pair)) {
        let is_same = is.is_some_and(|is| is.is_same_person(&pool.key.identity));
        pool.stand(is_same && refusal.is_none(), now.servers_max());
        if is_same && was.zip(is).is_some_and(|(was, is)| has_other_power(was, is)) {
            // A server keeps in mind what the role was at its log-in.
            pool.reconnect(&config);
        }
    }
    let database = |standing: &Standing| standing.database.as_ref().map(|database| database.oid);
    if database(before) != database(now) {
        weir.cluster.schema_changed(&pair.database, &router_rules::Alters::Anything);
        // It could not have been dropped or renamed with anybody in it, but who came since is in the new one.
        let new = database(now);
        end_sessions(weir, pair, |card| new != Some(card.database_oid.load(Ordering::Relaxed)));
    } else if was.zip(is).is_none_or(|(was, is)| !was.is_same_person(&is)) {
        // Let in since the role was last seen to be what it had been: as whom, nobody can tell.
        let age = proved.elapsed();
        end_sessions(weir, pair, |card| card.connected.elapsed().is_ok_and(|since| since < age));
    }
}

fn end_sessions(weir: &Weir, pair: &Pair, which: impl Fn(&Card) -> bool) {
    for card in weir.registry.all() {
        if !is_named(pair, &card.user, &card.database) || !which(&card) {
            continue;
        }
        card.killed.store(true, Ordering::Relaxed);
        if card.doing() == Doing::Idle {
            card.bell.ring();
        }
    }
}
