//! The demo's cluster: who is in which zone, and what pgweir is told of it.

use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD};
use pgweir_tests::node::{SUPERUSER, SUPERUSER_PASSWORD};
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir};
use toml::{Table, Value};

/// What one node is in the demo.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What people call it.
    pub name: &'static str,
    /// Its availability zone.
    pub zone: &'static str,
    /// Set: it serves this group's reads and no others.
    pub group: Option<&'static str>,
}

/// The zone that pgweir itself is in.
pub const ZONE: &str = "a";
/// The table whose reads have a replica to themselves, by a rule: the report's visits.
const REPORT_TABLE: &str = "insights_visit";
const GROUP: &str = "analytics";

/// By the node's number. Two replicas in two zones for everybody, and one beside them for the
/// report, so that both facts can be seen at once: pgweir prefers its own zone, and a rule gives a
/// model a node of its own.
pub const PARTS: [Part; 4] = [
    Part { name: "primary", zone: "a", group: None },
    Part { name: "replica-1", zone: "a", group: None },
    Part { name: "replica-2", zone: "b", group: None },
    Part { name: "reports", zone: "a", group: Some(GROUP) },
];

/// The replica in pgweir's own zone, by its number.
pub const NEAR: usize = 1;
/// The replica in the other zone.
pub const FAR: usize = 2;

/// Starts the nodes.
pub fn cluster() -> Result<Cluster, HarnessError> {
    Cluster::builder().replicas(PARTS.len() - 1).count_statements().start()
}

/// Starts pgweir with zones and the report's rule.
pub fn weir(cluster: &Cluster) -> Result<Weir, HarnessError> {
    let nodes = PARTS.iter().enumerate().map(|(index, part)| {
        let mut node = Table::new();
        node.insert("address".into(), cluster.address(index).into());
        node.insert("zone".into(), part.zone.into());
        if let Some(group) = part.group {
            node.insert("groups".into(), vec![group].into());
        }
        Value::Table(node)
    });
    let rule = Table::from_iter([
        ("name".to_owned(), Value::from("insights")),
        ("table".to_owned(), REPORT_TABLE.into()),
        ("kind".to_owned(), vec!["select"].into()),
        ("group".to_owned(), GROUP.into()),
    ]);
    Weir::builder(cluster)
        .set("cluster.nodes", Value::Array(nodes.collect()))
        .set("cluster.zone", ZONE)
        .push("rule", rule)
        .start()
}

/// pgweir's console, for the warm-up.
pub fn console(weir: &Weir) -> Login {
    Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir")
}

/// What the application's control room needs to know to pause, stop and add nodes.
pub fn describe(cluster: &Cluster, weir: &Weir) -> serde_json::Value {
    let nodes = PARTS.iter().enumerate().map(|(index, part)| {
        let node = cluster.node(index);
        serde_json::json!({
            "name": part.name,
            "address": cluster.address(index),
            "zone": part.zone,
            "groups": part.group.into_iter().collect::<Vec<_>>(),
            "data": node.data(),
            "dsn": dsn(&Login::local(node.port(), SUPERUSER, SUPERUSER_PASSWORD, "postgres")),
        })
    });
    let mut description = serde_json::json!({
        "bin": cluster.binaries().program("postgres").parent(),
        "zone": ZONE,
        "config": weir.config_file(),
        "pid": weir.pid(),
        "nodes": nodes.collect::<Vec<_>>(),
    });
    if let Some(user) = cluster.server_user() {
        description["run_as"] = user.into();
    }
    description
}

/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>
pub fn dsn(login: &Login) -> String {
    let Login { host, port, user, password, database } = login;
    format!("host={host} port={port} user={user} password={password} dbname={database}")
}
