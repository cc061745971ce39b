//! From accept to the log-in: who is it, and who serves it?

use crate::auth::{self, LoginError};
use crate::cancel::cancel;
use crate::net::Connection;
use crate::net::tls::Acceptor;
use crate::session::lease::refusal_of_login;
use crate::session::startup::{Guest, tell};
use crate::weir::Weir;
use crate::wire::startup::{self, Packet, Startup, StartupError};
use crate::wire::{Refusal, backend, sqlstate};
use crate::{console, limits, session};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The newest minor version of protocol 3 that we speak.
const MINOR_MAX: u16 = 2;

/// Serves one client from its first byte to its last.
pub async fn serve(weir: Arc<Weir>, client: Connection, peer: Option<SocketAddr>) {
    let logging_in_max = weir.config.load().limits.clients_max;
    if weir.registry.logging_in.load(Ordering::Relaxed) >= logging_in_max {
        tracing::warn!(
            limit = "limits.clients_max",
            max = logging_in_max,
            peer = peer.map(tracing::field::display),
            "a client refused before its log-in"
        );
        return;
    }
    weir.registry.logging_in.fetch_add(1, Ordering::Relaxed);
    let limit = weir.config.load().limits.login;
    // What a log-in needs is given back when it is over: a client's task is no larger than its session.
    let greeted = tokio::time::timeout(limit, Box::pin(greet(&weir, client, peer))).await;
    weir.registry.logging_in.fetch_sub(1, Ordering::Relaxed);
    match greeted {
        Ok(Ok(Some(guest))) if is_console(&guest) => Box::pin(serve_console(weir, *guest)).await,
        Ok(Ok(Some(guest))) => session::startup::serve(&weir, guest, peer).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => {
            tracing::debug!(peer = peer.map(tracing::field::display), %error, "a client left before it had logged in")
        }
        Err(_) => tracing::warn!(
            peer = peer.map(tracing::field::display),
            limit = "limits.login",
            "a client took too long to log in"
        ),
    }
}

/// The packets before the log-in, and the log-in.
async fn greet(
    weir: &Arc<Weir>,
    mut client: Connection,
    peer: Option<SocketAddr>,
) -> io::Result<Option<Box<Guest>>> {
    let acceptor = weir.acceptor.load_full();
    client.fill_to(1).await?;
    if client.input.first() == Some(&Acceptor::DIRECT)
        && let Some(acceptor) = &acceptor
    {
        client = acceptor.accept_direct(client).await?;
    }
    // Each may be asked for once, as by Postgres.
    let (mut asked_tls, mut asked_gss) = (false, false);
    loop {
        client.fill_to(4).await?;
        let first = [client.input[0], client.input[1], client.input[2], client.input[3]];
        let packet = match startup::length(first) {
            Ok(length) => {
                client.fill_to(length).await?;
                let packet = client.input.split_to(length);
                startup::parse(&packet[4..])
            }
            Err(error) => Err(error),
        };
        match packet {
            Ok(Packet::Tls) if !asked_tls => match (std::mem::replace(&mut asked_tls, true), &acceptor) {
                (_, Some(acceptor)) if !client.stream().is_tls() => {
                    asked_gss = true;
                    client.output.extend_from_slice(b"S");
                    client.flush().await?;
                    client = acceptor.accept(client).await?;
                }
                _ => {
                    client.output.extend_from_slice(b"N");
                    client.flush().await?;
                }
            },
            Ok(Packet::Gss) if !asked_gss => {
                asked_gss = true;
                client.output.extend_from_slice(b"N");
                client.flush().await?;
            }
            Ok(Packet::Cancel { process, secret }) => {
                cancel(weir, process, &secret).await;
                return Ok(None);
            }
            Ok(Packet::Startup(startup)) => return log_in(weir, client, startup, peer).await,
            Ok(Packet::Tls) => {
                return refuse_packet(&mut client, peer, &StartupError::Version(1234, 5679)).await;
            }
            Ok(Packet::Gss) => {
                return refuse_packet(&mut client, peer, &StartupError::Version(1234, 5680)).await;
            }
            Err(error) => return refuse_packet(&mut client, peer, &error).await,
        }
    }
}

async fn refuse_packet(
    client: &mut Connection,
    peer: Option<SocketAddr>,
    error: &StartupError,
) -> io::Result<Option<Box<Guest>>> {
    let peer = peer.map(tracing::field::display);
    tracing::info!(peer, %error, limit = "startup_bytes_max", max = limits::STARTUP_BYTES_MAX, "a start-up packet that cannot be understood");
    if *error == StartupError::Length {
        // Something else than a client of Postgres, most likely: it would not understand a word.
        return Ok(None);
    }
    let code = match error {
        StartupError::Version(..) => sqlstate::FEATURE_NOT_SUPPORTED,
        StartupError::NoUser => sqlstate::INVALID_AUTHORIZATION,
        StartupError::Options(_) | StartupError::NoValue(_) => sqlstate::SYNTAX_ERROR,
        _ => sqlstate::PROTOCOL_VIOLATION,
    };
    let mut refusal = Refusal::new(code, error.to_string());
    if matches!(error, StartupError::Options(_)) {
        refusal = refusal.with_hint("Try \"postgres --help\" for more information.");
    }
    tell(client, &refusal).await;
    Ok(None)
}

async fn log_in(
    weir: &Arc<Weir>,
    mut client: Connection,
    startup: Startup,
    peer: Option<SocketAddr>,
) -> io::Result<Option<Box<Guest>>> {
    // 3.1 was never released: who asks for it is offered what it surely knows.
    if startup.minor > MINOR_MAX || startup.minor == 1 || !startup.unknown_options.is_empty() {
        let minor = if startup.minor == 1 { 0 } else { startup.minor.min(MINOR_MAX) };
        backend::put_negotiate(&mut client.output, minor, &startup.unknown_options);
    }
    let config = weir.config.load_full();
    let address = peer.map(|peer| peer.ip());
    match auth::authenticate(&mut client, &startup, address, &weir.directory, &*weir.cluster, &config).await {
        Ok(credentials) => Ok(Some(Box::new(Guest { client, startup, credentials }))),
        Err(LoginError::Io(error)) => Err(error),
        Err(error) => {
            let refusal = refusal_of_login(&error);
            let peer = peer.map(tracing::field::display);
            let Refusal { sqlstate, message, .. } = &refusal;
            crate::limited!(info, user = startup.user, database = startup.database, peer, %sqlstate, "log-in refused: {message}");
            tell(&mut client, &refusal).await;
            Ok(None)
        }
    }
}

/// A database of these names is the console.
fn is_console(guest: &Guest) -> bool {
    matches!(guest.startup.database.as_str(), "pgweir" | "pgbouncer")
}

async fn serve_console(weir: Arc<Weir>, guest: Guest) {
    console::serve(weir, guest.client, &guest.startup.user).await;
}
