//! The exchange with a server that we want into.

use super::scram::client::{Binding, Exchange};
use super::scram::{self, ScramError};
use super::{Credentials, LoginError, Shown, md5, request};
use crate::config::{Proof, ServerAuth};
use crate::limits::AUTH_MESSAGE_BYTES_MAX;
use crate::net::Connection;
use crate::wire::{Refusal, frame, sqlstate};
use bytes::{Buf, BufMut, BytesMut};

/// Messages before AuthenticationOk that are neither a request nor an error (notices, the answer to
/// the protocol version). A server that sends more only keeps us busy.
const ASIDES_MAX: usize = 16;

/// Logs in to a server on which the StartupMessage has been sent, up to and including AuthenticationOk.
/// What follows it is left in `server.input`.
///
/// Not bounded in time: the caller is.
///
/// # Errors
/// The server's own refusal, byte for byte, or ours.
pub async fn log_in(
    server: &mut Connection,
    user: &str,
    credentials: &Credentials,
    accepts: &ServerAuth,
) -> Result<(), LoginError> {
    server.flush().await?;
    let known = credentials.0.load_full();
    let asked = next_request(server).await?;
    if let Some(proof) = Proof::of_request(asked.0)
        && !accepts.allows(proof)
    {
        return Err(Refusal::new(sqlstate::CONNECTION_REJECTED, accepts.refusal(proof)).into());
    }
    match asked {
        (request::OK, _) => Ok(()),
        (request::CLEARTEXT, _) => {
            let Shown::Password(known) = &*known else {
                return Err(lacking(user, "a password", &known));
            };
            answer(server, |out| put_text(out, &known.password.0));
            expect_ok(server).await
        }
        (request::MD5, body) => {
            let salt: [u8; 4] = body[..].try_into().map_err(|_| protocol("malformed md5 request"))?;
            let response = match &*known {
                Shown::Password(known) => md5::response(&md5::stored(&known.password.0, user), salt),
                Shown::Md5(stored) => md5::response(&stored.0, salt),
                _ => return Err(lacking(user, "md5", &known)),
            };
            answer(server, |out| put_text(out, &response));
            expect_ok(server).await
        }
        (request::SASL, body) => sasl(server, user, &known, &body).await,
        (code, _) => Err(protocol(format!("the server asks for authentication method {code}"))),
    }
}

async fn sasl(
    server: &mut Connection,
    user: &str,
    known: &Shown,
    mechanisms: &[u8],
) -> Result<(), LoginError> {
    let (mechanism, binding) = choose(server, mechanisms)?;
    let (first, exchange) = Exchange::new(binding).start();
    answer(server, |out| {
        put_text(out, mechanism);
        out.put_u32(first.len() as u32);
        out.put_slice(first.as_bytes());
    });

    let body = expect(server, request::SASL_CONTINUE).await?;
    let challenge = exchange.on_server_first(&body).map_err(by_server)?;
    let keys = match known {
        Shown::Password(known) => known.keys(challenge.salt(), challenge.iterations()).await,
        Shown::Scram(keys) if challenge.is_for(keys) => keys.clone(),
        Shown::Scram(_) => {
            return Err(Refusal::new(
                sqlstate::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            )
            .with_hint("The password was changed since this client logged in. Connect again.")
            .into());
        }
        Shown::Md5(_) | Shown::Nothing => return Err(lacking(user, "SCRAM", known)),
    };
    let (last, expectation) = challenge.respond(&keys);
    answer(server, |out| out.put_slice(last.as_bytes()));

    let body = expect(server, request::SASL_FINAL).await?;
    expectation.on_server_final(&body).map_err(by_server)?;
    expect_ok(server).await
}

/// The strongest mechanism that both sides speak.
fn choose(server: &Connection, mut mechanisms: &[u8]) -> Result<(&'static str, Binding), LoginError> {
    let (mut plain, mut plus) = (false, false);
    while let Some(name) = frame::cstr(&mut mechanisms) {
        plain |= name == scram::MECHANISM.as_bytes();
        plus |= name == scram::MECHANISM_PLUS.as_bytes();
    }
    if plus && !server.stream().is_tls() {
        // Only somebody in between, who speaks TLS to the server, would offer that.
        return Err(protocol("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"));
    }
    match server.stream().peer_end_point() {
        Some(hash) if plus => Ok((scram::MECHANISM_PLUS, Binding::EndPoint(hash))),
        Some(_) if plain => Ok((scram::MECHANISM, Binding::NotOffered)),
        None if plain => Ok((scram::MECHANISM, Binding::Unavailable)),
        _ => Err(protocol("none of the server's SASL authentication mechanisms are supported")),
    }
}

fn answer(server: &mut Connection, write: impl FnOnce(&mut BytesMut)) {
    frame::put(&mut server.output, b'p', write);
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

async fn expect_ok(server: &mut Connection) -> Result<(), LoginError> {
    expect(server, request::OK).await.map(|_| ())
}

/// The next request's body, which must be of this kind.
async fn expect(server: &mut Connection, wanted: u32) -> Result<BytesMut, LoginError> {
    server.flush().await?;
    let (code, body) = next_request(server).await?;
    if code == wanted {
        Ok(body)
    } else {
        Err(protocol(format!("the server sent authentication request {code} where {wanted} was due")))
    }
}

/// The next `R` message: its code and what follows it.
async fn next_request(server: &mut Connection) -> Result<(u32, BytesMut), LoginError> {
    for _ in 0..ASIDES_MAX {
        let (tag, mut body) = loop {
            match frame::take(&mut server.input, AUTH_MESSAGE_BYTES_MAX) {
                Ok(Some(message)) => break message,
                Ok(None) if server.fill().await? > 0 => {}
                Ok(None) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Err(error) => return Err(protocol(error.to_string())),
            }
        };
        match tag {
            b'R' if body.len() >= 4 => return Ok((body.get_u32(), body)),
            b'E' => return Err(LoginError::ByServer(body.freeze())),
            // A notice; NegotiateProtocolVersion.
            b'N' | b'v' => {}
            _ => return Err(protocol("unexpected message from the server during authentication")),
        }
    }
    Err(protocol("too many messages from the server during authentication"))
}

fn protocol(message: impl Into<std::borrow::Cow<'static, str>>) -> LoginError {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, message).into()
}

fn by_server(error: ScramError) -> LoginError {
    Refusal::new(sqlstate::CONNECTION_REJECTED, format!("log-in to the server failed: {error}")).into()
}

fn lacking(user: &str, wanted: &str, known: &Shown) -> LoginError {
    let known = known.name();
    Refusal::new(
        sqlstate::INVALID_AUTHORIZATION,
        format!("the server asks for {wanted} of user \"{user}\", of whom pgweir knows {known}"),
    )
    .with_hint(if wanted == "SCRAM" {
        "Let the user log in to pgweir with SCRAM, or give its password in a [[user]] section of pgweir.toml."
    } else {
        "Give the user's password in a [[user]] section of pgweir.toml."
    })
    .into()
}
