//! What clients send, as far as we look into it.
//!
//! Bodies are borrowed and never decoded further than needed: SQL and values pass as the bytes
//! that they are, whatever the client's encoding.

use super::frame::{self, cstr};
use bytes::BytesMut;

/// Message tags of clients.
pub mod tag {
    #![allow(missing_docs)]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// The SQL of a Query.
pub fn query(mut body: &[u8]) -> Option<&[u8]> {
    let sql = cstr(&mut body)?;
    body.is_empty().then_some(sql)
}

/// A Parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The SQL.
    pub sql: &'a [u8],
    /// The number of parameter types and the types, as they stand in the message.
    pub types: &'a [u8],
}

/// Reads a Parse.
pub fn parse(mut body: &[u8]) -> Option<Parse<'_>> {
    let name = cstr(&mut body)?;
    let sql = cstr(&mut body)?;
    let (count, oids) = body.split_first_chunk::<2>()?;
    (usize::from(u16::from_be_bytes(*count)) * 4 == oids.len()).then_some(Parse { name, sql, types: body })
}

/// A Bind's names; what follows them is passed as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Formats and values.
    pub rest: &'a [u8],
}

/// Reads the names of a Bind (which may be incomplete behind them).
pub fn bind(mut body: &[u8]) -> Option<Bind<'_>> {
    let portal = cstr(&mut body)?;
    let statement = cstr(&mut body)?;
    Some(Bind { portal, statement, rest: body })
}

/// A parameter of a Bind: whether it is text, and its bytes (`None` for NULL).
type BindValue<'a> = (bool, Option<&'a [u8]>);

/// The parameters of a complete Bind.
fn bind_values(rest: &[u8]) -> Option<Vec<BindValue<'_>>> {
    fn u16_of(bytes: &mut &[u8]) -> Option<usize> {
        let (head, tail) = bytes.split_first_chunk::<2>()?;
        *bytes = tail;
        Some(usize::from(u16::from_be_bytes(*head)))
    }
    let mut rest = rest;
    let formats: Vec<usize> = (0..u16_of(&mut rest)?).map(|_| u16_of(&mut rest)).collect::<Option<_>>()?;
    (0..u16_of(&mut rest)?)
        .map(|i| {
            let format = formats.get(i).or(if formats.len() == 1 { formats.first() } else { None });
            let is_text = format.copied().unwrap_or(0) == 0;
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let length = i32::from_be_bytes(*length);
            rest = tail;
            if length < 0 {
                return Some((is_text, None));
            }
            let (value, tail) = rest.split_at_checked(length as usize)?;
            rest = tail;
            Some((is_text, Some(value)))
        })
        .collect()
}

/// The types of text that have one form in both formats, and are taken for `text` as they are: what was left
/// open (0, 705), `text`, `varchar`.
const TEXT_TYPES: [u32; 4] = [0, 25, 705, 1043];

/// The parameters of a complete Bind that are texts in UTF-8 by the types of their Parse (a count and that
/// many OIDs). Outer `None`: it is not, or of another type; inner `None`: NULL.
pub fn bind_texts<'a>(rest: &'a [u8], types: &[u8]) -> Option<Vec<Option<Option<&'a str>>>> {
    let type_of = |at: usize| {
        let oid = types.get(2 + 4 * at..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*oid))
    };
    let text = |(at, (_, value)): (usize, BindValue<'a>)| {
        if !TEXT_TYPES.contains(&type_of(at).unwrap_or(0)) {
            return None;
        }
        match value {
            Some(value) => std::str::from_utf8(value).ok().map(Some),
            None => Some(None),
        }
    };
    Some(bind_values(rest)?.into_iter().enumerate().map(text).collect())
}

/// Decimal numbers in a text.
pub fn decimals(text: &[u8]) -> Vec<i32> {
    text.split(|byte| !byte.is_ascii_digit())
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .collect()
}

/// What a Describe or Close names: `S`tatement or `P`ortal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// `b'S'` or `b'P'`.
    pub kind: u8,
    /// Its name.
    pub name: &'a [u8],
}

/// Reads a Describe or a Close.
pub fn named(body: &[u8]) -> Option<Named<'_>> {
    let (kind, mut body) = body.split_first()?;
    let name = cstr(&mut body)?;
    (body.is_empty() && matches!(kind, b'S' | b'P')).then_some(Named { kind: *kind, name })
}

