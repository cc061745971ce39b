//! Messages that a client sends, as bytes.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use super::Frame;
use bytes::BufMut;

/// A frame's bytes.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.put_i32(body.len() as i32 + 4);
    bytes.extend_from_slice(body);
    bytes
}

/// A simple Query.
pub fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', format!("{sql}\0").as_bytes())
}

/// A Parse with no parameter types given.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// A Bind of text parameters, text results.
pub fn bind(portal: &str, statement: &str, values: &[Option<&str>]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.put_i16(values.len() as i16);
    for value in values {
        match value {
            None => body.put_i32(-1),
            Some(text) => {
                body.put_i32(text.len() as i32);
                body.extend_from_slice(text.as_bytes());
            }
        }
    }
    body.put_i16(0);
    frame(b'B', &body)
}

/// A Describe of a statement (`S`) or portal (`P`).
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    named(b'D', kind, name)
}

/// A Close of a statement (`S`) or portal (`P`).
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    named(b'C', kind, name)
}

fn named(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    body.extend_from_slice(name.as_bytes());
    body.push(0);
    frame(tag, &body)
}

/// An Execute; 0 rows means all.
pub fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.put_i32(rows_max);
    frame(b'E', &body)
}

/// A Sync.
pub fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

/// A Flush.
pub fn flush() -> Vec<u8> {
    frame(b'H', b"")
}

/// The tags of frames as text, such as `TDDCZ`.
pub fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}
