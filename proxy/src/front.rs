//! From accept to the log-in: who is it, and who serves it?

mod proxy_protocol;

use crate::auth::client::Admitted;
use crate::auth::{self, LoginError};
use crate::cancel::cancel;
use crate::net::Connection;
use crate::net::tls::Acceptor;
use crate::session::lease::refusal_of_login;
use crate::session::startup::{Guest, tell};
use crate::weir::Weir;
use crate::wire::startup::{self, Packet, Startup, StartupError};
use crate::wire::{Refusal, backend, sqlstate};
use crate::{console, limits, session, tenure};
use proxy_protocol::read_proxy_header;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The newest minor version of protocol 3 that we speak.
const MINOR_MAX: u16 = 2;

/// Serves one client from its first byte to its last.
pub async fn serve(weir: Arc<Weir>, client: Connection, peer: Option<SocketAddr>) {
    // What a log-in needs is given back when it is over: a client's task is no larger than its session.
    match Box::pin(let_in(&weir, client, peer)).await {
        Some(guest) if tenure::is_console(&guest.startup.database) => {
            Box::pin(serve_console(weir, *guest)).await;
        }
        Some(guest) => session::startup::serve(&weir, guest).await,
        None => {}
    }
}

/// The log-in, for as long as it may take and nobody newer needs its place.
async fn let_in(weir: &Arc<Weir>, client: Connection, peer: Option<SocketAddr>) -> Option<Box<Guest>> {
    let from = From(peer);
    let (limit, max) = {
        let limits = &weir.config.load().limits;
        (limits.login, limits.logins_max)
    };
    let mut place = weir.anteroom.enter(max);
    let greeted = tokio::select! {
        biased;
        greeted = tokio::time::timeout(limit, receive(weir, client, peer)) => greeted,
        () = place.is_taken() => {
            crate::limited!(
                warn, limit = "limits.logins_max", max, %from, "a client made room before it had logged in"
            );
            return None;
        }
    };
    match greeted {
        Ok(Ok(guest)) => guest,
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "a client left before it had logged in");
            None
        }
        Err(_) => {
            crate::limited!(warn, %from, limit = "limits.login", "a client took too long to log in");
            None
        }
    }
}

/// Where a client comes from, for the log.
#[derive(Debug, Clone, Copy)]
struct From(Option<SocketAddr>);

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}

/// The address that a load balancer tells, where one is to tell it; then the greeting.
async fn receive(
    weir: &Arc<Weir>,
    mut client: Connection,
    peer: Option<SocketAddr>,
) -> io::Result<Option<Box<Guest>>> {
    let hears_proxy = |peer: SocketAddr| weir.config.load().listen.hears_proxy(peer.ip());
    if !peer.is_some_and(hears_proxy) {
        return greet(weir, client, peer).await;
    }
    match read_proxy_header(&mut client).await {
        Ok(told) => greet(weir, client, told.or(peer)).await,
        Err(error) => {
            let from = From(peer);
            crate::limited!(warn, %from, %error, "no PROXY protocol header where listen.proxy_protocol asks for one");
            Ok(None)
        }
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
    let from = From(peer);
    crate::limited!(info, %from, %error, limit = "startup_bytes_max", max = limits::STARTUP_BYTES_MAX, "a start-up packet that cannot be understood");
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
    let proved =
        auth::authenticate(&mut client, &startup, address, &weir.directory, &*weir.cluster, &config).await;
    let admitted = match proved {
        Ok(Admitted { credentials, by_password }) => {
            let standing = tenure::admit(weir, &startup, by_password).await;
            standing.map(|standing| (credentials, standing)).map_err(LoginError::from)
        }
        Err(error) => Err(error),
    };
    match admitted {
        Ok((credentials, standing)) => {
            Ok(Some(Box::new(Guest { client, peer, startup, credentials, standing })))
        }
        Err(LoginError::Io(error)) => Err(error),
        Err(error) => {
            let refusal = refusal_of_login(&error);
            let from = From(peer);
            let Refusal { sqlstate, message, .. } = &refusal;
            crate::limited!(info, user = startup.user, database = startup.database, %from, %sqlstate, "log-in refused: {message}");
            tell(&mut client, &refusal).await;
            Ok(None)
        }
    }
}

async fn serve_console(weir: Arc<Weir>, guest: Guest) {
    console::serve(weir, guest.client, &guest.startup.user).await;
}
