//! Is a statement a read? Judged by its text alone.
//!
//! pgweir's own judgement is what is measured: it cannot say what there was to win.

/// Is this a read that changes nothing and locks nothing? `writers` are the database's own volatile functions.
pub fn is_read(statement: &str, writers: &[String]) -> bool {
    let text = plain(statement);
    let words: Vec<&str> =
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    // What a cursor will read is read.
    let first = match words.first() {
        Some(&"declare") => words.iter().skip_while(|word| **word != "for").nth(1),
        first => first,
    };
    let reads = first.is_some_and(|first| ["select", "with", "values", "table"].contains(first));
    let writes = |word: &&str| WRITING.contains(word) || writers.iter().any(|name| name == word);
    // FOR SHARE and FOR KEY SHARE; the other locks say UPDATE, which writes in any case.
    let locks = words.windows(2).any(|pair| matches!(pair, ["for" | "key", "share"]));
    reads && !locks && !words.iter().any(writes)
}

/// Statements within WITH, and built-in functions that write, lock or belong to a session.
const WRITING: &[&str] = &[
    "insert",
    "update",
    "delete",
    "merge",
    "nextval",
    "setval",
    "currval",
    "lastval",
    "set_config",
    "pg_notify",
    "pg_advisory_lock",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_xact_lock",
    "pg_try_advisory_lock",
    "pg_try_advisory_xact_lock",
];

/// Lower case, without comments, quoted names and strings.
fn plain(statement: &str) -> String {
    let mut plain = String::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => rest[1..].find(first).map(|at| at + 2),
            '-' if rest.starts_with("--") => rest.find('\n'),
            '/' if rest.starts_with("/*") => rest.find("*/").map(|at| at + 2),
            other => {
                plain.extend(other.to_lowercase());
                Some(other.len_utf8())
            }
        };
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_from_what_writes_or_locks() {
        let writers = ["fetch_job".to_owned()];
        for read in [
            "SELECT 1",
            "/* why */ select \"update\" from t",
            "(SELECT $1) UNION SELECT 'delete'",
            "WITH a AS (SELECT 1) SELECT * FROM a -- for share",
            "DECLARE \"c\" NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
        ] {
            assert!(is_read(read, &writers), "{read}");
        }
        for other in [
            "INSERT INTO t SELECT 1",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR KEY SHARE",
            "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a",
            "SELECT nextval('s')",
            "SELECT * FROM fetch_job($1)",
            "DECLARE c CURSOR FOR SELECT 1 FOR UPDATE",
            "BEGIN",
        ] {
            assert!(!is_read(other, &writers), "{other}");
        }
    }
}
