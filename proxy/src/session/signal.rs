//! `pg_terminate_backend` and `pg_cancel_backend` of a process id that a client got from pgweir.
//!
//! A client of a shared pool is known by a process id of pgweir's own (BackendKeyData), which no
//! Postgres server has: the server that runs the call warns and returns false. The client meant is
//! ended, or its statement cancelled, all the same. As on Postgres, one may do that to clients of
//! the same user, a superuser to all.
//!
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL>

use crate::cancel::{end_client, send_cancel};
use crate::session::Session;
use crate::session::classify::Work;
use crate::session::receive::{Kind, Request, frames};
use crate::wire::frontend::{self, tag};

impl Session {
    /// Does to clients of ours what the request asks to be done to processes.
    pub(super) fn heed_signals(&self, request: &Request, work: &Work) {
        let asks = |name: &[u8]| work.asks_server(name);
        let ends = asks(b"pg_terminate_backend");
        if !ends && !asks(b"pg_cancel_backend") {
            return;
        }
        for process in self.processes_in(request, work) {
            let Some(card) = self.weir.registry.client(process) else { continue };
            let superuser = self.memory.told.get("is_superuser") == Some("on");
            if card.process == self.card.process || !(superuser || card.user == self.who.user) {
                continue;
            }
            if ends {
                end_client(&self.weir, &card);
            } else if let Some(target) = card.start_cancel() {
                send_cancel(self.weir.clone(), target);
            }
        }
    }

    /// The numbers in the text, and the parameters, that could be process ids.
    fn processes_in(&self, request: &Request, work: &Work) -> Vec<i32> {
        let runs =
            request.kind == Kind::Query || frames(&request.frames).any(|(kind, _)| kind == tag::EXECUTE);
        if !runs {
            return vec![];
        }
        let mut found: Vec<i32> = work.texts.iter().flat_map(|sql| frontend::decimals(sql)).collect();
        for (kind, body) in frames(&request.frames) {
            if kind == tag::BIND
                && let Some(bind) = frontend::bind(body)
            {
                found.extend(frontend::bind_integers(bind.rest).unwrap_or_default());
            }
        }
        found
    }
}
