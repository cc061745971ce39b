//! What SHOW answers: tables made of a picture.
//!
//! Where PgBouncer 1.18 has a table of the same name, its columns come first, with its names and types,
//! so that its exporters and scripts go on working.

use super::command::{COMMANDS, Show};
use super::table::{Cell, Kind, Table};
use crate::config::Config;
use crate::config::keys::Live;
use crate::observe::metrics::{Averages, Totals};
use crate::observe::picture::{ClientRow, Picture};
use std::collections::{BTreeMap, BTreeSet};
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

/// Makes a row out of anything that can be cells.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(Cell::from($cell)),*] };
}

pub(super) fn show(what: Show, seen: &Seen<'_>) -> Table {
    match what {
        Show::Nodes => nodes(seen),
        Show::Pools => pools(seen),
        Show::NodePools => node_pools(seen),
        Show::Clients => clients(seen),
        Show::Servers => servers(seen),
        Show::Stats => stats(seen),
        Show::StatsTotals => stats_totals(seen),
        Show::StatsAverages => stats_averages(seen),
        Show::Totals => totals(seen),
        Show::Databases => databases(seen),
        Show::Users => users(seen),
        Show::Config => config(seen),
        Show::Lists => lists(seen),
        Show::State => state(seen),
        Show::Version => version(),
        Show::Routes => routes(seen),
        Show::Pins => pins(seen),
        Show::Cache => cache(seen),
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
        ("error", Text),
    ]);
    for node in &seen.picture.nodes {
        let pools = || seen.picture.pools.iter().filter(|p| p.node == node.name);
        let state = match node {
            n if !n.up => "down",
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
            node.error.as_deref(),
        ]);
    }
    table
}

/// One row per database and user, over all nodes.
fn pools(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("database", Text),
        ("user", Text),
        ("cl_active", Number),
        ("cl_waiting", Number),
        ("cl_active_cancel_req", Number),
        ("cl_waiting_cancel_req", Number),
        ("sv_active", Number),
        ("sv_active_cancel", Number),
        ("sv_being_canceled", Number),
        ("sv_idle", Number),
        ("sv_used", Number),
        ("sv_tested", Number),
        ("sv_login", Number),
        ("maxwait", Number),
        ("maxwait_us", Number),
        ("pool_mode", Text),
    ]);
    #[derive(Default)]
    struct Sum {
        clients: usize,
        waiting: usize,
        active: usize,
        idle: usize,
        opening: usize,
        longest: Duration,
        mode: &'static str,
    }
    let mut sums: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
    for pool in &seen.picture.pools {
        let sum = sums.entry((&pool.database, &pool.user)).or_default();
        sum.waiting += pool.waiting;
        sum.active += pool.active;
        sum.idle += pool.idle;
        sum.opening += pool.opening;
        sum.longest = sum.longest.max(pool.longest_wait);
        sum.mode = pool.mode;
    }
    // PgBouncer counts a client that is connected and not waiting as active.
    for client in logged_in(seen) {
        let sum = sums.entry((&client.database, &client.user)).or_default();
        sum.clients += usize::from(client.state != "waiting");
        if sum.mode.is_empty() {
            sum.mode = mode(seen.config);
        }
    }
    for ((database, user), sum) in sums {
        let (seconds, micros) = seconds_and_micros(sum.longest);
        table.rows.push(row![
            database,
            user,
            sum.clients,
            sum.waiting,
            0,
            0,
            sum.active,
            0,
            0,
            sum.idle,
            0,
            0,
            sum.opening,
            seconds,
            micros,
            sum.mode,
        ]);
    }
    table
}

fn mode(config: &Config) -> &'static str {
    match config.pool.mode {
        crate::config::PoolMode::Transaction => "transaction",
        crate::config::PoolMode::Session => "session",
    }
}

fn logged_in<'s>(seen: &Seen<'s>) -> impl Iterator<Item = &'s ClientRow> {
    seen.picture.clients.iter().filter(|c| c.state != "logging_in")
}

fn node_pools(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("node", Text),
        ("database", Text),
        ("user", Text),
        ("active", Number),
        ("idle", Number),
        ("opening", Number),
        ("waiting", Number),
        ("longest_wait_us", Number),
        ("server_connections_max", Number),
        ("pool_mode", Text),
    ]);
    for p in &seen.picture.pools {
        table.rows.push(row![
            p.node.as_str(),
            p.database.as_str(),
            p.user.as_str(),
            p.active,
            p.idle,
            p.opening,
            p.waiting,
            micros(p.longest_wait),
            p.limit,
            p.mode,
        ]);
    }
    table
}

