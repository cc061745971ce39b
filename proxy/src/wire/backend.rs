//! What servers send, as far as we look into it or say it ourselves.

use super::frame::cstr;
use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::CommandComplete;
use pgwire::messages::startup::{BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};

/// Message tags of servers.
pub mod tag {
    #![allow(missing_docs)]
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN: u8 = b'G';
    pub const COPY_OUT: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY: u8 = b'I';
    pub const ERROR: u8 = b'E';
    pub const FUNCTION_CALL: u8 = b'V';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE: u8 = b'N';
    pub const NOTIFICATION: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// ParseComplete, whole.
pub const PARSE_COMPLETE: [u8; 5] = [tag::PARSE_COMPLETE, 0, 0, 0, 4];
/// BindComplete, whole.
pub const BIND_COMPLETE: [u8; 5] = [tag::BIND_COMPLETE, 0, 0, 0, 4];
/// CloseComplete, whole.
pub const CLOSE_COMPLETE: [u8; 5] = [tag::CLOSE_COMPLETE, 0, 0, 0, 4];
/// NoData, whole.
pub const NO_DATA: [u8; 5] = [tag::NO_DATA, 0, 0, 0, 4];

/// ParameterDescription of a statement without parameters, whole.
pub const NO_PARAMETERS: [u8; 7] = [tag::PARAMETER_DESCRIPTION, 0, 0, 0, 6, 0, 0];

/// What ReadyForQuery says of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Outside a transaction (`I`).
    #[default]
    Idle,
    /// Inside one (`T`).
    Transaction,
    /// Inside a failed one (`E`).
    Failed,
}

impl Status {
    /// From the first byte of ReadyForQuery's body; longer bodies are tolerated.
    pub fn parse(body: &[u8]) -> Option<Self> {
        match body.first()? {
            b'I' => Some(Status::Idle),
            b'T' => Some(Status::Transaction),
            b'E' => Some(Status::Failed),
            _ => None,
        }
    }

    /// The byte on the wire.
    pub const fn byte(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::Transaction => b'T',
            Status::Failed => b'E',
        }
    }
}

/// Reads a ParameterStatus.
pub fn parameter_status(mut body: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((cstr(&mut body)?, cstr(&mut body)?))
}

/// Reads the tag of a CommandComplete.
pub fn command_tag(mut body: &[u8]) -> Option<&[u8]> {
    cstr(&mut body)
}

/// The text-format columns of a DataRow.
pub fn data_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    columns(body).collect()
}

/// The same one after the other; the first that is cut off is `None`, and the last.
pub fn columns(body: &[u8]) -> impl Iterator<Item = Option<Option<&[u8]>>> {
    let (count, mut rest) = match body.split_first_chunk::<2>() {
        Some((count, rest)) => (u16::from_be_bytes(*count), rest),
        // As if there were one, which is cut off.
        None => (1, body),
    };
    (0..count).map(move |_| {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        rest = tail;
        if length < 0 {
            return Some(None);
        }
        let (value, tail) = rest.split_at_checked(length as usize)?;
        rest = tail;
        Some(Some(value))
    })
}

/// Appends a ReadyForQuery.
pub fn put_ready(out: &mut BytesMut, status: Status) {
    out.extend_from_slice(&[tag::READY_FOR_QUERY, 0, 0, 0, 5, status.byte()]);
}

/// Appends a message of pgwire's: its encoders say what we originate, whatever is relayed passes as it came.
///
/// A message that is longer than the protocol allows is left out as a whole.
pub(super) fn put(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if let Err(error) = message.encode(out) {
        tracing::error!(%error, "a message of ours cannot be sent");
        out.truncate(start);
    }
}

/// Appends a CommandComplete.
pub fn put_command_complete(out: &mut BytesMut, command: &str) {
    put(out, &CommandComplete::new(command.to_owned()));
}

/// Appends a ParameterStatus.
pub fn put_parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    put(out, &ParameterStatus::new(name.to_owned(), value.to_owned()));
}

/// Appends a BackendKeyData.
pub fn put_backend_key_data(out: &mut BytesMut, process: i32, secret: &[u8]) {
    put(out, &BackendKeyData::new(process, SecretKey::Bytes(Bytes::copy_from_slice(secret))));
}

/// Appends a NegotiateProtocolVersion: the newest minor version that we speak, and the options we don't know.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
pub fn put_negotiate(out: &mut BytesMut, minor: u16, unknown_options: &[String]) {
    let version = 3 << 16 | i32::from(minor);
    put(out, &NegotiateProtocolVersion::new(version, unknown_options.to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_for_query_with_more_than_a_status_is_understood() {
        assert_eq!(Status::parse(b"Tlsn"), Some(Status::Transaction));
        assert_eq!(Status::parse(b""), None);
    }

    #[test]
    fn a_torn_row_is_no_row() {
        assert_eq!(data_row(&[0, 1, 0, 0, 0, 1, b't']), Some(vec![Some(&b"t"[..])]));
        assert_eq!(data_row(&[0, 1, 0, 0, 0, 2, b't']), None);
        assert_eq!(data_row(&[0, 1, 0xff, 0xff, 0xff, 0xff]), Some(vec![None]));
    }
}
