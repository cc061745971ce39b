//! A server, as it is.

use crate::cluster::verdict::Role;
use crate::node::lsn::Lsn;

/// Where records end, well within a page: one unit of a log.
pub(super) fn lsn(units: u64) -> Lsn {
    Lsn(units * 8192 + 4096)
}

/// A part of a log: everything from `begin` on was written on this timeline, by one promotion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// Unique, as the timeline's number is not.
    pub(super) branch: u64,
    pub(super) timeline: u32,
    pub(super) begin: u64,
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Another one after each start.
    pub(super) started: i64,
    pub(super) is_alive: bool,
    pub(super) is_frozen: bool,
    /// Nothing passes between it and pgweir.
    pub(super) is_cut: bool,
    pub(super) role: Role,
    pub(super) log: Vec<Part>,
    /// How far it has written, or replayed.
    pub(super) end: u64,
    pub(super) follows: usize,
    /// The newest timeline that it has heard of.
    pub(super) known: u32,
}

impl Server {
    pub(super) fn works(&self) -> bool {
        self.is_alive && !self.is_frozen
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.works() && !self.is_cut
    }

    pub(super) fn last(&self) -> Part {
        self.log[self.log.len() - 1]
    }

    /// Where its part of this branch ends, as far as it has it.
    pub(super) fn end_of(&self, branch: u64) -> Option<u64> {
        let at = self.log.iter().position(|part| part.branch == branch)?;
        Some(self.log.get(at + 1).map_or(self.end, |next| next.begin.min(self.end)))
    }

    /// Its log is a beginning of the other's.
    pub(super) fn may_follow(&self, other: &Server) -> bool {
        other.end_of(self.last().branch).is_some_and(|end| end >= self.end)
    }

    /// All of the other's log until there.
    pub(super) fn copy(&mut self, other: &Server, end: u64) {
        let parts = other.log.iter().filter(|part| part.begin <= end);
        (self.log, self.end) = (parts.copied().collect(), end);
        self.known = self.known.max(other.known);
    }
}
