//! Which server connections there are, and who has them.

/// All pools: one per node, database and user.
#[derive(Debug, Default)]
pub struct Pools {}
