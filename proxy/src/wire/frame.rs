//! One message on the wire: a tag, a length, a body.

use bytes::{Buf, BytesMut};

/// Tag and length.
pub const HEADER_BYTES: usize = 5;

/// A frame that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field counts itself, so it is at least 4.
    #[error("invalid message length {0}")]
    TooShort(u32),
    /// Longer than we allow for this message.
    #[error("message of {length} bytes is longer than the allowed {max}")]
    TooLong {
        /// What the header says.
        length: u32,
        /// What is allowed.
        max: usize,
    },
}

/// Tag and total length (header included) of the frame at the start of `bytes`;
/// `None` while the header is incomplete.
///
/// # Errors
/// When the length is impossible or over `max` bytes of body.
pub fn header(bytes: &[u8], max: usize) -> Result<Option<(u8, usize)>, FrameError> {
    let [tag, a, b, c, d, ..] = *bytes else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    if length < 4 {
        return Err(FrameError::TooShort(length));
    }
    let total = length as usize + 1;
    if total - HEADER_BYTES > max {
        return Err(FrameError::TooLong { length, max });
    }
    Ok(Some((tag, total)))
}

/// Takes the first frame out of `bytes`, if it is complete: its tag and its body.
///
/// # Errors
/// As [`header`].
pub fn take(bytes: &mut BytesMut, max: usize) -> Result<Option<(u8, BytesMut)>, FrameError> {
    let Some((tag, total)) = header(bytes, max)? else { return Ok(None) };
    if bytes.len() < total {
        return Ok(None);
    }
    let mut body = bytes.split_to(total);
    body.advance(HEADER_BYTES);
    Ok(Some((tag, body)))
}

/// Appends a frame whose body `write` appends.
pub fn put(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    write(out);
    let length = (out.len() - start - 1) as u32;
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// Splits a NUL-terminated string off the front of `body`; `None` when there is no NUL.
pub fn cstr<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    // Most names are empty.
    let end = if body.first() == Some(&0) { 0 } else { memchr::memchr(0, body)? };
    let (text, rest) = body.split_at(end);
    *body = &rest[1..];
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_or_not_there() {
        let sync = [b'S', 0, 0, 0, 4, b'Q'];
        let first = |bytes: &[u8]| take(&mut BytesMut::from(bytes), 100).unwrap();
        assert_eq!(first(&sync), Some((b'S', BytesMut::new())));
        assert_eq!(first(&sync[..4]), None);
        assert_eq!(first(&[b'Q', 0, 0, 0, 6, b'x']), None);
    }

    #[test]
    fn an_impossible_length_is_an_error_before_its_bytes_are_waited_for() {
        assert_eq!(header(&[b'Q', 0, 0, 0, 3], 100), Err(FrameError::TooShort(3)));
        assert_eq!(
            header(&[b'Q', 0x7f, 0xff, 0xff, 0xff], 100),
            Err(FrameError::TooLong { length: 0x7fff_ffff, max: 100 })
        );
    }

    #[test]
    fn what_is_put_is_taken() {
        let mut bytes = BytesMut::new();
        put(&mut bytes, b'Q', |b| b.extend_from_slice(b"SELECT 1\0"));
        let (tag, body) = take(&mut bytes, 100).unwrap().unwrap();
        assert_eq!((tag, &body[..]), (b'Q', &b"SELECT 1\0"[..]));
        assert!(bytes.is_empty());
    }
}
