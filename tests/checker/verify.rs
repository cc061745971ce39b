//! Which promises a history keeps: decided from the history alone.
//!
//! Each row has a version that every write raises by one, so "has seen the write" is "shows at
//! least its version". A read breaks a promise when it shows a lower version of a row than
//!
//! * read-your-writes: its own connection had written, acknowledged before the read was sent;
//! * monotonic reads: its own connection had seen before;
//! * proxy-wide: anybody had written through the address under test before the read was sent;
//! * global: anybody had written at all before the read was sent.
//!
//! Lists have to be prefixes of each other besides. Writes that were acknowledged and are not there
//! at the end (a promotion lost them) are counted, and nobody is asked to see them.

use super::history::{Effect, Key, Nanos, Operation, Version};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// A connection sees what it wrote.
    ReadYourWrites,
    /// A connection does not see less than it saw.
    MonotonicReads,
    /// Everybody sees what was acknowledged through the address before.
    ProxyWide,
    /// Everybody sees what was acknowledged before, wherever it was written.
    Global,
    /// Lists grow at their end only.
    Prefix,
}

impl Promise {
    /// All, weakest first.
    pub const ALL: [Promise; 5] = [
        Promise::Prefix,
        Promise::MonotonicReads,
        Promise::ReadYourWrites,
        Promise::ProxyWide,
        Promise::Global,
    ];

    /// The promises of a consistency level of pgweir; `None`: no such level.
    pub fn of_level(level: &str) -> Option<&'static [Promise]> {
        match level {
            "eventual" => Some(&Self::ALL[..1]),
            "session" => Some(&Self::ALL[..3]),
            "proxy" => Some(&Self::ALL[..4]),
            "global" => Some(&Self::ALL[..5]),
            _ => None,
        }
    }

    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Promise::ReadYourWrites => "read-your-writes",
            Promise::MonotonicReads => "monotonic-reads",
            Promise::ProxyWide => "proxy-wide",
            Promise::Global => "global",
            Promise::Prefix => "list-prefix",
        }
    }
}

/// A read that broke a promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// The row.
    pub key: Key,
    /// The version that was shown.
    pub shown: Version,
    /// The version that had to be shown at least.
    pub owed: Version,
    /// How long before the read was sent that version was acknowledged (or seen).
    pub late: Nanos,
    /// When the read was sent.
    pub at: Nanos,
    /// By which connection.
    pub connection: u32,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: connection {} at {:.3} s was shown version {} of row {} in table {}, \
             {:.3} ms after version {} had been acknowledged",
            self.promise.as_str(),
            self.connection,
            self.at as f64 / 1e9,
            self.shown,
            self.key.row,
            self.key.table,
            self.late as f64 / 1e6,
            self.owed,
        )
    }
}

/// What came of a history.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Rows shown by reads.
    pub reads: usize,
    /// Rows written, acknowledged.
    pub writes: usize,
    /// Operations that failed.
    pub errors: usize,
    /// Acknowledged writes that are not there at the end.
    pub lost: usize,
    /// Writes that were said not to be there, and are at the end.
    pub revived: usize,
    /// Reads for which each promise owed at least something.
    pub tested: HashMap<Promise, usize>,
    /// Broken promises, in the order of the history.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// How often a promise was broken.
    pub fn broken(&self, promise: Promise) -> usize {
        self.violations.iter().filter(|v| v.promise == promise).count()
    }
}

/// What a row had come to by when: acknowledged (or seen) versions, in order of time, each the
/// highest so far.
#[derive(Debug, Default)]
struct Ladder(Vec<(Nanos, Version)>);

impl Ladder {
    fn climb(&mut self, at: Nanos, version: Version) {
        if self.0.last().is_none_or(|(_, top)| version > *top) {
            self.0.push((at, version));
        }
    }

    /// The highest version before `at`, and since when.
    fn before(&self, at: Nanos) -> Option<(Nanos, Version)> {
        let below = self.0.partition_point(|(end, _)| *end < at);
        below.checked_sub(1).map(|i| self.0[i])
    }
}

