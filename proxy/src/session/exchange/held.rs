//! What is kept back of an answer while its request may still run elsewhere.

use crate::limits::HELD_BYTES_MAX;

/// The end of the client's output that the client may not see yet; `from` is where it begins.
///
/// What stands before `from` is the client's and must flow: kept bytes never stop older ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing is kept back.
    #[default]
    No,
    /// The answer so far: nothing of a result is in it.
    Request {
        /// Where it begins.
        from: usize,
    },
    /// The same, within a block that can begin again elsewhere if its replica is lost.
    Block {
        /// Where it begins.
        from: usize,
    },
    /// Part of a result came with the read that is being looked at: all is shown at its end, unless an
    /// error that came with it lets the request run elsewhere after all.
    Seen {
        /// Where it begins.
        from: usize,
        /// It was [`Held::Block`].
        of_block: bool,
    },
}

impl Held {
    /// Where it begins.
    pub(crate) fn from(self) -> Option<usize> {
        match self {
            Held::No => None,
            Held::Request { from } | Held::Block { from } | Held::Seen { from, .. } => Some(from),
        }
    }

    /// Something is kept back, or would be if it came.
    pub(crate) fn is_held(self) -> bool {
        self != Held::No
    }

    /// The request's block can begin again elsewhere.
    pub(crate) fn is_of_block(self) -> bool {
        matches!(self, Held::Block { .. } | Held::Seen { of_block: true, .. })
    }

    /// How many of the `output` bytes for the client it may see.
    pub(crate) fn shown(self, output: usize) -> usize {
        self.from().map_or(output, |from| from.min(output))
    }

    /// Part of a result has come.
    pub(crate) fn show(&mut self) {
        if let Some(from) = self.from() {
            *self = Held::Seen { from, of_block: self.is_of_block() };
        }
    }

    /// All that came with one read has been looked at.
    pub(crate) fn end_of_read(&mut self) {
        if let Held::Seen { .. } = self {
            *self = Held::No;
        }
    }

    /// More than [`HELD_BYTES_MAX`] is not kept back: it is shown, and the request stays where it runs.
    pub(crate) fn bound(&mut self, output: usize) {
        if output - self.shown(output) >= HELD_BYTES_MAX {
            *self = Held::No;
        }
    }

    /// The first `count` bytes of the output have been written.
    pub(crate) fn on_written(&mut self, count: usize) {
        match self {
            Held::No => {}
            Held::Request { from } | Held::Block { from } | Held::Seen { from, .. } => *from -= count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_it_is_shown_and_written_and_it_moves_up() {
        let mut held = Held::Request { from: 100 };
        assert_eq!((held.shown(150), held.shown(80)), (100, 80));
        held.on_written(70);
        assert_eq!(held, Held::Request { from: 30 });
        assert_eq!(Held::No.shown(150), 150);
    }

    #[test]
    fn a_result_is_shown_at_the_end_of_its_read() {
        let mut held = Held::Block { from: 7 };
        held.end_of_read();
        assert!(held.is_held());
        held.show();
        assert!(held.is_held() && held.is_of_block());
        held.end_of_read();
        assert_eq!(held, Held::No);
        held.show();
        assert_eq!(held, Held::No);
    }

    #[test]
    fn at_its_bound_it_is_given_up() {
        let mut held = Held::Request { from: 10 };
        held.bound(10 + HELD_BYTES_MAX - 1);
        assert!(held.is_held());
        held.bound(10 + HELD_BYTES_MAX);
        assert!(!held.is_held());
    }
}
