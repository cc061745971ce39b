//! The standbys that the primary streams to: offered as nodes, or taken for some where that is wanted.
//!
//! `pg_stat_replication` has the address that a standby connects from, and not the port at which it listens: it is
//! taken to be the primary's own. Whoever turns out to be no node of the cluster is shown as down, and never used.

use super::super::Cluster;
use super::super::connect::Link;
use super::super::connect::explain;
use super::{Place, Told};
use crate::config::sources::{Find, Kind, Source};
use crate::config::{self, Standbys};
use crate::limits::{NODES_MAX, STANDBYS_EVERY};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;

/// What the console, logs and metrics call this source.
const NAME: &str = "pg_stat_replication";

/// Where standbys connect from. Neither subscribers nor backups nor archivers are among them; a role that is no
/// member of `pg_monitor` sees no addresses.
const STANDBYS: &str = "SELECT DISTINCT pg_catalog.host(r.client_addr) FROM pg_catalog.pg_stat_replication r \
     LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid \
     WHERE r.client_addr IS NOT NULL AND r.replay_lsn IS NOT NULL AND s.slot_type IS DISTINCT FROM 'logical' \
     ORDER BY 1 LIMIT 64";

/// The source that this is, where it is wanted.
pub(super) fn source(cluster: &config::Cluster) -> Option<Source> {
    let takes = match cluster.find.standbys {
        Standbys::Off => return None,
        Standbys::Offer => false,
        Standbys::Take => true,
    };
    let like = config::Node { address: NAME.into(), weight: 100, zone: None, groups: vec![], source: None };
    Some(Source { name: NAME.into(), kind: Kind::Standbys { takes }, like })
}

/// The primary and its standbys, without those that are nodes already.
///
/// # Errors
/// A sentence for people.
pub(super) async fn standbys(cluster: &Weak<Cluster>, find: &Find) -> Result<Told, String> {
    let (primary, settings) = {
        let cluster = cluster.upgrade().ok_or("pgweir is leaving")?;
        let primary = cluster.wait_for_primary(find.timeout / 2).await;
        (primary.ok_or("there is no primary to ask")?.0, cluster.settings())
    };
    let cluster = &settings.cluster;
    let link = Link::open(cluster, &primary.name, &cluster.database, find.timeout).await?;
    let rows = link.client.query(STANDBYS, &[]).await.map_err(|error| explain(&error))?;
    let seen: Vec<IpAddr> = rows.iter().filter_map(|row| row.get::<_, String>(0).parse().ok()).collect();
    let mut known = HashSet::new();
    for node in cluster.nodes.iter().filter(|node| node.source.as_deref() != Some(NAME)) {
        // One that cannot be looked up is known by no address; its server is recognised when it is reached.
        known.extend(tokio::net::lookup_host(&node.address).await.into_iter().flatten().map(|at| at.ip()));
    }
    Ok(Told { places: places(&primary.name, &seen, &known), expires: Some(STANDBYS_EVERY) })
}

/// What of that are nodes. The primary is one of them: when a standby takes its place, it stays in the list.
fn places(primary: &str, seen: &[IpAddr], known: &HashSet<IpAddr>) -> Vec<Place> {
    let port = primary.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    let standbys = seen.iter().filter(|address| !known.contains(address));
    let standbys = standbys.map(|address| SocketAddr::new(*address, port).to_string());
    std::iter::once(primary.to_owned()).chain(standbys).take(NODES_MAX).map(Place::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_are_where_they_connect_from_at_the_primarys_port() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let known = HashSet::from([ip("10.0.0.2")]);
        let told = places("db1:5433", &[ip("10.0.0.2"), ip("10.0.0.3"), ip("fd00::4")], &known);
        let told: Vec<_> = told.iter().map(|place| place.address.as_str()).collect();
        assert_eq!(told, ["db1:5433", "10.0.0.3:5433", "[fd00::4]:5433"]);
    }
}
