//! The exchange with a client that wants in.

use super::directory::Account;
use super::rules::{self, Demand, Peer};
use super::scram::server::{Exchange, Offer};
use super::scram::{self, ScramError};
use super::{Credentials, Directory, LoginError, Nodes, Shown, derive, md5, request};
use crate::config::{AuthMethod, CertificateCheck, Config, ListenTls, Secret};
use crate::limits::AUTH_MESSAGE_BYTES_MAX;
use crate::net::Connection;
use crate::wire::startup::Startup;
use crate::wire::{Refusal, frame, sqlstate};
use bytes::{Buf, BufMut, BytesMut};
use std::net::IpAddr;
use std::sync::Arc;

/// A client that has proved who it is.
#[derive(Debug)]
pub struct Admitted {
    /// For log-ins to servers.
    pub credentials: Arc<Credentials>,
    /// It was a password that proved it.
    pub by_password: bool,
}

/// Authenticates a client that has sent its StartupMessage, up to and including AuthenticationOk
/// (in `client.output`, not flushed). `address` is where it comes from; `None`: a Unix socket.
///
/// Not bounded in time: the caller is.
///
/// # Errors
/// The refusal to be sent as FATAL, as Postgres words it.
pub async fn authenticate(
    client: &mut Connection,
    startup: &Startup,
    address: Option<IpAddr>,
    directory: &Directory,
    nodes: &dyn Nodes,
    config: &Config,
) -> Result<Admitted, LoginError> {
    let user = startup.user.as_str();
    let is_tls = client.stream().is_tls();
    if !is_tls && address.is_some() && config.listen.tls.as_ref().is_some_and(ListenTls::is_required) {
        return Err(Refusal::new(
            sqlstate::INVALID_AUTHORIZATION,
            "pgweir accepts connections over TLS only",
        )
        .with_hint("Connect with sslmode=require.")
        .into());
    }
    let Demand { method, certificate } = rules::demand(&config.auth, &Peer { address, is_tls, startup })?;
    if method == Some(AuthMethod::Certificate) || certificate == Some(CertificateCheck::Full) {
        certificate_of(client, user)?;
    } else if certificate == Some(CertificateCheck::Ca) && !client.stream().has_client_certificate() {
        return Err(no_certificate().into());
    }
    let account = directory.account(user, nodes, config).await;
    let credentials = match method {
        // Nothing more to check: what is known of the user, if anything is, serves to log in to servers.
        Some(AuthMethod::Trust | AuthMethod::Certificate) => {
            account.map_or_else(|_| Arc::new(Credentials::none()), |account| account.credentials.clone())
        }
        Some(AuthMethod::Password) => {
            require_secrecy(is_tls, address)?;
            let account = account?;
            let outcome = password(client, user, &account, directory).await;
            settle(outcome, user, &account, directory)?
        }
        asked => {
            let account = account?;
            let outcome = if speaks_md5(asked, &account) {
                md5_challenge(client, user, &account).await
            } else {
                scram(client, user, &account, directory).await
            };
            settle(outcome, user, &account, directory)?
        }
    };
    frame::put(&mut client.output, b'R', |out| out.put_u32(request::OK));
    let by_password = !matches!(method, Some(AuthMethod::Trust | AuthMethod::Certificate));
    Ok(Admitted { credentials, by_password })
}

/// Does this client get an md5 challenge rather than SCRAM? As in Postgres, a stored SCRAM verifier
/// turns `md5` into SCRAM, and without a rule the stored form decides.
fn speaks_md5(asked: Option<AuthMethod>, account: &Account) -> bool {
    match asked {
        Some(AuthMethod::Md5) => account.md5.is_some(),
        Some(_) => false,
        None => account.verifier.is_none(),
    }
}

