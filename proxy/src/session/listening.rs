//! LISTEN outlives its server: what a session listens to is taken again on the next primary.
//!
//! Which channels those are, Postgres decides: by transactions and savepoints, by functions that say LISTEN,
//! by names as it folds and cuts them. So the server is asked, behind each transaction that may have changed
//! them. A notification that was sent while nobody listened is lost, and the client is told that in a WARNING.

use crate::auth::LoginError;
use crate::config::LostListeners;
use crate::session::Session;
use crate::session::failure::{Failure, Farewell};
use crate::session::ledger::Ours;
use crate::session::reign::Over;
use crate::session::work::Work;
use crate::wire::backend::Status;
use crate::wire::error::put_warning;
use crate::wire::{Refusal, sqlstate};
use router_rules::{Decision, PinReason, Reason};
use std::time::Instant;

/// What the session listens to.
const CHANNELS_SQL: &str = "SELECT pg_catalog.pg_listening_channels()";

/// A session that listens to more is not followed: it ends with its server.
const CHANNELS_MAX: usize = 1_000;

/// What a session listens to, as far as it is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Listening {
    /// To nothing, or to what nobody has asked for yet.
    #[default]
    Unknown,
    /// To these channels.
    To(Vec<Box<str>>),
}

impl Listening {
    /// The server has named these.
    fn of(channels: Vec<Option<String>>) -> Self {
        if channels.len() > CHANNELS_MAX {
            return Listening::Unknown;
        }
        let channels: Option<Vec<_>> = channels.into_iter().map(|name| Some(name?.into())).collect();
        channels.map_or(Listening::Unknown, Listening::To)
    }

    /// What brings it about on another server; `None` where that is not known.
    fn again(&self) -> Option<String> {
        let Listening::To(channels) = self else { return None };
        let listen = |name: &str| format!("LISTEN \"{}\"", name.replace('"', "\"\""));
        (!channels.is_empty()).then(|| channels.iter().map(|name| listen(name)).collect::<Vec<_>>().join(";"))
    }
}

impl Session {
    /// A transaction is over in which the session may have begun or ceased to listen: the server tells.
    pub(super) async fn ask_for_channels(&mut self) -> Result<(), Failure> {
        self.client.card.set_pin(self.memory.state.pins.first());
        self.answers.listening = Listening::Unknown;
        self.memory.state.pins.may_listen = false;
        self.answers.channels.clear();
        self.ask_server(CHANNELS_SQL, Ours::Channels).await?;
        self.answers.listening = Listening::of(std::mem::take(&mut self.answers.channels));
        Ok(())
    }

    /// Nothing but what it listens to would be lost with its server, and that can be had on another.
    pub(super) fn may_listen_again(&self) -> bool {
        let only_listens = self.memory.state.pins.has(PinReason::Listen)
            && self.memory.state.pins.are_only(&[PinReason::Listen, PinReason::ServerProcess]);
        only_listens
            && self.config.cluster.lost_listeners == LostListeners::ListenAgain
            && self.memory.status == Status::Idle
            && self.exchange.is_clean()
            && self.answers.listening.again().is_some()
    }

    /// Between two requests its server was lost: it listens on the next primary.
    ///
    /// # Errors
    /// When there is none within `cluster.primary_wait`, or it does not let the session listen.
    pub(super) async fn listen_again(&mut self) -> Result<(), Failure> {
        let Some(sql) = self.answers.listening.again() else {
            return Err(Failure::ServerSaidGoodbye(Farewell::default()));
        };
        tracing::info!(node = self.holding.node_name(), "a session that listens goes on on another server");
        if let Some(lease) = &self.holding.lease {
            self.weir.cluster.suspect(&lease.node);
        }
        self.drop_lease();
        self.memory.unpin();
        self.turn.started = Instant::now();
        let mut last = None;
        while self.turn.started.elapsed() < self.config.cluster.primary_wait || last.is_none() {
            let mut decision = Decision::of_ours(Reason::Pinned, &self.config.policy);
            if let Err(refusal) = Box::pin(self.lease(&mut decision, &Work::nothing())).await? {
                return Err(Failure::Fatal(Refusal { sqlstate: sqlstate::ADMIN_SHUTDOWN.into(), ..refusal }));
            }
            // The session's settings are on their way there; their answers come first.
            let told = match self.drain().await {
                true => self.ask(&sql).await,
                false => Err(LoginError::Io(Over::Gone.error())),
            };
            match told {
                Ok(_) => {
                    self.memory.state.pin(PinReason::Listen);
                    self.client.card.set_pin(Some(PinReason::Listen));
                    put_warning(
                        &mut self.client.socket.output,
                        "the server was lost, and the session listens on another one: notifications may have been missed",
                    );
                    return Ok(());
                }
                Err(error) => {
                    last = Some(error);
                    self.drop_lease();
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        let why = last.map_or_else(String::new, |error| format!(": {error}"));
        Err(Failure::Fatal(Refusal::new(
            sqlstate::ADMIN_SHUTDOWN,
            format!("terminating connection: the session cannot listen on another server{why}"),
        )))
    }
}

/// Before the next try on a server that has just refused.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_quoted_and_what_is_not_known_is_not_taken_again() {
        let to = |names: &[&str]| Listening::of(names.iter().map(|name| Some((*name).to_owned())).collect());
        assert_eq!(
            to(&["jobs", "A \"b\""]).again().as_deref(),
            Some("LISTEN \"jobs\";LISTEN \"A \"\"b\"\"\"")
        );
        assert_eq!(to(&[]).again(), None);
        assert_eq!(Listening::of(vec![None]).again(), None);
        assert_eq!(Listening::Unknown.again(), None);
        assert_eq!(Listening::of(vec![Some("x".into()); CHANNELS_MAX + 1]), Listening::Unknown);
    }
}
