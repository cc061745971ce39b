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
            "pgweir.trace" => match value.map(str::to_ascii_lowercase).as_deref() {
                None | Some("off" | "false" | "no" | "0") => self.trace = false,
                Some("on" | "true" | "yes" | "1") => self.trace = true,
                Some(_) => return wrong("on, off"),
            },
            "pgweir.min_lsn" => SessionFreshness::default().set_min_lsn(value.unwrap_or(""))?,
            _ => {
                return Err(format!(
                    "unrecognized configuration parameter \"{name}\" (pgweir knows consistency, max_lag, route, transactions, trace, min_lsn)"
                ));
            }
        }
        Ok(())
    }
}