/// The last word on a finished exchange.
fn settle(
    outcome: Result<Shown, LoginError>,
    user: &str,
    account: &Account,
    directory: &Directory,
) -> Result<Arc<Credentials>, LoginError> {
    match (outcome, account.refusal_reason()) {
        (Ok(learned), None) => {
            account.credentials.learn(learned);
            Ok(account.credentials.clone())
        }
        (Ok(_), Some(reason)) => {
            crate::limited!(info, user, reason, "the right password does not let in");
            Err(wrong_password(user).into())
        }
        (Err(error), reason) => {
            if let Some(reason) = reason {
                crate::limited!(info, user, reason, "no password would let in");
            }
            // The password may have been changed since it was read.
            directory.forget(user);
            Err(error)
        }
    }
}

/// SCRAM-SHA-256, bound to our certificate where the client can.
async fn scram(
    client: &mut Connection,
    user: &str,
    account: &Account,
    directory: &Directory,
) -> Result<Shown, LoginError> {
    let own_end_point = client.stream().own_end_point();
    request(client, request::SASL, |out| {
        if own_end_point.is_some() {
            put_text(out, scram::MECHANISM_PLUS);
        }
        put_text(out, scram::MECHANISM);
        out.put_u8(0);
    });
    let mut body = next_response(client).await?;
    let mechanism = take_text(&mut body).ok_or_else(|| violation("malformed SASL response"))?;
    let offer = match (&mechanism[..], own_end_point) {
        (b"SCRAM-SHA-256", None) => Offer::Plain,
        (b"SCRAM-SHA-256", Some(_)) => Offer::PlusDeclined,
        (b"SCRAM-SHA-256-PLUS", Some(hash)) => Offer::Plus(hash),
        _ => return Err(violation("client selected an invalid SASL authentication mechanism")),
    };
    let first = match initial_response(body)? {
        Some(first) => first,
        None => {
            request(client, request::SASL_CONTINUE, |_| {});
            next_response(client).await?
        }
    };

    let verifier = account.verifier.clone().unwrap_or_else(|| directory.mock(user));
    let refused = |error| by_scram(error, user);
    let (challenge, exchange) = Exchange::new(verifier, offer).on_client_first(&first).map_err(refused)?;
    request(client, request::SASL_CONTINUE, |out| out.put_slice(challenge.as_bytes()));
    let last = next_response(client).await?;
    let (signature, keys) = exchange.on_client_final(&last).map_err(refused)?;
    request(client, request::SASL_FINAL, |out| out.put_slice(signature.as_bytes()));
    Ok(Shown::Scram(Arc::new(keys)))
}

/// The rest of a SASLInitialResponse: a length and so many bytes, or -1.
fn initial_response(mut body: BytesMut) -> Result<Option<BytesMut>, LoginError> {
    if body.len() < 4 {
        return Err(violation("malformed SASL response"));
    }
    match body.get_i32() {
        -1 if body.is_empty() => Ok(None),
        length if usize::try_from(length) == Ok(body.len()) => Ok(Some(body)),
        _ => Err(violation("malformed SASL response")),
    }
}

async fn md5_challenge(client: &mut Connection, user: &str, account: &Account) -> Result<Shown, LoginError> {
    let salt: [u8; 4] = scram::random();
    request(client, request::MD5, |out| out.put_slice(&salt));
    let answer = password_message(client).await?;
    match &account.md5 {
        Some(stored) if md5::fits(&stored.0, salt, &answer) => Ok(Shown::Md5(stored.clone())),
        _ => Err(wrong_password(user).into()),
    }
}

async fn password(
    client: &mut Connection,
    user: &str,
    account: &Account,
    directory: &Directory,
) -> Result<Shown, LoginError> {
    request(client, request::CLEARTEXT, |_| {});
    let answer = password_message(client).await?;
    let password = Secret(String::from_utf8(answer.into()).map_err(|_| wrong_password(user))?);
    let fits = match (&account.verifier, &account.md5) {
        (Some(verifier), _) => {
            let _permit = directory.derivations.acquire().await;
            verifier.fits(&derive(&password, &verifier.salt, verifier.iterations).await)
        }
        (None, Some(stored)) => {
            let salt = scram::random();
            md5::fits(&stored.0, salt, md5::response(&md5::stored(&password.0, user), salt).as_bytes())
        }
        (None, None) => false,
    };
    if fits { Ok(Shown::password(password)) } else { Err(wrong_password(user).into()) }
}

