//! Does what a command says.

use super::command::{Command, Show};
use super::show::{Seen, show};
use super::table::{Cell, Kind, Table};
use crate::cancel::end_client;
use crate::clients::registry::Card;
use crate::cluster::connect::Link;
use crate::observe::Picture;
use crate::order::{Leave, Order};
use crate::weir::Weir;
use crate::wire::{Refusal, sqlstate};
use router_rules::rehearse::{Rehearsal, Step};
use router_rules::statement::Footprint;
use router_rules::{Decision, Target};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a command answers.
#[derive(Debug)]
pub(super) enum Answer {
    Table(Table),
    /// The command's tag, and what to tell in NOTICEs before it.
    Done(&'static str, Vec<String>),
}

/// How long the cluster may take to say whether a database is there: somebody waits at a terminal.
const ASK_WAIT: Duration = Duration::from_secs(3);

/// Whether a database is there.
const DATABASE: &str = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1";

/// How often PAUSE looks whether all servers are back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The columns of a command's answer; `None`: it has none.
pub(super) fn columns(command: &Command, weir: &Weir) -> Option<Table> {
    match command {
        Command::Show(what) => {
            let mut table = shown(*what, weir);
            table.rows.clear();
            Some(table)
        }
        Command::Route { .. } => Some(Table::new(ROUTE)),
        _ => None,
    }
}

/// Does it.
pub(super) async fn act(command: &Command, weir: &Arc<Weir>, user: &str) -> Result<Answer, Refusal> {
    let done = |tag| Ok(Answer::Done(tag, vec![]));
    match command {
        Command::Show(what) => Ok(Answer::Table(shown(*what, weir))),
        Command::Route { sql, database, user: other } => {
            route(weir, sql, database.as_deref(), other.as_deref().unwrap_or(user)).await.map(Answer::Table)
        }
        Command::Nothing(tag) => done(tag),
        Command::Pause(database) => pause(weir, database.as_deref()).await,
        Command::Resume(database) => match weir.gate.open(database.as_deref()) {
            true => done("RESUME"),
            false => {
                must_exist(weir, database.as_deref()).await?;
                Err(Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, "nothing is paused"))
            }
        },
        Command::Reload => reload(weir).await,
        Command::Reconnect(database) => {
            let config = weir.config.load_full();
            for pool in pools_of(weir, database.as_deref())? {
                pool.reconnect(&config);
            }
            done("RECONNECT")
        }
        Command::Kill(database) => {
            let victims: Vec<_> =
                weir.registry.all().into_iter().filter(|c| c.database == *database).collect();
            if victims.is_empty() {
                return Err(unknown("client of database", database));
            }
            victims.iter().for_each(|card| end_client(weir, card));
            Ok(Answer::Done("KILL", vec![format!("{} clients are ended", victims.len())]))
        }
        Command::KillClient(process) => {
            let card = weir.registry.all().into_iter().find(|c| c.process == *process);
            let card = card.ok_or_else(|| unknown("client", &process.to_string()))?;
            end_client(weir, &card);
            done("KILL_CLIENT")
        }
        Command::Drain(node) => match weir.cluster.drain(node) {
            true => done("DRAIN"),
            false => Err(unknown("node", node)),
        },
        Command::Undrain(node) => match weir.cluster.undrain(node) {
            true => done("UNDRAIN"),
            false => Err(unknown("node", node)),
        },
        Command::Warm(database) => warm(weir, database.as_deref()).await,
        Command::Shutdown(leave) => shutdown(weir, *leave),
    }
}

fn unknown(what: &str, name: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, format!("there is no {what} \"{name}\""))
}

fn shown(what: Show, weir: &Weir) -> Table {
    let config = weir.config.load_full();
    let seen = Seen {
        picture: &weir.picture(),
        config: &config,
        averages: &weir.metrics.averages(Instant::now()),
        cache: weir.classifier.cached(),
    };
    show(what, &seen)
}

fn pools_of(weir: &Weir, database: Option<&str>) -> Result<Vec<Arc<crate::pool::Pool>>, Refusal> {
    let all = weir.pools.all();
    match database {
        None => Ok(all),
        Some(name) => {
            let pools: Vec<_> = all.into_iter().filter(|p| p.key.database == name).collect();
            if pools.is_empty() { Err(unknown("pool of database", name)) } else { Ok(pools) }
        }
    }
}

/// Refuses a database that the cluster does not have. While nobody can be asked it passes: what is done to
/// a database that is not there does nothing.
async fn must_exist(weir: &Weir, database: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = database else { return Ok(()) };
    let in_use = || weir.pools.all().iter().any(|pool| pool.key.database == name);
    if in_use() || weir.registry.all().iter().any(|card| card.database == name) {
        return Ok(());
    }
    let config = weir.config.load_full();
    let Some(node) = weir.cluster.any_node() else { return Ok(()) };
    let ask = async {
        let link = Link::open(&config.cluster, &node.name, &config.cluster.database, ASK_WAIT).await.ok()?;
        link.client.query_opt(DATABASE, &[&name]).await.ok()
    };
    match tokio::time::timeout(ASK_WAIT, ask).await {
        Ok(Some(None)) => Err(unknown("database", name)),
        _ => Ok(()),
    }
}

