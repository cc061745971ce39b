//! What a comment or a session's settings ask for.

use crate::reason::Target;
use std::time::Duration;

/// A wish of the application's: `/* pgweir: replica, max_lag=5s, consistency=eventual */`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hint {
    /// `primary` or `replica`.
    pub target: Option<Target>,
    /// `consistency=…`.
    pub consistency: Option<Consistency>,
    /// `max_lag=…`.
    pub max_lag: Option<Duration>,
    /// `group=…`: a named group of nodes.
    pub group: Option<String>,
}

/// How fresh a read must be (the four levels of the documentation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// At most `max_lag` old.
    Eventual,
    /// And all that this session wrote or read.
    Session,
    /// And every commit this pgweir acknowledged to anybody before the read arrived.
    #[default]
    Proxy,
    /// And every commit the primary acknowledged to anybody before the read arrived.
    Global,
}

impl Consistency {
    /// The word used in config, settings and hints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Consistency::Eventual => "eventual",
            Consistency::Session => "session",
            Consistency::Proxy => "proxy",
            Consistency::Global => "global",
        }
    }
}

impl std::str::FromStr for Consistency {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word.to_ascii_lowercase().as_str() {
            "eventual" => Ok(Consistency::Eventual),
            "session" => Ok(Consistency::Session),
            "proxy" => Ok(Consistency::Proxy),
            "global" => Ok(Consistency::Global),
            _ => Err(()),
        }
    }
}
