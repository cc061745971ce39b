//! What calls and function bodies leave behind in the session.

use crate::analyse::Analysis;
use crate::catalog::Function;
use crate::dynamic;
use crate::facts::Facts;
use crate::lex;
use crate::reason::PinReason;
use crate::settings;
use crate::statement::SessionEffect;
use crate::tokens::Tokens;

/// Function bodies longer than this (tokens) are taken to do anything to the session.
const BODY_TOKENS_MAX: usize = 20_000;

/// How many functions are looked into for one statement.
const FUNCTIONS_MAX: usize = 64;

/// How many names of functions are remembered as seen.
const NAMES_MAX: usize = 64;

/// Effects of the calls in a statement.
pub(crate) fn of_calls(
    facts: &Facts<'_>,
    tokens: Tokens<'_>,
    analysis: &Analysis<'_>,
    effects: &mut Vec<SessionEffect>,
) {
    let mut configured = false;
    let mut names: Vec<&str> = vec![];
    for call in facts.calls.iter().filter(|call| call.certain()) {
        let name = &*call.name.name;
        // Each name counts once; in a long statement the names' list stays short.
        if call.name.schema.is_none() && name != "set_config" {
            if names.contains(&name) {
                continue;
            }
            if names.len() < NAMES_MAX {
                names.push(name);
            }
        }
        if matches!(call.name.schema.as_deref(), None | Some("pg_catalog")) {
            if name == "set_config" {
                if std::mem::replace(&mut configured, true) {
                    continue;
                }
                of_set_config(tokens, effects);
                continue;
            }
            if name == "pg_backend_pid" && tells_values(tokens) {
                push(effects, SessionEffect::Pin(PinReason::ServerProcess));
                continue;
            }
            if let Some(effect) = of_builtin(name) {
                push(effects, effect);
                continue;
            }
        }
        let Some(catalog) = analysis.catalog else { continue };
        let mut found = vec![];
        let mut seen = vec![];
        for function in catalog.functions(name) {
            let named = call.name.schema.as_deref();
            let visible = match named {
                Some(schema) => schema == function.schema,
                None => true,
            };
            if visible {
                of_function(function, analysis, &mut seen, &mut found);
            }
        }
        for effect in found {
            push(effects, effect);
        }
    }
}

/// A SELECT without a FROM: its values are what the client wants to know.
fn tells_values(tokens: Tokens<'_>) -> bool {
    tokens.is(0, "select") && (0..tokens.len()).all(|at| !tokens.is(at, "from"))
}

fn push(effects: &mut Vec<SessionEffect>, effect: SessionEffect) {
    if !effects.contains(&effect) {
        effects.push(effect);
    }
}

/// What a built-in function leaves behind.
fn of_builtin(name: &str) -> Option<SessionEffect> {
    use SessionEffect::{MayUnpin, Pin};
    Some(match name {
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared" => Pin(PinReason::AdvisoryLock),
        "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all" => MayUnpin,
        // An INSERT with a serial default sets currval, too, but does not pin: only who names a
        // sequence in SQL is taken to want its state in this session later.
        "nextval" | "setval" | "currval" | "lastval" => Pin(PinReason::SequenceState),
        "setseed" | "pg_replication_origin_session_setup" | "set_limit" => Pin(PinReason::Unfollowable),
        _ if name.starts_with("dblink_connect") || name == "dblink_open" => Pin(PinReason::Unfollowable),
        _ => return None,
    })
}

/// `set_config` in a statement: followed where each of its calls is a whole column of a SELECT without a
/// FROM, of literals; else the server is asked, or the session keeps its server.
fn of_set_config(tokens: Tokens<'_>, effects: &mut Vec<SessionEffect>) {
    match tokens.is(0, "select").then(|| settings::set_config_columns(tokens)).flatten() {
        Some(followed) => followed.into_iter().for_each(|effect| push(effects, effect)),
        None => dynamic::of_set_config(tokens, effects),
    }
}

