//! What a session may owe to SQL whose whole meaning shows only when it runs.
//!
//! * EXECUTE of a text that is put together: as far as its fixed parts tell, it may leave something that
//!   the server can be asked for (temporary objects, LISTEN, locks, cursors, ordinary settings), or
//!   something that nobody can be asked for.
//! * `set_config` of a known name to a value that is computed: the server knows the value afterwards.

use crate::reason::PinReason;
use crate::settings;
use crate::statement::SessionEffect;
use crate::tokens::Tokens;

/// More calls of `set_config` than this in one text are not followed.
const SET_CONFIG_MAX: usize = 32;

/// Functions that put a text together and do nothing else.
const COMPOSERS: [&str; 6] =
    ["format", "quote_ident", "quote_literal", "quote_nullable", "concat", "concat_ws"];

/// Settings that say who a session is, or where its statements go: they are followed exactly, or not at all.
const NEVER_ASKED: [&str; 4] = ["role", "session_authorization", "seed", "search_path"];

/// PL/pgSQL's EXECUTE whose text begins at `at`.
pub(crate) fn of_execute(tokens: Tokens<'_>, at: usize) -> SessionEffect {
    let mut depth = 0usize;
    let (mut literals, mut queries) = (0, false);
    for here in at..tokens.len() {
        let text = tokens.text(here);
        match text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            ";" => break,
            _ if depth == 0 && tokens.is_any(here, &["into", "using", "loop"]) => break,
            _ => {}
        }
        if let Some(literal) = tokens.literal(here) {
            literals += 1;
            queries |= literals == 1
                && words(&literal)
                    .next()
                    .is_some_and(|first| matches!(&*first, "select" | "with" | "values"));
            if literals == 1 && !begins_plainly(&literal)
                || leaves_what_nobody_tells(&literal)
                || queries && calls_what_is_computed(&literal, literals > 1)
            {
                return SessionEffect::Pin(PinReason::Unfollowable);
            }
        } else if tokens.is_mark(here + 1, "(") && text != "(" && !tokens.is_any(here, &COMPOSERS)
            // What stands first may say anything.
            || literals == 0 && tokens.identifier(here).is_some() && !tokens.is_any(here, &COMPOSERS)
        {
            return SessionEffect::Pin(PinReason::Unfollowable);
        }
    }
    let reason = if literals > 0 { PinReason::MayHaveChanged } else { PinReason::Unfollowable };
    SessionEffect::Pin(reason)
}

/// Functions that a [`template`] trusts to quote.
pub(crate) const QUOTING: [&str; 4] = ["format", "quote_ident", "quote_literal", "quote_nullable"];

/// Stands for a name that is put in when the text runs.
const SOME_NAME: &str = "pgweir_some_name";

/// The one query or change of rows that an EXECUTE whose text begins at `at` runs, but for names of tables and columns and
/// for values: nothing else is put into it. `None`: it may be anything.
pub(crate) fn template(tokens: Tokens<'_>, at: usize) -> Option<String> {
    let (text, end) = match tokens.is(at, "format") && tokens.is_mark(at + 1, "(") {
        true => (formatted(&tokens.literal(at + 2)?)?, closing(tokens, at + 1)?),
        false => concatenated(tokens, at)?,
    };
    let ends =
        end >= tokens.len() || tokens.is_mark(end, ";") || tokens.is_any(end, &["into", "using", "loop"]);
    let first = words(&text).next()?;
    let is_one = !text.contains(';') && begins_plainly(&text);
    let calls_it = text.split(SOME_NAME).skip(1).any(|rest| rest.trim_start().starts_with('('));
    let works_on_rows = match &*first {
        "insert" | "update" | "delete" | "merge" => true,
        // INTO makes a table, a temporary one perhaps.
        "select" | "with" => !words(&text).any(|word| word == "into"),
        _ => false,
    };
    // The name of an operator may be put in as well.
    let is_plain = !calls_it && !words(&text).any(|word| word == "operator");
    (ends && is_one && works_on_rows && is_plain).then_some(text)
}

/// A text for `format` that takes names and literals only, with something in the place of each.
fn formatted(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut whole = parts.next()?.to_owned();
    while let Some(part) = parts.next() {
        if part.is_empty() {
            // A percent sign of the text's own.
            whole.push('%');
            whole.push_str(parts.next()?);
            continue;
        }
        let kind = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '$');
        let (something, rest) = match kind.strip_prefix('I') {
            Some(rest) => (SOME_NAME, rest),
            None => ("''", kind.strip_prefix('L')?),
        };
        whole.push_str(something);
        whole.push_str(rest);
    }
    Some(whole)
}

/// Literals, and names and literals that are quoted, one behind the other: the text, and what follows it.
fn concatenated(tokens: Tokens<'_>, mut at: usize) -> Option<(String, usize)> {
    let mut whole = String::new();
    loop {
        if let Some(literal) = tokens.literal(at) {
            whole.push_str(&literal);
            at += 1;
        } else {
            whole.push_str(match tokens.is(at, "quote_ident") {
                true => SOME_NAME,
                false if tokens.is_any(at, &["quote_literal", "quote_nullable"]) => "''",
                false => return None,
            });
            at = closing(tokens, at + 1)?;
        }
        if !tokens.is_mark(at, "||") {
            return Some((whole, at));
        }
        at += 1;
    }
}

