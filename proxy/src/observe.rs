//! What is seen from outside: metrics, the HTTP address, logs, traces.

pub mod cluster;
pub mod host;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod picture;
pub mod process;
pub mod rate;
pub mod ruled;
mod status;
pub mod traces;

pub use metrics::Metrics;
pub use picture::Picture;
