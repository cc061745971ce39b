//! The packets before the first tagged message.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>

mod options;

use crate::limits::STARTUP_BYTES_MAX;
use crate::wire::frame;
use router_rules::cut_name;

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// SSLRequest: may we speak TLS?
    Tls,
    /// GSSENCRequest.
    Gss,
    /// CancelRequest: the process id and the secret (4 bytes, or up to 256 with protocol 3.2).
    Cancel {
        /// As handed out in BackendKeyData.
        process: i32,
        /// As handed out in BackendKeyData.
        secret: Vec<u8>,
    },
    /// StartupMessage.
    Startup(Startup),
}

/// A StartupMessage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Protocol minor version (the major one is 3).
    pub minor: u16,
    /// The user.
    pub user: String,
    /// The database; the user's name where the client named none.
    pub database: String,
    /// `replication=…`, if asked for (`true`, `database`, `on`, …).
    pub replication: Option<String>,
    /// Every other parameter, the settings of `options` first; the last of equal names counts.
    pub settings: Vec<(String, String)>,
    /// `_pq_.` options, none of which we know.
    pub unknown_options: Vec<String>,
}

/// A start-up packet that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// As Postgres says it.
    #[error("invalid length of startup packet")]
    Length,
    /// As Postgres says it.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// As Postgres says it.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Version(u16, u16),
    /// As Postgres says it.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// As Postgres says it.
    #[error("invalid command-line argument for server process: {0}")]
    Options(String),
    /// As Postgres says it.
    #[error("{0} requires a value")]
    NoValue(String),
}

/// How long the packet is, from its first four bytes.
///
/// # Errors
/// [`StartupError::Length`] when it is shorter than a code or longer than Postgres allows.
pub fn length(first: [u8; 4]) -> Result<usize, StartupError> {
    let length = u32::from_be_bytes(first) as usize;
    if (8..=STARTUP_BYTES_MAX).contains(&length) { Ok(length) } else { Err(StartupError::Length) }
}

/// Reads a whole packet (the four length bytes not included).
///
/// # Errors
/// See [`StartupError`].
pub fn parse(packet: &[u8]) -> Result<Packet, StartupError> {
    let Some((code, mut body)) = packet.split_first_chunk::<4>() else { return Err(StartupError::Length) };
    let (major, minor) = (u16::from_be_bytes([code[0], code[1]]), u16::from_be_bytes([code[2], code[3]]));
    match (major, minor) {
        (1234, 5679) if body.is_empty() => return Ok(Packet::Tls),
        (1234, 5680) if body.is_empty() => return Ok(Packet::Gss),
        (1234, 5678) => {
            let Some((process, secret)) = body.split_first_chunk::<4>() else {
                return Err(StartupError::Length);
            };
            if !(4..=256).contains(&secret.len()) {
                return Err(StartupError::Length);
            }
            return Ok(Packet::Cancel { process: i32::from_be_bytes(*process), secret: secret.to_vec() });
        }
        (3, _) => {}
        _ => return Err(StartupError::Version(major, minor)),
    }
    let mut startup = Startup {
        minor,
        user: String::new(),
        database: String::new(),
        replication: None,
        settings: Vec::new(),
        unknown_options: Vec::new(),
    };
    // What `options` say comes before the packet's own parameters, wherever it stands.
    let mut from_options = Vec::new();
    loop {
        let name = frame::cstr(&mut body).ok_or(StartupError::Layout)?;
        if name.is_empty() {
            break;
        }
        let value = frame::cstr(&mut body).ok_or(StartupError::Layout)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let value = String::from_utf8_lossy(value).into_owned();
        match name.as_str() {
            "user" => startup.user = cut_name(&value).to_owned(),
            "database" => startup.database = cut_name(&value).to_owned(),
            "replication" => startup.replication = Some(value),
            "options" => from_options.extend(options::settings(&value)?),
            _ if name.starts_with("_pq_.") => startup.unknown_options.push(name),
            _ => startup.settings.push((name.to_ascii_lowercase(), value)),
        }
    }
    startup.settings.splice(..0, from_options);
    if !body.is_empty() {
        return Err(StartupError::Layout);
    }
    if startup.user.is_empty() {
        return Err(StartupError::NoUser);
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    if matches!(startup.replication.as_deref(), Some("false" | "off" | "no" | "0")) {
        startup.replication = None;
    }
    Ok(Packet::Startup(startup))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(minor: u8, body: &[u8]) -> Vec<u8> {
        [&[0, 3, 0, minor], body].concat()
    }

    #[test]
    fn a_startup_message_names_user_database_and_settings() {
        let bytes =
            packet(0, b"user\0app\0application_name\0psql\0options\0-c work_mem=4MB --DateStyle=SQL\\ x\0\0");
        let Ok(Packet::Startup(startup)) = parse(&bytes) else { panic!() };
        assert_eq!((startup.user.as_str(), startup.database.as_str()), ("app", "app"));
        assert_eq!(
            startup.settings,
            [("work_mem", "4MB"), ("datestyle", "SQL x"), ("application_name", "psql")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn a_parameter_of_its_own_wins_over_options_wherever_they_stand() {
        for body in [
            &b"user\0app\0client_encoding\0UTF8\0options\0-c client_encoding=SQL_ASCII\0\0"[..],
            b"user\0app\0options\0-c client_encoding=SQL_ASCII\0client_encoding\0UTF8\0\0",
        ] {
            let Ok(Packet::Startup(startup)) = parse(&packet(0, body)) else { panic!() };
            assert_eq!(startup.settings.last().map(|(_, value)| value.as_str()), Some("UTF8"));
        }
    }

    #[test]
    fn a_packet_without_its_end_is_refused_as_postgres_does() {
        assert_eq!(parse(&packet(0, b"user\0app\0")), Err(StartupError::Layout));
        assert_eq!(parse(&packet(0, b"user\0app\0\0x")), Err(StartupError::Layout));
        assert_eq!(parse(&packet(0, b"\0")), Err(StartupError::NoUser));
        assert_eq!(length([0, 0, 0, 0]), Err(StartupError::Length));
        assert_eq!(length([0x7f, 0xff, 0xff, 0xff]), Err(StartupError::Length));
    }

    #[test]
    fn a_cancel_key_may_have_256_bytes_and_no_more() {
        let cancel = |n| parse(&[&[4, 210, 22, 46, 0, 0, 0, 7][..], &vec![1; n]].concat());
        assert_eq!(cancel(256), Ok(Packet::Cancel { process: 7, secret: vec![1; 256] }));
        assert_eq!(cancel(257), Err(StartupError::Length));
        assert_eq!(cancel(3), Err(StartupError::Length));
    }
}
