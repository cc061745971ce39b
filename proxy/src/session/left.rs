//! What a session has left on its server, as that server tells.
//!
//! It is asked after something that may have ended what a pin is for, for settings whose values only the
//! server knows, and when others wait for a server of a session that may have changed it.

use crate::server::placeholders;
use crate::session::Session;
use crate::session::doubts::Patience;
use crate::session::failure::Failure;
use crate::session::ledger::{Ours, Owed};
use crate::session::listening::Listening;
use crate::session::outcome::Trace;
use crate::session::signal::Signal;
use crate::session::work::Work;
use crate::wire::backend::{self, Status};
use crate::wire::frontend;
use bytes::Bytes;
use router_rules::quote::quote_text;
use router_rules::session::Pin;
use router_rules::session::settings::set_config;
use router_rules::statement::Kind;
use router_rules::{PinReason, SessionEffect, Target};
use std::sync::LazyLock;

/// What a session may have left on its server, one boolean for each pin that the server can tell of.
static LEFT_SQL: LazyLock<String> = LazyLock::new(|| {
    let questions: Vec<_> = Pin::askable().map(|(_, question)| question).collect();
    format!("SELECT {}", questions.join(","))
});

/// The settings of a server's session that somebody has set there. Placeholders are not among them.
const SETTINGS_SQL: &str = "SELECT pg_catalog.lower(name), pg_catalog.current_setting(name) \
    FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'";

/// What a session asks of its server, or does, beside its client's requests; rare, and so kept apart.
#[derive(Debug, Default)]
pub struct Answers {
    /// Yes or no, by column.
    pub told: Option<Vec<bool>>,
    /// Settings and their values; `None` where the value is not one that can be carried elsewhere.
    settings: Vec<(String, Option<String>)>,
    /// Settings to be asked for: they were given values that only the server knows.
    pub unknown_settings: Vec<String>,
    /// What the session listens to.
    pub(crate) listening: Listening,
    /// The channels of an answer; `None` where the name is not one that can be carried elsewhere.
    pub channels: Vec<Option<String>>,
    /// How long it has waited for catalogs lately.
    pub(crate) patience: Patience,
    /// What is known of the transaction under way, in case the answer to its COMMIT is lost.
    pub(crate) trace: Trace,
    /// An error that was ours and has failed the client's transaction: the client is to be told it.
    pub(crate) failed_ahead: Option<Bytes>,
    /// Why a statement that the Query under way names by SQL could not be prepared again.
    pub(crate) lent_failed: Option<Box<[u8]>>,
    /// Clients that the request under way has asked to be ended or cancelled.
    pub signals: Vec<Signal>,
}

impl Answers {
    /// A row has come. A setting's value is carried when it means the same in every encoding, or is `utf8`.
    pub fn on_row(&mut self, ours: Ours, body: &[u8], utf8: bool) {
        let row = backend::data_row(body).unwrap_or_default();
        if let (Ours::Channels, [Some(name)]) = (ours, row.as_slice()) {
            let carried = std::str::from_utf8(name).ok().filter(|text| utf8 || text.is_ascii());
            return self.channels.push(carried.map(str::to_owned));
        }
        if let (Ours::Changed, [Some(name), value]) = (ours, row.as_slice()) {
            // A placeholder that has not been set is NULL.
            let Some(value) = value else { return };
            let carried = std::str::from_utf8(value).ok().filter(|text| utf8 || text.is_ascii());
            let name = String::from_utf8_lossy(name).into_owned();
            return self.settings.push((name, carried.map(str::to_owned)));
        }
        self.told = Some(row.into_iter().map(|value| value == Some(b"t")).collect());
    }
}

impl Session {
    /// With `pg_temp` first in the `search_path`, whatever looks for a schema makes this server's own.
    pub(super) fn pin_for_temporary_schema(&mut self, work: &Work) {
        let looks = |kind| !matches!(kind, Kind::Set | Kind::Transaction | Kind::Empty);
        let mut statements = work.parts.iter().flat_map(|part| &part.statements);
        if self.holding.on == Target::Primary
            && placeholders::makes_temporary_schema(&self.memory.scope.search_path)
            && (work.parts.is_empty() || statements.any(|statement| looks(statement.kind)))
            && let Some(lease) = self.holding.lease.as_mut()
        {
            lease.placeholders.add_temporary();
            self.memory.state.pin(PinReason::TemporaryTable);
        }
    }

    /// A question of ours; its answer is in `answers`.
    pub(super) async fn ask_server(&mut self, sql: &str, ours: Ours) -> Result<(), Failure> {
        self.put_question(sql, ours);
        self.wait_until_nothing_is_owed().await.map(drop)
    }

    /// Puts a question of ours into the server's output.
    pub(super) fn put_question(&mut self, sql: &str, ours: Ours) {
        self.answers.told = None;
        self.answers.settings.clear();
        self.close_doomed();
        let Some(lease) = self.holding.lease.as_mut() else { return };
        lease.statements.unnamed = None;
        frontend::put_query(&mut lease.connection.output, sql.as_bytes());
        self.exchange.ledger.push(Owed::Ours(ours));
    }

