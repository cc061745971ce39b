//! The routing corpus: what a real hot standby said about 16,000 statements.
//!
//! The parts that need no cluster are checked here, with what each line says of the catalog. The
//! corpus is looked for beside the workspace; `PGWEIR_CORPUS` names another place; without it the
//! test is skipped and says so.

use router_rules::catalog::{Catalog, Unknown};
use router_rules::rehearse::{Rehearsal, worst};
use router_rules::{Classifier, Policy, Reason, Target};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One line of the corpus and where it went.
struct Routed {
    line: Value,
    target: Target,
    reason: Reason,
}

fn corpus() -> Option<Vec<Value>> {
    let dir = match std::env::var_os("PGWEIR_CORPUS") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    };
    let mut lines = vec![];
    let text = std::fs::read_to_string(dir.join("dev.jsonl"))
        .or_else(|_| {
            std::fs::read_to_string(
                PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/dev.jsonl"),
            )
        })
        .ok()?;
    for line in text.lines() {
        lines.push(serde_json::from_str(line).expect("a line of the corpus is JSON"));
    }
    Some(lines)
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => vec![],
    }
}

/// The catalog that a line tells of.
fn catalog(line: &Value) -> Catalog {
    let unknown = if line["source"] == "orm" { Unknown::OrdinaryTables } else { Unknown::Sketch };
    let catalog =
        Catalog::from_short_form(texts(&line["ctx"]["funcs"]), texts(&line["ctx"]["rels"]), unknown);
    // A single statement's line names everything that it mentions; a sequence may make its own.
    if unknown == Unknown::Sketch && line["sql"].is_string() { catalog.complete() } else { catalog }
}

fn route(lines: Vec<Value>, source: &str) -> Vec<Routed> {
    let policy = Policy::default();
    let mut routed = vec![];
    for (n, line) in lines.into_iter().enumerate() {
        if line["source"] != source {
            continue;
        }
        let classifier = Classifier::new(1 << 16);
        let mut catalog = catalog(&line);
        catalog.generation = n as u64;
        let user = line["user"].as_str().unwrap_or("postgres");
        let mut session = Rehearsal::new(&classifier, &policy, Some(Arc::new(catalog)), user, "regression");
        for setting in texts(&line["session"]) {
            session.step(setting);
        }
        let steps: Vec<_> = texts(&line["sql"]).into_iter().map(|sql| session.step(sql)).collect();
        let worst = worst(&steps).expect("a line has at least one statement");
        let (target, reason) = (worst.target, worst.reason);
        routed.push(Routed { line, target, reason });
    }
    routed
}

/// Prints label × target × reason, and returns the wrong ones and the share of safe ones on a replica.
fn table(title: &str, routed: &[Routed]) -> (Vec<String>, f64) {
    let mut counts: BTreeMap<(String, &str, &str), usize> = BTreeMap::new();
    let mut wrong = vec![];
    let (mut safe, mut on_replica) = (0, 0);
    let (mut reads, mut reads_on_replica) = (0, 0);
    for r in routed {
        let label = r.line["label"].as_str().unwrap_or("?").to_string();
        *counts.entry((label, r.target.as_str(), r.reason.as_str())).or_default() += 1;
        match r.line["safe_on_replica"].as_bool() {
            Some(false) if r.target == Target::Replica => {
                wrong.push(format!("{}: {} — {}", r.line["id"], r.line["sql"], r.line["why"]))
            }
            Some(true) => {
                safe += 1;
                on_replica += usize::from(r.target == Target::Replica);
                if is_single_read(&r.line) {
                    reads += 1;
                    reads_on_replica += usize::from(r.target == Target::Replica);
                }
            }
            _ => {}
        }
    }
    println!("\n{title}: label × target × reason");
    for ((label, target, reason), count) in &counts {
        println!("{label:14} {target:8} {reason:22} {count:6}");
    }
    let share = reads_on_replica as f64 / f64::max(reads as f64, 1.0);
    println!(
        "wrong: {}; safe ones on a replica: {on_replica} of {safe}; of them single reads {reads_on_replica} of {reads} ({:.1} %)",
        wrong.len(),
        share * 100.0
    );
    (wrong, share)
}

/// A single statement that Postgres's grammar knows as a query, EXPLAIN or COPY.
fn is_single_read(line: &Value) -> bool {
    let nodes = texts(&line["stmt"]);
    line["sql"].is_string()
        && !nodes.is_empty()
        && nodes.iter().all(|n| matches!(*n, "SelectStmt" | "ExplainStmt" | "CopyStmt"))
}

fn dump(routed: &[Routed], name: &str) {
    let Some(path) = std::env::var_os("PGWEIR_CORPUS_DUMP") else { return };
    let mut text = String::new();
    for r in routed {
        if r.line["safe_on_replica"] == true && r.target == Target::Primary {
            text.push_str(&format!(
                "{}\t{}\t{}\t{}\t{}\n",
                r.reason, r.line["id"], r.line["label"], r.line["sql"], r.line["ctx"]
            ));
        }
    }
    std::fs::write(PathBuf::from(path).with_extension(name), text).expect("the dump can be written");
}

#[test]
fn no_application_statement_is_wrong_and_hardly_any_read_stays_on_the_primary() {
    let Some(lines) = corpus() else { return println!("skipped: no corpus here (PGWEIR_CORPUS)") };
    let routed = route(lines, "orm");
    let (wrong, share) = table("applications", &routed);
    dump(&routed, "orm");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(share >= 0.99, "{share}");
}

#[test]
fn no_regression_statement_is_wrong_and_few_reads_stay_on_the_primary() {
    let Some(lines) = corpus() else { return println!("skipped: no corpus here (PGWEIR_CORPUS)") };
    let routed = route(lines, "regress15");
    let (mut wrong, share) = table("PostgreSQL's regression suite", &routed);
    dump(&routed, "regress");
    // A temporary object made earlier in the same session pins the session; a line alone cannot tell.
    wrong.retain(|w| !hangs_on_an_earlier_temporary_object(w));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(share >= 0.92, "{share}");
}

fn hangs_on_an_earlier_temporary_object(wrong: &str) -> bool {
    ["temporary", "depends on primary-only", "\\\" does not exist; primary"]
        .iter()
        .any(|word| wrong.contains(word))
}
