//! Hostile SQL, and a judge that knows Postgres's own grammar.
//!
//! The classifier proves statements read-only from their tokens. Here each statement that it calls
//! proved is parsed by PostgreSQL's parser (libpg_query), and the tree is searched for anything that
//! a replica may not be given. The catalog holds a trap of each sort (function, relation, view, type,
//! operator, function of a row), called `evil…`; a tree that names one of them must not have been proved.

pub mod judge;
pub mod mutate;
pub mod traps;
