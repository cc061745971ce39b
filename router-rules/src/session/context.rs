//! What a Parse reads beside its text: the settings that give it its meaning.
//!
//! Postgres turns literals into values when it parses: under the time zone, the date style and the encoding
//! of that moment. It looks names up by the `search_path` and the rights of that moment, too. A statement is
//! therefore known by its text *and* by the settings under which it was parsed. Only settings that are known
//! to say nothing to a Parse are left out; one that we do not know counts.

use crate::session::settings::Setting;
use std::time::Duration;

/// Settings that no Parse reads: they are for planning, running, printing or logging.
const HARMLESS: [&str; 26] = [
    "application_name",
    "bytea_output",
    "client_connection_check_interval",
    "client_min_messages",
    "constraint_exclusion",
    "cursor_tuple_fraction",
    "deadlock_timeout",
    "effective_cache_size",
    "effective_io_concurrency",
    "extra_float_digits",
    "from_collapse_limit",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "join_collapse_limit",
    "lock_timeout",
    "maintenance_work_mem",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "plan_cache_mode",
    "random_page_cost",
    "seq_page_cost",
    "statement_timeout",
    "synchronous_commit",
    "transaction_timeout",
    "work_mem",
];
/// And families of them.
const HARMLESS_FAMILIES: [&str; 11] = [
    "cpu_",
    "default_transaction_",
    "enable_",
    "geqo",
    "jit",
    "log_",
    "max_parallel_",
    "parallel_",
    "tcp_",
    "track_",
    "vacuum_",
];

/// True when a Parse may read it. A placeholder (`app.tenant`) is for functions to read, when they run.
pub fn matters(name: &str) -> bool {
    !name.contains('.')
        && HARMLESS.binary_search(&name).is_err()
        && !HARMLESS_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Settings that a Parse reads and a plan that a function keeps does not: Postgres plans anew where the path or the
/// role is another, and how a text is cut into literals is settled for good when the function is first run.
const SEEN_TO: [&str; 7] = [
    "backslash_quote",
    "client_encoding",
    "escape_string_warning",
    "role",
    "search_path",
    "session_authorization",
    "standard_conforming_strings",
];

/// True when a value that a kept plan has worked out ahead may hang on it. Such plans are made where a function, a
/// trigger or a block runs a statement for the first time, and stay in the server process.
///
/// <https://www.postgresql.org/docs/current/plpgsql-implementation.html#PLPGSQL-PLAN-CACHING>
pub fn is_planned_by(name: &str) -> bool {
    matches!(name, "bytea_output" | "extra_float_digits") || (matters(name) && !SEEN_TO.contains(&name))
}

/// What a setting means: its value, or what sets it where that is not known.
pub(super) fn meaning<'a>((name, setting): (&'a String, &'a Setting)) -> (&'a str, &'a str) {
    (name, setting.value.as_deref().unwrap_or(&setting.replay))
}

/// A DateStyle has two halves, and a SET may name one of them. `SQL` over `ISO, DMY` is `SQL, DMY`; `None`
/// where a half is not known.
///
/// <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-OUTPUT>
pub(super) fn date_style(before: Option<&str>, set: &str) -> Option<String> {
    let (mut style, mut order) = (None, None);
    let words =
        |text: &str| text.to_ascii_lowercase().split(',').map(|w| w.trim().to_owned()).collect::<Vec<_>>();
    for word in words(set) {
        match word.as_str() {
            "iso" => style = Some("ISO"),
            "sql" => style = Some("SQL"),
            "german" => (style, order) = (Some("German"), order.or(Some("DMY"))),
            word if word.starts_with("postgres") => style = Some("Postgres"),
            "ymd" => order = Some("YMD"),
            "us" | "mdy" => order = Some("MDY"),
            word if word.starts_with("euro") || word == "dmy" => order = Some("DMY"),
            word if word.starts_with("noneuro") => order = Some("MDY"),
            _ => return None,
        }
    }
    let before = before.filter(|_| style.is_none() || order.is_none());
    let known = before.map(words).filter(|words| words.len() == 2);
    let [old_style, old_order] = known.map_or([None, None], |words| {
        [["ISO", "SQL", "German", "Postgres"], ["YMD", "MDY", "DMY", ""]].map(|all| {
            all.into_iter().find(|known| words.iter().any(|word| known.eq_ignore_ascii_case(word)))
        })
    });
    Some(format!("{}, {}", style.or(old_style)?, order.or(old_order)?))
}

/// A setting that is a time in milliseconds, unless it names a unit; `None` where it is 0 or cannot be read.
///
/// <https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES>
pub fn milliseconds(value: &str) -> Option<Duration> {
    let value = value.trim();
    let unit_at = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let number: f64 = value[..unit_at].parse().ok()?;
    let unit = match value[unit_at..].trim() {
        "us" => 0.001,
        "" | "ms" => 1.0,
        "s" => 1e3,
        "min" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    let milliseconds = (number * unit).round();
    (milliseconds >= 1.0).then(|| Duration::from_millis(milliseconds as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_harmless_matters() {
        assert!(HARMLESS.is_sorted());
        for name in
            ["timezone", "datestyle", "client_encoding", "role", "search_path", "array_nulls", "new_in_19"]
        {
            assert!(matters(name), "{name}");
        }
        for name in ["work_mem", "application_name", "enable_seqscan", "app.tenant", "pgweir.trace"] {
            assert!(!matters(name), "{name}");
        }
    }

    #[test]
    fn times_are_read_as_postgres_reads_them() {
        for (text, expected) in [("500", 500), ("1s", 1000), ("1.5 min", 90_000), ("2h", 7_200_000)] {
            assert_eq!(milliseconds(text), Some(Duration::from_millis(expected)), "{text}");
        }
        for none in ["0", "", "-1", "soon", "1 parsec"] {
            assert_eq!(milliseconds(none), None, "{none}");
        }
    }

    #[test]
    fn half_a_date_style_keeps_the_other_half() {
        assert_eq!(date_style(Some("ISO, DMY"), "SQL").as_deref(), Some("SQL, DMY"));
        assert_eq!(date_style(Some("ISO, DMY"), "mdy").as_deref(), Some("ISO, MDY"));
        assert_eq!(date_style(None, "German").as_deref(), Some("German, DMY"));
        assert_eq!(date_style(None, "iso, us").as_deref(), Some("ISO, MDY"));
        assert_eq!(date_style(None, "SQL"), None);
        assert_eq!(date_style(Some("ISO, DMY"), "default"), None);
    }
}