/// Decides. `last` is what each row was in the end, read from the primary when all was done; of a
/// list, all its values, of a register the last one.
pub fn verify(history: &[Operation], last: &HashMap<Key, (Version, Vec<i64>)>) -> Verdict {
    let mut verdict = Verdict::default();
    let lost = lost_writes(history, last);
    verdict.lost = lost.len();
    let denied: HashSet<i64> = history.iter().flat_map(|o| &o.denied).copied().collect();
    verdict.revived = last.values().flat_map(|(_, values)| values).filter(|v| denied.contains(v)).count();
    verdict.errors = history.iter().filter(|o| o.error.is_some()).count();

    // In order of their ends: what had been acknowledged before a moment comes before it.
    let mut by_end: Vec<&Operation> = history.iter().collect();
    by_end.sort_by_key(|o| o.end);
    let (mut through, mut anywhere) = (HashMap::<Key, Ladder>::new(), HashMap::<Key, Ladder>::new());
    let (mut own, mut seen) = (HashMap::<(u32, Key), Ladder>::new(), HashMap::<(u32, Key), Ladder>::new());
    for operation in &by_end {
        let session = operation.session;
        for effect in &operation.effects {
            let key = effect.key();
            let mine = (session.connection, key);
            match effect {
                Effect::Wrote { version, value, .. } => {
                    verdict.writes += 1;
                    if lost.contains(value) {
                        continue;
                    }
                    anywhere.entry(key).or_default().climb(operation.end, *version);
                    own.entry(mine).or_default().climb(operation.end, *version);
                    if !session.outside {
                        through.entry(key).or_default().climb(operation.end, *version);
                    }
                }
                Effect::Saw { version, value, .. } => {
                    verdict.reads += 1;
                    if value.is_none_or(|value| !lost.contains(&value)) {
                        seen.entry(mine).or_default().climb(operation.end, *version);
                    }
                }
            }
        }
    }
    let none = Ladder::default();
    for operation in history {
        let connection = operation.session.connection;
        for effect in &operation.effects {
            let Effect::Saw { key, version, list, .. } = effect else { continue };
            let mine = (connection, *key);
            let mut owes = |promise: Promise, ladder: &Ladder| {
                let Some((since, owed)) = ladder.before(operation.start) else { return };
                *verdict.tested.entry(promise).or_default() += 1;
                if *version < owed {
                    verdict.violations.push(Violation {
                        promise,
                        key: *key,
                        shown: *version,
                        owed,
                        late: operation.start - since,
                        at: operation.start,
                        connection,
                    });
                }
            };
            owes(Promise::MonotonicReads, seen.get(&mine).unwrap_or(&none));
            owes(Promise::ReadYourWrites, own.get(&mine).unwrap_or(&none));
            owes(Promise::ProxyWide, through.get(key).unwrap_or(&none));
            owes(Promise::Global, anywhere.get(key).unwrap_or(&none));
            if let (Some(list), Some((_, whole))) = (list, last.get(key)) {
                *verdict.tested.entry(Promise::Prefix).or_default() += 1;
                let shows_lost = list.iter().any(|value| lost.contains(value));
                if !shows_lost && !whole.starts_with(list) {
                    let (shown, owed) = (list.len() as Version, whole.len() as Version);
                    let at = operation.start;
                    let promise = Promise::Prefix;
                    verdict.violations.push(Violation {
                        promise,
                        key: *key,
                        shown,
                        owed,
                        late: 0,
                        at,
                        connection,
                    });
                }
            }
        }
    }
    verdict
}

