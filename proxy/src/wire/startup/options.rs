//! The `options` of a start-up packet: a command line for one server process.
//!
//! <https://www.postgresql.org/docs/current/app-postgres.html#APP-POSTGRES-OPTIONS>

use super::StartupError;

/// A setting: name in lower case, and value.
type Setting = (String, String);

/// The settings that `options` ask for, in order.
///
/// # Errors
/// What Postgres would not take, in its words.
pub(super) fn settings(options: &str) -> Result<Vec<Setting>, StartupError> {
    let mut settings = vec![];
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let invalid = || StartupError::Options(word.clone());
        let Some(mut flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            return Err(invalid());
        };
        while let Some(flag) = flags.chars().next() {
            flags = &flags[flag.len_utf8()..];
            if !takes_value(flag) {
                settings.extend(of_flag(flag).ok_or_else(invalid)?);
                continue;
            }
            let rest = std::mem::take(&mut flags);
            let value = if rest.is_empty() { words.next().ok_or_else(invalid)? } else { rest.to_owned() };
            settings.extend(of_value(flag, &value).ok_or_else(|| match flag {
                // Of these the value is what is wrong.
                't' => StartupError::Options(value.clone()),
                'c' => StartupError::NoValue(format!("-c {value}")),
                '-' => StartupError::NoValue(format!("--{value}")),
                _ => StartupError::Options(word.clone()),
            })?);
        }
    }
    Ok(settings)
}

/// Blanks separate, a backslash escapes.
fn words(options: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn takes_value(flag: char) -> bool {
    "BcCDdfhkNprStvW-".contains(flag)
}

fn setting(name: &str, value: &str) -> Option<Setting> {
    Some((name.to_owned(), value.to_owned()))
}

/// A flag by itself. `Some(None)`: nothing that a client could see.
fn of_flag(flag: char) -> Option<Option<Setting>> {
    Some(match flag {
        'e' => setting("datestyle", "euro"),
        'F' => setting("fsync", "false"),
        'i' => setting("listen_addresses", "*"),
        'l' => setting("ssl", "true"),
        'O' => setting("allow_system_table_mods", "true"),
        's' => setting("log_statement_stats", "true"),
        // For the server process alone, or without a meaning from a client.
        'b' | 'E' | 'j' | 'n' | 'P' | 'T' => None,
        _ => return None,
    })
}

/// A flag with its value.
fn of_value(flag: char, value: &str) -> Option<Option<Setting>> {
    Some(match flag {
        'c' | '-' => {
            let (name, value) = value.split_once('=')?;
            setting(&name.replace('-', "_").to_ascii_lowercase(), value)
        }
        'B' => setting("shared_buffers", value),
        'd' => match value.parse::<u8>() {
            Ok(level) if level > 0 => setting("log_min_messages", &format!("debug{level}")),
            _ => setting("log_min_messages", "notice"),
        },
        'f' => setting(plan_of(value)?, "false"),
        'h' => setting("listen_addresses", value),
        'k' => setting("unix_socket_directories", value),
        'N' => setting("max_connections", value),
        'p' => setting("port", value),
        'S' => setting("work_mem", value),
        't' => setting(statistics_of(value)?, "true"),
        'C' | 'D' | 'r' | 'v' | 'W' => None,
        _ => return None,
    })
}

/// What `-f` forbids the planner.
fn plan_of(value: &str) -> Option<&'static str> {
    Some(match value.chars().next()? {
        's' => "enable_seqscan",
        'i' => "enable_indexscan",
        'o' => "enable_indexonlyscan",
        'b' => "enable_bitmapscan",
        't' => "enable_tidscan",
        'n' => "enable_nestloop",
        'm' => "enable_mergejoin",
        'h' => "enable_hashjoin",
        _ => return None,
    })
}

/// What `-t` counts.
fn statistics_of(value: &str) -> Option<&'static str> {
    match value.as_bytes() {
        [b'p', b'a', ..] => Some("log_parser_stats"),
        [b'p', b'l', ..] => Some("log_planner_stats"),
        [b'e', ..] => Some("log_executor_stats"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &str) -> Vec<(String, String)> {
        settings(options).unwrap()
    }

    #[test]
    fn flags_are_settings() {
        for (options, name, value) in [
            ("-S 4321", "work_mem", "4321"),
            ("-S4321", "work_mem", "4321"),
            ("-e", "datestyle", "euro"),
            ("-d 1", "log_min_messages", "debug1"),
            ("-fs", "enable_seqscan", "false"),
            ("-c Work-Mem=1MB", "work_mem", "1MB"),
            ("--work-mem=1MB", "work_mem", "1MB"),
            (r"-c search_path=a\ b", "search_path", "a b"),
        ] {
            assert_eq!(of(options), [(name.to_owned(), value.to_owned())], "{options}");
        }
        assert_eq!(of("-W 0 -P -n"), []);
        assert_eq!(of("-eS 1 -es").len(), 4);
    }

    #[test]
    fn what_postgres_does_not_take_is_refused_in_its_words() {
        let message = |options| settings(options).unwrap_err().to_string();
        for (options, culprit) in
            [("x", "x"), ("-x", "-x"), ("-S", "-S"), ("-fx", "-fx"), ("-t x", "x"), ("-c", "-c"), ("-", "-")]
        {
            let expected = format!("invalid command-line argument for server process: {culprit}");
            assert_eq!(message(options), expected, "{options}");
        }
        assert_eq!(message("-c a"), "-c a requires a value");
        assert_eq!(message("--a"), "--a requires a value");
    }
}
