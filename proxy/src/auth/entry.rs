//! What keeps a connection of our own, made by tokio-postgres, out of a node.

use std::io;

/// What kept us out of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEntry {
    /// It answered, and refused.
    #[error("{message} ({sqlstate})")]
    Refused {
        /// Five characters.
        sqlstate: String,
        /// In the server's language.
        message: String,
    },
    /// It asks for a password, and there is none.
    #[error("it asks for a password, and cluster.password is not set")]
    PasswordMissing,
    /// Something answered, and nothing that we may log in to.
    #[error("{0}")]
    Strange(String),
    /// No connection came about.
    #[error("{0}")]
    Unreached(String),
}

impl NoEntry {
    /// What an attempt to connect has ended with.
    pub fn of(error: &tokio_postgres::Error, with_password: bool) -> Self {
        match error.as_db_error() {
            Some(db) => {
                Self::Refused { sqlstate: db.code().code().to_owned(), message: db.message().to_owned() }
            }
            // tokio-postgres has no other word for it: it fails as soon as the server asks.
            None if !with_password && explain(error).contains("password missing") => Self::PasswordMissing,
            None if has_answered(error) => Self::Strange(cause(error)),
            None => Self::Unreached(cause(error)),
        }
    }
}

/// Whether it is about what was said, rather than about silence. tokio-postgres does not tell what kind an
/// error of its own is, except in words.
fn has_answered(error: &tokio_postgres::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
            || inner.to_string().contains("server does not support TLS")
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// An error with its causes: tokio-postgres's own text says only "db error".
pub fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// The innermost cause, in words for people: what failed is told by whoever shows it.
fn cause(error: &tokio_postgres::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let text = innermost.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