/// What follows the parenthesis that is opened at `open`.
fn closing(tokens: Tokens<'_>, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for here in open..tokens.len() {
        match tokens.text(here) {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return tokens.is_mark(open, "(").then_some(here + 1);
        }
    }
    None
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
    parts.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The text's first word is written out, so that it is known what kind of statement it begins.
fn begins_plainly(text: &str) -> bool {
    text.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || c == '(')
}

/// A function is called whose name is put in when it runs: one that sets who the session is, perhaps.
fn calls_what_is_computed(text: &str, goes_on: bool) -> bool {
    let lower = text.to_lowercase();
    (goes_on && text.trim_start().starts_with('(')) || ["%i(", "%s("].iter().any(|call| lower.contains(call))
}

/// It may set what can be neither listed nor asked for: settings of any name, a role, a library's state.
fn leaves_what_nobody_tells(text: &str) -> bool {
    let begins = |statement: &str| {
        let first = words(statement).next();
        first.is_some_and(|word| matches!(&*word, "set" | "reset" | "load" | "execute" | "do" | "call"))
    };
    let names = |word: &str| matches!(word, "set_config" | "setseed") || word.starts_with("dblink");
    text.split(';').any(begins) || words(text).any(|word| names(&word))
}

/// SET in a function's body, at `at`: what follows is its name.
pub(crate) fn of_set(tokens: Tokens<'_>, at: usize) -> SessionEffect {
    let session = usize::from(tokens.is(at + 1, "session") && !tokens.is(at + 2, "authorization"));
    let at = at + 1 + session;
    let mut name = tokens.identifier(at).map(String::from).unwrap_or_default();
    let mut end = at + 1;
    while tokens.is_mark(end, ".") {
        name = format!("{name}.{}", tokens.identifier(end + 1).unwrap_or_default());
        end += 2;
    }
    match tokens.is_mark(end, "=") || tokens.is(end, "to") {
        true => ask_for(&name),
        false => SessionEffect::Pin(PinReason::Unfollowable),
    }
}

fn ask_for(name: &str) -> SessionEffect {
    let name = name.to_ascii_lowercase();
    let followed = settings::matters_to_routing(&name) || NEVER_ASKED.contains(&&*name) || name.is_empty();
    if followed { SessionEffect::Pin(PinReason::Unfollowable) } else { SessionEffect::SetUnknown { name } }
}

/// SET LOCAL in a function's body, with its name at `at`.
pub(crate) fn of_set_local(tokens: Tokens<'_>, at: usize) -> Option<SessionEffect> {
    let mut name = tokens.identifier(at)?.into_owned();
    let mut end = at + 1;
    while tokens.is_mark(end, ".") {
        name = format!("{name}.{}", tokens.identifier(end + 1)?);
        end += 2;
    }
    Some(SessionEffect::SetUnknownLocally { name: name.to_ascii_lowercase() })
}

/// What the calls of `set_config` in a text leave behind.
pub(crate) fn of_set_config(tokens: Tokens<'_>, effects: &mut Vec<SessionEffect>) {
    let calls =
        || (0..tokens.len()).filter(|&at| tokens.names(at, "set_config") && tokens.is_mark(at + 1, "("));
    let mut push = |effect| {
        if !effects.contains(&effect) {
            effects.push(effect);
        }
    };
    if calls().next().is_none() || calls().nth(SET_CONFIG_MAX).is_some() {
        return push(SessionEffect::Pin(PinReason::Unfollowable));
    }
    for at in calls() {
        match last_argument(tokens, at + 1).and_then(|last| settings::is_true(tokens, last)) {
            Some(true) => {
                let name = tokens.literal(at + 2).filter(|_| tokens.is_mark(at + 3, ","));
                let name = name.map(|name| name.to_ascii_lowercase()).unwrap_or_default();
                push(SessionEffect::SetUnknownLocally { name });
            }
            Some(false) if tokens.is_mark(at + 3, ",") => {
                push(
                    tokens
                        .literal(at + 2)
                        .map_or(SessionEffect::Pin(PinReason::Unfollowable), |n| ask_for(&n)),
                );
            }
            _ => push(SessionEffect::Pin(PinReason::Unfollowable)),
        }
    }
}

