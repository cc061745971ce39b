//! Placeholders: settings with a dot in their name, which exist on a server once somebody has set them there.
//!
//! On a server where nobody has set `app.tenant`, `current_setting('app.tenant', true)` is NULL; where
//! somebody has, it is empty for everybody else, and Postgres cannot be made to forget it. Row security that
//! reads one would mean something else by chance. So servers are kept apart by the placeholders that were
//! ever set on them: a session that may read some gets a server with none but its own.

use router_rules::quote::quote_text;
use router_rules::session::Settings;
use router_rules::session::settings::set_config_for;
use router_rules::statement::{Kind, Statement};
use router_rules::{Classified, PinReason, SessionEffect};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Stands for one whose name is not known; no setting is called so.
const ANY: &str = "*";

/// Stands for the schema of temporary objects: once made, a server keeps it, empty. With `pg_temp` first in the
/// `search_path`, a transaction that has it made cannot be prepared.
const TEMPORARY: &str = "pg_temp";

/// Names of placeholders; none at all in most sessions and on most servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders(BTreeSet<Box<str>>);

/// Those that a server may know that runs a session's work.
#[derive(Debug, Clone)]
pub struct Allowed<'a> {
    known: Cow<'a, Placeholders>,
    /// A schema of temporary objects, too: the work cannot tell whether there is one.
    temporary: bool,
}

impl<'a> Allowed<'a> {
    /// These, and a schema of temporary objects where `temporary`.
    pub fn new(known: Cow<'a, Placeholders>, temporary: bool) -> Self {
        Self { known, temporary }
    }

    /// The same for longer.
    pub fn into_owned(self) -> Allowed<'static> {
        Allowed { known: Cow::Owned(self.known.into_owned()), temporary: self.temporary }
    }

    fn has(&self, name: &str) -> bool {
        // A session that has looked for its schema may have rolled that back, and finds another's elsewhere.
        if name == TEMPORARY { self.temporary } else { self.known.0.contains(name) }
    }
}

