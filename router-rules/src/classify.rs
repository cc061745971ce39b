//! SQL text → [`Classified`], behind a cache of texts and a cache of shapes.

use crate::catalog::Catalog;
use crate::hint::Hint;
use crate::reason::Reason;
use crate::statement::{Footprint, Kind, Statement};
use std::sync::Arc;

/// All that decides what a SQL text means, beside the text itself.
///
/// Built once and kept by the session while its settings stay the same; `id` is the cache key.
#[derive(Debug)]
pub struct Scope {
    /// Equal for equal scopes, different for different ones (a hash of the fields below and the
    /// catalog's generation).
    pub id: u64,
    /// The database's catalog; `None` while it has not been read yet.
    pub catalog: Option<Arc<Catalog>>,
    /// `search_path` as the server reports or the session set it, split and unquoted; `$user` kept.
    pub search_path: Vec<String>,
    /// The current role, for `$user` and row-level security.
    pub role: String,
    /// `standard_conforming_strings` (off is rare and sends everything with a backslash to the primary).
    pub standard_conforming_strings: bool,
}

/// What a SQL text (one or more statements) would do.
#[derive(Clone, Debug)]
pub struct Classified {
    /// The statements, in order; a text that is not understood is one `Kind::Other`.
    pub statements: Vec<Statement>,
    /// The verdict over all of them.
    pub verdict: Result<Reason, Reason>,
    /// All that is read.
    pub reads: Footprint,
    /// All that may be written.
    pub writes: Footprint,
    /// What a comment in the text asks for.
    pub hint: Option<Hint>,
    /// A hash of the text's shape (literals stripped): names it in logs and in what the net learnt.
    pub shape: u64,
    /// No transaction steps and no session effects: the whole text is just work.
    pub plain: bool,
}

/// Classifies SQL texts and remembers its answers. Shared by all sessions.
#[derive(Debug, Default)]
pub struct Classifier {}

impl Classifier {
    /// A classifier whose caches together hold at most about `bytes_max` bytes.
    pub fn new(_bytes_max: usize) -> Self {
        Self {}
    }

    /// What `sql` would do under `scope`. Never panics, never takes more than linear time.
    pub fn classify(&self, _sql: &[u8], _scope: &Scope) -> Arc<Classified> {
        Arc::new(Classified {
            statements: vec![Statement {
                kind: Kind::Other,
                verdict: Err(Reason::NotParsed),
                reads: Footprint::Everything,
                writes: Footprint::Everything,
                transaction: None,
                effects: vec![],
                relations: vec![],
                functions: vec![],
            }],
            verdict: Err(Reason::NotParsed),
            reads: Footprint::Everything,
            writes: Footprint::Everything,
            hint: None,
            shape: 0,
            plain: true,
        })
    }

    /// A replica refused this shape: from now on it is for the primary ([`Reason::Learnt`]).
    pub fn learn(&self, _shape: u64) {}
}
