//! The catalog snapshot, read from the primary.
