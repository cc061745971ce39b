//! What a comment or a session's settings ask for.

use crate::lex;
use crate::reason::Target;
use std::time::Duration;

/// A wish of the application's: `/* pgweir: replica, max_lag=5s, consistency=eventual */`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hint {
    /// `primary` or `replica`.
    pub target: Option<Target>,
    /// `consistency=…`.
    pub consistency: Option<Consistency>,
    /// `max_lag=…`.
    pub max_lag: Option<Duration>,
    /// `group=…`: a named group of nodes.
    pub group: Option<String>,
    /// The first wish that was not understood, shortened.
    pub unclear: Option<Box<str>>,
}

/// What a hint may say, for whoever misspells it.
pub const WISHES: &[&str] = &["primary", "replica", "consistency", "max_lag", "group"];

/// Characters of an unclear wish that are kept: enough to find it in the application's source.
const UNCLEAR_CHARS_MAX: usize = 60;

/// How fresh a read must be (the four levels of the documentation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// At most `max_lag` old.
    Eventual,
    /// And all that this session wrote or read.
    Session,
    /// And every commit this pgweir acknowledged to anybody before the read arrived.
    #[default]
    Proxy,
    /// And every commit the primary acknowledged to anybody before the read arrived.
    Global,
}

impl Consistency {
    /// The word used in config, settings and hints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Consistency::Eventual => "eventual",
            Consistency::Session => "session",
            Consistency::Proxy => "proxy",
            Consistency::Global => "global",
        }
    }
}

impl std::str::FromStr for Consistency {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word.to_ascii_lowercase().as_str() {
            "eventual" => Ok(Consistency::Eventual),
            "session" => Ok(Consistency::Session),
            "proxy" => Ok(Consistency::Proxy),
            "global" => Ok(Consistency::Global),
            _ => Err(()),
        }
    }
}

impl Hint {
    /// The hint in the comments of `sql`; the first mention of each wish counts. One that only looks like a hint
    /// asks for nothing.
    ///
    /// Quotes are skipped, so that a literal that contains such text says nothing.
    pub fn find(sql: &[u8]) -> Option<Hint> {
        memchr::memmem::find(sql, b"pgweir:").or_else(|| begins_like_ours(sql))?;
        let mut hint = Hint::default();
        let mut found = false;
        let mut at = 0;
        while at < sql.len() {
            match sql[at] {
                b'\'' => {
                    let escapes = at > 0 && matches!(sql[at - 1], b'e' | b'E');
                    at = skip_quoted(sql, at, escapes);
                }
                b'"' => at = skip_quoted(sql, at, false),
                b'$' => match lex::dollar_tag_end(sql, at) {
                    Some(end) => {
                        let tag = &sql[at..end];
                        at =
                            memchr::memmem::find(&sql[end..], tag).map_or(sql.len(), |i| end + i + tag.len());
                    }
                    None => at += 1,
                },
                b'-' if sql.get(at + 1) == Some(&b'-') => {
                    let end = at + memchr::memchr2(b'\n', b'\r', &sql[at..]).unwrap_or(sql.len() - at);
                    found |= hint.take(&sql[at + 2..end]);
                    at = end;
                }
                b'/' if sql.get(at + 1) == Some(&b'*') => {
                    let end = lex::comment_end(sql, at).unwrap_or(sql.len());
                    found |= hint.take(sql.get(at + 2..end.saturating_sub(2)).unwrap_or(b""));
                    at = end;
                }
                b if lex::is_identifier_start(b) => at = lex::word_end(sql, at),
                _ => at += 1,
            }
        }
        found.then_some(hint)
    }

    /// Takes the wishes of one comment; false when it is an ordinary comment.
    fn take(&mut self, comment: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(comment).map(str::trim) else { return false };
        let Some(wishes) = text.strip_prefix("pgweir:") else {
            let is_slip = self.unclear.is_none() && is_misspelt(text);
            if is_slip {
                self.unclear = Some(text.chars().take(UNCLEAR_CHARS_MAX).collect());
            }
            return is_slip;
        };
        for wish in wishes.split(',').map(str::trim) {
            if self.grant(wish).is_none() && self.unclear.is_none() {
                self.unclear = Some(wish.chars().take(UNCLEAR_CHARS_MAX).collect());
            }
        }
        true
    }

    /// Takes a node's role over; `None` when it is another than was asked for before.
    fn grant_target(&mut self, target: Target) -> Option<()> {
        (*self.target.get_or_insert(target) == target).then_some(())
    }