/// A certificate that one of our CAs signed (TLS has seen to that) and that names the user.
fn certificate_of(client: &Connection, user: &str) -> Result<(), Refusal> {
    match client.stream().client_common_name() {
        Some(name) if name == user => Ok(()),
        Some(name) => {
            crate::limited!(
                info,
                user,
                certificate = name,
                "log-in refused: the certificate names somebody else"
            );
            Err(Refusal::new(
                sqlstate::INVALID_AUTHORIZATION,
                format!("certificate authentication failed for user \"{user}\""),
            ))
        }
        None => Err(no_certificate()),
    }
}

fn no_certificate() -> Refusal {
    Refusal::new(sqlstate::INVALID_AUTHORIZATION, "connection requires a valid client certificate")
}

/// A password in the clear may pass where nobody can listen.
fn require_secrecy(is_tls: bool, address: Option<IpAddr>) -> Result<(), Refusal> {
    if is_tls || address.is_none_or(|a| a.to_canonical().is_loopback()) {
        return Ok(());
    }
    Err(Refusal::new(sqlstate::INVALID_AUTHORIZATION, "pgweir takes clear-text passwords over TLS only")
        .with_hint("Connect with sslmode=require."))
}

fn request(client: &mut Connection, code: u32, write: impl FnOnce(&mut BytesMut)) {
    frame::put(&mut client.output, b'R', |out| {
        out.put_u32(code);
        write(out);
    });
}

/// The body of the next `p` message.
async fn next_response(client: &mut Connection) -> Result<BytesMut, LoginError> {
    client.flush().await?;
    loop {
        match frame::take(&mut client.input, AUTH_MESSAGE_BYTES_MAX) {
            Ok(Some((b'p', body))) => return Ok(body),
            Ok(Some((tag, _))) => {
                return Err(violation(format!("expected password response, got message type {tag}")));
            }
            Ok(None) if client.fill().await? > 0 => {}
            Ok(None) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            // As Postgres: a message of impossible length is no password.
            Err(error) => {
                let message = format!("password authentication failed: {error}");
                return Err(Refusal::new(sqlstate::INVALID_PASSWORD, message).into());
            }
        }
    }
}

/// A PasswordMessage: one string and nothing behind it.
async fn password_message(client: &mut Connection) -> Result<BytesMut, LoginError> {
    let mut body = next_response(client).await?;
    match take_text(&mut body) {
        Some(text) if !body.is_empty() || text.is_empty() => {
            let empty = text.is_empty() && body.is_empty();
            Err(if empty {
                Refusal::new(sqlstate::INVALID_PASSWORD, "empty password returned by client").into()
            } else {
                violation("invalid password packet size")
            })
        }
        Some(text) => Ok(text),
        None => Err(violation("invalid password packet size")),
    }
}

fn take_text(body: &mut BytesMut) -> Option<BytesMut> {
    let end = memchr::memchr(0, body)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(text)
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

/// The one answer to a wrong password, an unknown user, a user without password, an expired one.
pub fn wrong_password(user: &str) -> Refusal {
    Refusal::new(sqlstate::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

fn by_scram(error: ScramError, user: &str) -> LoginError {
    let sqlstate = match error {
        ScramError::Proof => return wrong_password(user).into(),
        ScramError::Binding(_) => sqlstate::INVALID_AUTHORIZATION,
        ScramError::Unsupported(_) => sqlstate::FEATURE_NOT_SUPPORTED,
        _ => sqlstate::PROTOCOL_VIOLATION,
    };
    Refusal::new(sqlstate, error.to_string()).into()
}

fn violation(message: impl Into<std::borrow::Cow<'static, str>>) -> LoginError {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, message).into()
}
