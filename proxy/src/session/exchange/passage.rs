//! Bytes of a server on their way to the client, in runs: what is the client's moves at once, as far as it
//! goes without a gap.

use bytes::{Buf, BytesMut};

/// The bytes at the front of what a server has sent that are the client's, and have not been moved yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    run: usize,
}

impl Passage {
    /// That begins with so many bytes for the client.
    pub(crate) fn of(run: usize) -> Self {
        Passage { run }
    }

    /// How many bytes it holds: the next message stands behind them.
    pub(crate) fn run(&self) -> usize {
        self.run
    }

    /// The next `count` bytes are the client's.
    pub(crate) fn pass(&mut self, count: usize) {
        self.run += count;
    }

    /// Moves what it holds, so that something else can follow.
    pub(crate) fn flush(&mut self, input: &mut BytesMut, output: &mut BytesMut) {
        output.extend_from_slice(&input[..self.run]);
        input.advance(self.run);
        self.run = 0;
    }

    /// The next `count` bytes are not the client's; it gets `instead`.
    pub(crate) fn replace(
        &mut self,
        count: usize,
        instead: &[u8],
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) {
        self.flush(input, output);
        input.advance(count);
        output.extend_from_slice(instead);
    }

    /// All that could be looked at has been.
    pub(crate) fn end(mut self, input: &mut BytesMut, output: &mut BytesMut) {
        if self.run == input.len() && output.is_empty() && self.run > 0 {
            // The usual end: the whole buffer is the client's, so it changes hands.
            std::mem::swap(output, input);
        } else {
            self.flush(input, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_dropped_and_replaced_keeps_its_order() {
        let mut input = BytesMut::from(&b"onetwothreefourfi"[..]);
        let mut output = BytesMut::from(&b"-"[..]);
        let mut passage = Passage::of(3);
        passage.replace(3, b"", &mut input, &mut output);
        passage.pass(5);
        passage.replace(4, b"FOUR", &mut input, &mut output);
        assert_eq!(&output[..], b"-onethreeFOUR");
        passage.end(&mut input, &mut output);
        assert_eq!((&output[..], &input[..]), (&b"-onethreeFOUR"[..], &b"fi"[..]));
    }

    #[test]
    fn a_whole_buffer_changes_hands() {
        let mut input = BytesMut::from(&b"all of it"[..]);
        let place = input.as_ptr();
        let mut output = BytesMut::new();
        Passage::of(9).end(&mut input, &mut output);
        assert_eq!((output.as_ptr(), input.len()), (place, 0));
    }
}
