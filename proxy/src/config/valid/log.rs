//! `[log]`, and the levels that a filter may name.

use super::Surroundings;
use crate::config::reader::{Section, nearest};
use crate::config::value::Off;
use crate::config::{LOG_VARIABLE, Log};

/// In words and, as `EnvFilter` takes them too, in numbers.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What pgweir's own lines come from.
const CRATES: [&str; 2] = ["pgweir", "router_rules"];

pub(super) fn log(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Log {
    let log = Log {
        json: section.read::<String>("format") == "json",
        filter: section.read("filter"),
        slow_statement: section.read::<Off<_>>("slow_statement").0,
        slow_lease: section.read::<Off<_>>("slow_lease").0,
    };
    if let Err(message) = filter(&log.filter) {
        section.mistake_in("filter", format!("`filter`: {message}"));
    }
    let variable = (around.environment)(LOG_VARIABLE).filter(|text| !text.is_empty());
    if let Some(Err(message)) = variable.map(|text| filter(&text)) {
        section.mistake_in("filter", format!("the environment variable {LOG_VARIABLE}: {message}"));
    }
    log
}

/// Whether something can be logged by it. A lone word that is no level would be taken for the name of a
/// module, of which there are no lines: nothing would be logged, errors neither.
fn filter(text: &str) -> Result<(), String> {
    tracing_subscriber::EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    for word in words.filter(|word| !word.contains(['=', '['])) {
        let is_number = word.parse::<u8>().is_ok_and(|level| usize::from(level) < LEVELS.len());
        let is_level = is_number || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let root = word.split("::").next().unwrap_or_default();
        if is_level || CRATES.contains(&root) {
            continue;
        }
        let shown: String = word.chars().take(40).collect();
        let advice = match nearest(&word.to_lowercase(), &LEVELS) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("expected one of {}, as in \"info,pgweir::pool=debug\"", LEVELS.join(", ")),
        };
        return Err(format!("\"{}\" is no level; {advice}", shown.escape_debug()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_a_mistake() {
        for good in [
            "info",
            "WARN",
            "3",
            "off",
            "info,pgweir::pool=debug",
            "pgweir=debug",
            "pgweir::pool",
            "warn, error",
        ] {
            assert_eq!(filter(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("inof", "\"inof\" is no level; did you mean \"info\"?"),
            ("warning", "did you mean \"warn\"?"),
            ("info;debug", "\"info;debug\" is no level; "),
            ("loud", "expected one of off, error, warn, info, debug, trace"),
            ("info,pol", "\"pol\" is no level"),
            ("7", "\"7\" is no level"),
            ("info=loud", ""),
        ] {
            let message = filter(bad).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