/// Reads the portal of an Execute.
pub fn execute(mut body: &[u8]) -> Option<&[u8]> {
    let portal = cstr(&mut body)?;
    (body.len() == 4).then_some(portal)
}

/// How many rows an Execute asks for; 0: all.
pub fn execute_rows_max(mut body: &[u8]) -> Option<u32> {
    cstr(&mut body)?;
    Some(u32::from_be_bytes(body.try_into().ok()?))
}

/// Appends a Query.
pub fn put_query(out: &mut BytesMut, sql: &[u8]) {
    frame::put(out, tag::QUERY, |out| {
        out.extend_from_slice(sql);
        out.extend_from_slice(&[0]);
    });
}

/// Appends a Parse.
pub fn put_parse(out: &mut BytesMut, name: &[u8], sql: &[u8], types: &[u8]) {
    frame::put(out, tag::PARSE, |out| {
        for text in [name, sql] {
            out.extend_from_slice(text);
            out.extend_from_slice(&[0]);
        }
        out.extend_from_slice(types);
    });
}

/// Appends a Bind whose statement's name is another.
pub fn put_bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], rest: &[u8]) {
    frame::put(out, tag::BIND, |out| {
        for text in [portal, statement] {
            out.extend_from_slice(text);
            out.extend_from_slice(&[0]);
        }
        out.extend_from_slice(rest);
    });
}

/// Appends an Execute that fetches all rows.
pub fn put_execute(out: &mut BytesMut, portal: &[u8]) {
    frame::put(out, tag::EXECUTE, |out| {
        out.extend_from_slice(portal);
        out.extend_from_slice(&[0; 5]);
    });
}

/// Appends a Describe or Close (by `tag`) of a statement.
pub fn put_named(out: &mut BytesMut, tag: u8, kind: u8, name: &[u8]) {
    frame::put(out, tag, |out| {
        out.extend_from_slice(&[kind]);
        out.extend_from_slice(name);
        out.extend_from_slice(&[0]);
    });
}

/// Appends a message without a body.
pub fn put_empty(out: &mut BytesMut, tag: u8) {
    frame::put(out, tag, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(put: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out);
        out[frame::HEADER_BYTES..].to_vec()
    }

    #[test]
    fn a_parse_whose_type_count_lies_is_no_parse() {
        let good = body(|out| put_parse(out, b"s", b"SELECT $1", &[0, 1, 0, 0, 0, 23]));
        assert_eq!(parse(&good), Some(Parse { name: b"s", sql: b"SELECT $1", types: &[0, 1, 0, 0, 0, 23] }));
        let lying = body(|out| put_parse(out, b"s", b"SELECT $1", &[0, 3, 0, 0, 0, 23]));
        assert_eq!(parse(&lying), None);
    }

    #[test]
    fn text_parameters_are_read_and_binary_ones_left_alone() {
        // Two formats (text, binary), three would be wrong; values "a", NULL.
        let rest = [0, 0, 0, 2, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(bind_values(&rest), Some(vec![(true, Some(&b"a"[..])), (true, None)]));
        let binary = [0, 1, 0, 1, 0, 1, 0, 0, 0, 1, b'a', 0, 0];
        assert_eq!(bind_values(&binary), Some(vec![(false, Some(&b"a"[..]))]));
        assert_eq!(bind_values(&[0, 0, 0, 1, 0, 0, 0, 9, b'a']), None);
    }

    #[test]
    fn process_ids_are_found_in_texts() {
        assert_eq!(decimals(b"{4194305, 99999999999,7}"), [4_194_305, 7]);
    }

    #[test]
    fn texts_are_read_in_both_formats_and_by_their_types() {
        // Text, binary; "a", NULL, 0xff, "b".
        let rest =
            [&[0, 0, 0, 4, 0, 0, 0, 1, b'a'][..], &[0xff; 4], &[0, 0, 0, 1, 0xff, 0, 0, 0, 1, b'b', 0, 0]]
                .concat();
        let types = [0, 4, 0, 0, 0, 25, 0, 0, 4, 19, 0, 0, 0, 0, 0, 0, 0, 23];
        assert_eq!(bind_texts(&rest, &types), Some(vec![Some(Some("a")), Some(None), None, None]));
        assert_eq!(bind_texts(&rest, &[0, 0]).map(|all| all[3]), Some(Some(Some("b"))));
        assert_eq!(bind_texts(&[], &[]), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_a_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (query(&body), parse(&body), bind(&body), named(&body), execute(&body), bind_values(&body));
        }
    }
}
