//! Tests that need a real cluster; one file per promise.

mod harness_itself;