/// Values of acknowledged writes that are not there in the end.
fn lost_writes(history: &[Operation], last: &HashMap<Key, (Version, Vec<i64>)>) -> HashSet<i64> {
    let mut by_version: HashMap<(Key, Version), Vec<(Nanos, i64)>> = HashMap::new();
    let mut lists: HashMap<Key, HashSet<i64>> = HashMap::new();
    let mut lost = HashSet::new();
    for (key, (version, values)) in last {
        if values.len() as Version == *version {
            lists.insert(*key, values.iter().copied().collect());
        }
    }
    for operation in history {
        for effect in &operation.effects {
            if let Effect::Wrote { key, version, value } = effect {
                if last.get(key).is_some_and(|(top, _)| version > top)
                    || lists.get(key).is_some_and(|whole| !whole.contains(value))
                {
                    lost.insert(*value);
                }
                by_version.entry((*key, *version)).or_default().push((operation.end, *value));
            }
        }
    }
    // Two acknowledged writes made the same version: the log forked, and the later one's branch lived.
    for mut twins in by_version.into_values().filter(|twins| twins.len() > 1) {
        twins.sort_unstable();
        twins.pop();
        lost.extend(twins.into_iter().map(|(_, value)| value));
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::super::history::Session;
    use super::*;

    const ROW: Key = Key { table: 1, row: 1 };

    fn operation(connection: u32, start: Nanos, end: Nanos, effect: Effect) -> Operation {
        let session = Session { connection, outside: connection >= 100 };
        Operation { session, start, end, effects: vec![effect], error: None, denied: vec![] }
    }

    fn wrote(connection: u32, start: Nanos, end: Nanos, version: Version) -> Operation {
        operation(connection, start, end, Effect::Wrote { key: ROW, version, value: 1000 + version })
    }

    fn saw(connection: u32, start: Nanos, end: Nanos, version: Version) -> Operation {
        let value = (version > 0).then_some(1000 + version);
        operation(connection, start, end, Effect::Saw { key: ROW, version, value, list: None })
    }

    fn broken(history: &[Operation]) -> Vec<Promise> {
        let last = history.iter().flat_map(|o| &o.effects).filter_map(|e| match e {
            Effect::Wrote { version, .. } => Some(*version),
            Effect::Saw { .. } => None,
        });
        let last = last.max().unwrap_or(0);
        let last = HashMap::from([(ROW, (last, vec![1000 + last]))]);
        verify(history, &last).violations.iter().map(|v| v.promise).collect()
    }

    #[test]
    fn a_read_that_shows_the_last_write_keeps_every_promise() {
        assert_eq!(broken(&[wrote(1, 0, 10, 1), saw(1, 11, 20, 1), saw(2, 11, 20, 1)]), []);
    }

    #[test]
    fn a_read_that_overlaps_a_write_may_miss_it() {
        assert_eq!(broken(&[wrote(1, 0, 10, 1), saw(2, 10, 20, 0)]), []);
    }

    #[test]
    fn a_connection_that_misses_its_own_write_breaks_all_but_monotonic_reads() {
        let history = [wrote(1, 0, 10, 1), saw(1, 11, 20, 0)];
        assert_eq!(broken(&history), [Promise::ReadYourWrites, Promise::ProxyWide, Promise::Global]);
    }

    #[test]
    fn another_connection_that_misses_a_write_breaks_proxy_and_global() {
        let history = [wrote(1, 0, 10, 1), saw(2, 11, 20, 0)];
        assert_eq!(broken(&history), [Promise::ProxyWide, Promise::Global]);
    }

    #[test]
    fn missing_a_write_from_outside_breaks_global_only() {
        assert_eq!(broken(&[wrote(100, 0, 10, 1), saw(2, 11, 20, 0)]), [Promise::Global]);
    }

    #[test]
    fn going_back_breaks_monotonic_reads_even_while_the_write_is_under_way() {
        let history = [wrote(1, 0, 100, 1), saw(2, 5, 10, 1), saw(2, 11, 20, 0)];
        assert_eq!(broken(&history), [Promise::MonotonicReads]);
    }

    #[test]
    fn a_list_that_is_no_prefix_of_the_last_state_is_found() {
        let list = |values: &[i64]| {
            let (version, value) = (values.len() as Version, values.last().copied());
            operation(2, 1, 2, Effect::Saw { key: ROW, version, value, list: Some(values.to_vec()) })
        };
        let last = HashMap::from([(ROW, (3, vec![7, 8, 9]))]);
        assert!(verify(&[list(&[7, 8])], &last).violations.is_empty());
        assert_eq!(verify(&[list(&[8])], &last).broken(Promise::Prefix), 1);
    }

    #[test]
    fn a_write_that_was_denied_and_is_there_is_counted() {
        let mut failed = wrote(1, 0, 10, 2);
        (failed.effects, failed.denied) = (vec![], vec![7, 8]);
        let verdict = |values: &[i64]| {
            let last = HashMap::from([(ROW, (values.len() as Version, values.to_vec()))]);
            verify(std::slice::from_ref(&failed), &last).revived
        };
        assert_eq!((verdict(&[6, 8]), verdict(&[6])), (1, 0));
    }

    #[test]
    fn a_write_that_a_promotion_lost_is_counted_and_owed_to_nobody() {
        let history = [
            wrote(1, 0, 10, 1),
            // Lost, and its version made again on the other branch.
            operation(1, 11, 20, Effect::Wrote { key: ROW, version: 2, value: 5 }),
            saw(1, 30, 40, 1),
            operation(1, 41, 50, Effect::Wrote { key: ROW, version: 2, value: 6 }),
        ];
        let verdict = verify(&history, &HashMap::from([(ROW, (2, vec![6]))]));
        assert_eq!((verdict.lost, verdict.violations.len()), (1, 0), "{:?}", verdict.violations);
    }
}
