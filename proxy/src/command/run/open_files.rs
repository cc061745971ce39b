//! The limit on open files, raised to what the configuration may need.

use crate::config::Config;
use crate::limits::NODES_MAX;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Beside clients and servers: listeners, HTTP, probes, files.
const OTHERS: u64 = 256;

/// Raises the soft limit as far as the hard one allows; says so where that is not enough.
pub(super) fn raise(config: &Config) {
    let nodes = if config.cluster.sources.is_empty() { config.cluster.nodes.len() } else { NODES_MAX };
    let servers = config.pool.server_connections_max.saturating_mul(nodes);
    let needed = (config.limits.clients_max.saturating_add(servers) as u64).saturating_add(OTHERS);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let allowed = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    limit.current = Some(allowed);
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    } else if allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "the system allows fewer open files than limits.clients_max may need: raise LimitNOFILE or ulimit -Hn"
        );
    }
}