impl Placeholders {
    /// None of these is more than is allowed.
    pub fn is_within(&self, allowed: &Allowed<'_>) -> bool {
        self.0.iter().all(|name| allowed.has(name))
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that a session knows and that are not here, nor come with these settings.
    pub fn lacks(&self, known: &Placeholders, settings: &Settings) -> Vec<Box<str>> {
        let news = known.0.difference(&self.0);
        let is_one = |name: &str| !matches!(name, ANY | TEMPORARY);
        news.filter(|name| is_one(name) && !settings.contains(name)).cloned().collect()
    }

    /// Those whose names are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref).filter(|name| !matches!(*name, ANY | TEMPORARY))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What a text sets joins them, whether that lasts or not.
    pub fn add_of(&mut self, text: &Classified) {
        if text.plain {
            return;
        }
        for effect in text.statements.iter().flat_map(|statement| &statement.effects) {
            self.add_of_effect(effect);
        }
    }

    /// What this effect sets joins them.
    pub fn add_of_effect(&mut self, effect: &SessionEffect) {
        use SessionEffect::{Pin, Reset, Set, SetToParameter, SetUnknown, SetUnknownLocally};
        match effect {
            SetUnknownLocally { name } if name.is_empty() => _ = self.0.insert(ANY.into()),
            Pin(PinReason::TemporaryTable | PinReason::Unfollowable) => self.add_temporary(),
            _ if effect.may_change_anything() => self.add_temporary(),
            Set { name, .. }
            | SetToParameter { name, .. }
            | SetUnknown { name }
            | SetUnknownLocally { name }
            | Reset { name, .. } => self.add(name),
            _ => {}
        }
    }

    /// A schema of temporary objects may have been made.
    pub fn add_temporary(&mut self) {
        self.0.insert(TEMPORARY.into());
    }

    /// Those among these settings join them.
    pub fn add_all(&mut self, settings: &Settings) {
        settings.names().for_each(|name| self.add(name));
    }

    /// This one joins them, if it is one.
    pub fn add(&mut self, name: &str) {
        if name.contains('.') && !name.starts_with("pgweir.") {
            self.0.insert(name.into());
        }
    }
}

/// What is looked for along this `search_path` is looked for in the schema of temporary objects first, which is
/// made for it.
pub fn makes_temporary_schema(search_path: &[String]) -> bool {
    search_path.first().is_some_and(|first| first == TEMPORARY)
}

/// SQL that makes a placeholder known, and empty. (A library may have made a setting of it by now.)
pub fn define(name: &str) -> String {
    let (set, name) = (set_config_for(name, "", true), quote_text(name));
    let call = set.trim_start_matches("SELECT ");
    format!("SELECT CASE WHEN pg_catalog.current_setting({name},true) IS NULL THEN {call} END")
}

/// Running this text may read placeholders: it names one, or what could lead to a function that does.
pub fn may_be_read_by(text: &Classified, sql: &[u8]) -> bool {
    let names_one = |sql: &[u8]| memchr::memchr(b'.', sql).is_some();
    let asks = |sql: &[u8]| {
        let name = b"current_setting";
        sql.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
    };
    let reads = |statement: &Statement| match statement.kind {
        Kind::Set | Kind::Transaction | Kind::Empty | Kind::Notify => false,
        Kind::Show => names_one(sql),
        // Nothing but what every server brings.
        Kind::Select if text.verdict.is_ok() && text.reads.is_none() => asks(sql),
        Kind::Select if sets_only(statement) => asks(sql),
        _ => true,
    };
    text.statements.iter().any(reads)
}

/// `SELECT set_config(…)` and nothing else.
fn sets_only(statement: &Statement) -> bool {
    use SessionEffect::{Reset, Set, SetToParameter};
    let sets = |e: &SessionEffect| matches!(e, Set { .. } | SetToParameter { .. } | Reset { .. });
    !statement.effects.is_empty() && statement.effects.iter().all(sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_rules::{Classifier, Scope};

    fn classified(sql: &str) -> std::sync::Arc<Classified> {
        let scope = Scope::new(None, vec![], String::new(), true);
        Classifier::new(1 << 20).classify(sql.as_bytes(), &scope)
    }

    fn set_by(texts: &[&str]) -> Placeholders {
        let mut all = Placeholders::default();
        texts.iter().for_each(|sql| all.add_of(&classified(sql)));
        all
    }

    fn is_within(some: &Placeholders, known: &Placeholders) -> bool {
        some.is_within(&Allowed::new(Cow::Borrowed(known), false))
    }

    #[test]
    fn whoever_has_set_more_sees_no_difference() {
        let none = Placeholders::default();
        let one = set_by(&["SET app.tenant = '1'", "SET work_mem = '1MB'", "SET pgweir.trace = on"]);
        let two = set_by(&["SELECT set_config('app.tenant', $1, true)", "SET LOCAL app.other = ''"]);
        assert_eq!((none.len(), one.len(), two.len()), (0, 1, 2));
        assert!(is_within(&none, &one) && is_within(&one, &two) && is_within(&one, &one));
        assert!(!is_within(&two, &one) && !is_within(&one, &none));
        let some = set_by(&["SELECT set_config($1, $2, true)"]);
        assert!(!is_within(&some, &two) && is_within(&some, &some));
        assert!(none.lacks(&some, &Settings::default()).is_empty());
        assert_eq!(one.lacks(&two, &Settings::default()), ["app.other".into()]);
        assert_eq!(none.lacks(&two, &Settings::from_pairs([("app.other", "")])), ["app.tenant".into()]);
    }

    #[test]
    fn a_schema_of_temporary_objects_is_no_setting_to_be_defined() {
        let none = Placeholders::default();
        let made = set_by(&["CREATE TEMP TABLE t (a int)"]);
        assert!(!is_within(&made, &none) && made.is_within(&Allowed::new(Cow::Borrowed(&none), true)));
        assert!(none.lacks(&made, &Settings::default()).is_empty());
        for (path, makes) in [("pg_temp", true), ("public", false)] {
            assert_eq!(makes_temporary_schema(&[path.to_owned(), "pg_temp".to_owned()]), makes, "{path}");
        }
        assert!(!makes_temporary_schema(&[]));
    }

    #[test]
    fn what_sets_or_knows_no_placeholder_reads_none() {
        for (sql, reads) in [
            ("BEGIN", false),
            ("SET app.tenant = '1'", false),
            ("SELECT set_config('app.tenant', '1', false)", false),
            ("SHOW work_mem", false),
            ("SHOW app.tenant", true),
            ("SELECT current_setting('app.tenant', true)", true),
            ("SELECT * FROM t", true),
            ("UPDATE t SET a = 1", true),
            ("SELECT f()", true),
        ] {
            assert_eq!(may_be_read_by(&classified(sql), sql.as_bytes()), reads, "{sql}");
        }
    }
}