    /// A procedure may have committed before it failed: what it sets is asked for in any case.
    pub(super) fn ask_after_procedures(&mut self, work: &Work) {
        let calls = work.parts.iter().flat_map(|part| &part.statements).filter(|s| s.kind == Kind::Call);
        for effect in calls.flat_map(|statement| &statement.effects) {
            if let SessionEffect::SetUnknown { name } = effect
                && !self.answers.unknown_settings.contains(name)
            {
                self.answers.unknown_settings.push(name.clone());
            }
        }
    }

    /// Asks the server whether what the session is pinned for is still there.
    pub(super) async fn ask_whether_clean(&mut self) -> Result<(), Failure> {
        self.memory.state.pins.may_have_ended = false;
        self.ask_server(&LEFT_SQL, Ours::Unpin).await?;
        if let Some(told) = self.answers.told.take() {
            self.memory.state.pins.judge(&told);
        }
        Ok(())
    }

    /// Takes over the settings whose values the server alone knows.
    pub(super) async fn ask_for_settings(&mut self) -> Result<(), Failure> {
        let names = std::mem::take(&mut self.answers.unknown_settings);
        let names: Vec<_> = names.iter().map(|name| quote_text(name)).collect();
        let sql = format!(
            "SELECT n, pg_catalog.current_setting(n, true) FROM pg_catalog.unnest(ARRAY[{}]) n",
            names.join(",")
        );
        self.ask_server(&sql, Ours::Changed).await?;
        self.take_over_settings();
        Ok(())
    }

    fn take_over_settings(&mut self) {
        for (name, value) in std::mem::take(&mut self.answers.settings) {
            match value {
                Some(value) if self.memory.state.settings.now().value(&name) == Some(&value) => {}
                Some(value) => self.on_effect(&SessionEffect::Set {
                    replay: set_config(&name, &value),
                    value: Some(value),
                    name,
                    local: false,
                }),
                None => self.memory.state.pin(PinReason::Unfollowable),
            }
        }
        if self.memory.status == Status::Idle {
            self.memory.state.settings.on_commit();
            if let Some(lease) = self.holding.lease.as_mut() {
                lease.settings.on_commit();
            }
        }
    }

    /// Others wait for the server of a session that may have changed it: what has changed is asked for, and
    /// what is only settings is taken over. The server goes to the others, cleaned, unless more is left.
    pub(super) async fn leave_what_may_have_changed(&mut self) -> Result<(), Failure> {
        let relies_on_sequences = self.memory.state.pins.sequences
            && self.holding.lease.as_ref().is_some_and(|lease| lease.asks_sequences());
        if !self.memory.state.pins.are_soft() || relies_on_sequences {
            return Ok(());
        }
        let mut sql = format!("{};{SETTINGS_SQL}", *LEFT_SQL);
        // Postgres does not list placeholders, but tells those that are known by name.
        let names: Vec<_> = self.memory.placeholders.names().map(quote_text).collect();
        if !names.is_empty() {
            sql.push_str(&format!(
                " UNION ALL SELECT n, pg_catalog.current_setting(n, true) FROM pg_catalog.unnest(ARRAY[{}]) n",
                names.join(",")
            ));
        }
        self.ask_server(&sql, Ours::Changed).await?;
        let Some(told) = self.answers.told.take().filter(|_| self.exchange.is_clean()) else { return Ok(()) };
        self.memory.state.pins.judge(&told);
        self.memory.state.pins.has_not_changed();
        // What is in force and was not reported has been taken back.
        let now: Vec<_> = self.answers.settings.iter().map(|(name, _)| name.clone()).collect();
        for name in self.memory.state.settings.now().listed_names() {
            if !now.contains(&name) {
                self.on_effect(&SessionEffect::Reset { name, local: false });
            }
        }
        self.take_over_settings();
        if self.memory.is_pinned() && !self.memory.state.pins.are_soft() {
            self.client.card.set_pin(self.memory.state.pins.first());
            return Ok(());
        }
        self.memory.unpin();
        self.memory.state.pins.sequences = false;
        self.give_back_cleaned();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn row(values: &[Option<&str>]) -> BytesMut {
        let mut body = BytesMut::new();
        body.extend_from_slice(&(values.len() as i16).to_be_bytes());
        for value in values {
            body.extend_from_slice(&value.map_or(-1, |v| v.len() as i32).to_be_bytes());
            body.extend_from_slice(value.unwrap_or("").as_bytes());
        }
        body
    }

    #[test]
    fn rows_of_two_are_settings_and_a_value_that_cannot_be_carried_is_none() {
        let mut answers = Answers::default();
        answers.on_row(Ours::Changed, &row(&[Some("t"), Some("f"), Some("t")]), true);
        answers.on_row(Ours::Changed, &row(&[Some("jit"), Some("off")]), true);
        answers.on_row(Ours::Changed, &row(&[Some("a.b"), None]), true);
        answers.on_row(Ours::Changed, &row(&[Some("a.c"), Some("ä")]), false);
        assert_eq!(answers.told, Some(vec![true, false, true]));
        let wanted = [("jit".to_owned(), Some("off".to_owned())), ("a.c".to_owned(), None)];
        assert_eq!(answers.settings, wanted);
    }
}
