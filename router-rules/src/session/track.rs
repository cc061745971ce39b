//! Settings are transactional: a SET inside a transaction that is rolled back never happened.
//!
//! [`Track`] follows COMMIT, ROLLBACK and savepoints for one side, session or server.

use super::context;
use super::settings::{ANY, IDENTITY, Setting, Settings, set_config, set_config_for};
use crate::statement::{SessionEffect, TransactionStep};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One side's settings through transactions and savepoints.
#[derive(Debug, Clone, Default)]
pub struct Track {
    now: Settings,
    /// What SET LOCAL lays over it until the transaction ends.
    local: Option<Box<Local>>,
    /// What a ROLLBACK returns to.
    committed: Settings,
    savepoints: Vec<(String, Settings, Option<Box<Local>>)>,
    /// What RESET returns to: a session's start-up settings; nothing for a server.
    base: Settings,
}

/// What SET LOCAL has set.
#[derive(Debug, Clone)]
struct Local {
    /// Each with its setting, or none where it was set to its default.
    of: BTreeMap<String, Option<Setting>>,
    /// All that is in force with them.
    in_force: Settings,
}

impl Track {
    /// A session that started with these.
    pub fn starting_with(base: Settings) -> Self {
        Self { now: base.clone(), committed: base.clone(), base, ..Self::default() }
    }

    /// What is set for the whole session.
    pub fn now(&self) -> &Settings {
        &self.now
    }

    /// What is in force at this moment, SET LOCAL included.
    pub fn in_force(&self) -> &Settings {
        self.local.as_ref().map_or(&self.now, |local| &local.in_force)
    }

    /// As it was when it started: DISCARD ALL ran.
    pub fn restart(&mut self) {
        *self = Self::starting_with(self.base.clone());
    }

    /// What RESET returns to.
    pub fn base(&self) -> &Settings {
        &self.base
    }

    /// A setting that nobody mentioned had this value at the start, and keeps it.
    pub fn keep(&mut self, name: &str, value: &str) {
        let setting = Setting { replay: set_config(name, value), value: Some(value.into()) };
        for settings in [&mut self.base, &mut self.committed, &mut self.now] {
            if !settings.contains(name) {
                *settings = settings.with(name, setting.clone());
            }
        }
    }

    /// The SQL that brings a server, whose track this is, to what is in force for a session; within a
    /// transaction, too.
    pub fn change_to(&self, session: &Track) -> Vec<String> {
        let mut queries = self.now.change_to(&session.now);
        let mine = |name: &String| self.local.as_ref().and_then(|local| local.of.get(name));
        for (name, setting) in session.local.iter().flat_map(|local| &local.of) {
            if mine(name) != Some(setting)
                && let Some(value) = setting.as_ref().and_then(|setting| setting.value.as_deref())
            {
                queries.push(set_config_for(name, value, true));
            }
        }
        queries
    }

    /// [`Self::change_to`] ran.
    pub fn follow(&mut self, session: &Track) {
        (self.now, self.local) = (session.now.clone(), session.local.clone());
    }

    /// A batch of settings has been applied outside a transaction's own doing.
    pub fn applied(&mut self, settings: Settings) {
        self.now = settings.clone();
        self.committed = settings;
    }

    /// What a ROLLBACK would return to.
    pub fn committed(&self) -> &Settings {
        &self.committed
    }

    /// A statement with this effect succeeded. True when the settings changed.
    pub fn on_effect(&mut self, effect: &SessionEffect) -> bool {
        let before = self.now.id();
        match effect {
            SessionEffect::Set { name, value, replay, local } => {
                let setting = Setting { replay: replay.clone(), value: value.as_deref().map(Arc::from) };
                self.set(name, Some(self.completed(name, setting)), *local || is_transactions(name));
            }
            SessionEffect::Reset { name, local } => {
                self.set(name, self.base.get(name).cloned(), *local || is_transactions(name));
            }
            SessionEffect::ResetAll => {
                // RESET ALL leaves alone who one is.
                let mut reset = self.base.clone();
                for name in IDENTITY {
                    if let Some(setting) = self.now.get(name) {
                        reset = reset.with(name, setting.clone());
                    }
                }
                (self.now, self.local) = (reset, None);
            }
            SessionEffect::DiscardAll => (self.now, self.local) = (self.base.clone(), None),
            SessionEffect::SetUnknownLocally { name } => self.set_unknown(name),
            _ => {}
        }
        before != self.now.id()
    }

