//! What the test programs print: which tests passed, and which losses are explained.

use pgweir_tests::HarnessError;
use std::collections::BTreeMap;
use std::fmt;

/// Test → did it pass?
#[derive(Debug, Default)]
pub struct Verdicts {
    tests: BTreeMap<String, bool>,
    /// The program did not end by itself.
    pub hung: bool,
}

impl Verdicts {
    /// Reads `test name … ok`, `name … FAILED`, and the TAP form of later versions.
    pub fn read(printed: &str) -> Self {
        let mut verdicts = Verdicts::default();
        for line in printed.lines() {
            let classic = line
                .split_once(" ... ")
                .map(|(name, verdict)| (name, verdict.trim_start().starts_with("ok")));
            let tap = line
                .strip_prefix("ok ")
                .map(|rest| (rest, true))
                .or_else(|| line.strip_prefix("not ok ").map(|rest| (rest, false)));
            let Some((name, passed)) = classic.or(tap) else { continue };
            let mut words =
                name.split_whitespace().filter(|word| !matches!(*word, "test" | "-" | "+" | "ok" | "not"));
            if let Some(name) = words.find(|word| word.parse::<u32>().is_err()) {
                verdicts.tests.insert(name.to_owned(), passed);
            }
        }
        verdicts
    }

    /// Nothing was judged.
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// What passed here and did not pass there.
    pub fn lost_in<'a>(&'a self, other: &'a Verdicts) -> impl Iterator<Item = &'a str> {
        let passed = self.tests.iter().filter(|(_, passed)| **passed);
        passed.map(|(name, _)| name.as_str()).filter(|name| other.tests.get(*name) != Some(&true))
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.tests.values().filter(|passed| **passed).count();
        let hung = if self.hung { ", ended by force" } else { "" };
        write!(out, "{passed} of {} passed{hung}", self.tests.len())
    }
}

/// The losses that are known, with their reasons.
#[derive(Debug)]
pub struct Explained(Vec<(String, String, String, String)>);

impl Explained {
    /// Reads lines of `suite mode test: reason`; `#` begins a comment.
    ///
    /// # Errors
    /// A line of another form.
    pub fn read(text: &str) -> Result<Self, HarnessError> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = lines.map(|line| {
            let wrong =
                || HarnessError::failed(format!("explained.txt: {line:?} is not `suite mode test: reason`"));
            let (key, reason) = line.split_once(": ").ok_or_else(wrong)?;
            let [suite, mode, test] = key.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
            Ok((suite.to_owned(), mode.to_owned(), test.to_owned(), reason.to_owned()))
        });
        read.collect::<Result<_, _>>().map(Explained)
    }

    /// Why this test is lost in this mode, if that is known.
    pub fn reason(&self, suite: &str, mode: &str, test: &str) -> Option<&str> {
        let found = self.0.iter().find(|(s, m, t, _)| s == suite && m == mode && t == test);
        found.map(|(_, _, _, reason)| reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_output_are_read() {
        let classic = Verdicts::read("test tablespace ... ok 12 ms\n     guc          ... FAILED  3 ms\n");
        let tap = Verdicts::read("ok 1         - tablespace   12 ms\nnot ok 2     + guc    3 ms\n");
        for verdicts in [&classic, &tap] {
            assert_eq!(verdicts.to_string(), "1 of 2 passed");
            assert_eq!(verdicts.tests.get("guc"), Some(&false));
        }
        let through = Verdicts::read("test tablespace ... FAILED\n");
        assert_eq!(classic.lost_in(&through).collect::<Vec<_>>(), ["tablespace"]);
    }

    #[test]
    fn a_loss_is_explained_for_its_suite_and_mode_only() {
        let explained =
            Explained::read("# none\nregress default stats: counts come later\n").expect("two lines");
        assert_eq!(explained.reason("regress", "default", "stats"), Some("counts come later"));
        assert_eq!(explained.reason("regress", "session", "stats"), None);
        assert!(Explained::read("nonsense").is_err());
    }
}