/// Effects of a function, as its body shows them. C code and other languages show nothing.
fn of_function(
    function: &Function,
    analysis: &Analysis<'_>,
    seen: &mut Vec<u32>,
    effects: &mut Vec<SessionEffect>,
) {
    if let Some(extension) = &function.extension {
        if extension == "dblink" || extension == "pg_trgm" {
            effects.extend(of_builtin(&function.name));
        }
        return;
    }
    if seen.contains(&function.oid) {
        return;
    }
    let level = analysis.effort.deeper();
    if seen.len() >= FUNCTIONS_MAX || level.is_err() {
        effects.push(SessionEffect::Pin(PinReason::Unfollowable));
        return;
    }
    seen.push(function.oid);
    if let (Some(body), "sql" | "plpgsql") = (&function.body, function.language.as_str()) {
        of_text(body, analysis, seen, effects)
    }
}

/// Effects of a DO block.
pub(crate) fn of_body(body: &str, analysis: &Analysis<'_>, effects: &mut Vec<SessionEffect>) {
    let mut found = vec![];
    of_text(body, analysis, &mut vec![], &mut found);
    for effect in found {
        push(effects, effect);
    }
}

fn of_text(body: &str, analysis: &Analysis<'_>, seen: &mut Vec<u32>, effects: &mut Vec<SessionEffect>) {
    use SessionEffect::Pin;
    let Ok(list) = lex::tokenize(body.as_bytes(), true, BODY_TOKENS_MAX) else {
        effects.push(Pin(PinReason::Unfollowable));
        return;
    };
    let tokens = Tokens { sql: body, list: &list };
    for at in 0..tokens.len() {
        let Some(word) = tokens.identifier(at) else { continue };
        let begins = at == 0
            || tokens.is_mark(at - 1, ";")
            || tokens.is_any(at - 1, &["begin", "then", "else", "loop", "atomic"]);
        match &*word {
            "set" if begins && !tokens.is(at + 1, "local") && !tokens.is(at + 1, "constraints") => {
                effects.push(dynamic::of_set(tokens, at));
            }
            "reset" | "discard" | "load" | "deallocate" if begins => {
                effects.push(Pin(PinReason::Unfollowable))
            }
            "execute" if !tokens.is_any(at + 1, &["function", "procedure", "on"]) => {
                effects.push(dynamic::of_execute(tokens, at + 1));
            }
            "listen" if begins => effects.push(Pin(PinReason::Listen)),
            "unlisten" if begins => effects.push(SessionEffect::MayUnpin),
            "temp" | "temporary"
                if at > 0 && tokens.is_any(at - 1, &["create", "into", "replace", "local", "global"]) =>
            {
                effects.push(Pin(PinReason::TemporaryTable));
            }
            name if tokens.is_mark(at + 1, "(") => of_inner_call(name, tokens, analysis, seen, effects),
            _ => {}
        }
    }
}

fn of_inner_call(
    name: &str,
    tokens: Tokens<'_>,
    analysis: &Analysis<'_>,
    seen: &mut Vec<u32>,
    effects: &mut Vec<SessionEffect>,
) {
    match name {
        "set_config" => dynamic::of_set_config(tokens, effects),
        // A sequence that a function uses for itself is not the session's concern.
        "nextval" | "setval" => {}
        _ => {
            effects.extend(of_builtin(name));
            let Some(catalog) = analysis.catalog else { return };
            for function in catalog.functions(name) {
                of_function(function, analysis, seen, effects);
            }
        }
    }
}

/// For what is not understood: a pin when the text has words that change a session.
pub(crate) fn suspicious(tokens: Tokens<'_>) -> Option<SessionEffect> {
    const WORDS: [&str; 10] = [
        "set",
        "set_config",
        "temp",
        "temporary",
        "listen",
        "load",
        "prepare",
        "declare",
        "execute",
        "reset",
    ];
    (0..tokens.len())
        .any(|at| {
            tokens.is_any(at, &WORDS)
                || (tokens.text(at).len() > 15 && tokens.text(at).to_ascii_lowercase().contains("advisory"))
        })
        .then_some(SessionEffect::Pin(PinReason::Unfollowable))
}
