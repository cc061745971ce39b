//! Step one: what was asked.
//!
//! A request is a Query, a function call, or a run of extended-protocol messages up to Sync or
//! Flush. Requests are gathered whole so that they can be looked into, up to a bound: what is
//! longer is cut where it may be cut, and its rest streams.

use crate::limits::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, SMALL_MESSAGE_BYTES_MAX, STATEMENT_BYTES_MAX};
use crate::wire::frame::{self, FrameError};
use crate::wire::frontend::{self, tag};
use bytes::{Buf, Bytes, BytesMut};

/// What the client asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What kind of request it is.
    pub kind: Kind,
    /// Its frames as they came; the last one may be incomplete.
    pub frames: Bytes,
    /// Bytes of the last frame that have not come yet: they stream.
    pub left: usize,
}

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Query.
    Query,
    /// Extended-protocol messages.
    Batch(End),
    /// The fast-path function call.
    FunctionCall,
    /// Farewell.
    Terminate,
}

/// Where a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a Sync.
    Sync,
    /// With a Flush.
    Flush,
    /// Because it is long: more of it follows.
    More,
    /// Before its end has come: what follows, and when, only the client knows.
    Begun,
}

impl End {
    /// The batch goes on behind it, with messages that are not known yet and no answer asked for.
    pub fn goes_on(self) -> bool {
        matches!(self, End::More | End::Begun)
    }
}

/// Takes the next request out of what has been received; `None` while it is incomplete.
///
/// # Errors
/// A frame that cannot be, or a message type that no client sends.
pub fn next_request(input: &mut BytesMut) -> Result<Option<Request>, Violation> {
    let mut at = 0;
    loop {
        let Some((kind, total)) = header(&input[at..])? else { return Ok(None) };
        let have = input.len() - at;
        let whole = have >= total;
        match kind {
            tag::QUERY | tag::FUNCTION_CALL | tag::TERMINATE if at > 0 => {
                return Ok(Some(batch(input, at, 0, End::More)));
            }
            tag::QUERY | tag::FUNCTION_CALL => {
                let gathered_max = if kind == tag::QUERY { STATEMENT_BYTES_MAX } else { REQUEST_BYTES_MAX };
                if !whole && (total <= gathered_max || have < REQUEST_BYTES_MAX) {
                    return Ok(None);
                }
                let kind = if kind == tag::QUERY { Kind::Query } else { Kind::FunctionCall };
                let length = total.min(have);
                let frames = input.split_to(length).freeze();
                return Ok(Some(Request { kind, frames, left: total - length }));
            }
            tag::TERMINATE => {
                return Ok(Some(Request { kind: Kind::Terminate, frames: Bytes::new(), left: 0 }));
            }
            // COPY data that was on its way when the COPY failed: Postgres ignores it too.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL if at == 0 => {
                if !whole {
                    if total > REQUEST_BYTES_MAX {
                        return Err(Violation::StrayCopy);
                    }
                    return Ok(None);
                }
                input.advance(total);
                continue;
            }
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {
                return Ok(Some(batch(input, at, 0, End::More)));
            }
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                if !whole {
                    let streams =
                        kind == tag::BIND && total > REQUEST_BYTES_MAX && have >= REQUEST_BYTES_MAX / 4;
                    if streams {
                        let length = input.len();
                        return Ok(Some(batch(input, length, total - have, End::More)));
                    }
                    if at > 0 && total > REQUEST_BYTES_MAX {
                        return Ok(Some(batch(input, at, 0, End::More)));
                    }
                    if kind == tag::PARSE && total > STATEMENT_BYTES_MAX && have >= REQUEST_BYTES_MAX / 4 {
                        if !input[frame::HEADER_BYTES..].contains(&0) {
                            return Err(Violation::NameTooLong);
                        }
                        return Ok(Some(batch(input, have, total - have, End::More)));
                    }
                    return Ok(None);
                }
                let body = &input[at + frame::HEADER_BYTES..at + total];
                at += total;
                if at >= REQUEST_BYTES_MAX || !is_well_formed(kind, body) {
                    return Ok(Some(batch(input, at, 0, End::More)));
                }
            }
            tag::SYNC | tag::FLUSH => {
                if !whole {
                    return Ok(None);
                }
                let end = if kind == tag::SYNC { End::Sync } else { End::Flush };
                return Ok(Some(batch(input, at + total, 0, end)));
            }
            other => return Err(Violation::UnknownType(other)),
        }
    }
}

/// The first message is a whole Bind, of a statement of which this holds.
pub fn binds_first(input: &[u8], holds: impl FnOnce(&[u8]) -> bool) -> bool {
    match header(input) {
        Ok(Some((tag::BIND, total))) if total <= input.len() => {
            frontend::bind(&input[frame::HEADER_BYTES..total]).is_some_and(|bind| holds(bind.statement))
        }
        _ => false,
    }
}

/// The whole messages of a batch whose end has not come yet, once they are `ahead_min` bytes.
pub fn begun_batch(input: &mut BytesMut, ahead_min: usize) -> Option<Request> {
    let whole = whole_messages(input);
    (whole >= ahead_min.max(1)).then(|| batch(input, whole, 0, End::Begun))
}

/// The client has sent whole messages of a batch, and neither its end nor a part of another message.
pub fn is_begun(input: &[u8]) -> bool {
    !input.is_empty() && whole_messages(input) == input.len()
}

/// How many bytes of messages of a batch, short of its end, stand here whole.
fn whole_messages(input: &[u8]) -> usize {
    let mut at = 0;
    while let Ok(Some((tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE, total))) =
        header(&input[at..])
        && at + total <= input.len()
    {
        at += total;
    }
    at
}

