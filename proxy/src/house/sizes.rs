//! A file is one concept, a function fits on a screen.

use super::sources;
use std::collections::BTreeSet;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Longer files, and why. One that is short again leaves this list.
const LONG_FILES: &[(&str, &str)] = &[
    ("proxy/src/auth/lookup.rs", "look-up, its cache and its connections are one protocol with one lock"),
    ("proxy/src/auth/tests.rs", "a conversation per method and mistake; they share one stage"),
    ("proxy/src/cluster.rs", "the front of the cluster: a short method per question that a session asks"),
    ("proxy/src/command/check/judge.rs", "a sentence per mistake that `check` can find"),
    ("proxy/src/config.rs", "the configuration, a type per section"),
    ("proxy/src/config/keys.rs", "the table of all keys, a row each"),
    ("proxy/src/observe/metrics.rs", "the table of all metrics"),
    ("proxy/src/server.rs", "opening, asking and ending share the private halves of a connection"),
    ("proxy/src/session/exchange/world.rs", "a model: client, server, pipes and proxy in one small world"),
    ("proxy/src/session/lease.rs", "all ways to a server meet in one order"),
    ("proxy/src/session/ledger.rs", "the theory of what is owed, and the queue that keeps it"),
    ("proxy/src/session/statements.rs", "prepared statements on the way, by all three of their names"),
    ("router-rules/src/catalog.rs", "the snapshot's types and how rows become it"),
    ("router-rules/src/classify.rs", "the two caches and what lies behind them"),
    ("router-rules/src/lex.rs", "Postgres's lexer, which has no parts"),
    ("router-rules/tests/hidden_calls.rs", "a list of texts"),
    ("router-rules/tests/statements.rs", "a list of texts"),
    ("tests/cluster/meaning.rs", "conversations beside a direct twin"),
    ("tests/cluster/pooling.rs", "stories on one stage"),
    ("tests/cluster/prepared.rs", "conversations beside a direct twin"),
    ("tests/oracle/src/mutate.rs", "a list of mutations"),
    ("tests/soak/script.rs", "a list of scripts"),
];

/// Longer functions, and why.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("benches/src/freshness.rs: run", "a table of runs"),
    ("proxy/src/console/show_tests.rs: picture", "one made-up picture with all that a console shows"),
    ("proxy/src/observe/cluster.rs: register", "a line per metric"),
    ("proxy/src/observe/metrics.rs: new", "a line per metric"),
    ("proxy/src/session/lease.rs: lease", "the ways to a server, in their order"),
    ("proxy/src/session/lease.rs: lease_anew", "the ways in which a node can fail a session, in their order"),
    ("proxy/src/session/ledger.rs: on_reply", "an arm per message"),
    ("proxy/src/session/receive.rs: next_request", "an arm per message"),
    ("proxy/src/session/send.rs: send", "what must stand ahead of a request, in its order"),
    ("router-rules/src/classify.rs: classify_text", "the steps from text to verdict, in their order"),
    ("router-rules/src/shape.rs: strip", "one loop over bytes, an arm per kind"),
    ("router-rules/src/walk/keywords.rs: keyword", "an arm per keyword"),
    ("router-rules/src/words.rs: is_reserved", "a list of words"),
    ("router-rules/tests/hostile.rs: whatever_nests_in_a_text_nests_without_end", "a list of forms"),
    ("router-rules/tests/statements.rs: shop", "a made-up catalog"),
    ("tests/checker/verify.rs: verify", "an arm per event"),
    (
        "tests/cluster/hostile_sql.rs: a_rule_that_refuses_a_table_is_walked_around_by_nobody",
        "a list of texts",
    ),
    ("tests/cluster/noise.rs: who_reads_what_was_touched_sees_it", "a list of conversations"),
    (
        "tests/cluster/startup.rs: start_up_parameters_take_effect_or_fail_as_on_postgres",
        "a list of parameters",
    ),
    ("tests/cluster/transactions.rs: a_move_is_not_seen", "a list of conversations"),
];

/// Functions by name, with the number of their lines; of code as rustfmt leaves it.
fn functions(source: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = vec![];
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words: Vec<&str> = code.split(' ').collect();
        let is_before = |word: &&str| word.starts_with("pub") || ["const", "async"].contains(word);
        let Some((&"fn", [name, ..])) =
            words[words.iter().take_while(|w| is_before(w)).count()..].split_first()
        else {
            continue;
        };
        let indent = &line[..line.len() - code.len()];
        let ends = |line: &&str| line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest == ");");
        if line.ends_with('{') || line.ends_with('(') {
            let rest = lines[at..].iter().position(ends).unwrap_or(0);
            found.push((name.split(['(', '<']).next().unwrap_or_default(), rest + 1));
        }
    }
    found
}

/// Lines ahead of a file's own unit tests, which belong to what they test.
fn lines_of_code(source: &str) -> usize {
    let tests = source.find("\n#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    source[..tests].lines().count()
}

fn compare(found: &BTreeSet<String>, listed: &[(&str, &str)], max: usize) {
    let listed: BTreeSet<String> = listed.iter().map(|(name, _)| (*name).to_owned()).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    assert!(new.is_empty(), "longer than {max} lines: {new:#?}");
    let short: Vec<_> = listed.difference(found).collect();
    assert!(short.is_empty(), "listed as long, and not longer than {max} lines: {short:#?}");
}

fn all() -> impl Iterator<Item = (String, String)> {
    ["proxy", "router-rules", "tests", "benches"].into_iter().flat_map(sources)
}

#[test]
fn files_are_one_concept_each() {
    let long = all().filter(|(_, source)| lines_of_code(source) > FILE_LINES_MAX);
    compare(&long.map(|(path, _)| path).collect(), LONG_FILES, FILE_LINES_MAX);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = BTreeSet::new();
    for (path, source) in all() {
        let functions = functions(&source).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        long.extend(functions.map(|(name, _)| format!("{path}: {name}")));
    }
    compare(&long, LONG_FUNCTIONS, FUNCTION_LINES_MAX);
}

#[test]
fn functions_are_measured() {
    let source = "pub async fn one() {\n}\nfn two(\n    a: u8,\n) -> u8 {\n    a\n}\nfn three() -> u8;\n";
    assert_eq!(functions(source), [("one", 2), ("two", 5)]);
}
