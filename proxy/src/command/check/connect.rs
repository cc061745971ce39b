//! Tries the cluster as `pgweir run` would: every node, with the cluster's own role.

use super::judge::{Answer, Finding, Lookup, Rights, Wanted, Weight, judge, of_primary, of_source};
use crate::auth::lookup;
use crate::cluster::connect::{Link, NoEntry, explain};
use crate::cluster::found::look_once;
use crate::config::{self, Config};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// How long connecting to a node, and each question, may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Connections by which an address is asked whether it always leads to the same server.
const CONNECTIONS_COMPARED: usize = 3;

/// A user and a database that nobody has: whether `pg_hba.conf` admits everybody shows in how it refuses.
const NOBODY: &str = "pgweir_check_of_pg_hba";

/// What every node is asked.
const ABOUT: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
     (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, \
     pg_catalog.current_setting('synchronous_commit'), \
     pg_catalog.current_setting('max_connections')::pg_catalog.int8 \
         - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8, \
     coalesce((SELECT s.setting::pg_catalog.int8 FROM pg_catalog.pg_settings s \
                WHERE s.name = 'recovery_min_apply_delay'), 0), \
     pg_catalog.host(pg_catalog.inet_client_addr())";

/// What tells servers apart, and whether the role may ask.
const MAY_IDENTIFY: &str =
    "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";
const IDENTITY: &str = "SELECT s.system_identifier FROM pg_catalog.pg_control_system() s";
const STARTED: &str = "SELECT (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8";

/// Whose commits are not waited for, though the server's own setting says otherwise.
const ASYNCHRONOUS: &str = "SELECT CASE WHEN s.setrole <> 0 \
         THEN 'role ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(s.setrole)) \
         ELSE 'database ' || pg_catalog.quote_ident(d.datname) END \
     FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
     WHERE 'synchronous_commit=off' = ANY (s.setconfig) ORDER BY 1";

const IS_MONITOR: &str = "SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE')";
const CLOSED: &str = "SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database d WHERE d.datallowconn \
     AND d.datname <> 'template1' AND NOT pg_catalog.has_database_privilege(d.oid, 'CONNECT') ORDER BY 1";

/// All that there is to say of the cluster.
///
/// # Errors
/// When there is no runtime to try it with.
pub fn try_cluster(config: &Config) -> Result<Vec<Finding>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    Ok(runtime.block_on(async {
        let (nodes, sources) = look_once(&config.cluster).await;
        let mut findings: Vec<_> = sources.iter().map(|(source, told)| of_source(source, told)).collect();
        findings.extend(judge(&ask_all(config, &nodes).await, &Wanted::of(config)));
        findings
    }))
}

/// What the primary at `address` does not let the role do, or is set to that undoes splitting: said in the
/// log at start, rather than by the first client that fails.
pub async fn advice(config: &Config, address: &str) -> Vec<Finding> {
    let asked = async {
        let link = Link::enter(&config.cluster, address, &config.cluster.database, ANSWER_WAIT).await?;
        about(&link.client, &config.cluster, needs_lookup(config)).await
    };
    // Whoever probes the node says why nobody is let in.
    let Ok(answer) = asked.await else { return vec![] };
    let findings = of_primary(address, &answer, &Wanted::of(config));
    findings.into_iter().filter(|finding| finding.weight != Weight::Good).collect()
}

/// Some user's verifier has to be read from the cluster.
fn needs_lookup(config: &Config) -> bool {
    config.users.is_empty() || config.users.iter().any(|user| user.password.is_none())
}

/// Every node's answer, in the order of the list.
async fn ask_all(config: &Config, nodes: &[config::Node]) -> Vec<(String, Result<Answer, NoEntry>)> {
    let mut asking = JoinSet::new();
    for (i, node) in nodes.iter().enumerate() {
        let (cluster, address) = (config.cluster.clone(), node.address.clone());
        let needs_lookup = needs_lookup(config);
        asking.spawn(async move {
            let answer = ask(&cluster, &address, needs_lookup).await;
            (i, address, answer)
        });
    }
    let mut answers: Vec<_> = vec![];
    while let Some(joined) = asking.join_next().await {
        // A task that was ended has nothing to say; none is.
        answers.extend(joined.ok());
    }
    answers.sort_by_key(|(i, ..)| *i);
    answers.into_iter().map(|(_, address, answer)| (address, answer)).collect()
}

