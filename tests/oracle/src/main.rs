//! Runs the classifier on variations of SQL texts and lets Postgres's own parser judge each statement
//! that it calls proved.
//!
//! ```text
//! oracle [--cases 1000000] [--seed 1] [--corpus dev.jsonl]
//! ```
//! Ends with code 1 and the first offences when something that writes was proved read-only.

use pgweir_oracle::judge::{Judgement, judge};
use pgweir_oracle::mutate::{Dice, variation};
use pgweir_oracle::traps::scope;
use router_rules::catalog::Unknown;
use router_rules::{Classifier, Scope};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// After so many offences a run ends.
const OFFENCES_MAX: usize = 40;
/// The caches are emptied after so many cases, so that a run does not hang on one history.
const CASES_PER_CACHE: u64 = 20_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut cases, mut seed, mut seeds) = (1_000_000u64, 1u64, own_seeds());
    while let Some(option) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match option.as_str() {
            "--cases" => cases = value.parse().expect("a number of cases"),
            "--seed" => seed = value.parse().expect("a number"),
            "--corpus" => seeds.extend(corpus(&value)),
            other => panic!("unknown option {other}"),
        }
    }
    run(cases, seed, &seeds)
}

fn run(cases: u64, seed: u64, seeds: &[String]) -> ExitCode {
    let scopes: Vec<(Scope, bool)> = [Unknown::Primary, Unknown::OrdinaryTables]
        .into_iter()
        .flat_map(|unknown| [true, false].map(|conforming| (scope(unknown, conforming), conforming)))
        .collect();
    let mut dice = Dice(seed);
    let mut classifier = Classifier::new(1 << 22);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut offences: BTreeMap<String, String> = BTreeMap::new();
    for case in 0..cases {
        if case % CASES_PER_CACHE == 0 {
            classifier = Classifier::new(1 << 22);
        }
        let text = variation(seeds, &mut dice);
        // One in eight under standard_conforming_strings = off.
        let scope = dice.below(2) * 2 + usize::from(dice.one_in(8));
        let (scope, conforming) = &scopes[scope];
        let classified = classifier.classify(text.as_bytes(), scope);
        let Err(reason) = classified.verdict else {
            let outcome = judge(&text, *conforming);
            *counts.entry(format!("proved, {}", short(&outcome))).or_default() += 1;
            if let Judgement::Write(offence) = outcome {
                offences.entry(offence).or_insert_with(|| text.clone());
                if offences.len() >= OFFENCES_MAX {
                    break;
                }
            }
            continue;
        };
        *counts.entry(format!("not proved, {reason}")).or_default() += 1;
    }
    for (what, count) in &counts {
        println!("{count:10} {what}");
    }
    for (offence, text) in &offences {
        println!("\n*** proved, but: {offence}\n{text}");
    }
    if offences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn short(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Refused => "Postgres refuses it",
        Judgement::Read => "a read",
        Judgement::Write(_) => "A WRITE",
    }
}

fn own_seeds() -> Vec<String> {
    include_str!("../seeds.sql").lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The statements of a routing corpus: JSON Lines with `sql`, a text or a list of texts.
fn corpus(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the corpus can be read");
    let mut seeds = vec![];
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of the corpus is JSON");
        match &line["sql"] {
            serde_json::Value::String(text) => seeds.push(text.clone()),
            serde_json::Value::Array(list) => {
                seeds.extend(list.iter().filter_map(|v| v.as_str().map(str::to_owned)))
            }
            _ => {}
        }
    }
    seeds.retain(|text| text.len() < 2_000);
    seeds
}
