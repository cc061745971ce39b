//! When was what written, and which replica has it.

/// What one session wrote and read, for read-your-writes and monotonic reads.
#[derive(Debug, Clone, Default)]
pub struct SessionFreshness {}