async fn ask(cluster: &config::Cluster, address: &str, needs_lookup: bool) -> Result<Answer, NoEntry> {
    let link = Link::enter(cluster, address, &cluster.database, ANSWER_WAIT).await?;
    let mut answer = about(&link.client, cluster, needs_lookup).await?;
    answer.leads_elsewhere = leads_elsewhere(cluster, address, answer.started).await;
    answer.not_admitted = not_admitted(cluster, address).await;
    Ok(answer)
}

/// What the node says of itself, and on a primary what the role may do.
async fn about(client: &Client, cluster: &config::Cluster, needs_lookup: bool) -> Result<Answer, NoEntry> {
    let failed = |e: tokio_postgres::Error| NoEntry::Unreached(explain(&e));
    let row = client.query_one(ABOUT, &[]).await.map_err(failed)?;
    let mut answer = Answer {
        is_replica: row.get(0),
        version: row.get::<_, i32>(1).unsigned_abs(),
        started: row.get(2),
        synchronous_commit: row.get(3),
        connections_max: row.get::<_, i64>(4).unsigned_abs(),
        apply_delay_ms: row.get(5),
        our_address: row.get(6),
        ..Answer::default()
    };
    if client.query_one(MAY_IDENTIFY, &[]).await.map_err(failed)?.get(0) {
        answer.system = Some(client.query_one(IDENTITY, &[]).await.map_err(failed)?.get(0));
    }
    if !answer.is_replica {
        let rows = client.query(ASYNCHRONOUS, &[]).await.map_err(failed)?;
        answer.asynchronous = rows.iter().map(|row| row.get(0)).collect();
        answer.rights = rights(client, cluster, needs_lookup).await.map_err(failed)?;
    }
    Ok(answer)
}

async fn rights(
    client: &Client,
    cluster: &config::Cluster,
    needs_lookup: bool,
) -> Result<Rights, tokio_postgres::Error> {
    let closed = client.query(CLOSED, &[]).await?;
    Ok(Rights {
        monitor: client.query_one(IS_MONITOR, &[]).await?.get(0),
        closed: closed.iter().map(|row| row.get(0)).collect(),
        lookup: if needs_lookup { Some(lookup(client, cluster).await) } else { None },
    })
}

/// Looks the role itself up, as users will be.
async fn lookup(client: &Client, cluster: &config::Cluster) -> Lookup {
    let (how, query) = match &cluster.auth_query {
        Some(query) => ("cluster.auth_query", query.clone()),
        None => match lookup::way(client).await {
            Ok(Some((how, query))) => (how, query.to_owned()),
            Ok(None) => return Lookup::NotAllowed,
            Err(error) => return Lookup::Fails(explain(&error)),
        },
    };
    match client.query(&query, &[&cluster.user]).await {
        Ok(_) => Lookup::Works(how),
        Err(error) => Lookup::Fails(explain(&error)),
    }
}

/// Whether some of a few more connections meet another server than the first one.
async fn leads_elsewhere(cluster: &config::Cluster, address: &str, started: i64) -> bool {
    for _ in 1..CONNECTIONS_COMPARED {
        let Ok(link) = Link::enter(cluster, address, &cluster.database, ANSWER_WAIT).await else { continue };
        match link.client.query_one(STARTED, &[]).await {
            Ok(row) if row.get::<_, i64>(0) != started => return true,
            _ => {}
        }
    }
    false
}

/// The words with which `pg_hba.conf` turns away somebody whom no line names. `None`: it does not.
async fn not_admitted(cluster: &config::Cluster, address: &str) -> Option<String> {
    let nobody = config::Cluster { user: NOBODY.into(), ..cluster.clone() };
    match Link::enter(&nobody, address, NOBODY, ANSWER_WAIT).await {
        Err(NoEntry::Refused { message, .. }) if message.contains("pg_hba.conf") => Some(message),
        _ => None,
    }
}
