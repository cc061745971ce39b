//! What the checker's clients did, and what they saw.

use serde_json::{Value, json};

/// Nanoseconds since the run began, on one monotonic clock.
pub type Nanos = u64;

/// One row of one table: a register, or an append-only list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The table's number.
    pub table: u32,
    /// The row's key.
    pub row: i64,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// One connection of one client: unique in a history.
    pub connection: u32,
    /// Not through the address that is checked, but past it, straight to the primary.
    pub outside: bool,
}

/// A state of a row: how often it was written. Rows start at version 0; each write adds one, and
/// Postgres puts writes of one row in order, so the version says which writes a reader has seen.
pub type Version = i64;

/// What a write or a read had to do with one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It made this version, whose value is `value` (unique in a history).
    Wrote {
        /// The row.
        key: Key,
        /// The version that it made.
        version: Version,
        /// The value that marks it.
        value: i64,
    },
    /// It saw this version, marked by `value` (`None` at version 0).
    Saw {
        /// The row.
        key: Key,
        /// The version that it saw.
        version: Version,
        /// The value that marks it.
        value: Option<i64>,
        /// Of a list: all of it.
        list: Option<Vec<i64>>,
    },
}

impl Effect {
    /// The row.
    pub fn key(&self) -> Key {
        match self {
            Effect::Wrote { key, .. } | Effect::Saw { key, .. } => *key,
        }
    }
}

/// One statement or transaction: sent at `start`, answered at `end`.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who.
    pub session: Session,
    /// When it was sent.
    pub start: Nanos,
    /// When its answer had come.
    pub end: Nanos,
    /// What it did and saw. Empty when it failed, or nobody knows whether it did anything.
    pub effects: Vec<Effect>,
    /// It failed with this message.
    pub error: Option<String>,
    /// The values that it was told, by 40001, are not there.
    pub denied: Vec<i64>,
}

impl Operation {
    /// As one line of JSON.
    pub fn to_json(&self) -> Value {
        let effect = |e: &Effect| match e {
            Effect::Wrote { key, version, value } => {
                json!({"wrote": [key.table, key.row], "version": version, "value": value})
            }
            Effect::Saw { key, version, value, .. } => {
                json!({"saw": [key.table, key.row], "version": version, "value": value})
            }
        };
        json!({
            "connection": self.session.connection,
            "outside": self.session.outside,
            "start": self.start,
            "end": self.end,
            "effects": self.effects.iter().map(effect).collect::<Vec<_>>(),
            "error": self.error,
            "denied": self.denied,
        })
    }
}
