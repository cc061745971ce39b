//! ErrorResponse and NoticeResponse, made and read.

use super::backend::put;
use super::{frame, sqlstate};
use bytes::BytesMut;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use std::borrow::Cow;

/// Bad news that a client is told in an ErrorResponse.
///
/// <https://www.postgresql.org/docs/current/protocol-error-fields.html>
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sqlstate}: {message}")]
pub struct Refusal {
    /// Five characters; see [`super::sqlstate`].
    pub sqlstate: Cow<'static, str>,
    /// What is wrong. Safe to show: no secrets, no SQL values.
    pub message: Cow<'static, str>,
    /// More about what is wrong; as safe to show.
    pub detail: Option<Cow<'static, str>>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Refusal {
    /// Without detail or hint.
    pub fn new(sqlstate: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { sqlstate: Cow::Borrowed(sqlstate), message: message.into(), detail: None, hint: None }
    }

    /// A server's error, to be told in our own message.
    pub fn of_server(fields: ErrorFields) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(Cow::Owned(text));
        Self {
            sqlstate: Cow::Owned(fields.sqlstate),
            message: fields.message.into(),
            detail: some(fields.detail),
            hint: some(fields.hint),
        }
    }

    /// With more about what is wrong.
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With what to do about it.
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends it as an ErrorResponse of this severity (`ERROR`, `FATAL`).
    pub fn put(&self, out: &mut BytesMut, severity: &str) {
        let more = [(b'D', self.detail.as_deref()), (b'H', self.hint.as_deref())];
        let more: Vec<_> = more.into_iter().filter_map(|(code, text)| Some((code, text?))).collect();
        put_fields(out, b'E', severity, &self.sqlstate, &self.message, &more);
    }
}

/// Appends what Postgres says of a prepared statement whose result has changed its type. Its message may
/// be in any language: asyncpg and JDBC know it by the routine, and prepare the statement anew.
pub fn put_stale_plan(out: &mut BytesMut) {
    let place = [(b'F', "plancache.c"), (b'R', "RevalidateCachedQuery")];
    put_fields(out, b'E', "ERROR", sqlstate::FEATURE_NOT_SUPPORTED, STALE_PLAN, &place);
}

const STALE_PLAN: &str = "cached plan must not change result type";

/// Appends a NoticeResponse.
pub fn put_notice(out: &mut BytesMut, sqlstate: &str, message: &str) {
    put_fields(out, b'N', "NOTICE", sqlstate, message, &[]);
}

/// Appends a warning that comes of nothing the client did.
pub fn put_warning(out: &mut BytesMut, message: &str) {
    put_fields(out, b'N', "WARNING", "01000", message, &[]);
}

fn put_fields(
    out: &mut BytesMut,
    tag: u8,
    severity: &str,
    sqlstate: &str,
    message: &str,
    more: &[(u8, &str)],
) {
    // A NUL would end a field early.
    let text = |text: &str| text.replace('\0', " ");
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', text(sqlstate)),
        (b'M', text(message)),
    ];
    fields.extend(more.iter().map(|(code, value)| (*code, text(value))));
    if tag == b'E' {
        put(out, &ErrorResponse::new(fields));
    } else {
        put(out, &NoticeResponse::new(fields));
    }
}

/// The fields of a server's ErrorResponse that we look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFields {
    /// `ERROR`, `FATAL`, `PANIC` (the untranslated one where the server sends it).
    pub severity: String,
    /// Five characters.
    pub sqlstate: String,
    /// The primary message, in the server's language.
    pub message: String,
    /// More about it; may be empty.
    pub detail: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The function of PostgreSQL's source that raised it.
    pub routine: String,
}

impl ErrorFields {
    /// Reads the body of an ErrorResponse or NoticeResponse; what is missing stays empty.
    pub fn parse(mut body: &[u8]) -> Self {
        let mut fields = Self::default();
        while let [code, rest @ ..] = body {
            body = rest;
            if *code == 0 {
                break;
            }
            let Some(text) = frame::cstr(&mut body) else { break };
            let text = || String::from_utf8_lossy(text).into_owned();
            match code {
                b'S' if fields.severity.is_empty() => fields.severity = text(),
                b'V' => fields.severity = text(),
                b'C' => fields.sqlstate = text(),
                b'M' => fields.message = text(),
                b'D' => fields.detail = text(),
                b'H' => fields.hint = text(),
                b'R' => fields.routine = text(),
                _ => {}
            }
        }
        fields
    }

    /// A prepared statement's result has changed its type.
    pub fn is_stale_plan(&self) -> bool {
        self.sqlstate == sqlstate::FEATURE_NOT_SUPPORTED && self.message.contains(STALE_PLAN)
    }

    /// The connection ends after it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_back_as_the_fields_it_was_made_of() {
        let mut out = BytesMut::new();
        let refusal = Refusal::new("53300", "too many clients").with_detail("many").with_hint("wait");
        refusal.put(&mut out, "FATAL");
        let (_, body) = frame::take(&mut out, 1000).unwrap().unwrap();
        let fields = ErrorFields::parse(&body);
        assert!(fields.is_fatal());
        assert_eq!(Refusal::of_server(fields), refusal);
    }

    #[test]
    fn a_torn_error_is_read_as_far_as_it_goes() {
        assert_eq!(ErrorFields::parse(b"C25006").sqlstate, "");
        assert_eq!(ErrorFields::parse(b"C25006\0M").sqlstate, "25006");
    }
}