/// The columns that SHOW CLIENTS and SHOW SERVERS of PgBouncer share.
const CONNECTION: &[(&str, Kind)] = &[
    ("type", Text),
    ("user", Text),
    ("database", Text),
    ("state", Text),
    ("addr", Text),
    ("port", Number),
    ("local_addr", Text),
    ("local_port", Number),
    ("connect_time", Text),
    ("request_time", Text),
    ("wait", Number),
    ("wait_us", Number),
    ("close_needed", Number),
    ("ptr", Text),
    ("link", Text),
    ("remote_pid", Number),
    ("tls", Text),
    ("application_name", Text),
];

fn clients(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(CONNECTION);
    table.columns.extend([("id", Number), ("statements", Number), ("pin", Text), ("node", Text)]);
    for c in logged_in(seen) {
        let (host, port) = if c.address == "unix" { ("unix".into(), 0) } else { host_and_port(&c.address) };
        let (wait, wait_us) = seconds_and_micros(c.waiting);
        table.rows.push(row![
            "C",
            c.user.as_str(),
            c.database.as_str(),
            c.state,
            host,
            Cell::Number(port),
            "",
            0,
            time(c.connected),
            time(c.requested),
            wait,
            wait_us,
            0,
            format!("c{}", c.process),
            c.server.as_ref().map_or(String::new(), |(process, _)| format!("s{process}")),
            0,
            if c.tls { "TLS" } else { "" },
            c.application_name.as_str(),
            c.process,
            c.statements,
            c.pin.map(|p| p.as_str()),
            c.server.as_ref().map(|(_, node)| node.as_str()),
        ]);
    }
    table
}

fn servers(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(CONNECTION);
    table.columns.extend([("node", Text), ("prepared_statements", Number)]);
    for s in &seen.picture.servers {
        let (host, port) = host_and_port(&s.node);
        let has =
            |c: &&ClientRow| c.server.as_ref().is_some_and(|(p, node)| *p == s.process && *node == s.node);
        let client = logged_in(seen).find(has);
        table.rows.push(row![
            "S",
            s.user.as_str(),
            s.database.as_str(),
            s.state,
            host,
            Cell::Number(port),
            "",
            0,
            time(s.opened),
            time(s.used),
            0,
            0,
            s.stale,
            format!("s{}", s.process),
            client.map_or(String::new(), |c| format!("c{}", c.process)),
            s.process,
            if s.tls { "TLS" } else { "" },
            client.map_or("", |c| c.application_name.as_str()),
            s.node.as_str(),
            s.statements,
        ]);
    }
    table
}

fn total_cells(t: &Totals) -> Vec<Cell> {
    row![
        t.transactions,
        t.statements,
        t.received_bytes,
        t.sent_bytes,
        t.transaction_micros,
        t.statement_micros,
        t.wait_micros,
    ]
}

fn average_cells(a: &Averages) -> Vec<Cell> {
    row![
        a.transactions,
        a.statements,
        a.received_bytes,
        a.sent_bytes,
        a.transaction_micros,
        a.statement_micros,
        a.wait_micros,
    ]
}

fn stats(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("database", Text),
        ("total_xact_count", Number),
        ("total_query_count", Number),
        ("total_received", Number),
        ("total_sent", Number),
        ("total_xact_time", Number),
        ("total_query_time", Number),
        ("total_wait_time", Number),
        ("avg_xact_count", Number),
        ("avg_query_count", Number),
        ("avg_recv", Number),
        ("avg_sent", Number),
        ("avg_xact_time", Number),
        ("avg_query_time", Number),
        ("avg_wait_time", Number),
        // The name before PgBouncer 1.8, which Debian's exporter still asks for.
        ("total_requests", Number),
    ]);
    for t in &seen.picture.totals {
        let average = seen.averages.iter().find(|a| a.database == t.database).cloned().unwrap_or_default();
        let mut cells = row![t.database.as_str()];
        cells.extend(total_cells(t));
        cells.extend(average_cells(&average));
        cells.extend(row![t.statements]);
        table.rows.push(cells);
    }
    table
}

