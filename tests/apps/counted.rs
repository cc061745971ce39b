//! What pgweir's metrics say of a run.

use pgweir_tests::Metrics;
use std::collections::BTreeMap;

/// A count by some label of pgweir's metrics.
pub type Counts = BTreeMap<String, u64>;

/// What pgweir's metrics have gained during a run.
#[derive(Clone, Debug, Default)]
pub struct Gained {
    /// Statements on replicas by reason.
    pub replica: Counts,
    /// Statements on the primary by reason.
    pub primary: Counts,
    /// Statements that ran once more elsewhere, by cause: what the safety net caught.
    pub caught: Counts,
}

impl Gained {
    /// The difference of two readings.
    pub fn between(before: &Metrics, after: &Metrics) -> Gained {
        let statements = |target: &str| {
            let sum = |metrics: &Metrics, reason: &str| {
                metrics.sum("pgweir_statements_total", &[("target", target), ("reason", reason)])
            };
            let reasons = after.by_label("pgweir_statements_total", "reason").into_keys();
            counts(reasons.map(|reason| (sum(after, &reason) - sum(before, &reason), reason)))
        };
        let causes = |metrics: &Metrics| metrics.by_label("pgweir_reroutes_total", "cause");
        let earlier = causes(before);
        let caught = causes(after).into_iter();
        Gained {
            replica: statements("replica"),
            primary: statements("primary"),
            caught: counts(caught.map(|(cause, count)| (count - earlier.get(&cause).unwrap_or(&0.0), cause))),
        }
    }

    /// Of all statements, those on replicas.
    pub fn share(&self) -> f64 {
        let sum = |counts: &Counts| counts.values().sum::<u64>() as f64;
        let (replica, primary) = (sum(&self.replica), sum(&self.primary));
        replica * 100.0 / (replica + primary).max(1.0)
    }
}

fn counts(gained: impl Iterator<Item = (f64, String)>) -> Counts {
    gained.filter(|(count, _)| *count > 0.0).map(|(count, label)| (label, count as u64)).collect()
}

/// `word count, word count`, most frequent first.
pub fn spelled(counts: &Counts) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), (*word).clone()));
    let words: Vec<String> = sorted.into_iter().map(|(word, count)| format!("{word} {count}")).collect();
    if words.is_empty() { "–".into() } else { words.join(", ") }
}
