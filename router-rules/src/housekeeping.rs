//! Statements that concern nothing but the session that runs them, and mean the same on every node.
//!
//! Drivers' pools reset each connection that is returned: `RESET ALL`, `DISCARD ALL`, `UNLISTEN *`,
//! `CLOSE ALL`, `pg_advisory_unlock_all()`. A session that keeps no server has nothing there to reset but
//! its settings, which pgweir follows: any node may run it.

use crate::classify::Classified;
use crate::reason::Reason;
use crate::statement::{Kind, SessionEffect, Statement};

/// Settings that are looked up in the catalog, which a replica may not know yet, or that belong to the
/// transaction or to who the session is.
const OF_THE_CATALOG: [&str; 7] = [
    "role",
    "session_authorization",
    "default_tablespace",
    "temp_tablespaces",
    "default_text_search_config",
    "default_table_access_method",
    "session_replication_role",
];

impl Classified {
    /// May any node run it for a session that keeps no server, outside of a transaction?
    pub fn is_housekeeping(&self) -> bool {
        !self.statements.is_empty() && self.statements.iter().all(Statement::is_housekeeping)
    }
}

impl Statement {
    fn is_housekeeping(&self) -> bool {
        let known = self.effects.iter().all(|effect| match effect {
            SessionEffect::Set { name, local: false, .. } | SessionEffect::Reset { name, local: false } => {
                !OF_THE_CATALOG.contains(&name.as_str()) && !name.starts_with("transaction_")
            }
            SessionEffect::ResetAll
            | SessionEffect::DiscardAll
            | SessionEffect::DeallocateAll
            | SessionEffect::MayUnpin => true,
            _ => false,
        });
        let harmless = match self.kind {
            Kind::Set | Kind::Prepare => !self.effects.is_empty(),
            // UNLISTEN; CLOSE, where there is no cursor.
            Kind::Notify | Kind::Cursor => self.effects == [SessionEffect::MayUnpin],
            Kind::Select => self.only_sets() || self.only_unlocks(),
            _ => false,
        };
        known && harmless && self.writes.is_none()
    }

    /// A SELECT of nothing but `set_config`, `current_setting` and literals, whose effects are known.
    pub fn only_sets(&self) -> bool {
        let of_settings = |function: &str| {
            matches!(
                function.strip_prefix("pg_catalog.").unwrap_or(function),
                "set_config" | "current_setting"
            )
        };
        self.kind == Kind::Select
            && self.verdict == Err(Reason::Session)
            && self.writes.is_none()
            && self.relations.is_empty()
            && self.functions.iter().all(|function| of_settings(function))
            && !self.effects.is_empty()
            && self.effects.iter().all(|effect| matches!(effect, SessionEffect::Set { .. }))
    }

    /// `SELECT pg_advisory_unlock_all()`.
    fn only_unlocks(&self) -> bool {
        self.verdict == Err(Reason::AdvisoryLock)
            && self.relations.is_empty()
            && matches!(&*self.functions, [one] if one.trim_start_matches("pg_catalog.") == "pg_advisory_unlock_all")
            && self.effects == [SessionEffect::MayUnpin]
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::{Cast, Function, Rows, Type, Unknown};
    use crate::{Catalog, Classifier, Scope};
    use std::sync::Arc;

    /// With a type that others are cast to by a function, as `citext` is.
    fn with_casts() -> Catalog {
        let function = Function {
            oid: 1,
            schema: "public".into(),
            name: "citext".into(),
            args: vec!["boolean".into()],
            returns: "public.citext".into(),
            volatility: 'i',
            language: "sql".into(),
            kind: 'f',
            body: Some("SELECT $1".into()),
            ..Function::default()
        };
        let kind = Type { schema: "public".into(), name: "citext".into(), kind: 'b', ..Type::default() };
        let cast = Cast { source: "boolean".into(), target: "public.citext".into(), function: 1, usage: 'a' };
        Catalog::build(
            Rows { functions: vec![function], types: vec![kind], casts: vec![cast], ..Rows::default() },
            1,
        )
    }

    fn is_housekeeping(sql: &str) -> bool {
        let of = |catalog| {
            let scope = Scope::new(Some(Arc::new(catalog)), vec!["public".into()], "app".into(), true);
            Classifier::default().classify(sql.as_bytes(), &scope).is_housekeeping()
        };
        let offline = of(Catalog::from_short_form([], [], Unknown::Sketch));
        assert_eq!(offline, of(with_casts()), "{sql}");
        offline
    }

    #[test]
    fn what_drivers_pools_send_is_housekeeping() {
        for sql in [
            "RESET ALL",
            "DISCARD ALL",
            "UNLISTEN *",
            "CLOSE ALL",
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
            "SET application_name = 'x'",
            "SELECT set_config('jit', 'off', false)",
        ] {
            assert!(is_housekeeping(sql), "{sql}");
        }
    }

    #[test]
    fn what_belongs_to_a_node_a_transaction_or_the_catalog_is_not() {
        for sql in [
            "SET ROLE helper",
            "SET TRANSACTION READ ONLY",
            "SET LOCAL work_mem = '1MB'",
            "SET default_tablespace = 'fast'",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_unlock(1)",
            "SELECT set_config('a.b', 'c', false), nextval('s')",
            "SELECT set_config('a.b', 'c', false) FROM t",
            "LISTEN x",
            "DEALLOCATE p",
            "SELECT 1",
            "RESET ALL; DELETE FROM t",
        ] {
            assert!(!is_housekeeping(sql), "{sql}");
        }
    }
}