/// Type and total length of a client's message.
///
/// # Errors
/// A length that no message of this type may have.
pub fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, FrameError> {
    let max = match bytes.first() {
        Some(
            &(tag::DESCRIBE
            | tag::EXECUTE
            | tag::CLOSE
            | tag::SYNC
            | tag::FLUSH
            | tag::COPY_DONE
            | tag::COPY_FAIL
            | tag::TERMINATE),
        ) => SMALL_MESSAGE_BYTES_MAX,
        _ => MESSAGE_BYTES_MAX,
    };
    frame::header(bytes, max)
}

/// What cannot be read is refused at once and not with the Sync, as by Postgres.
fn is_well_formed(kind: u8, body: &[u8]) -> bool {
    match kind {
        tag::PARSE => frontend::parse(body).is_some(),
        tag::BIND => frontend::bind(body).is_some(),
        tag::EXECUTE => frontend::execute(body).is_some(),
        _ => frontend::named(body).is_some(),
    }
}

fn batch(input: &mut BytesMut, length: usize, left: usize, end: End) -> Request {
    Request { kind: Kind::Batch(end), frames: input.split_to(length).freeze(), left }
}

/// The client broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// As Postgres says it.
    #[error("invalid frontend message type {0}")]
    UnknownType(u8),
    /// A length that cannot be.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A name that is longer than what is gathered of a statement that streams.
    #[error("the name of a statement to be prepared is too long")]
    NameTooLong,
    /// A huge CopyData without a COPY.
    #[error("unexpected COPY data")]
    StrayCopy,
}

/// The frames of a request, one by one; the last may be incomplete (only of a request with bytes left).
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, total) = frame::header(bytes, MESSAGE_BYTES_MAX).ok()??;
        let (this, rest) = bytes.split_at(total.min(bytes.len()));
        bytes = rest;
        Some((kind, this.get(frame::HEADER_BYTES..)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frontend as put;

    fn input(build: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut bytes = BytesMut::new();
        build(&mut bytes);
        bytes
    }

    #[test]
    fn a_batch_ends_with_its_sync_and_leaves_the_next_one() {
        let mut bytes = input(|b| {
            put::put_parse(b, b"", b"SELECT 1", &[0, 0]);
            put::put_empty(b, tag::SYNC);
            put::put_query(b, b"SELECT 2");
        });
        let first = next_request(&mut bytes).unwrap().unwrap();
        assert_eq!(first.kind, Kind::Batch(End::Sync));
        assert_eq!(frames(&first.frames).map(|f| f.0).collect::<Vec<_>>(), [b'P', b'S']);
        assert_eq!(next_request(&mut bytes).unwrap().unwrap().kind, Kind::Query);
        assert!(next_request(&mut bytes).unwrap().is_none());
    }

    #[test]
    fn half_a_message_is_waited_for() {
        let mut whole = input(|b| put::put_query(b, b"SELECT 1"));
        for cut in 0..whole.len() {
            assert!(next_request(&mut BytesMut::from(&whole[..cut])).unwrap().is_none());
        }
        assert!(next_request(&mut whole).unwrap().is_some());
    }

    #[test]
    fn a_huge_bind_streams_behind_its_names() {
        let mut bytes = input(|b| put::put_bind(b, b"", b"s", &vec![0; 2 * REQUEST_BYTES_MAX]));
        let total = bytes.len();
        bytes.truncate(REQUEST_BYTES_MAX);
        let request = next_request(&mut bytes).unwrap().unwrap();
        assert_eq!((request.kind, request.left), (Kind::Batch(End::More), total - REQUEST_BYTES_MAX));
    }

    #[test]
    fn a_huge_parse_streams_behind_its_name() {
        let mut bytes = input(|b| put::put_parse(b, b"s", &vec![b' '; STATEMENT_BYTES_MAX], &[0, 0]));
        let total = bytes.len();
        bytes.truncate(REQUEST_BYTES_MAX / 4);
        let request = next_request(&mut bytes).unwrap().unwrap();
        assert_eq!((request.kind, request.left), (Kind::Batch(End::More), total - REQUEST_BYTES_MAX / 4));
        let mut bytes = input(|b| put::put_parse(b, &vec![b'x'; STATEMENT_BYTES_MAX], b"", &[0, 0]));
        bytes.truncate(REQUEST_BYTES_MAX / 4);
        assert_eq!(next_request(&mut bytes).unwrap_err(), Violation::NameTooLong);
    }

    #[test]
    fn what_has_come_of_a_batch_is_cut_between_messages() {
        let mut bytes = input(|b| {
            put::put_bind(b, b"", b"s", &[0; 100]);
            put::put_bind(b, b"", b"s", &[0; 100]);
        });
        let whole = bytes.len();
        bytes.truncate(whole - 1);
        assert!(begun_batch(&mut bytes, whole / 2 + 1).is_none());
        let request = begun_batch(&mut bytes, whole / 2).unwrap();
        assert_eq!((request.kind, request.frames.len()), (Kind::Batch(End::Begun), whole / 2));
        assert_eq!(bytes.len(), whole / 2 - 1);
    }

    #[test]
    fn a_name_of_megabytes_is_not_gathered() {
        for kind in [tag::DESCRIBE, tag::EXECUTE, tag::CLOSE, tag::SYNC, tag::COPY_FAIL] {
            let mut bytes = BytesMut::from(&[kind, 0, 1, 0, 0, b'S'][..]);
            assert!(matches!(next_request(&mut bytes), Err(Violation::Frame(FrameError::TooLong { .. }))));
        }
    }

    #[test]
    fn an_unknown_message_is_refused_as_postgres_does() {
        let mut bytes = BytesMut::from(&b"!\0\0\0\x04"[..]);
        assert_eq!(next_request(&mut bytes).unwrap_err(), Violation::UnknownType(b'!'));
    }
}