/// Where the third argument of the call stands whose parenthesis is at `open`, if it is one token.
fn last_argument(tokens: Tokens<'_>, open: usize) -> Option<usize> {
    let (mut depth, mut commas, mut last) = (0usize, 0, open + 1);
    for here in open..tokens.len() {
        match tokens.text(here) {
            "(" | "[" => depth += 1,
            ")" | "]" => {
                depth -= 1;
                if depth == 0 {
                    return (commas == 2 && here == last + 1).then_some(last);
                }
            }
            "," if depth == 1 => {
                commas += 1;
                last = here + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex;
    use PinReason::{MayHaveChanged, Unfollowable};

    fn with<T>(sql: &str, look: impl FnOnce(Tokens<'_>) -> T) -> T {
        let list = lex::tokenize(sql.as_bytes(), true, 1_000).expect("tokens");
        look(Tokens { sql, list: &list })
    }

    #[test]
    fn a_text_that_takes_names_and_values_only_is_known_but_for_these() {
        let of = |sql: &str| {
            let list = lex::tokenize(sql.as_bytes(), true, 1_000).expect("tokens");
            template(Tokens { sql, list: &list }, 1)
        };
        for (sql, text) in [
            (
                "execute format('insert into %I values (%L, $1)', t, v) using x;",
                "insert into pgweir_some_name values ('', $1)",
            ),
            (
                "execute format('select 10 %% 3 from %2$I', a, b) into n",
                "select 10 % 3 from pgweir_some_name",
            ),
            (
                "execute 'delete from ' || quote_ident(t) || ' where a = ' || quote_literal(f(x)) ;",
                "delete from pgweir_some_name where a = ''",
            ),
            ("execute 'update t set a = 1'", "update t set a = 1"),
        ] {
            assert_eq!(of(sql).as_deref(), Some(text), "{sql}");
        }
        for other in [
            "execute format('insert into %s values (1)', t);",
            "execute format('select %I()', f);",
            "execute format('set role %I', f);",
            "execute format('select 1; set role %I', f);",
            "execute format('create table %I (a int)', t);",
            "execute format('select 1 from %I', t) || more;",
            "execute format('select 1 from %-10I', t);",
            "execute format('select 1 into temp %I', t);",
            "execute 'select ' || f(x);",
            "execute 'select ' || x;",
            "execute x;",
            "execute 'insert into ' || quote_ident(t) || x || ' values (1)';",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_text_whose_fixed_parts_leave_nothing_unheard_of_can_be_asked_about() {
        for (sql, reason) in [
            ("execute format('select count(*) from %I', t) into n;", MayHaveChanged),
            ("execute 'select count(*) from ' || quote_ident(t) using 'set x' ;", MayHaveChanged),
            ("execute 'create temp table ' || n;", MayHaveChanged),
            ("execute format('update %I set a = 1', t);", MayHaveChanged),
            ("execute 'insert into ' || quote_ident(t) || '(a) values (1)';", MayHaveChanged),
            ("execute format('insert into %I(a) values (1)', t);", MayHaveChanged),
            ("execute 'create table ' || quote_ident(t) || '(a int)';", MayHaveChanged),
            ("execute 'select ' || f || '(' || quote_literal(x) || ')';", Unfollowable),
            ("execute format('select %I(%L)', f, x);", Unfollowable),
            ("execute t;", Unfollowable),
            ("execute t || ' from x';", Unfollowable),
            ("execute format('%s', t);", Unfollowable),
            ("execute format('set %I = 1', t);", Unfollowable),
            ("execute 'select 1; set x.y = 1';", Unfollowable),
            ("execute 'select set_config(''a.b'', ''1'', false)';", Unfollowable),
            ("execute 'select ' || my_function();", Unfollowable),
        ] {
            assert_eq!(with(sql, |tokens| of_execute(tokens, 1)), SessionEffect::Pin(reason), "{sql}");
        }
    }

    #[test]
    fn a_setting_with_a_known_name_is_asked_for() {
        let of = |sql: &str| with(sql, |tokens| of_set(tokens, 0));
        let asked = |name: &str| SessionEffect::SetUnknown { name: name.into() };
        assert_eq!(of("set work_mem = x"), asked("work_mem"));
        assert_eq!(of("set session App.tenant to x"), asked("app.tenant"));
        for sql in ["set role x", "set session authorization x", "set search_path to x", "set time zone x"] {
            assert_eq!(of(sql), SessionEffect::Pin(Unfollowable), "{sql}");
        }
        let of = |sql: &str| {
            with(sql, |tokens| {
                let mut effects = vec![];
                of_set_config(tokens, &mut effects);
                effects
            })
        };
        assert_eq!(of("perform set_config('app.tenant', t, false)"), [asked("app.tenant")]);
        let locally = |name: &str| SessionEffect::SetUnknownLocally { name: name.into() };
        assert_eq!(of("perform set_config('App.tenant', f(1, 2), true)"), [locally("app.tenant")]);
        assert_eq!(of("perform set_config(n, f(1, 2), true)"), [locally("")]);
        assert_eq!(of("perform set_config('work_mem', f(1, 2), true)"), [locally("work_mem")]);
        assert_eq!(
            with("set local App.tenant = x", |tokens| of_set_local(tokens, 2)),
            Some(locally("app.tenant"))
        );
        assert_eq!(
            with("set local work_mem = x", |tokens| of_set_local(tokens, 2)),
            Some(locally("work_mem"))
        );
        for sql in ["set_config(n, 'x', false)", "set_config('a.b', 'x', l)", "set_config('role', x, false)"]
        {
            assert_eq!(of(sql), [SessionEffect::Pin(Unfollowable)], "{sql}");
        }
    }
}
