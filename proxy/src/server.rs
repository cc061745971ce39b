//! One connection to a Postgres node.
