//! `SHOW pgweir.…`, by a placeholder that holds the answer.

use crate::session::Session;
use crate::session::ledger::{Ours, Owed};
use crate::session::work::{Shown, Work};
use crate::wire::backend::Status;
use crate::wire::frontend;
use router_rules::Target;
use router_rules::session::settings::set_config;

impl Session {
    /// `SHOW pgweir.…` is an ordinary SHOW of a placeholder that holds the answer.
    pub(super) fn send_placeholder(&mut self, work: &Work) {
        let Some(Shown { name, position }) = work.shows.as_deref() else { return };
        if self.memory.status == Status::Failed || self.exchange.is_open() {
            return;
        }
        let wishes = &self.memory.state.wishes;
        let policy = self.config.policy.clone();
        let value = match &**name {
            "pgweir.last_route" => self.memory.last_route.as_ref().map_or(String::new(), ToString::to_string),
            "pgweir.lsn" => position.clone().unwrap_or_default(),
            "pgweir.consistency" => wishes.consistency.unwrap_or(policy.consistency).as_str().into(),
            "pgweir.max_lag" => wishes
                .max_lag
                .or(policy.max_lag)
                .map_or(String::new(), |d| humantime::format_duration(d).to_string()),
            "pgweir.route" => wishes.route.map_or("auto", Target::as_str).into(),
            "pgweir.transactions" => wishes.transactions.unwrap_or(policy.transactions).as_str().into(),
            "pgweir.trace" => if wishes.trace { "on" } else { "off" }.into(),
            "pgweir.commit_outcome" => {
                let on = wishes.commit_outcome.unwrap_or(self.config.cluster.commit_outcome);
                if on { "on" } else { "off" }.into()
            }
            "pgweir.min_lsn" => self.memory.state.settings.now().value(name).unwrap_or("").into(),
            _ => return,
        };
        let sql = set_config(name, &value);
        if let Some(out) = self.holding.out() {
            frontend::put_query(out, sql.as_bytes());
            self.exchange.ledger.push(Owed::Ours(Ours::Placeholder));
            self.holding.forget_server_unnamed();
        }
    }
}
