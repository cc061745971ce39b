//! Work that is called off from outside: cancel requests, and clients that are ended.

use crate::clients::registry::Card;
use crate::server::{self, CancelTarget};
use crate::weir::Weir;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A cancel request: passed on to the server that works for that client, if any.
///
/// As Postgres does, nothing is said about whether the key was right.
pub(crate) async fn cancel(weir: &Arc<Weir>, process: i32, secret: &[u8]) {
    let Some(card) = weir.registry.find(process, secret) else {
        tracing::debug!(process, "a cancel request with a key that is not of this process");
        weir.peers.tell(process, secret);
        return weir.machines.tell(&weir.config.load_full().fleet, process, secret).await;
    };
    if let Some(target) = cancelled(&card) {
        pass_cancel(weir, target).await;
    }
}

/// Ends a client at once; what it runs is cancelled.
pub(crate) fn end_client(weir: &Arc<Weir>, card: &Card) {
    card.killed_now.store(true, Ordering::Relaxed);
    card.bell.ring();
    if let Some(target) = card.start_cancel() {
        send_cancel(weir.clone(), target);
    }
}

/// A cancel request that reached another process of this machine.
pub(crate) fn cancel_for_peer(weir: &Arc<Weir>, process: i32, secret: &[u8]) {
    let Some(card) = weir.registry.find(process, secret) else { return };
    if let Some(target) = cancelled(&card) {
        send_cancel(weir.clone(), target);
    }
}

/// A cancel request that reached another machine. It may be for another process of this one.
pub(crate) fn cancel_for_machine(weir: &Arc<Weir>, process: i32, secret: &[u8]) {
    match weir.registry.find(process, secret) {
        Some(_) => cancel_for_peer(weir, process, secret),
        None => weir.peers.tell(process, secret),
    }
}

/// The server to be told, if the client has one; else its wait for one ends.
fn cancelled(card: &Card) -> Option<Arc<CancelTarget>> {
    let target = card.start_cancel();
    if target.is_none() {
        card.cancelled.store(true, Ordering::Relaxed);
        card.bell.ring();
    }
    target
}

/// Sends a cancel request from a task of its own.
pub(crate) fn send_cancel(weir: Arc<Weir>, target: Arc<CancelTarget>) {
    tokio::spawn(async move { pass_cancel(&weir, target).await });
}

/// Passes a cancel request on that is already counted at its target.
async fn pass_cancel(weir: &Weir, target: Arc<CancelTarget>) {
    let Ok(_permit) = weir.cancels.acquire().await else { return };
    let sent = server::cancel(&target, &weir.connector);
    let sent = tokio::time::timeout(std::time::Duration::from_secs(5), sent).await;
    if let Ok(Err(error)) = sent {
        tracing::warn!(node = target.address, %error, "a cancel request could not be passed on");
    }
    *target.pending.lock() -= 1;
    target.arrived.notify_waiters();
}
