//! What the classifier knows of a database: a snapshot of its catalog.

/// A snapshot of one database's catalog, read from the primary.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Grows with each snapshot that differs from the one before; part of every cache key.
    pub generation: u64,
}
