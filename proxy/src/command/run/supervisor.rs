//! What systemd is told, where it listens.
//!
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use crate::weir::Weir;
use sd_notify::NotifyState;

/// Serving, in these words in `systemctl status`.
pub(super) fn ready(weir: &Weir) {
    let status = format!("{} nodes, {} clients", weir.cluster.snapshot().len(), weir.registry.len());
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// A reload has begun; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock for systemd"),
    }
}

/// Alive, where systemd wants to hear it.
pub(super) fn watchdog() {
    if sd_notify::watchdog_enabled().is_some() {
        tell(&[NotifyState::Watchdog]);
    }
}

/// Tells it; nobody may be listening.
pub(super) fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
