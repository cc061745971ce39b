//! What `SET pgweir.…` asks for.

use crate::hint::{Consistency, parse_duration};
use crate::quote::parse_bool;
use crate::reason::Target;
use crate::session::settings::Settings;
use crate::transactions::Transactions;
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
    /// The settings that they are of.
    of: u64,
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
            "pgweir.max_lag" => match value.map(|lag| parse_duration(lag).ok_or(())).transpose() {
                Ok(lag) => self.max_lag = lag,
                Err(()) => return wrong("a duration such as 500ms, 5s, 1m"),
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
            "pgweir.trace" => match value.map(|on| parse_bool(on).ok_or(())).transpose() {
                Ok(trace) => self.trace = trace.unwrap_or(false),
                Err(()) => return wrong("on, off"),
            },
            "pgweir.commit_outcome" => match value.map(|on| parse_bool(on).ok_or(())).transpose() {
                Ok(asks) => self.commit_outcome = asks,
                Err(()) => return wrong("on, off"),
            },
            // Whoever knows what a position is looks into it.
            "pgweir.min_lsn" => {}
            _ => {
                return Err(format!(
                    "unrecognized configuration parameter \"{name}\" (pgweir knows consistency, max_lag, route, transactions, trace, commit_outcome, min_lsn)"
                ));
            }
        }
        Ok(())
    }

    /// They are what the settings in force ask for, whose values were checked before they were sent.
    pub fn follow(&mut self, settings: &Settings) {
        if settings.id() == self.of {
            return;
        }
        *self = Self { of: settings.id(), ..Self::default() };
        for name in settings.names().filter(|name| name.starts_with("pgweir.")) {
            let _ = self.set(name, settings.value(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_know_their_values() {
        assert!(Wishes::check("pgweir.consistency", "global").is_ok());
        assert!(Wishes::check("pgweir.consistency", "strong").unwrap_err().contains("eventual"));
        assert!(Wishes::check("pgweir.max_lag", "5s").is_ok());
        assert!(Wishes::check("pgweir.max_lag", "soon").is_err());
        assert!(Wishes::check("pgweir.tracing", "on").unwrap_err().contains("unrecognized"));
    }

    #[test]
    fn a_wish_is_taken_back_by_reset() {
        let mut wishes = Wishes::default();
        wishes.set("pgweir.trace", Some("on")).unwrap();
        assert!(wishes.trace);
        wishes.set("pgweir.trace", None).unwrap();
        assert!(!wishes.trace);
        wishes.follow(&Settings::from_pairs([("pgweir.trace", "on"), ("a.b", "c")]));
        assert!(wishes.trace);
        wishes.follow(&Settings::default());
        assert!(!wishes.trace);
    }
}
