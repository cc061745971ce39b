//! SET, RESET, `set_config`: what they change, and the SQL that brings it about elsewhere.
//!
//! See <https://www.postgresql.org/docs/current/sql-set.html>.

use crate::lex::TokenKind;
use crate::quote::{quote_identifier, quote_text};
use crate::session::settings::set_config;
use crate::statement::{Isolation, SessionEffect, TransactionModes};
use crate::tokens::Tokens;
use std::sync::Arc;

/// Settings whose value is a list of identifiers, each quoted where it has to be.
const LISTS: [&str; 5] = [
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
    "shared_preload_libraries",
];

/// The effects of a SET statement; `None` when it is not understood.
pub(crate) fn set(tokens: Tokens<'_>) -> Option<Vec<SessionEffect>> {
    let mut at = 1;
    let mut local = false;
    if tokens.is(at, "local") && !names_a_setting(tokens, at) {
        local = true;
        at += 1;
    } else if tokens.is(at, "session") && !names_a_setting(tokens, at) && !tokens.is(at + 1, "authorization")
    {
        at += 1;
        if tokens.is(at, "characteristics") {
            return session_characteristics(tokens, at);
        }
    }
    let one = |effect| Some(vec![effect]);
    if tokens.is(at, "transaction") && !names_a_setting(tokens, at) {
        return one(SessionEffect::SetTransaction(modes(tokens, at + 1)));
    }
    if tokens.is(at, "constraints") && !names_a_setting(tokens, at) {
        return Some(vec![]);
    }
    let special = |words: usize, name: &str, verb: &str| special_form(tokens, at + words, name, verb, local);
    if !names_a_setting(tokens, at) {
        if tokens.is(at, "time") && tokens.is(at + 1, "zone") {
            return special(2, "timezone", "TIME ZONE").map(|e| vec![e]);
        } else if tokens.is(at, "names") {
            return special(1, "client_encoding", "NAMES").map(|e| vec![e]);
        } else if tokens.is(at, "schema") {
            return special(1, "search_path", "SCHEMA").map(|e| vec![e]);
        } else if tokens.is(at, "role") {
            return special(1, "role", "ROLE").map(|e| vec![e]);
        } else if tokens.is(at, "session") && tokens.is(at + 1, "authorization") {
            return special(2, "session_authorization", "SESSION AUTHORIZATION").map(|e| vec![e]);
        } else if tokens.is(at, "xml") && tokens.is(at + 1, "option") {
            return special(2, "xmloption", "XML OPTION").map(|e| vec![e]);
        }
    }
    let (name, quoted, end) = setting_name(tokens, at)?;
    if !tokens.is(end, "to") && !tokens.is_mark(end, "=") {
        return None;
    }
    one(assignment(tokens, end + 1, name, &quoted, local)?)
}

/// `local = 5` sets a setting called `local`.
fn names_a_setting(tokens: Tokens<'_>, at: usize) -> bool {
    tokens.is_mark(at + 1, "=") || tokens.is(at + 1, "to") || tokens.is_mark(at + 1, ".")
}

/// `a.b`: the name in lower case, the name quoted, and the index behind it.
fn setting_name(tokens: Tokens<'_>, at: usize) -> Option<(String, String, usize)> {
    let mut name = tokens.identifier(at)?.into_owned();
    let mut quoted = quote_identifier(&name);
    let mut end = at + 1;
    while tokens.is_mark(end, ".") {
        let part = tokens.identifier(end + 1)?;
        quoted = format!("{quoted}.{}", quote_identifier(&part));
        name = format!("{name}.{part}");
        end += 2;
    }
    Some((name.to_ascii_lowercase(), quoted, end))
}

