//! What is seen from outside: metrics, the HTTP address, logs.

pub mod http;
pub mod logging;
pub mod metrics;
pub mod picture;
mod process;
pub mod rate;
pub mod ruled;
mod status;

pub use metrics::Metrics;
pub use picture::Picture;
