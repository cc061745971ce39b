//! One client's session: receive, classify, decide, lease, relay, remember.

pub mod registry;