fn assignment(
    tokens: Tokens<'_>,
    from: usize,
    name: String,
    quoted: &str,
    local: bool,
) -> Option<SessionEffect> {
    if from >= tokens.len() {
        return None;
    }
    if tokens.is(from, "default") && from + 1 == tokens.len() {
        return Some(SessionEffect::Reset { name, local });
    }
    let value = value(tokens.slice(from, tokens.len()), LISTS.contains(&name.as_str()));
    let replay = replay(tokens, from, (quoted, &format!("{quoted} =")), &name, value.as_deref())?;
    Some(SessionEffect::Set { name, value, replay, local })
}

/// SQL that sets the same on a server that reads literals in another way (`standard_conforming_strings`,
/// `backslash_quote`): by the value, and without a query, which would take a snapshot. Where the value is not known, in
/// the client's words; `None` if those could mean something else there.
fn replay(
    tokens: Tokens<'_>,
    from: usize,
    (quoted, what): (&str, &str),
    name: &str,
    value: Option<&str>,
) -> Option<Arc<str>> {
    match value {
        // SET would take the list for one identifier.
        Some(value) if LISTS.contains(&name) => return Some(set_config(name, value)),
        Some(value) => return Some(format!("SET {quoted} = {}", quote_text(value)).into()),
        None => {}
    }
    let words = source(tokens, from);
    let is_read_alike = !words.contains(['\\', '&']);
    is_read_alike.then(|| format!("SET {what} {words}").into())
}

/// The forms that have words of their own instead of a name.
fn special_form(
    tokens: Tokens<'_>,
    from: usize,
    name: &str,
    verb: &str,
    local: bool,
) -> Option<SessionEffect> {
    let resets = tokens.is(from, "default") || (name == "timezone" && tokens.is(from, "local"));
    let name = name.to_string();
    if resets && from + 1 == tokens.len() || (name == "client_encoding" && from == tokens.len()) {
        return Some(SessionEffect::Reset { name, local });
    }
    if from >= tokens.len() {
        return None;
    }
    let value = value(tokens.slice(from, tokens.len()), name == "search_path");
    let replay = replay(tokens, from, (&quote_identifier(&name), verb), &name, value.as_deref())?;
    Some(SessionEffect::Set { name, value, replay, local })
}

/// The text from token `from` to the end.
fn source<'a>(tokens: Tokens<'a>, from: usize) -> &'a str {
    match (tokens.list.get(from), tokens.list.last()) {
        (Some(first), Some(last)) => &tokens.sql[first.start as usize..last.end as usize],
        _ => "",
    }
}

/// The value as `set_config` would take it; `None` where it is not made of plain literals.
fn value(tokens: Tokens<'_>, list: bool) -> Option<String> {
    let mut parts = vec![];
    let mut at = 0;
    while at < tokens.len() {
        let mut sign = "";
        if tokens.is_mark(at, "-") || tokens.is_mark(at, "+") {
            sign = if tokens.text(at) == "-" { "-" } else { "" };
            at += 1;
        }
        let part = match tokens.kind(at)? {
            TokenKind::Number => format!("{sign}{}", tokens.text(at)),
            TokenKind::Word | TokenKind::Quoted => tokens.identifier(at)?.into_owned(),
            _ => tokens.literal(at)?,
        };
        parts.push(if list { quote_where_needed(&part) } else { part });
        at += 1;
        if at < tokens.len() {
            if !tokens.is_mark(at, ",") {
                return None;
            }
            at += 1;
        }
    }
    Some(parts.join(", "))
}

/// `SET SESSION CHARACTERISTICS AS TRANSACTION modes`.
fn session_characteristics(tokens: Tokens<'_>, at: usize) -> Option<Vec<SessionEffect>> {
    if !tokens.is(at + 1, "as") || !tokens.is(at + 2, "transaction") {
        return None;
    }
    let modes = modes(tokens, at + 3);
    let set = |name: &str, value: &str| SessionEffect::Set {
        name: name.to_string(),
        value: Some(value.to_string()),
        replay: format!("SET \"{name}\" = '{value}'").into(),
        local: false,
    };
    let on_off = |on: bool| if on { "on" } else { "off" };
    let mut effects = vec![];
    if let Some(isolation) = modes.isolation {
        effects.push(set("default_transaction_isolation", isolation.as_str()));
    }
    if let Some(read_only) = modes.read_only {
        effects.push(set("default_transaction_read_only", on_off(read_only)));
    }
    if let Some(deferrable) = modes.deferrable {
        effects.push(set("default_transaction_deferrable", on_off(deferrable)));
    }
    Some(effects)
}

