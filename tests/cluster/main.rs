//! Tests that need a real cluster; one file per promise.

mod auth;
mod bounded;
mod cancel;
mod cluster_picture;
mod consistency;
mod copy;
mod corpus_hand;
mod drivers;
mod explained;
mod harness_itself;
mod lifecycle;
mod never_stale;
mod never_wrong;
mod nothing_lost;
mod operate;
mod pgbench;
mod pooling;
mod prepared;
mod processes;
mod reload;
mod soak;
mod startup;
mod support;
mod tls;
mod transparent;
