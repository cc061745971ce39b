//! What the users of pgweir are on Postgres now, asked at log-ins and watched in between.
//!
//! A log-in asks, unless somebody has asked just before; those that come while a question is under way share
//! the next one. Who is in use is asked for again every [`CENSUS_EVERY`], and at once when a statement that may
//! have changed roles or rights has passed through us. What is different then is a [`Change`]: the caller ends
//! what it ends. Only the primary is believed, since a replica may lag; where there is none, what is known
//! counts on, and a replica is asked about those of whom nothing is known.

use super::lookup::{LookupError, truncated};
use super::standing::Standing;
use super::{Directory, Nodes};
use crate::config::Config;
use crate::limits::{
    CENSUS_BATCH_MAX, CENSUS_EVERY, CENSUS_MAX, CENSUS_UNUSED_AFTER, VERIFIER_FRESH_LOOKUPS,
    VERIFIER_FRESH_MAX,
};
use crate::wire::Refusal;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A user and a database, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
}

/// Somebody is no longer what it was.
#[derive(Debug, Clone)]
pub struct Change {
    /// Who, and where.
    pub of: Pair,
    /// What it was.
    pub before: Arc<Standing>,
    /// When that was asked for last: later log-ins may have been let in as somebody else.
    pub proved: Instant,
    /// What it is.
    pub now: Arc<Standing>,
}

/// The standing of everybody in use.
#[derive(Debug, Default)]
pub struct Census {
    known: Mutex<HashMap<Pair, Known>>,
    /// Who asks the cluster now; the others wait for their turn and find the answer there.
    asking: tokio::sync::Mutex<Asking>,
    /// Those that wait for an answer.
    wanted: Mutex<HashSet<Pair>>,
    changes: Mutex<Vec<Change>>,
    /// What was asked for before this does not count for log-ins.
    changed_at: Mutex<Option<Instant>>,
    wake: Notify,
}

/// What the last question gave.
#[derive(Debug, Default)]
struct Asking {
    failure: Option<(Refusal, Instant)>,
}

/// What is known of one user in one database.
#[derive(Debug, Clone)]
struct Known {
    standing: Arc<Standing>,
    /// The question began then.
    proved: Instant,
    /// How long it counts for log-ins.
    fresh: Duration,
    /// Somebody has logged in.
    used: Instant,
}

impl Known {
    fn is_used(&self) -> bool {
        self.used.elapsed() < CENSUS_UNUSED_AFTER
    }
}

impl Census {
    /// What this user is, and may do in this database. Names that mean nothing have a standing too.
    ///
    /// # Errors
    /// When nobody can tell, and nothing was known before.
    pub async fn standing(
        &self,
        user: &str,
        database: &str,
        (directory, nodes, config): (&Directory, &dyn Nodes, &Config),
    ) -> Result<Arc<Standing>, Refusal> {
        let pair = Pair { user: truncated(user).to_owned(), database: truncated(database).to_owned() };
        let came = Instant::now();
        if let Some(standing) = self.fresh(&pair, came) {
            return Ok(standing);
        }
        self.wanted.lock().insert(pair.clone());
        let mut asking = self.asking.lock().await;
        // Somebody may have asked for this one, too, while it waited.
        if let Some(standing) = self.fresh(&pair, came) {
            return Ok(standing);
        }
        if let Some((refusal, at)) = &asking.failure
            && at.elapsed() < VERIFIER_FRESH_MAX
        {
            self.wanted.lock().remove(&pair);
            return self.stale(&pair).ok_or_else(|| refusal.clone());
        }
        let mut others = std::mem::take(&mut *self.wanted.lock());
        others.remove(&pair);
        let others = others.into_iter().take(CENSUS_BATCH_MAX - 1);
        let batch: Vec<Pair> = std::iter::once(pair.clone()).chain(others).collect();
        let mut asked = self.ask(&batch, (directory, nodes, config)).await;
        if matches!(asked, Err(LookupError::Name(_))) {
            // Of whom, the others find out for themselves.
            asked = self.ask(std::slice::from_ref(&pair), (directory, nodes, config)).await;
        }
        match asked {
            Ok(mut standings) => {
                asking.failure = None;
                Ok(standings.swap_remove(0))
            }
            Err(LookupError::Name(_)) => Ok(Arc::default()),
            Err(error) => {
                crate::limited!(warn, user, database, %error, "cannot look up what a user may do");
                let refusal = super::directory::refusal(&error);
                asking.failure = Some((refusal.clone(), Instant::now()));
                self.stale(&pair).ok_or(refusal)
            }
        }
    }

    /// Roles, databases or rights may have changed just now.
    pub fn changed(&self) {
        *self.changed_at.lock() = Some(Instant::now());
        self.wake.notify_one();
    }

    /// Waits until it is time to look, and looks at all that `is_in_use`; returns what has changed.
    pub async fn next(
        &self,
        is_in_use: impl Fn(&Pair) -> bool,
        (directory, nodes, config): (&Directory, &dyn Nodes, &Config),
    ) -> Vec<Change> {
        let _ = tokio::time::timeout(CENSUS_EVERY, self.wake.notified()).await;
        if nodes.primary_address().is_none() {
            return vec![];
        }
        let pairs: Vec<Pair> = {
            let known = self.known.lock();
            let in_use = known.iter().filter(|(pair, known)| known.is_used() || is_in_use(pair));
            in_use.map(|(pair, _)| pair.clone()).collect()
        };
        for batch in pairs.chunks(CENSUS_BATCH_MAX) {
            // Where nobody answers, nobody changes anything either.
            if let Err(error) = self.ask(batch, (directory, nodes, config)).await {
                tracing::debug!(%error, "cannot look up what users may do");
                break;
            }
        }
        std::mem::take(&mut *self.changes.lock())
    }

