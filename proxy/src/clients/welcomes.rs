//! What new clients are told at log-in, kept so that most log-ins need no server.

use crate::auth::Identity;
use crate::limits::WELCOMES_MAX;
use crate::server::Reported;
use bytes::Bytes;
use parking_lot::Mutex;
use router_rules::session::{Defaults, Settings};
use std::collections::HashMap;
use std::sync::Arc;

/// What a server reports to a user who starts with certain settings.
#[derive(Debug)]
pub struct Welcome {
    /// Those settings.
    pub settings: Settings,
    /// Name → value, as in ParameterStatus.
    pub reported: Arc<Reported>,
    /// The same as messages, which each client gets.
    pub told: Bytes,
    /// What holds where the session sets nothing.
    pub defaults: Arc<Defaults>,
}

/// Database, user, who and what these names mean, and settings.
type Key = (String, String, Identity, u64);

/// Welcomes by database, user and settings, so that most log-ins need no server of their own.
#[derive(Debug, Default)]
pub struct Welcomes {
    of: Mutex<HashMap<Key, Arc<Welcome>>>,
    /// Those of the last one. Most have them in common, and they are larger than all else that is kept of a client.
    defaults: Mutex<Arc<Defaults>>,
    /// What ALTER ROLE and ALTER DATABASE have set, as it was seen last, by database and user.
    role_settings: Mutex<HashMap<(String, String), Settings>>,
}

impl Welcomes {
    /// What others who started like this were told.
    pub fn get(&self, key: &Key) -> Option<Arc<Welcome>> {
        self.of.lock().get(key).cloned()
    }

    /// To be told to those who will start like this.
    pub fn insert(&self, key: Key, mut welcome: Welcome) -> Arc<Welcome> {
        let mut defaults = self.defaults.lock();
        if **defaults == *welcome.defaults {
            welcome.defaults.clone_from(&defaults);
        } else {
            defaults.clone_from(&welcome.defaults);
        }
        let welcome = Arc::new(welcome);
        let mut all = self.of.lock();
        if all.len() >= WELCOMES_MAX {
            all.clear();
        }
        all.insert(key, welcome.clone());
        welcome
    }

    /// What ALTER ROLE and ALTER DATABASE had set for this user in this database when that was seen last.
    pub fn role_settings(&self, database: &str, user: &str) -> Option<Settings> {
        self.role_settings.lock().get(&(database.to_owned(), user.to_owned())).cloned()
    }

    /// That is what they have set now.
    pub fn note_role_settings(&self, database: &str, user: &str, settings: Settings) {
        let mut all = self.role_settings.lock();
        if all.len() >= WELCOMES_MAX {
            all.clear();
        }
        all.insert((database.to_owned(), user.to_owned()), settings);
    }

    /// Forget those of a role that is not what it was, or not in this database.
    pub fn forget(&self, is_of: impl Fn(&str, &str) -> bool) {
        self.of.lock().retain(|(database, user, ..), _| !is_of(user, database));
        self.role_settings.lock().retain(|(database, user), _| !is_of(user, database));
    }

    /// Forget all: settings may have changed on the cluster.
    pub fn clear(&self) {
        self.of.lock().clear();
        self.role_settings.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(search_path: &str) -> Welcome {
        let defaults = Defaults { search_path: search_path.into(), ..Defaults::default() };
        Welcome {
            settings: Settings::default(),
            reported: Arc::default(),
            told: Bytes::new(),
            defaults: Arc::new(defaults),
        }
    }

    #[test]
    fn what_most_have_in_common_is_kept_once() {
        let welcomes = Welcomes::default();
        let insert = |number, path| {
            welcomes
                .insert(("d".into(), "u".into(), Identity::default(), number), welcome(path))
                .defaults
                .clone()
        };
        let (first, second, other) = (insert(1, "a"), insert(2, "a"), insert(3, "b"));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert_eq!(other.search_path, "b");
    }
}
