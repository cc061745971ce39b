//! What `SET pgweir.…` asks for.

use crate::cluster::SessionFreshness;
use router_rules::hint::Consistency;
use router_rules::{Target, Transactions};
use std::time::Duration;

/// `SET pgweir.…`, understood.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `pgweir.consistency`
    pub consistency: Option<Consistency>,
    /// `pgweir.max_lag`
    pub max_lag: Option<Duration>,
    /// `pgweir.route`
    pub route: Option<Target>,
    /// `pgweir.transactions`
    pub transactions: Option<Transactions>,
    /// `pgweir.trace`
    pub trace: bool,
    /// `pgweir.commit_outcome`
    pub commit_outcome: Option<bool>,
}

impl Wishes {
    /// Whether `value` is one that `name` can have; the message says which are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(name: &str, value: &str) -> Result<(), String> {
        Wishes::default().set(name, Some(value))
    }

    /// Takes a setting over; `None` takes it back to the default.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let wrong = |wanted: &str| {
            Err(format!(
                "invalid value for parameter \"{name}\": \"{}\" (one of: {wanted})",
                value.unwrap_or("")
            ))
        };
        match name {
            "pgweir.consistency" => match value.map(str::parse).transpose() {
                Ok(level) => self.consistency = level,
                Err(()) => return wrong("eventual, session, proxy, global"),
            },
            "pgweir.max_lag" => match value.map(humantime::parse_duration).transpose() {
                Ok(lag) => self.max_lag = lag,
                Err(_) => return wrong("a duration such as 500ms, 5s, 1m"),
            },
            "pgweir.route" => match value {
                None | Some("auto") => self.route = None,
                Some("primary") => self.route = Some(Target::Primary),
                Some("replica") => self.route = Some(Target::Replica),
                Some(_) => return wrong("auto, primary, replica"),
            },
            "pgweir.transactions" => match value.map(str::parse).transpose() {
                Ok(transactions) => self.transactions = transactions,
                Err(()) => return wrong("primary, until_first_write"),
            },
            "pgweir.trace" => match value.map(switch) {
                None => self.trace = false,
                Some(Some(on)) => self.trace = on,
                Some(None) => return wrong("on, off"),
            },
            "pgweir.commit_outcome" => match value.map(switch) {
                None => self.commit_outcome = None,
                Some(Some(on)) => self.commit_outcome = Some(on),
                Some(None) => return wrong("on, off"),
            },
            "pgweir.min_lsn" => SessionFreshness::default().set_min_lsn(value.unwrap_or(""))?,
            _ => {
                return Err(format!(
                    "unrecognized configuration parameter \"{name}\" (pgweir knows consistency, max_lag, route, transactions, trace, commit_outcome, min_lsn)"
                ));
            }
        }
        Ok(())
    }
}

/// As Postgres reads it.
fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "off" | "false" | "no" | "0" => Some(false),
        "on" | "true" | "yes" | "1" => Some(true),
        _ => None,
    }
}
