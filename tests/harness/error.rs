//! What can go wrong while a cluster is driven.

/// A harness call failed; the text is meant for the person who reads the test's output.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A file, socket or process could not be used.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// Postgres, or pgweir in its place, refused something.
    #[error("{0}: {1}")]
    Sql(String, #[source] tokio_postgres::Error),
    /// Something did not happen, or not in time.
    #[error("{0}")]
    Failed(String),
}

impl HarnessError {
    /// Shorthand for [`HarnessError::Failed`].
    pub fn failed(text: impl Into<String>) -> Self {
        HarnessError::Failed(text.into())
    }
}

/// Says what was being done when an I/O error came.
pub trait Doing<T> {
    /// Names the deed.
    fn doing(self, deed: impl FnOnce() -> String) -> Result<T, HarnessError>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, deed: impl FnOnce() -> String) -> Result<T, HarnessError> {
        self.map_err(|error| HarnessError::Io(deed(), error))
    }
}

impl<T> Doing<T> for Result<T, tokio_postgres::Error> {
    fn doing(self, deed: impl FnOnce() -> String) -> Result<T, HarnessError> {
        self.map_err(|error| {
            // The crate's own text is only "db error"; the server's words are what helps.
            let deed = match error.as_db_error() {
                Some(db) => format!("{} ({} {})", deed(), db.code().code(), db.message()),
                None => deed(),
            };
            HarnessError::Sql(deed, error)
        })
    }
}
