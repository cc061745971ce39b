//! Tables about pools, by database and user or by node: POOLS, NODE_POOLS, DATABASES.

use super::{Seen, host_and_port, logged_in, micros, seconds_and_micros};
use crate::console::table::Kind::{Number, Text};
use crate::console::table::{Cell, Table};
use crate::observe::picture::{Picture, State};
use crate::rows::Doing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One row per database and user, over all nodes.
pub(super) fn pools(seen: &Seen<'_>) -> Table {
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
    }
    let mut sums: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
    for pool in &seen.picture.pools {
        let sum = sums.entry((&pool.database, &pool.user)).or_default();
        sum.waiting += pool.waiting;
        sum.active += pool.active;
        sum.idle += pool.idle;
        sum.opening += pool.opening;
        sum.longest = sum.longest.max(pool.longest_wait);
    }
    // PgBouncer counts a client that is connected and not waiting as active.
    for client in logged_in(seen) {
        let sum = sums.entry((&client.database, &client.user)).or_default();
        sum.clients += usize::from(client.state != Doing::Waiting);
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
            seen.config.pool_mode(user).as_str(),
        ]);
    }
    table
}

pub(super) fn node_pools(seen: &Seen<'_>) -> Table {
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
            p.mode.as_str(),
        ]);
    }
    table
}

/// Every database that a client or pool is of.
pub(super) fn database_names(picture: &Picture) -> BTreeSet<&str> {
    let clients = picture.clients.iter().filter(|c| c.state != Doing::LoggingIn).map(|c| c.database.as_str());
    clients.chain(picture.pools.iter().map(|p| p.database.as_str())).collect()
}

pub(super) fn databases(seen: &Seen<'_>) -> Table {
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
        let paused = seen.picture.paused.iter().any(|p| p == name) || seen.picture.state == State::Paused;
        table.rows.push(row![
            name,
            host.as_str(),
            Cell::Number(port),
            name,
            Cell::Null,
            pool.server_connections_max,
            pool.server_connections_min,
            pool.server_connections_reserve,
            seen.config.pool.mode.as_str(),
            pool.node_connections_max,
            pools.map(|p| p.active + p.idle + p.opening).sum::<usize>(),
            paused,
            0,
        ]);
    }
    table
}
