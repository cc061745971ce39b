//! Replication connections pass whole: one client, one server of the primary, byte for byte.

use crate::clients::registry::Card;
use crate::cluster::SessionFreshness;
use crate::limits;
use crate::net::Connection;
use crate::pool::{Opening, open_within};
use crate::server::Target;
use crate::session::Who;
use crate::session::lease::refusal_of_login;
use crate::weir::Weir;
use crate::wire::startup::Startup;
use crate::wire::{Refusal, backend, sqlstate};
use bytes::Buf;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

/// Serves a replication client until either side ends.
///
/// <https://www.postgresql.org/docs/current/protocol-replication.html>
///
/// # Errors
/// The refusal to be sent as FATAL when no server can be had.
pub async fn serve(
    weir: &Weir,
    client: &mut Connection,
    who: &Who,
    card: &Card,
    startup: &Startup,
) -> Result<(), Refusal> {
    let config = weir.config.load_full();
    let Some(node) = weir.cluster.primary() else {
        return Err(Refusal::new(sqlstate::CANNOT_CONNECT_NOW, "no primary to replicate from"));
    };
    let (watched, reign) = (node.clone(), node.reign());
    watched.tell(&card.bell);
    let target = Target {
        node,
        database: who.database.clone(),
        user: who.user.clone(),
        replication: startup.replication.clone(),
        settings: startup.settings.clone(),
    };
    let opening = Opening { credentials: &who.credentials, tls: &weir.connector, config: &config };
    let mut server = open_within(&target, opening).await.map_err(|e| refusal_of_login(&e))?;
    for (name, value) in &server.reported {
        backend::put_parameter_status(&mut client.output, name, value);
    }
    backend::put_backend_key_data(&mut client.output, card.process, &card.secret);
    backend::put_ready(&mut client.output, backend::Status::Idle);
    card.set_running_on(Some(server.cancel.clone()));
    card.set_pin(Some(router_rules::PinReason::Replication));
    // It hears of commits before anybody else does, and may tell others who look for what they have written.
    let (freshness, tells) =
        (SessionFreshness::default(), startup.replication.as_deref() == Some("database"));
    let hear = || {
        if tells {
            weir.cluster.told_of_anything(&who.database, &freshness);
        }
    };
    // Either side may end at any time: that is no news to anybody.
    let passed = poll_fn(|cx| {
        let there = pass(client, &mut server.connection, &|| (), cx)?;
        let back = pass(&mut server.connection, client, &hear, cx)?;
        if there || back { Poll::Ready(Ok::<_, io::Error>(())) } else { Poll::Pending }
    });
    tokio::select! {
        ended = passed => {
            if let Err(error) = ended {
                tracing::debug!(%error, "replication connection ended");
            }
        }
        // In the midst of whatever was being said: what is written there is no part of the cluster's history.
        () = card.bell.until(|| watched.is_given_up() || watched.reign() != reign) => {
            tracing::info!(node = watched.name, user = who.user, "replication connection to a former primary ended");
            return Ok(());
        }
    }
    let _ = server.connection.flush().await;
    let _ = client.flush().await;
    Ok(())
}

/// Moves what can be moved one way, each time after `hear`; true at the end of the stream.
fn pass(
    from: &mut Connection,
    to: &mut Connection,
    hear: &dyn Fn(),
    cx: &mut Context<'_>,
) -> io::Result<bool> {
    loop {
        if let Poll::Ready(Err(error)) = to.poll_flush(cx) {
            return Err(error);
        }
        if to.output.len() >= limits::BACKLOG_BYTES_MAX {
            return Ok(false);
        }
        match from.poll_fill(cx) {
            Poll::Ready(Ok(0)) => return Ok(true),
            Poll::Ready(Ok(_)) => {
                hear();
                to.output.extend_from_slice(&from.input);
                let all = from.input.len();
                from.input.advance(all);
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(false),
        }
    }
}
