//! What SHOW answers: tables made of a picture.
//!
//! Where PgBouncer 1.18 has a table of the same name, its columns come first, with its names and types,
//! so that its exporters and scripts go on working.

/// Makes a row out of anything that can be cells.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(Cell::from($cell)),*] };
}

mod connections;
mod figures;
mod pools;

use super::command::{COMMANDS, Show};
use super::table::{Cell, Kind, Table};
use crate::config::keys::Live;
use crate::config::{Config, PoolMode};
use crate::observe::Picture;
use crate::observe::metrics::Averages;
use crate::rows::{ClientRow, Doing};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use Kind::{Number, Text};

/// What tables are made of.
pub(super) struct Seen<'s> {
    pub picture: &'s Picture,
    pub config: &'s Config,
    /// Per database.
    pub averages: &'s [Averages],
    /// Texts, shapes and bytes in the cache of classifications.
    pub cache: (usize, usize, u64),
}

pub(super) fn show(what: Show, seen: &Seen<'_>) -> Table {
    match what {
        Show::Nodes => nodes(seen),
        Show::Pools => pools::pools(seen),
        Show::NodePools => pools::node_pools(seen),
        Show::Clients => connections::clients(seen),
        Show::Servers => connections::servers(seen),
        Show::Stats => figures::stats(seen),
        Show::StatsTotals => figures::stats_totals(seen),
        Show::StatsAverages => figures::stats_averages(seen),
        Show::Totals => figures::totals(seen),
        Show::Databases => pools::databases(seen),
        Show::Users => users(seen),
        Show::Config => config(seen),
        Show::Sources => sources(seen),
        Show::Siblings => siblings(seen),
        Show::Lists => lists(seen),
        Show::State => state(seen),
        Show::Version => version(),
        Show::Routes => figures::routes(seen),
        Show::Pins => connections::pins(seen),
        Show::Cache => figures::cache(seen),
        Show::Rules => rules(seen),
        Show::Events => events(seen),
        Show::Help => help(),
    }
}

/// `2026-11-22 17:41:04 UTC`, as PgBouncer writes times.
fn time(at: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole seconds and the rest in microseconds, as PgBouncer splits times.
fn seconds_and_micros(time: Duration) -> (u64, u32) {
    (time.as_secs(), time.subsec_micros())
}

/// Host and port of `host:port`; a socket directory has the port too.
fn host_and_port(address: &str) -> (String, i64) {
    match address.rsplit_once(':') {
        Some((host, port)) => (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(0)),
        None => (address.to_owned(), 0),
    }
}

fn nodes(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("node", Text),
        ("role", Text),
        ("state", Text),
        ("lag_bytes", Number),
        ("lag_us", Number),
        ("outstanding", Number),
        ("servers_active", Number),
        ("servers_idle", Number),
        ("lsn", Text),
        ("timeline", Number),
        ("zone", Text),
        ("groups", Text),
        ("weight", Number),
        ("since", Number),
        ("source", Text),
        ("error", Text),
    ]);
    for node in &seen.picture.nodes {
        let pools = || seen.picture.pools.iter().filter(|p| p.node == node.name);
        let state = match node {
            n if !n.up => "down",
            n if n.several => "several",
            n if n.stranded => "stranded",
            n if n.differs => "differs",
            n if n.drained => "drained",
            n if n.lagging => "lagging",
            n if n.serving => "serving",
            _ => "waiting",
        };
        table.rows.push(row![
            node.name.as_str(),
            node.role,
            state,
            node.lag_bytes,
            micros(node.lag),
            node.outstanding,
            pools().map(|p| p.active).sum::<usize>(),
            pools().map(|p| p.idle).sum::<usize>(),
            node.lsn.as_str(),
            node.timeline,
            node.zone.as_deref(),
            node.groups.join(","),
            node.weight,
            node.since.as_secs(),
            node.source.as_deref().unwrap_or("configuration"),
            node.error.as_deref(),
        ]);
    }
    table
}

fn logged_in<'s>(seen: &Seen<'s>) -> impl Iterator<Item = &'s ClientRow> {
    seen.picture.clients.iter().filter(|c| c.state != Doing::LoggingIn)
}

fn user_names<'s>(seen: &Seen<'s>) -> BTreeSet<&'s str> {
    let used = logged_in(seen).map(|c| c.user.as_str());
    used.chain(seen.config.users.iter().map(|u| u.name.as_str())).collect()
}

