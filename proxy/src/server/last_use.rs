//! Was a server somebody else's meanwhile?

/// A server, and how often it had been leased: tells whether it was somebody else's meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// The server's process id.
    pub process: i32,
    /// Its leases so far.
    pub leases: u64,
}