const SEVEN: &[(&str, Kind)] = &[
    ("database", Text),
    ("xact_count", Number),
    ("query_count", Number),
    ("bytes_received", Number),
    ("bytes_sent", Number),
    ("xact_time", Number),
    ("query_time", Number),
    ("wait_time", Number),
];

fn stats_totals(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(SEVEN);
    for t in &seen.picture.totals {
        table.rows.push([row![t.database.as_str()], total_cells(t)].concat());
    }
    table
}

fn stats_averages(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(SEVEN);
    for a in seen.averages {
        table.rows.push([row![a.database.as_str()], average_cells(a)].concat());
    }
    table
}

fn totals(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("name", Text), ("value", Number)]);
    let sum = |of: fn(&Totals) -> u64| seen.picture.totals.iter().map(of).fold(0, u64::saturating_add);
    table.rows = vec![
        row!["total_xact_count", sum(|t| t.transactions)],
        row!["total_query_count", sum(|t| t.statements)],
        row!["total_received", sum(|t| t.received_bytes)],
        row!["total_sent", sum(|t| t.sent_bytes)],
        row!["total_xact_time", sum(|t| t.transaction_micros)],
        row!["total_query_time", sum(|t| t.statement_micros)],
        row!["total_wait_time", sum(|t| t.wait_micros)],
    ];
    table
}

/// Every database that a client or pool is of.
fn database_names(picture: &Picture) -> BTreeSet<&str> {
    let clients = picture.clients.iter().filter(|c| c.state != "logging_in").map(|c| c.database.as_str());
    clients.chain(picture.pools.iter().map(|p| p.database.as_str())).collect()
}

fn databases(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("name", Text),
        ("host", Text),
        ("port", Number),
        ("database", Text),
        ("force_user", Text),
        ("pool_size", Number),
        ("min_pool_size", Number),
        ("reserve_pool", Number),
        ("pool_mode", Text),
        ("max_connections", Number),
        ("current_connections", Number),
        ("paused", Number),
        ("disabled", Number),
    ]);
    let primary = seen.picture.nodes.iter().find(|n| n.role == "primary");
    let (host, port) = primary.map_or((String::new(), 0), |n| host_and_port(&n.name));
    let pool = &seen.config.pool;
    for name in database_names(seen.picture) {
        let pools = seen.picture.pools.iter().filter(|p| p.database == name);
        let paused = seen.picture.paused.iter().any(|p| p == name)
            || seen.picture.state == crate::observe::picture::State::Paused;
        table.rows.push(row![
            name,
            host.as_str(),
            Cell::Number(port),
            name,
            Cell::Null,
            pool.server_connections_max,
            pool.server_connections_min,
            0,
            mode(seen.config),
            pool.node_connections_max,
            pools.map(|p| p.active + p.idle + p.opening).sum::<usize>(),
            paused,
            0,
        ]);
    }
    table
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
        let own = configured.and_then(|u| u.mode).map(|m| match m {
            crate::config::PoolMode::Transaction => "transaction",
            crate::config::PoolMode::Session => "session",
        });
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
        row!["databases", database_names(picture).len()],
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
        row!["rules", seen.config.policy.rules.iter().count()],
    ];
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

fn routes(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("database", Text),
        ("target", Text),
        ("reason", Text),
        ("statements", Number),
        ("explanation", Text),
    ]);
    for totals in &seen.picture.totals {
        let mut rows = totals.by_reason.clone();
        rows.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        for (target, reason, count) in rows {
            table.rows.push(row![
                totals.database.as_str(),
                target.as_str(),
                reason.as_str(),
                count,
                reason.explain(),
            ]);
        }
    }
    table
}

fn pins(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("id", Number),
        ("database", Text),
        ("user", Text),
        ("application_name", Text),
        ("reason", Text),
        ("node", Text),
        ("explanation", Text),
    ]);
    for client in logged_in(seen) {
        if let Some(pin) = client.pin {
            table.rows.push(row![
                client.process,
                client.database.as_str(),
                client.user.as_str(),
                client.application_name.as_str(),
                pin.as_str(),
                client.server.as_ref().map(|(_, node)| node.as_str()),
                pin.explain(),
            ]);
        }
    }
    table
}

fn cache(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("name", Text), ("value", Number)]);
    let (texts, shapes, bytes) = seen.cache;
    table.rows = vec![
        row!["texts", texts],
        row!["shapes", shapes],
        row!["bytes", bytes],
        row!["bytes_max", seen.config.routing.cache_bytes_max],
    ];
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
