//! What the built-ins that a statement calls itself leave behind in the session.

use crate::dynamic;
use crate::facts::{Facts, Form};
use crate::reach::{self, Left};
use crate::reason::PinReason;
use crate::settings;
use crate::statement::SessionEffect;
use crate::tokens::Tokens;

/// How many names of functions are remembered as seen.
const NAMES_MAX: usize = 64;

/// What names mean, and as whom they are looked up.
const LOOKED_UP_BY: [&str; 3] = ["role", "search_path", "session_authorization"];

impl SessionEffect {
    /// Behind it names may mean something else.
    pub fn changes_meanings(&self) -> bool {
        match self {
            Self::Set { name, .. } | Self::Reset { name, .. } => LOOKED_UP_BY.contains(&&**name),
            Self::ResetAll | Self::DiscardAll => true,
            _ => self.hides_meanings(),
        }
    }

    /// It may change anything of the session, and nobody knows what.
    pub fn may_change_anything(&self) -> bool {
        matches!(self, Self::Pin(PinReason::MayHaveChanged | PinReason::UnknownNames))
    }

    /// The same, and only the server knows what.
    pub fn hides_meanings(&self) -> bool {
        match self {
            Self::SetToParameter { name, .. }
            | Self::SetUnknown { name }
            | Self::SetUnknownLocally { name } => name.is_empty() || LOOKED_UP_BY.contains(&&**name),
            Self::Pin(PinReason::Unfollowable) => true,
            _ if self.may_change_anything() => true,
            // Of what is behind it in its batch it is not known yet that it means another table now.
            Self::DropsTemporary(_) | Self::DiscardSome | Self::DiscardAll => true,
            _ => false,
        }
    }
}

/// Effects of the built-ins that a statement calls itself.
pub(crate) fn of_builtins(facts: &Facts<'_>, tokens: Tokens<'_>, effects: &mut Vec<SessionEffect>) {
    let mut configured = false;
    let mut names: Vec<&str> = vec![];
    for call in facts.calls.iter().filter(|call| call.form != Form::Column) {
        let name = &*call.name.name;
        // Each name counts once; in a long statement the names' list stays short.
        if names.contains(&name) || !matches!(call.name.schema.as_deref(), None | Some("pg_catalog")) {
            continue;
        }
        if names.len() < NAMES_MAX {
            names.push(name);
        }
        if name == "set_config" {
            if !std::mem::replace(&mut configured, true) {
                of_set_config(tokens, effects);
            }
        } else if name == "pg_backend_pid" && tells_values(tokens) {
            push(effects, SessionEffect::Pin(PinReason::ServerProcess));
        } else if reach::runs_text(name) {
            push(effects, SessionEffect::Pin(PinReason::Unfollowable));
        } else {
            Left::of_builtin(name).effects().for_each(|effect| push(effects, effect));
        }
    }
}

/// A SELECT without a FROM: its values are what the client wants to know.
fn tells_values(tokens: Tokens<'_>) -> bool {
    tokens.is(0, "select") && (0..tokens.len()).all(|at| !tokens.is(at, "from"))
}

pub(crate) fn push(effects: &mut Vec<SessionEffect>, effect: SessionEffect) {
    if !effects.contains(&effect) {
        effects.push(effect);
    }
}

/// `set_config` in a statement: followed where each of its calls is a whole column of a SELECT without a
/// FROM, of literals; else the server is asked, or the session keeps its server.
fn of_set_config(tokens: Tokens<'_>, effects: &mut Vec<SessionEffect>) {
    match tokens.is(0, "select").then(|| settings::set_config_columns(tokens)).flatten() {
        Some(followed) => followed.into_iter().for_each(|effect| push(effects, effect)),
        None => dynamic::of_set_config(tokens, effects),
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
