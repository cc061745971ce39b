//! The operator of the day: reloads, drains, takes nodes out and puts them back.

use super::console;
use crate::cluster::Cluster;
use crate::error::HarnessError;
use crate::weir::{Weir, set};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use toml::Value;

/// What was done, how often.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Reloads that changed something.
    pub reloads: u64,
    /// Files with mistakes, which were refused.
    pub refused: u64,
    /// Replicas drained and taken back.
    pub drains: u64,
    /// Replicas taken out of the configuration and put back.
    pub removals: u64,
    /// All server connections opened anew.
    pub reconnects: u64,
    /// Everybody held for a moment.
    pub pauses: u64,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl Deeds {
    pub(super) fn failed(why: &str) -> Self {
        Self { errors: vec![why.to_owned()], ..Self::default() }
    }
}

impl fmt::Display for Deeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deeds { reloads, refused, drains, removals, reconnects, pauses, errors } = self;
        write!(f, "{reloads} reloads, {refused} refused, {drains} drains, {removals} removals, ")?;
        write!(f, "{reconnects} reconnects, {pauses} pauses, {} errors", errors.len())
    }
}

/// Does one thing after the other until it is over; every node is back at the end.
pub(super) fn run(cluster: &Cluster, weir: &Weir, pause: Duration, over: &AtomicBool) -> Deeds {
    let mut deeds = Deeds::default();
    let rest = || {
        let began = Instant::now();
        while began.elapsed() < pause && !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for turn in 0.. {
        if over.load(Ordering::Relaxed) || !deeds.errors.is_empty() {
            break;
        }
        if let Err(error) = one(cluster, weir, turn, &mut deeds, &rest) {
            deeds.errors.push(format!("operator: {error}"));
        }
        rest();
    }
    deeds
}

fn one(
    cluster: &Cluster,
    weir: &Weir,
    turn: usize,
    deeds: &mut Deeds,
    rest: &impl Fn(),
) -> Result<(), HarnessError> {
    let replica = cluster.address(1 + turn % 2);
    let tell = |command: &str| console(weir).sql(command).map(drop);
    match turn % 6 {
        0 => {
            let wait = format!("{}ms", 1000 + turn % 1000);
            weir.reconfigure(|config| set(config, "routing.freshness_wait", Value::from(wait)))?;
            deeds.reloads += 1;
        }
        1 => {
            tell(&format!("DRAIN '{replica}'"))?;
            rest();
            tell(&format!("UNDRAIN '{replica}'"))?;
            deeds.drains += 1;
        }
        2 => {
            let all = cluster.addresses();
            let nodes = |nodes: Vec<&String>| {
                Value::Array(nodes.into_iter().map(|node| Value::from(node.as_str())).collect())
            };
            let fewer = nodes(all.iter().filter(|node| **node != replica).collect());
            weir.reconfigure(|config| set(config, "cluster.nodes", fewer))?;
            rest();
            weir.reconfigure(|config| set(config, "cluster.nodes", nodes(all.iter().collect())))?;
            deeds.removals += 1;
        }
        3 => {
            let good = weir.config_text();
            weir.overwrite_config(&format!("{good}\n[nonsense]\nkey = 1\n"), "refused")?;
            weir.overwrite_config(&good, "unchanged")?;
            deeds.refused += 1;
        }
        4 => {
            tell("RECONNECT")?;
            deeds.reconnects += 1;
        }
        _ => {
            tell("PAUSE")?;
            std::thread::sleep(Duration::from_millis(100));
            tell("RESUME")?;
            deeds.pauses += 1;
        }
    }
    Ok(())
}
