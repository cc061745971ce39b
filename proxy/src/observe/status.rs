//! What the status page shows, as JSON: numbers and names of nodes and databases, nothing of clients.

use super::metrics::Metrics;
use super::picture::Picture;
use prometheus::proto::{MetricFamily, MetricType};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Events on the page.
const EVENTS_SHOWN: usize = 50;
/// Pools on the page, those with the longest queue first.
const POOLS_SHOWN: usize = 50;

/// The whole page's data.
pub(super) fn json(picture: &Picture, metrics: &Metrics) -> Value {
    let gauges = picture.gauges();
    let families = metrics.gather(&gauges);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": seconds(SystemTime::now()),
        "uptime": picture.uptime.as_secs(),
        "state": picture.state.as_str(),
        "ready": picture.ready().err().unwrap_or("ready"),
        "memory_bytes": super::process::resident_bytes(),
        "siblings": picture.siblings.len(),
        "nodes": nodes(picture),
        "reasons": reasons(picture),
        "clients": gauges.clients.iter().map(|(state, n)| ((*state).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "pins": gauges.pinned.iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(),
        "pools": pools(picture),
        "statement_seconds": histogram(&families, "pgweir_statement_seconds"),
        "proxy_seconds": histogram(&families, "pgweir_proxy_seconds"),
        "lease_wait_seconds": histogram(&families, "pgweir_lease_wait_seconds"),
        "freshness_wait_seconds": histogram(&families, "pgweir_freshness_wait_seconds"),
        "freshness_waits": counters(&families, "pgweir_freshness_waits_total", "outcome"),
        "reroutes": counters(&families, "pgweir_reroutes_total", "cause"),
        "reloads": counters(&families, "pgweir_config_reloads_total", "result"),
        "events": picture.events.iter().rev().take(EVENTS_SHOWN).map(|e| json!({
            "at": seconds(e.at), "kind": e.kind, "node": e.node, "text": e.text,
        })).collect::<Vec<_>>(),
    })
}

fn nodes(picture: &Picture) -> Vec<Value> {
    let node = |n: &crate::rows::NodeStatus| {
        let pools = || picture.pools.iter().filter(|p| p.node == n.name);
        json!({
            "name": n.name,
            "role": n.role,
            "up": n.up,
            "serving": n.serving,
            "drained": n.drained,
            "lagging": n.lagging,
            "stranded": n.stranded,
            "several": n.several,
            "differs": n.differs,
            "since": n.since.as_secs(),
            "lag_bytes": n.lag_bytes,
            "lag_seconds": n.lag.as_secs_f64(),
            "lsn": n.lsn,
            "timeline": n.timeline,
            "outstanding": n.outstanding,
            "servers_active": pools().map(|p| p.active).sum::<usize>(),
            "servers_idle": pools().map(|p| p.idle).sum::<usize>(),
            "waiting": pools().map(|p| p.waiting).sum::<usize>(),
            "zone": n.zone,
            "groups": n.groups,
            "weight": n.weight,
            "source": n.source,
            "error": n.error,
        })
    };
    picture.nodes.iter().map(node).collect()
}

/// Over all databases: target, reason, its sentence, count.
fn reasons(picture: &Picture) -> Vec<Value> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for (target, reason, count) in picture.totals.iter().flat_map(|t| &t.by_reason) {
        *counts.entry((*target, *reason)).or_default() += count;
    }
    let row = |((target, reason), count): ((router_rules::Target, router_rules::Reason), u64)| json!({ "target": target.as_str(), "reason": reason.as_str(), "explain": reason.explain(), "count": count });
    counts.into_iter().map(row).collect()
}

fn pools(picture: &Picture) -> Vec<Value> {
    let mut pools: Vec<_> = picture.pools.iter().collect();
    pools.sort_by_key(|p| std::cmp::Reverse((p.waiting, p.active)));
    let row = |p: &&crate::rows::PoolRow| {
        json!({
            "node": p.node, "database": p.database, "active": p.active, "idle": p.idle,
            "waiting": p.waiting, "limit": p.limit,
        })
    };
    pools.iter().take(POOLS_SHOWN).map(row).collect()
}

/// Count, sum and cumulative buckets over all labels, so that the page can take differences.
fn histogram(families: &[MetricFamily], name: &str) -> Value {
    let Some(family) = families.iter().find(|f| f.name() == name) else { return Value::Null };
    let (mut count, mut sum) = (0, 0.0);
    let mut buckets: Vec<(f64, u64)> = vec![];
    for metric in family.get_metric().iter().filter(|_| family.get_field_type() == MetricType::HISTOGRAM) {
        let one = metric.get_histogram();
        count += one.get_sample_count();
        sum += one.get_sample_sum();
        for (i, bucket) in one.get_bucket().iter().enumerate() {
            match buckets.get_mut(i) {
                Some((_, n)) => *n += bucket.cumulative_count(),
                None => buckets.push((bucket.upper_bound(), bucket.cumulative_count())),
            }
        }
    }
    json!({ "count": count, "sum": sum, "buckets": buckets })
}

fn counters(families: &[MetricFamily], name: &str, label: &str) -> Value {
    let family = families.iter().find(|f| f.name() == name);
    let pairs = family.into_iter().flat_map(|f| f.get_metric()).map(|metric| {
        let value = metric.get_label().iter().find(|l| l.name() == label).map_or("", |l| l.value());
        (value.to_owned(), json!(metric.get_counter().get_value()))
    });
    Value::Object(pairs.collect())
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}