    fn set(&mut self, name: &str, setting: Option<Setting>, local: bool) {
        let is_identity = name == "session_authorization";
        let mut of = self.local.take().map(|local| local.of).unwrap_or_default();
        if local {
            if is_identity {
                of.insert("role".to_owned(), None);
            }
            of.insert(name.to_owned(), setting);
        } else {
            of.remove(name);
            self.now = match setting {
                Some(setting) => self.now.with(name, setting),
                None => self.now.without(name),
            };
            if is_identity {
                // SET SESSION AUTHORIZATION takes a SET ROLE back.
                of.remove("role");
                self.now = self.now.without("role");
            }
        }
        self.lay_over(of);
    }

    /// It has a value that nobody here knows, and is like no other set.
    fn set_unknown(&mut self, name: &str) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = if name.is_empty() { ANY } else { name };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.set(name, Some(Setting { replay: format!("unknown {number}").into(), value: None }), true);
    }

    /// Both have run what gave a setting a value that nobody here knows: it is the same for both.
    pub fn share_unknown(&mut self, other: &Track) {
        self.local.clone_from(&other.local);
    }

    fn lay_over(&mut self, of: BTreeMap<String, Option<Setting>>) {
        if of.is_empty() {
            self.local = None;
            return;
        }
        let mut in_force = self.now.of().clone();
        for (name, setting) in &of {
            match setting {
                Some(setting) => drop(in_force.insert(name.clone(), setting.clone())),
                None => drop(in_force.remove(name)),
            }
        }
        self.local = Some(Box::new(Local { of, in_force: Settings::from_map(in_force) }));
    }

    /// `SET datestyle = SQL` says one half and keeps the other: the whole of it.
    fn completed(&self, name: &str, setting: Setting) -> Setting {
        if name != "datestyle" {
            return setting;
        }
        let value =
            setting.value.as_deref().and_then(|v| context::date_style(self.in_force().value(name), v));
        match value {
            Some(value) => Setting { replay: set_config(name, &value), value: Some(value.into()) },
            None => setting,
        }
    }

    /// The server reports the canonical value of a setting that was just set.
    pub fn on_reported(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        let news = |known: &Setting| known.value.as_deref() != Some(value);
        let setting = || Setting { replay: set_config(&name, value), value: Some(value.into()) };
        if let Some(local) = self.local.as_ref().and_then(|local| local.of.get(&name)) {
            if local.as_ref().is_some_and(news) {
                self.set(&name, Some(setting()), true);
            }
        } else if self.now.get(&name).is_some_and(news) {
            self.now = self.now.with(&name, setting());
        }
    }

    /// BEGIN, or the end of an implicit transaction that succeeded.
    pub fn on_commit(&mut self) {
        if self.committed != self.now {
            self.committed = self.now.clone();
        }
        self.local = None;
        self.savepoints.clear();
    }

    /// ROLLBACK, a COMMIT that turned into one, or an error outside a transaction block.
    pub fn on_rollback(&mut self) {
        if self.committed != self.now {
            self.now = self.committed.clone();
        }
        self.local = None;
        self.savepoints.clear();
    }

    /// SAVEPOINT name.
    pub fn on_savepoint(&mut self, name: &str) {
        self.savepoints.push((name.to_owned(), self.now.clone(), self.local.clone()));
    }

    /// RELEASE name.
    pub fn on_release(&mut self, name: &str) {
        if let Some(at) = self.savepoints.iter().rposition(|(n, ..)| n == name) {
            self.savepoints.truncate(at);
        }
    }

    /// ROLLBACK TO name.
    pub fn on_rollback_to(&mut self, name: &str) {
        if let Some(at) = self.savepoints.iter().rposition(|(n, ..)| n == name) {
            (self.now, self.local) = (self.savepoints[at].1.clone(), self.savepoints[at].2.clone());
            self.savepoints.truncate(at + 1);
        }
    }

    /// A step of a transaction was taken, as far as settings follow it.
    pub fn on_step(&mut self, step: &TransactionStep) {
        match step {
            // What stands before a BEGIN in the same batch belongs to its block.
            TransactionStep::Begin(_) => {}
            TransactionStep::Commit { .. } | TransactionStep::PrepareTransaction => self.on_commit(),
            TransactionStep::Rollback { .. } => self.on_rollback(),
            TransactionStep::Savepoint(name) => self.on_savepoint(name),
            TransactionStep::Release(name) => self.on_release(name),
            TransactionStep::RollbackTo(name) => self.on_rollback_to(name),
        }
    }
}

