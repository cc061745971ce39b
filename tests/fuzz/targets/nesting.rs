//! Nesting and size: whatever is repeated within or behind itself is read in bounded steps and bounded stack.

#![no_main]

use libfuzzer_sys::fuzz_target;
use router_rules::catalog::Unknown;
use router_rules::{Classifier, Scope};
use std::sync::LazyLock;

#[path = "../../oracle/src/traps.rs"]
#[allow(dead_code)]
mod traps;

/// No text takes more steps: the bound that the classifier gives itself, and what is under way when it is met.
const STEPS_MAX: usize = 3_000_000;
/// Repetitions of a piece.
const TIMES_MAX: usize = 20_000;
/// Bytes of a text.
const BYTES_MAX: usize = 1 << 20;

static SCOPE: LazyLock<Scope> = LazyLock::new(|| traps::scope(Unknown::Primary, true));

fuzz_target!(|data: &[u8]| {
    // Pieces end with a zero byte; the two bytes behind say how often each is repeated.
    let mut opened = vec![];
    let mut closed = vec![];
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let piece = &rest[..end];
        let times = rest.get(end + 1..end + 3).map_or(1, |n| usize::from(u16::from_be_bytes([n[0], n[1]])));
        let times = times.min(TIMES_MAX).min(BYTES_MAX / (piece.len() + 1));
        // The first half opens, the second closes.
        let (open, close) = piece.split_at(piece.len() / 2 + piece.len() % 2);
        opened.extend(open.repeat(times));
        closed.splice(0..0, close.repeat(times));
        rest = rest.get(end + 3..).unwrap_or_default();
    }
    opened.extend(rest);
    opened.extend(closed);
    opened.truncate(BYTES_MAX);
    let classified = Classifier::new(1 << 12).classify(&opened, &SCOPE);
    assert!(classified.steps <= STEPS_MAX, "{} steps", classified.steps);
    assert!(!classified.statements.is_empty());
});