/// Transaction modes from token `at` on; what is not a mode is passed over, Postgres will object.
pub(crate) fn modes(tokens: Tokens<'_>, mut at: usize) -> TransactionModes {
    let mut modes = TransactionModes::default();
    while at < tokens.len() {
        if tokens.is(at, "isolation") && tokens.is(at + 1, "level") {
            modes.isolation = match () {
                () if tokens.is(at + 2, "serializable") => Some(Isolation::Serializable),
                () if tokens.is(at + 2, "repeatable") => Some(Isolation::RepeatableRead),
                () if tokens.is(at + 3, "committed") => Some(Isolation::ReadCommitted),
                () => Some(Isolation::ReadUncommitted),
            };
            at += 2;
        } else if tokens.is(at, "read") && tokens.is_any(at + 1, &["only", "write"]) {
            modes.read_only = Some(tokens.is(at + 1, "only"));
            at += 1;
        } else if tokens.is(at, "deferrable") {
            modes.deferrable = Some(!(at > 0 && tokens.is(at - 1, "not")));
        }
        at += 1;
    }
    modes
}

/// The effects of RESET; `None` when it is not understood.
pub(crate) fn reset(tokens: Tokens<'_>) -> Option<SessionEffect> {
    let reset = |name: &str| Some(SessionEffect::Reset { name: name.to_string(), local: false });
    match () {
        () if tokens.is(1, "all") && tokens.len() == 2 => Some(SessionEffect::ResetAll),
        () if tokens.is(1, "time") && tokens.is(2, "zone") => reset("timezone"),
        () if tokens.is(1, "session") && tokens.is(2, "authorization") => reset("session_authorization"),
        () if tokens.is(1, "transaction") && tokens.is(2, "isolation") => {
            Some(SessionEffect::SetTransaction(TransactionModes::default()))
        }
        () => setting_name(tokens, 1).and_then(|(name, _, _)| reset(&name)),
    }
}

/// What the columns of a FROM-less `SELECT …, set_config('…', '…', false) [AS x], …` change; `None` where a
/// call of `set_config` is no whole column, or has other arguments than literals and parameters, or where
/// the statement is more than its columns.
pub(crate) fn set_config_columns(tokens: Tokens<'_>) -> Option<Vec<SessionEffect>> {
    let mut effects = vec![];
    let mut at = 1;
    loop {
        at = match set_config_column(tokens, at) {
            Some((effect, end)) => {
                effects.push(effect);
                end
            }
            None => other_column(tokens, at)?,
        };
        if at == tokens.len() {
            return Some(effects);
        }
        if !tokens.is_mark(at, ",") {
            return None;
        }
        at += 1;
    }
}

/// A column of a SELECT that does not set anything, from `at` to the place returned.
fn other_column(tokens: Tokens<'_>, at: usize) -> Option<usize> {
    const BEHIND_COLUMNS: [&str; 14] = [
        "from",
        "where",
        "group",
        "having",
        "window",
        "union",
        "intersect",
        "except",
        "order",
        "limit",
        "offset",
        "fetch",
        "for",
        "into",
    ];
    let mut depth = 0usize;
    for here in at..tokens.len() {
        match tokens.text(here) {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.checked_sub(1)?,
            "," if depth == 0 => return Some(here),
            _ if tokens.identifier(here).is_some_and(|word| word == "set_config") => return None,
            _ if depth == 0 && tokens.is_any(here, &BEHIND_COLUMNS) => return None,
            _ => {}
        }
    }
    Some(tokens.len())
}