fn users(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("name", Text),
        ("pool_mode", Text),
        ("clients", Number),
        ("server_connections_max", Number),
    ]);
    for name in user_names(seen) {
        let configured = seen.config.users.iter().find(|u| u.name == name);
        let own = configured.and_then(|u| u.mode).map(PoolMode::as_str);
        let max = configured.and_then(|u| u.server_connections_max);
        let count = logged_in(seen).filter(|c| c.user == name).count();
        table.rows.push(row![name, own, count, max.unwrap_or(seen.config.pool.server_connections_max)]);
    }
    table
}

fn config(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("key", Text), ("value", Text), ("default", Text), ("changeable", Text)]);
    for entry in &seen.config.entries {
        let changeable = if entry.live == Live::Reload { "yes" } else { "no" };
        table.rows.push(row![entry.key.as_str(), entry.value.as_deref(), entry.default, changeable]);
    }
    table
}

fn lists(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("list", Text), ("items", Number)]);
    let picture = seen.picture;
    let (active, idle) =
        picture.pools.iter().fold((0, 0), |(a, i), p| (a + p.active + p.opening, i + p.idle));
    let clients = logged_in(seen).count();
    table.rows = vec![
        row!["databases", pools::database_names(picture).len()],
        row!["users", user_names(seen).len()],
        row!["pools", picture.pools.len()],
        row!["free_clients", seen.config.limits.clients_max.saturating_sub(clients)],
        row!["used_clients", clients],
        row!["login_clients", picture.clients.len() - clients],
        row!["free_servers", idle],
        row!["used_servers", active],
        row!["dns_names", 0],
        row!["dns_zones", 0],
        row!["dns_queries", 0],
        row!["dns_pending", 0],
        row!["nodes", picture.nodes.len()],
        row!["siblings", picture.siblings.len()],
        row!["rules", seen.config.policy.rules.iter().count()],
    ];
    table
}

fn sources(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("source", Text), ("state", Text), ("nodes", Text), ("error", Text)]);
    for source in &seen.picture.sources {
        let nodes = source.nodes.join(",");
        table.rows.push(row![source.name.as_str(), source.state, nodes, source.error.as_deref()]);
    }
    table
}

fn siblings(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("sibling", Text), ("address", Text), ("process", Number), ("since", Text)]);
    for sibling in &seen.picture.siblings {
        let since = sibling.since.and_then(|seconds| u64::try_from(seconds).ok());
        table.rows.push(row![
            format!("{:08x}", sibling.number),
            sibling.address.as_deref(),
            sibling.process,
            since.map(|seconds| time(UNIX_EPOCH + Duration::from_secs(seconds))),
        ]);
    }
    table
}

fn state(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("key", Text), ("value", Text)]);
    let yes = |state| if seen.picture.state == state { "yes" } else { "no" };
    use crate::observe::picture::State;
    table.rows = vec![
        row!["active", yes(State::Running)],
        row!["paused", yes(State::Paused)],
        row!["suspended", "no"],
        row!["draining", yes(State::Draining)],
        row!["siblings", seen.picture.siblings.len().to_string()],
        row!["ready", seen.picture.ready().err().unwrap_or("yes")],
        row![
            "uptime",
            humantime::format_duration(Duration::from_secs(seen.picture.uptime.as_secs())).to_string()
        ],
    ];
    table
}

fn version() -> Table {
    let mut table = Table::new(&[("version", Text)]);
    table.rows = vec![row![concat!("pgweir ", env!("CARGO_PKG_VERSION"))]];
    table
}

fn rules(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("place", Number), ("rule", Text), ("is", Text)]);
    for (i, rule) in seen.config.policy.rules.iter().enumerate() {
        let key = format!("rule \"{}\"", rule.name);
        let text = seen.config.entries.iter().find(|e| e.key == key).and_then(|e| e.value.as_deref());
        table.rows.push(row![i + 1, rule.name.as_str(), text]);
    }
    table
}

fn events(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("at", Text), ("event", Text), ("node", Text), ("text", Text)]);
    for event in seen.picture.events.iter().rev() {
        let at = if event.at < UNIX_EPOCH { UNIX_EPOCH } else { event.at };
        table.rows.push(row![time(at), event.kind, event.node.as_str(), event.text.as_str()]);
    }
    table
}

fn help() -> Table {
    let mut table = Table::new(&[("command", Text), ("what_it_does", Text)]);
    table.rows.extend(Show::ALL.iter().map(|s| row![format!("SHOW {}", s.as_str()), s.explain()]));
    table.rows.extend(COMMANDS.iter().map(|(command, what)| row![*command, *what]));
    table
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
