//! What a planner works out ahead: calls of IMMUTABLE functions, whose results a plan keeps.
//!
//! Postgres believes a function that says it is IMMUTABLE. One that reads a setting all the same leaves the value
//! of one session in the plans of the process, for whoever runs them next.
//!
//! <https://www.postgresql.org/docs/current/xfunc-volatility.html>

use crate::catalog::{Function, Rows};
use crate::dynamic::words;
use foldhash::HashSet;

/// What a session says of itself.
const OF_SESSIONS: [&str; 14] = [
    "current_role",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_user",
    "execute",
    "inet_client_addr",
    "inet_client_port",
    "pg_backend_pid",
    "pg_settings",
    "session_user",
    "show",
    "system_user",
    "user",
];

/// Plans may hold what some session has set: an IMMUTABLE function reads it, or may. What is written in C is taken at
/// its word.
pub(crate) fn may_hold_settings(rows: &Rows) -> bool {
    let is_immutable = |f: &&Function| f.volatility == 'i';
    let claims = |f: &&Function| {
        is_immutable(f) && f.extension.is_none() && f.kind != 'a' && !matches!(&*f.language, "c" | "internal")
    };
    let mut suspects = rows.functions.iter().filter(claims).peekable();
    if suspects.peek().is_none() {
        return false;
    }
    let others = rows.functions.iter().filter(|f| !is_immutable(f)).map(|f| &f.name);
    // A view and a policy may read a session, too.
    let behind = rows.relations.iter().filter(|r| r.kind == 'v' || !r.policies.is_empty()).map(|r| &r.name);
    let changing: HashSet<String> = others.chain(behind).map(|name| name.to_lowercase()).collect();
    let reads = |word: &str| OF_SESSIONS.binary_search(&word).is_ok() || changing.contains(word);
    suspects.any(|f| {
        !matches!(&*f.language, "sql" | "plpgsql")
            || f.body.as_deref().is_none_or(|body| words(body).any(|word| reads(&word)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Relation;

    fn function(name: &str, volatility: char, language: &str, body: &str) -> Function {
        let (name, language, body) = (name.into(), language.into(), Some(body.into()));
        Function { name, volatility, language, body, kind: 'f', ..Function::default() }
    }

    #[test]
    fn a_function_that_says_it_never_changes_may_read_a_session() {
        let holds = |functions: Vec<Function>| may_hold_settings(&Rows { functions, ..Rows::default() });
        assert!(OF_SESSIONS.is_sorted());
        assert!(!holds(vec![]));
        let reads = "SELECT Current_Setting('app.tenant')";
        assert!(holds(vec![function("tenant", 'i', "sql", reads)]));
        assert!(!holds(vec![function("tenant", 's', "sql", reads)]));
        assert!(!holds(vec![function("twice", 'i', "sql", "SELECT $1 * 2")]));
        assert!(holds(vec![function("twice", 'i', "plperl", "$_SHARED{x}")]));
        let calls = function("tenant_of", 'i', "plpgsql", "BEGIN RETURN tenant(); END");
        assert!(holds(vec![function("tenant", 's', "sql", reads), calls.clone()]));
        assert!(!holds(vec![calls]));
        let by_view = function("tenant", 'i', "sql", "SELECT t FROM me");
        let me = |kind| Relation { name: "me".into(), kind, ..Relation::default() };
        let with =
            |kind| Rows { functions: vec![by_view.clone()], relations: vec![me(kind)], ..Rows::default() };
        assert!(may_hold_settings(&with('v')) && !may_hold_settings(&with('r')));
        let own = Function { extension: Some("x".into()), ..function("tenant", 'i', "sql", reads) };
        assert!(!holds(vec![own]));
    }
}
