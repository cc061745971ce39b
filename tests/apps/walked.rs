//! What a walk has seen.

use pgweir_tests::HarnessError;

/// The sums of a walk's last line, which is JSON.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Things done and looked at.
    pub steps: u64,
    /// What failed, or was wrong and stayed so.
    pub errors: u64,
    /// What was written and was not there at once, but came.
    pub stale: u64,
    /// The first errors and stale reads, in words.
    pub notes: Vec<String>,
}

impl Walked {
    /// What the walk itself cannot see.
    pub fn error(&mut self, note: String) {
        self.errors += 1;
        self.notes.insert(0, note);
    }

    /// Reads what a walk has printed.
    pub fn parse(output: &str) -> Result<Walked, HarnessError> {
        let wrong = || HarnessError::failed(format!("not the sums of a walk: {output:?}"));
        let line = output.lines().last().ok_or_else(wrong)?;
        let sums: serde_json::Value = serde_json::from_str(line).map_err(|_| wrong())?;
        let count = |name: &str| sums[name].as_u64().ok_or_else(wrong);
        let notes = sums["notes"].as_array().into_iter().flatten();
        Ok(Walked {
            steps: count("steps")?,
            errors: count("errors")?,
            stale: count("stale")?,
            notes: notes.filter_map(|note| note.as_str().map(str::to_owned)).collect(),
        })
    }
}
