//! What is seen from outside: metrics, the HTTP address, logs.

pub mod metrics;

pub use metrics::Metrics;
