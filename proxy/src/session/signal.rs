//! `pg_terminate_backend` and `pg_cancel_backend` of a process id that a client got from pgweir.
//!
//! A client of a shared pool is known by a process id of pgweir's own (BackendKeyData), which no
//! Postgres server has. A server that really runs the call warns that there is no such process: that
//! warning, and nothing in the text of a statement, is what pgweir acts on. It then asks the same
//! server whether the caller's role may signal the role of the client meant, as Postgres does.
//!
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL>

use crate::cancel::{end_client, send_cancel};
use crate::limits::SETTLE_MAX;
use crate::session::Session;
use crate::session::ledger::Ours;
use crate::session::work::Work;
use crate::wire::backend::Status;
use crate::wire::{ErrorFields, frontend};
use router_rules::quote::quote_text;

/// The function of PostgreSQL's source that warns.
const ROUTINE: &str = "pg_signal_backend";

/// What is to be done to the client with this process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Its session is to end.
    End(i32),
    /// Its statement is to be cancelled.
    Cancel(i32),
}

/// Which of the two functions a request names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signals {
    /// None, or both: nobody can tell which of them warns.
    #[default]
    Unknown,
    /// `pg_terminate_backend`
    End,
    /// `pg_cancel_backend`
    Cancel,
}

impl Signals {
    /// Those of a request.
    pub fn of(work: &Work) -> Self {
        if work.verdict.is_ok() {
            return Signals::Unknown;
        }
        match (work.asks_server(b"pg_terminate_backend"), work.asks_server(b"pg_cancel_backend")) {
            (true, false) => Signals::End,
            (false, true) => Signals::Cancel,
            _ => Signals::Unknown,
        }
    }

    /// What a server's warning says to have been asked for.
    fn asked(self, warning: &[u8]) -> Option<Signal> {
        let fields = ErrorFields::parse(warning);
        if fields.routine != ROUTINE {
            return None;
        }
        let process = *frontend::decimals(fields.message.as_bytes()).first()?;
        match self {
            Signals::Unknown => None,
            Signals::End => Some(Signal::End(process)),
            Signals::Cancel => Some(Signal::Cancel(process)),
        }
    }
}

impl Session {
    /// The server's warning may ask for something to be done to a client of pgweir, which is noted. True when
    /// it is this very client that is to end: it hears so behind the row that says it.
    pub(super) fn is_asked_to_signal(&mut self, warning: &[u8]) -> bool {
        if self.turn.names_signals == Signals::Unknown || self.exchange.ledger.is_ours() {
            return false;
        }
        let Some(signal) = self.turn.names_signals.asked(warning) else { return false };
        self.answers.signals.push(signal);
        let ends_itself = signal == Signal::End(self.client.card.process);
        self.exchange.looks_at_rows |= ends_itself;
        ends_itself
    }

    /// Does to other clients what the request has asked for, where its role may.
    pub(super) async fn send_signals(&mut self) {
        for signal in std::mem::take(&mut self.answers.signals) {
            let (Signal::End(process) | Signal::Cancel(process)) = signal;
            let Some(card) = self.weir.registry.client(process) else { continue };
            if card.process == self.client.card.process || !self.may_signal(&card.user).await {
                continue;
            }
            match signal {
                Signal::End(_) => end_client(&self.weir, &card),
                Signal::Cancel(_) => {
                    if let Some(target) = card.start_cancel() {
                        send_cancel(self.weir.clone(), target);
                    }
                }
            }
        }
    }

    /// The rule of Postgres: members of the role, and of `pg_signal_backend`; a superuser's process is for
    /// superusers alone.
    async fn may_signal(&mut self, user: &str) -> bool {
        if self.memory.status == Status::Failed {
            return false;
        }
        let sql = format!(
            "SELECT (pg_catalog.pg_has_role(r.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')) \
             AND (NOT r.rolsuper OR (SELECT me.rolsuper FROM pg_catalog.pg_roles me \
             WHERE me.rolname OPERATOR(pg_catalog.=) current_user)) \
             FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) {}",
            quote_text(user)
        );
        self.put_question(&sql, Ours::Right);
        // The client is neither told nor looked at before the signal is on its way, as on Postgres: it may
        // leave as soon as it has its answer, or before.
        let answered = tokio::time::timeout(SETTLE_MAX, self.drain()).await;
        match answered {
            Ok(true) => self.answers.told.take().is_some_and(|told| told == [true]),
            _ => false,
        }
    }
}

/// The row that Postgres gives for a call that succeeds, where the call is all that the row holds.
pub(super) fn row_of_success(row: &[u8]) -> Vec<u8> {
    match row {
        [0, 1, 0, 0, 0, 1, b'f'] => vec![0, 1, 0, 0, 0, 1, b't'],
        [0, 1, 0, 0, 0, 1, 0] => vec![0, 1, 0, 0, 0, 1, 1],
        _ => row.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_refusal_turns_into_success_in_either_format() {
        assert_eq!(row_of_success(&[0, 1, 0, 0, 0, 1, b'f']), [0, 1, 0, 0, 0, 1, b't']);
        assert_eq!(row_of_success(&[0, 1, 0, 0, 0, 1, 0]), [0, 1, 0, 0, 0, 1, 1]);
        let of_two = [0, 2, 0, 0, 0, 1, b'f', 0, 0, 0, 1, b'f'];
        assert_eq!(row_of_success(&of_two), of_two);
    }

    #[test]
    fn only_the_warning_of_the_function_itself_counts() {
        let warning = |routine: &str| {
            format!("SWARNING\0C01000\0MPID 4194310 is not a PostgreSQL backend process\0R{routine}\0\0")
        };
        let asked = |signals: Signals, routine: &str| signals.asked(warning(routine).as_bytes());
        assert_eq!(asked(Signals::End, ROUTINE), Some(Signal::End(4_194_310)));
        assert_eq!(asked(Signals::Cancel, ROUTINE), Some(Signal::Cancel(4_194_310)));
        assert_eq!(asked(Signals::Unknown, ROUTINE), None);
        assert_eq!(asked(Signals::End, "exec_stmt_raise"), None);
    }
}