    fn fresh(&self, pair: &Pair, came: Instant) -> Option<Arc<Standing>> {
        let changed_at = *self.changed_at.lock();
        let counts = |known: &&mut Known| {
            let is_fresh = came.saturating_duration_since(known.proved) < known.fresh;
            is_fresh && changed_at.is_none_or(|changed| known.proved > changed)
        };
        let mut known = self.known.lock();
        let known = known.get_mut(pair).filter(|known| known.proved >= came || counts(known))?;
        known.used = came;
        Some(known.standing.clone())
    }

    fn stale(&self, pair: &Pair) -> Option<Arc<Standing>> {
        self.known.lock().get(pair).map(|known| known.standing.clone())
    }

    async fn ask(
        &self,
        pairs: &[Pair],
        (directory, nodes, config): (&Directory, &dyn Nodes, &Config),
    ) -> Result<Vec<Arc<Standing>>, LookupError> {
        let users: Vec<&str> = pairs.iter().map(|pair| pair.user.as_str()).collect();
        let databases: Vec<&str> = pairs.iter().map(|pair| pair.database.as_str()).collect();
        let began = Instant::now();
        let told = directory.lookup().standings(&users, &databases, nodes, config).await?;
        let (told, by_primary) = told;
        if told.len() != pairs.len() {
            return Err(LookupError::Query("an answer of another length than the question".into()));
        }
        let fresh = (began.elapsed() * VERIFIER_FRESH_LOOKUPS).min(VERIFIER_FRESH_MAX);
        let both = pairs.iter().zip(told);
        Ok(both
            .map(|(pair, told)| match by_primary {
                true => self.learn(pair, told, began, fresh),
                false => self.stale(pair).unwrap_or_else(|| Arc::new(told)),
            })
            .collect())
    }

    /// Remembers an answer, and what is different from the last one.
    fn learn(&self, pair: &Pair, told: Standing, proved: Instant, fresh: Duration) -> Arc<Standing> {
        let mut all = self.known.lock();
        let Some(known) = all.get_mut(pair) else {
            let standing = Arc::new(told);
            // Names that mean nothing are not remembered: anybody may try as many as he likes.
            if standing.identity().is_some() {
                if all.len() >= CENSUS_MAX {
                    all.retain(|_, known| known.is_used());
                }
                let known = Known { standing: standing.clone(), proved, fresh, used: proved };
                all.insert(pair.clone(), known);
            }
            return standing;
        };
        if proved < known.proved {
            // A later question was answered sooner.
            return known.standing.clone();
        }
        if *known.standing != told {
            let now = Arc::new(told);
            let before = std::mem::replace(&mut known.standing, now.clone());
            let change = Change { of: pair.clone(), before, proved: known.proved, now };
            self.changes.lock().push(change);
            self.wake.notify_one();
        }
        // Names that mean nothing may mean something the next moment, and whoever made them so logs in at once.
        let fresh = known.standing.identity().map_or(Duration::ZERO, |_| fresh);
        (known.proved, known.fresh) = (proved, fresh);
        known.standing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::standing::{Database, Role};
    use super::*;

    fn pair(user: &str) -> Pair {
        Pair { user: user.into(), database: "shop".into() }
    }

    fn standing(oid: u32) -> Standing {
        let role = Role { oid, can_log_in: true, superuser: false, connections_max: None, valid_until: None };
        let database = Database { oid: 1, allows_connections: true, connections_max: None, is_broken: false };
        Standing { role: Some(role), database: Some(database), may_connect: true }
    }

    #[test]
    fn what_is_different_is_a_change_and_what_is_not_is_none() {
        let census = Census::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        census.learn(&pair("ann"), standing(10), start, second);
        census.learn(&pair("ann"), standing(10), start + second, second);
        assert!(census.changes.lock().is_empty());
        census.learn(&pair("ann"), standing(11), start + 2 * second, second);
        let change = census.changes.lock().pop().unwrap();
        assert_eq!(change.of, pair("ann"));
        assert_eq!((&*change.before, &*change.now), (&standing(10), &standing(11)));
        assert_eq!(change.proved, start + second, "the last time that it was what it had been");
    }

    #[test]
    fn an_answer_that_was_overtaken_counts_no_more() {
        let census = Census::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        census.learn(&pair("ann"), standing(11), later, Duration::ZERO);
        let told = census.learn(&pair("ann"), standing(10), start, Duration::ZERO);
        assert_eq!(*told, standing(11));
        assert!(census.changes.lock().is_empty());
    }

    #[test]
    fn names_that_mean_nothing_are_not_remembered() {
        let census = Census::default();
        for number in 0..100 {
            census.learn(&pair(&number.to_string()), Standing::default(), Instant::now(), Duration::MAX);
        }
        assert!(census.known.lock().is_empty());
    }

    #[test]
    fn a_change_that_passed_through_makes_log_ins_ask_again() {
        let census = Census::default();
        let asked = Instant::now();
        census.learn(&pair("ann"), standing(10), asked, Duration::from_secs(60));
        assert!(census.fresh(&pair("ann"), Instant::now()).is_some());
        census.changed();
        assert!(census.fresh(&pair("ann"), Instant::now()).is_none());
        // It began before the change: it may have been answered before it, too.
        census.learn(&pair("ann"), standing(10), asked, Duration::from_secs(60));
        assert!(census.fresh(&pair("ann"), Instant::now()).is_none());
        census.learn(&pair("ann"), standing(10), Instant::now(), Duration::from_secs(60));
        assert!(census.fresh(&pair("ann"), Instant::now()).is_some());
    }
}
