//! Looks at everything that runs and writes it down as rows.

use super::picture::{ClientRow, EventRow, NodeRow, Picture, PoolRow, ServerRow, State};
use crate::Weir;
use crate::config::{Config, PoolMode};
use crate::session::registry::Doing;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

impl Picture {
    /// How it is now. Costs a short lock per pool and client: for people and scrapers, not per statement.
    pub fn of(weir: &Weir) -> Self {
        let config = weir.config.load();
        let clients = clients(weir);
        let state = match (weir.draining.load(Ordering::Relaxed), weir.gate.is_closed()) {
            (true, _) => State::Draining,
            (_, true) => State::Paused,
            _ => State::Running,
        };
        Self {
            state,
            uptime: weir.metrics.started.elapsed().unwrap_or_default(),
            nodes: nodes(weir),
            servers: servers(weir, &clients),
            clients,
            pools: pools(weir, &config),
            totals: weir.metrics.totals(),
            events: events(weir),
        }
    }
}

fn nodes(weir: &Weir) -> Vec<NodeRow> {
    let row = |n: crate::cluster::NodeStatus| NodeRow {
        role: n.role.as_str(),
        up: n.up,
        serving: n.serving || n.is_primary,
        since: n.since,
        lag_bytes: n.lag_bytes,
        lag: n.lag,
        lagging: n.lagging,
        lsn: n.lsn,
        timeline: n.timeline,
        outstanding: n.outstanding,
        drained: n.drained,
        groups: n.groups,
        zone: n.zone,
        weight: n.weight,
        error: n.error,
        name: n.name,
    };
    weir.cluster.snapshot().into_iter().map(row).collect()
}

fn events(weir: &Weir) -> Vec<EventRow> {
    let row =
        |e: crate::cluster::Event| EventRow { at: e.at, kind: e.kind, node: e.node, text: e.text };
    weir.cluster.events.recent().into_iter().map(row).collect()
}

fn clients(weir: &Weir) -> Vec<ClientRow> {
    let mut rows: Vec<_> = weir
        .registry
        .all()
        .iter()
        .map(|card| ClientRow {
            process: card.process,
            user: card.user.clone(),
            database: card.database.clone(),
            application_name: card.application_name.lock().clone(),
            address: card.address.clone(),
            state: card.doing().as_str(),
            connected: card.connected,
            statements: card.statements.load(Ordering::Relaxed),
            pin: card.pin(),
            server: card.running_on().map(|target| (target.process, target.address.clone())),
        })
        .collect();
    let logging_in = weir.registry.logging_in.load(Ordering::Relaxed);
    let unknown = |_| ClientRow {
        process: 0,
        user: String::new(),
        database: String::new(),
        application_name: String::new(),
        address: String::new(),
        state: Doing::LoggingIn.as_str(),
        connected: SystemTime::now(),
        statements: 0,
        pin: None,
        server: None,
    };
    rows.extend((0..logging_in).map(unknown));
    rows.sort_by_key(|row| row.process);
    rows
}

fn pools(weir: &Weir, config: &Config) -> Vec<PoolRow> {
    let mut rows: Vec<_> = weir
        .pools
        .all()
        .iter()
        .map(|pool| {
            let (idle, open) = pool.counts();
            let user = config.users.iter().find(|u| u.name == pool.key.user);
            PoolRow {
                node: pool.key.node.clone(),
                database: pool.key.database.clone(),
                user: pool.key.user.clone(),
                active: open.saturating_sub(idle),
                waiting: pool.waiting.load(Ordering::Relaxed),
                idle,
                limit: pool.limit(),
                mode: match user.and_then(|u| u.mode).unwrap_or(config.pool.mode) {
                    PoolMode::Transaction => "transaction",
                    PoolMode::Session => "session",
                },
            }
        })
        .collect();
    rows.sort_by(|a, b| (&a.node, &a.database, &a.user).cmp(&(&b.node, &b.database, &b.user)));
    rows
}

/// The idle ones are in their pools, the others with their clients.
fn servers(weir: &Weir, clients: &[ClientRow]) -> Vec<ServerRow> {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let time = |at: Instant| wall.checked_sub(now.duration_since(at)).unwrap_or(wall);
    let mut rows = vec![];
    for pool in weir.pools.all() {
        pool.each_idle(|server| {
            rows.push(ServerRow {
                node: pool.key.node.clone(),
                database: pool.key.database.clone(),
                user: pool.key.user.clone(),
                state: "idle",
                process: server.cancel.process,
                opened: Some(time(server.opened)),
                used: Some(time(server.idle_since)),
                client: None,
                tls: server.connection.stream().is_tls(),
                statements: server.statements.len(),
            });
        });
    }
    let mut held: HashMap<(i32, &str), &ClientRow> = HashMap::new();
    for client in clients {
        if let Some((process, node)) = &client.server {
            held.insert((*process, node), client);
        }
    }
    rows.extend(held.into_iter().map(|((process, node), client)| ServerRow {
        node: node.to_owned(),
        database: client.database.clone(),
        user: client.user.clone(),
        state: "active",
        process,
        opened: None,
        used: None,
        client: Some(client.process),
        tls: false,
        statements: 0,
    }));
    rows.sort_by(|a, b| (&a.node, a.process).cmp(&(&b.node, b.process)));
    rows
}
