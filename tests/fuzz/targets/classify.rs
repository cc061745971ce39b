//! The whole classifier: no panic, no overflow, and answers that do not change when asked again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use router_rules::catalog::Unknown;
use router_rules::{Classifier, Reason, Scope};
use std::sync::LazyLock;

#[path = "../../oracle/src/traps.rs"]
#[allow(dead_code)]
mod traps;

/// With and without knowledge of every name, with and without `standard_conforming_strings`.
static SCOPES: LazyLock<Vec<Scope>> = LazyLock::new(|| {
    [Unknown::Primary, Unknown::OrdinaryTables]
        .into_iter()
        .flat_map(|unknown| [true, false].map(|conforming| traps::scope(unknown, conforming)))
        .collect()
});
static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| Classifier::new(1 << 22));

fuzz_target!(|data: &[u8]| {
    let Some((first, sql)) = data.split_first() else { return };
    let scope = &SCOPES[usize::from(*first) % SCOPES.len()];
    // What other texts of the same shape left in the caches must not matter.
    let shared = CLASSIFIER.classify(sql, scope);
    let alone = Classifier::new(1 << 12).classify(sql, scope);
    assert_eq!(shared.shape, alone.shape);
    if [shared.verdict, alone.verdict].contains(&Err(Reason::NotParsed)) {
        // A literal that Postgres refuses (`U&'\0.'`): it does so on any node, whatever the shape says.
        // And a shape that was first seen with such a literal stays on the primary.
        return;
    }
    assert_eq!(shared.verdict, alone.verdict);
    assert_eq!(shared.statements.len(), alone.statements.len());
    assert!(!alone.statements.is_empty());
});
