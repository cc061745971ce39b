//! Buffers between two uses: what one connection is done with, the next one reads into.
//!
//! A connection that waits holds no buffer, so each statement would allocate and free several. Each
//! event loop keeps a few instead; nothing is shared between threads, and nothing in them is kept.

use crate::limits::{READ_BYTES, SPARE_BUFFERS_MAX};
use bytes::BytesMut;
use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for one read.
pub fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES))
}

/// Takes a buffer back that is of no use any more. One of another size, or that somebody still
/// looks into, goes to the allocator.
pub fn give(mut buffer: BytesMut) {
    buffer.clear();
    if is_free(&mut buffer) && buffer.capacity() <= 2 * READ_BYTES {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS_MAX {
                spare.push(buffer);
            }
        });
    }
}

/// True when nobody looks into what was split off this empty buffer, and it has room for a read.
pub fn is_free(buffer: &mut BytesMut) -> bool {
    buffer.try_reclaim(READ_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_whole_and_empty_unless_somebody_still_looks_into_it() {
        let mut buffer = take();
        buffer.extend_from_slice(b"one two");
        let place = buffer.as_ptr();
        let word = buffer.split_to(3).freeze();
        give(buffer);
        let mut other = take();
        assert_ne!(other.as_ptr(), place);
        assert_eq!(&word[..], b"one");
        other.extend_from_slice(b"more");
        let place = other.as_ptr();
        drop(other.split_to(2).freeze());
        give(other);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= READ_BYTES);
    }

    #[test]
    fn small_and_large_ones_are_not_kept() {
        give(BytesMut::with_capacity(16));
        give(BytesMut::with_capacity(4 * READ_BYTES));
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
    }
}