fn set_config_column(tokens: Tokens<'_>, at: usize) -> Option<(SessionEffect, usize)> {
    let qualified = tokens.names(at, "pg_catalog") && tokens.is_mark(at + 1, ".");
    let at = if qualified { at + 2 } else { at };
    if !tokens.names(at, "set_config") || !tokens.is_mark(at + 1, "(") {
        return None;
    }
    let name = tokens.literal(at + 2)?.to_ascii_lowercase();
    let at = behind_cast(tokens, at + 3, "text");
    if !tokens.is_mark(at, ",") {
        return None;
    }
    let null = tokens.is(at + 1, "null");
    let parameter = parameter(tokens, at + 1);
    let value = match () {
        () if null || parameter.is_some() => None,
        () => Some(tokens.literal(at + 1).or_else(|| number_as_text(tokens, at + 1))?),
    };
    let at = behind_cast(tokens, at + 2, "text");
    if !tokens.is_mark(at, ",") {
        return None;
    }
    let local = is_true(tokens, at + 1)?;
    let at = behind_cast(tokens, at + 2, "bool");
    if !tokens.is_mark(at, ")") {
        return None;
    }
    let effect = match value {
        // The route of what follows hangs on some, and those must be known before the Bind.
        None if parameter.is_some() && (local || matters_to_routing(&name)) => return None,
        None if let Some(parameter) = parameter => SessionEffect::SetToParameter { name, parameter },
        Some(value) => {
            let replay =
                format!("SELECT pg_catalog.set_config({}, {}, false)", quote_text(&name), quote_text(&value));
            SessionEffect::Set { name, value: Some(value), replay: replay.into(), local }
        }
        None => SessionEffect::Reset { name, local },
    };
    let mut end = at + 1;
    if tokens.is(end, "as") {
        end += 1;
    }
    if tokens.identifier(end).is_some() {
        end += 1;
    }
    (end == tokens.len() || tokens.is_mark(end, ",")).then_some((effect, end))
}

/// `5::text`: the text of an integer that is written as Postgres prints it.
fn number_as_text(tokens: Tokens<'_>, at: usize) -> Option<String> {
    let digits = tokens.text(at);
    let printed = digits == "0" || !digits.starts_with('0');
    let is_integer = tokens.kind(at) == Some(TokenKind::Number) && digits.bytes().all(|b| b.is_ascii_digit());
    (is_integer && printed && behind_cast(tokens, at + 1, "text") != at + 1).then(|| digits.to_owned())
}

/// The number of a parameter.
fn parameter(tokens: Tokens<'_>, at: usize) -> Option<u16> {
    let number = tokens.text(at).strip_prefix('$').filter(|_| tokens.kind(at) == Some(TokenKind::Parameter));
    number?.parse().ok().filter(|number| *number > 0)
}

/// Settings that must be known before the statement that gives them is sent.
pub(crate) fn matters_to_routing(name: &str) -> bool {
    name.starts_with("pgweir.") || name.starts_with("transaction_")
}

/// The place behind `::kind`, which changes nothing about a literal; `at` where there is none.
fn behind_cast(tokens: Tokens<'_>, at: usize, kind: &str) -> usize {
    if tokens.is_mark(at, "::") && tokens.is(at + 1, kind) { at + 2 } else { at }
}

/// The truth of a literal boolean.
pub(crate) fn is_true(tokens: Tokens<'_>, at: usize) -> Option<bool> {
    let text = match tokens.kind(at)? {
        TokenKind::Word => tokens.text(at).to_ascii_lowercase(),
        TokenKind::String => tokens.literal(at)?.to_ascii_lowercase(),
        _ => return None,
    };
    match text.as_str() {
        "true" | "t" => Some(true),
        "false" | "f" => Some(false),
        _ => None,
    }
}

fn quote_where_needed(name: &str) -> String {
    let plain = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { name.to_string() } else { quote_identifier(name) }
}
