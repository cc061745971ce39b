//! What a client has probably misspelt: a hint, or a setting of pgweir's.

use crate::config::reader::nearest;
use router_rules::hint::WISHES;

/// The settings that a session may make.
const SETTINGS: &[&str] = &[
    "pgweir.consistency",
    "pgweir.max_lag",
    "pgweir.route",
    "pgweir.transactions",
    "pgweir.trace",
    "pgweir.commit_outcome",
    "pgweir.min_lsn",
];

/// The levels of consistency, for a hint that names none of them.
const LEVELS: &[&str] = &["eventual", "session", "proxy", "global"];

/// What is said of a wish in a hint that was not understood.
pub fn hint(wish: &str) -> String {
    if wish.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("pgw")) {
        return format!(
            "pgweir: the comment \"{wish}\" looks like a hint and has no effect; a hint begins with \"pgweir:\" and \
             is written in lower case"
        );
    }
    let (key, value) = match wish.split_once('=') {
        Some((key, value)) => (key.trim(), value.trim()),
        None => (wish, ""),
    };
    let advice = match key {
        "consistency" => match nearest(value, LEVELS) {
            Some(level) => format!("did you mean \"consistency={level}\"?"),
            None => format!("consistency is one of {}", LEVELS.join(", ")),
        },
        "max_lag" => "max_lag is a duration such as 500ms, 5s, 1min".to_owned(),
        "group" => "group is the name of a group of nodes".to_owned(),
        _ => match nearest(key, WISHES) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("a hint is one of {}", WISHES.join(", ")),
        },
    };
    format!("pgweir: the hint \"{wish}\" is not understood and has no effect; {advice}")
}

/// What is said of a hint's group that no node is in.
pub fn group(name: &str, groups: impl Iterator<Item = String>) -> String {
    let groups: Vec<_> = groups.collect();
    let groups: Vec<_> = groups.iter().map(String::as_str).collect();
    let advice = match nearest(name, &groups) {
        Some(near) => format!("; did you mean \"group={near}\"?"),
        None => String::new(),
    };
    format!("pgweir: the hint \"group={name}\" names a group that no node of cluster.nodes is in{advice}")
}

/// What is said of a setting that is none of pgweir's, and looks as if it were meant to be one.
pub fn setting(name: &str) -> Option<String> {
    if SETTINGS.contains(&name) {
        return None;
    }
    let (prefix, rest) = name.split_once('.')?;
    let meant = if prefix == "pgweir" {
        nearest(name, SETTINGS)?
    } else if strsim::damerau_levenshtein(prefix, "pgweir") <= 2 {
        // Anybody may have settings with a dot in their names: only one that names ours is a slip.
        let known = SETTINGS.iter().find(|setting| setting.strip_prefix("pgweir.") == Some(rest));
        known.copied()?
    } else {
        return None;
    };
    Some(format!("pgweir: there is no setting \"{name}\"; did you mean \"{meant}\"?"))
}

/// What is said of the setting of pgweir's that holds beyond transactions.
pub fn local(name: &str, is_local: bool) -> Option<String> {
    (is_local && name == "pgweir.min_lsn").then(|| format!("pgweir: SET LOCAL {name} has no effect; use SET"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_hint_is_answered_with_the_nearest_word() {
        assert!(hint("replcia").contains("did you mean \"replica\"?"));
        assert!(hint("max_lga=5s").contains("did you mean \"max_lag\"?"));
        assert!(hint("consistency=sesion").contains("\"consistency=session\"?"));
        assert!(hint("max_lag=fast").contains("a duration"));
        assert!(hint("nonsense").contains("one of primary, replica"));
    }

    #[test]
    fn a_position_is_no_matter_of_one_transaction() {
        assert!(local("pgweir.min_lsn", true).is_some_and(|advice| advice.contains("use SET")));
        assert_eq!(local("pgweir.min_lsn", false).or(local("pgweir.route", true)), None);
    }

    #[test]
    fn a_misspelt_setting_is_answered_with_the_nearest_one() {
        assert!(setting("pgweir.trac").unwrap().contains("\"pgweir.trace\"?"));
        assert!(setting("pgweir.consistancy").unwrap().contains("\"pgweir.consistency\"?"));
        assert!(setting("pgwier.trace").unwrap().contains("\"pgweir.trace\"?"));
        for known in SETTINGS {
            let checked = router_rules::session::Wishes::check(known, "?");
            assert!(!checked.is_err_and(|refused| refused.contains("unrecognized")), "{known}");
            assert_eq!(setting(known), None);
        }
        assert_eq!(setting("myapp.trace"), None);
        assert_eq!(setting("app.user_id"), None);
    }
}