/// A mode of the transaction under way, which ends with it however it is set.
fn is_transactions(name: &str) -> bool {
    matches!(name, "transaction_isolation" | "transaction_read_only" | "transaction_deferrable")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> SessionEffect {
        SessionEffect::Set {
            name: name.into(),
            value: Some(value.into()),
            replay: format!("SET {name} = {value}").into(),
            local: false,
        }
    }

    #[test]
    fn a_server_that_was_reset_is_brought_back_to_what_its_client_started_with() {
        let mut session = Track::starting_with(Settings::from_pairs([("timezone", "Japan")]));
        let mut server = Track::default();
        server.applied(session.now().clone());
        for track in [&mut session, &mut server] {
            track.on_effect(&SessionEffect::ResetAll);
        }
        assert_eq!(server.change_to(&session), ["SELECT pg_catalog.set_config('timezone','Japan',false)"]);
        server.follow(&session);
        assert!(server.change_to(&session).is_empty());
        for track in [&mut session, &mut server] {
            track.on_effect(&set_local("timezone", "UTC"));
            track.on_effect(&SessionEffect::Reset { name: "timezone".into(), local: true });
        }
        assert_eq!(server.change_to(&session), ["SELECT pg_catalog.set_config('timezone','Japan',true)"]);
    }

    #[test]
    fn what_a_client_started_with_stays_when_the_default_becomes_another() {
        let mut session = Track::default();
        session.keep("work_mem", "4096");
        session.on_effect(&set("work_mem", "1MB"));
        session.on_effect(&SessionEffect::Reset { name: "work_mem".into(), local: false });
        assert_eq!(session.now().value("work_mem"), Some("4096"));
    }

    #[test]
    fn a_set_in_a_transaction_that_rolls_back_never_happened() {
        let mut track = Track::default();
        track.on_commit();
        track.on_effect(&set("work_mem", "1"));
        track.on_rollback();
        assert!(!track.now().contains("work_mem"));
    }

    #[test]
    fn rollback_to_a_savepoint_takes_back_what_came_after_it() {
        let mut track = Track::default();
        track.on_effect(&set("a", "1"));
        track.on_savepoint("s");
        track.on_effect(&set("a", "2"));
        track.on_rollback_to("s");
        assert_eq!(track.now().value("a"), Some("1"));
        track.on_effect(&set("a", "3"));
        track.on_release("s");
        assert_eq!(track.now().value("a"), Some("3"));
    }

    fn set_local(name: &str, value: &str) -> SessionEffect {
        SessionEffect::Set { name: name.into(), value: Some(value.into()), replay: "".into(), local: true }
    }

    #[test]
    fn set_local_is_in_force_until_its_transaction_ends() {
        let mut track = Track::default();
        track.on_effect(&set("timezone", "UTC"));
        track.on_commit();
        track.on_effect(&set_local("timezone", "Asia/Tokyo"));
        assert_eq!(track.in_force().value("timezone"), Some("Asia/Tokyo"));
        assert_eq!(track.now().value("timezone"), Some("UTC"));
        track.on_savepoint("s");
        track.on_effect(&SessionEffect::Reset { name: "timezone".into(), local: true });
        assert!(!track.in_force().contains("timezone"));
        track.on_rollback_to("s");
        track.on_reported("TimeZone", "Japan");
        assert_eq!(track.in_force().value("timezone"), Some("Japan"));
        track.on_commit();
        assert_eq!(track.in_force().value("timezone"), Some("UTC"));
    }

    #[test]
    fn a_set_behind_a_set_local_of_the_same_counts() {
        let mut track = Track::default();
        track.on_effect(&set_local("timezone", "Japan"));
        track.on_effect(&set("timezone", "UTC"));
        assert_eq!(track.in_force().value("timezone"), Some("UTC"));
    }

    #[test]
    fn the_half_that_a_date_style_does_not_name_stays() {
        let mut track = Track::default();
        track.on_effect(&set("datestyle", "ISO, DMY"));
        track.on_effect(&set("datestyle", "SQL"));
        assert_eq!(track.now().value("datestyle"), Some("SQL, DMY"));
    }

    #[test]
    fn settings_that_no_parse_reads_leave_its_context_alone() {
        let context = |pairs: &[(&str, &str)]| Settings::from_pairs(pairs.iter().copied()).context();
        assert_eq!(context(&[("application_name", "x"), ("app.tenant", "1")]), context(&[]));
        assert_ne!(context(&[("timezone", "UTC")]), context(&[("timezone", "Japan")]));
        assert_ne!(context(&[("role", "r")]), context(&[]));
    }

    #[test]
    fn reset_returns_to_what_the_client_started_with() {
        let mut track = Track::starting_with(Settings::from_pairs([("datestyle", "SQL")]));
        track.on_effect(&set("datestyle", "German"));
        track.on_effect(&SessionEffect::Reset { name: "datestyle".into(), local: false });
        assert_eq!(track.now().value("datestyle"), Some("SQL"));
    }

    #[test]
    fn a_server_gets_only_what_differs_and_its_identity_last() {
        let server = Settings::from_pairs([("a", "1"), ("b", "2")]);
        let mut session = Track::starting_with(Settings::from_pairs([("b", "3")]));
        session.on_effect(&set("role", "r"));
        assert_eq!(
            server.change_to(session.now()),
            ["RESET \"a\";SELECT pg_catalog.set_config('b','3',false);SET role = r"]
        );
        assert!(server.change_to(&server).is_empty());
    }

    #[test]
    fn the_encoding_is_in_force_before_anything_is_written_in_it() {
        let server = Settings::from_pairs([("client_encoding", "LATIN1")]);
        let wanted = Settings::from_pairs([("a", "é")]);
        let set = "SELECT pg_catalog.set_config('a','é',false)";
        assert_eq!(server.change_to(&wanted), ["RESET client_encoding", set]);
        assert_eq!(
            wanted.change_to(&server),
            ["SELECT pg_catalog.set_config('client_encoding','LATIN1',false)", "RESET \"a\""]
        );
    }

    #[test]
    fn a_server_steps_out_of_a_role_before_it_is_changed() {
        let mut server = Track::default();
        server.on_effect(&set("role", "r"));
        let wanted = Settings::from_pairs([("a", "1")]);
        assert_eq!(
            server.now().change_to(&wanted),
            ["RESET ROLE;RESET SESSION AUTHORIZATION;SELECT pg_catalog.set_config('a','1',false)"]
        );
    }

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        assert_eq!(&*set_config("x", "a'b\\c"), "SELECT pg_catalog.set_config('x',E'a''b\\\\c',false)");
    }

    #[test]
    fn pgweirs_own_settings_are_not_sent_to_servers() {
        let wanted = Settings::from_pairs([("pgweir.trace", "on")]);
        assert!(Settings::default().change_to(&wanted).is_empty());
    }
}
