//! Throw-away Postgres clusters with pgweir in front: one harness for tests, demo and benches.
//!
//! [`Cluster`] starts a primary and its streaming replicas and breaks them on request; [`Weir`]
//! starts the pgweir binary before them; [`RawClient`] speaks the protocol byte by byte.
//! Life-cycle calls block and may be made from any thread, inside a runtime or not.
//! Everything that was started dies with the process that started it, however that one ends
//! (see [`reaper`]).

pub mod binaries;
#[path = "../checker/mod.rs"]
pub mod checker;
pub mod cluster;
#[path = "../day/mod.rs"]
pub mod day;
pub mod door;
pub mod error;
pub mod faults;
pub mod http;
pub mod identity;
pub mod metrics;
pub mod node;
pub mod ports;
pub mod process;
pub mod raw;
pub mod reaper;
pub mod runtime;
pub mod scratch;
#[path = "../soak/mod.rs"]
pub mod soak;
pub mod sql;
pub mod usage;
pub mod weir;

pub use cluster::{Cluster, ClusterBuilder};
pub use error::HarnessError;
pub use metrics::Metrics;
pub use raw::RawClient;
pub use sql::Rows;
pub use usage::Usage;
pub use weir::{Weir, WeirBuilder};
