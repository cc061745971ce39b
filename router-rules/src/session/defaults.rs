//! What holds where a session sets nothing.

use std::collections::HashMap;
use std::time::Duration;

/// What holds where a session sets nothing.
#[derive(Debug, PartialEq)]
pub struct Defaults {
    /// `search_path`.
    pub search_path: String,
    /// `default_transaction_isolation`.
    pub isolation: String,
    /// `default_transaction_read_only` is on.
    pub read_only: bool,
    /// Every setting that the user may change, by its name in lower case.
    pub all: HashMap<Box<str>, Box<str>>,
    /// Of those, `idle_session_timeout`: each wait of an idle client asks for it.
    pub idle_session: Option<Duration>,
    /// And `idle_in_transaction_session_timeout`.
    pub idle_in_transaction: Option<Duration>,
}

impl Default for Defaults {
    /// Those of Postgres.
    fn default() -> Self {
        Self {
            search_path: "\"$user\", public".to_owned(),
            isolation: "read committed".to_owned(),
            read_only: false,
            all: HashMap::new(),
            idle_session: None,
            idle_in_transaction: None,
        }
    }
}