    /// Takes one wish over; `None` when it is not understood.
    fn grant(&mut self, wish: &str) -> Option<()> {
        match wish.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            None if wish == "primary" => return self.grant_target(Target::Primary),
            None if wish == "replica" => return self.grant_target(Target::Replica),
            Some(("consistency", level)) => _ = self.consistency.get_or_insert(level.parse().ok()?),
            Some(("max_lag", lag)) => _ = self.max_lag.get_or_insert(parse_duration(lag)?),
            Some(("group", group)) if !group.is_empty() => {
                _ = self.group.get_or_insert_with(|| group.to_string())
            }
            _ => return None,
        }
        Some(())
    }
}

/// There may be a comment in it whose beginning is nearly that of a hint.
fn begins_like_ours(sql: &[u8]) -> Option<usize> {
    let begins = |at: usize| {
        let text = sql[at..].trim_ascii_start();
        text.first_chunk::<3>().is_some_and(|begin| begin.eq_ignore_ascii_case(b"pgw"))
    };
    let starts = memchr::memmem::find_iter(sql, b"/*").chain(memchr::memmem::find_iter(sql, b"--"));
    starts.map(|at| at + 2).find(|at| begins(*at))
}

/// A comment that was probably meant as a hint: pgweir's name with a slip in it, and a colon or a wish behind it.
fn is_misspelt(comment: &str) -> bool {
    let end = comment.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(comment.len());
    let (name, rest) = comment.split_at(end);
    let name = name.to_ascii_lowercase();
    let rest = rest.trim_start();
    let asks = || {
        let wish = rest.trim_start_matches(':').trim_start();
        WISHES.iter().any(|word| wish.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word)))
    };
    let is_slip = name.starts_with("pgw") && name.bytes().all(|letter| b"pgweir".contains(&letter));
    is_slip && (5..=7).contains(&name.len()) && asks()
}

/// `5s`, `500ms`, `2min`, `1h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let number: f64 = text[..digits].parse().ok()?;
    let seconds = match text[digits..].trim() {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn skip_quoted(sql: &[u8], at: usize, escapes: bool) -> usize {
    let quote = sql[at];
    let mut at = at + 1;
    while at < sql.len() {
        match sql[at] {
            b'\\' if escapes => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    sql.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_from_any_comment_and_from_no_literal() {
        let hint =
            Hint::find(b"/* pgweir: replica, max_lag=5s, consistency=eventual, group=analytics */ select 1")
                .unwrap();
        assert_eq!(hint.target, Some(Target::Replica));
        assert_eq!(hint.max_lag, Some(Duration::from_secs(5)));
        assert_eq!(hint.consistency, Some(Consistency::Eventual));
        assert_eq!(hint.group.as_deref(), Some("analytics"));
        assert_eq!(Hint::find(b"select 1 -- pgweir: primary\n").unwrap().target, Some(Target::Primary));
        assert_eq!(Hint::find(b"select '/* pgweir: primary */'"), None);
        assert_eq!(Hint::find(b"select $$ /* pgweir: primary */ $$"), None);
        assert_eq!(Hint::find(b"select 1 /* not pgweir: primary */"), None);
    }

    #[test]
    fn a_wish_that_is_not_understood_is_kept_and_the_others_count() {
        let hint = Hint::find(b"/* pgweir: replcia, max_lag=5s */ select 1").unwrap();
        assert_eq!((hint.unclear.as_deref(), hint.max_lag), (Some("replcia"), Some(Duration::from_secs(5))));
        let unclear = |sql: &[u8]| Hint::find(sql).unwrap().unclear.map(|wish| wish.to_string());
        assert_eq!(unclear(b"/* pgweir: max_lag=fast */"), Some("max_lag=fast".into()));
        assert_eq!(unclear(b"/* pgweir: consistency=sesion */"), Some("consistency=sesion".into()));
        assert_eq!(unclear(b"/* pgweir: group= */"), Some("group=".into()));
        assert_eq!(unclear(b"/* pgweir: replica */"), None);
        assert_eq!(unclear(b"/* pgweir: primary, replica */"), Some("replica".into()));
        for slip in ["pgwier: primary", "PGWEIR: PRIMARY", "pgweir primary", "pgwer:max_lag=5s"] {
            assert_eq!(unclear(format!("/* {slip} */ SELECT 1").as_bytes()), Some(slip.into()));
            assert_eq!(unclear(format!("SELECT 1 --{slip}").as_bytes()), Some(slip.into()));
        }
        for other in ["/* pgwatch: primary */", "/* pgweir is between */", "'/* pgwier: primary */'"] {
            assert_eq!(Hint::find(format!("SELECT 1 {other}").as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2min"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("fast"), None);
        assert_eq!(parse_duration("-1s"), None);
    }
}