async fn pause(weir: &Weir, database: Option<&str>) -> Result<Answer, Refusal> {
    must_exist(weir, database).await?;
    if !weir.gate.close(database) {
        return Err(Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, "it is paused already"));
    }
    let limit = weir.config.load().limits.drain;
    let until = Instant::now() + limit;
    let in_use = |picture: &Picture| {
        let of = |name: &str| database.is_none_or(|d| d == name);
        let rests = |card: &&Arc<Card>| of(&card.database) && card.rests.load(Ordering::SeqCst);
        let resting = weir.registry.all().iter().filter(rests).count();
        let leased = picture.pools.iter().filter(|p| of(&p.database)).map(|p| p.active).sum::<usize>();
        leased.saturating_sub(resting)
    };
    loop {
        let left = in_use(&weir.picture());
        if left == 0 {
            return Ok(Answer::Done("PAUSE", vec![]));
        }
        if !weir.gate.is_closed() && database.is_none_or(|d| !weir.gate.is_closed_for(d)) {
            return Err(Refusal::new(sqlstate::QUERY_CANCELED, "RESUME came before all servers were back"));
        }
        if Instant::now() >= until {
            let message = format!(
                "{left} servers are still in use after {} (limits.drain); it stays paused",
                humantime::format_duration(limit)
            );
            return Err(Refusal::new(sqlstate::QUERY_CANCELED, message)
                .with_hint("SHOW CLIENTS, SHOW PINS; RESUME to go on."));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn reload(weir: &Weir) -> Result<Answer, Refusal> {
    let (answer, reloaded) = oneshot::channel();
    let gone = || Refusal::new(sqlstate::ADMIN_SHUTDOWN, "pgweir is leaving");
    weir.orders.send(Order::Reload(answer)).map_err(|_| gone())?;
    match reloaded.await.map_err(|_| gone())? {
        Ok(changes) if changes.is_empty() => Ok(Answer::Done("RELOAD", vec!["nothing has changed".into()])),
        Ok(changes) => Ok(Answer::Done("RELOAD", changes.iter().map(ToString::to_string).collect())),
        Err(mistakes) => {
            let all: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            let message = format!("the configuration has mistakes, the old one stays:\n{}", all.join("\n"));
            Err(Refusal::new(sqlstate::CONFIG_FILE_ERROR, message))
        }
    }
}

async fn warm(weir: &Weir, database: Option<&str>) -> Result<Answer, Refusal> {
    let config = weir.config.load_full();
    let mut notices = vec![];
    for pool in pools_of(weir, database)? {
        if let Err(error) = pool.warm(pool.limit(), &weir.connector, &config).await {
            notices.push(format!("{} of {}: {error}", pool.key.node, pool.key.database));
        }
    }
    Ok(Answer::Done("WARM", notices))
}

fn shutdown(weir: &Weir, leave: Leave) -> Result<Answer, Refusal> {
    let sent = weir.orders.send(Order::Leave(leave));
    sent.map_err(|_| Refusal::new(sqlstate::ADMIN_SHUTDOWN, "pgweir is leaving"))?;
    Ok(Answer::Done("SHUTDOWN", vec![]))
}

const ROUTE: &[(&str, Kind)] = &[
    ("database", Kind::Text),
    ("target", Kind::Text),
    ("reason", Kind::Text),
    ("node", Kind::Text),
    ("rule", Kind::Text),
    ("consistency", Kind::Text),
    ("max_lag", Kind::Text),
    ("explanation", Kind::Text),
];

/// Where a fresh session's statement would go now. Nothing is run.
async fn route(weir: &Weir, sql: &str, database: Option<&str>, user: &str) -> Result<Table, Refusal> {
    let database = match database {
        Some(database) => {
            must_exist(weir, Some(database)).await?;
            database.to_owned()
        }
        None => only_database(weir)?,
    };
    let config = weir.config.load_full();
    let catalog = weir.cluster.catalog(&database);
    let mut session = Rehearsal::new(&weir.classifier, &config.policy, catalog, user, &database);
    let Step { decision, rule, classified, .. } = session.step(sql);
    let mut table = Table::new(ROUTE);
    let max_lag = decision.max_lag.map(|lag| humantime::format_duration(lag).to_string());
    let explanation = match &decision.refuse {
        Some(message) => format!("refused: {message}"),
        None => decision.reason.explain().to_owned(),
    };
    table.rows.push(vec![
        Cell::from(database.as_str()),
        decision.target.as_str().into(),
        decision.reason.as_str().into(),
        place(weir, &database, &decision, &classified.reads).await.into(),
        rule.into(),
        decision.consistency.as_str().into(),
        max_lag.into(),
        explanation.into(),
    ]);
    Ok(table)
}

async fn place(weir: &Weir, database: &str, decision: &Decision, reads: &Footprint) -> Option<String> {
    if decision.refuse.is_some() {
        return None;
    }
    if decision.target == Target::Primary {
        return weir.cluster.primary().map(|n| n.name.clone());
    }
    let session = Default::default();
    let wish = crate::cluster::Wish { database, decision, reads, session: &session };
    weir.cluster.place(&wish).await.map(|p| p.node.name.clone())
}

fn only_database(weir: &Weir) -> Result<String, Refusal> {
    let mut names: Vec<_> = weir.pools.all().iter().map(|p| p.key.database.clone()).collect();
    names.sort();
    names.dedup();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, "which database?")
            .with_hint("ROUTE 'SELECT * FROM orders' ON shop")),
    }
}
