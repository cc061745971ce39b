//! The hand-written, adversarial part of the routing corpus, decided with the live catalog.
//!
//! `PGWEIR_CORPUS` names the corpus's directory; where there is none beside the workspace the test
//! is skipped and says so.

use crate::support::{Outcome, route_lines};
use pgweir_tests::cluster::Cluster;
use pgweir_tests::weir::Weir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn corpus() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let worktree = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let named = std::env::var_os("PGWEIR_CORPUS").map(PathBuf::from);
    named.into_iter().chain([beside, worktree]).find(|dir| dir.join("dev.jsonl").exists())
}

#[test]
fn no_adversarial_statement_is_wrong_and_most_reads_go_to_a_replica() -> Outcome {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus here (PGWEIR_CORPUS)");
        return Ok(());
    };
    let cluster = Cluster::builder().replicas(0).start()?;
    if cluster.binaries().major() < 15 {
        println!("skipped: its fixture is for PostgreSQL 15 and later");
        return Ok(());
    }
    let root = cluster.node(0).superuser();
    root.sql("CREATE DATABASE hand")?;
    let fixture = std::fs::read_to_string(corpus.join("fixtures/hand.sql")).expect("the fixture can be read");
    let port = cluster.node(0).port().to_string();
    let directory = cluster.directory().to_string_lossy().into_owned();
    // VACUUM cannot run beside other statements in one message, and nothing here hangs on it.
    let fixture =
        fixture.replace("@PORT@", &port).replace("@DIR@", &directory).replace("VACUUM ANALYZE;", "");
    root.database("hand").sql(&fixture)?;
    let weir = Weir::builder(&cluster).start()?;

    let text = std::fs::read_to_string(corpus.join("dev.jsonl")).expect("the corpus can be read");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of the corpus is JSON"))
        .filter(|line| line["source"] == "hand")
        .collect();
    let mut input = String::new();
    for line in &lines {
        input.push_str(&line.to_string().replace("@PORT@", &port).replace("@DIR@", &directory));
        input.push('\n');
    }
    let config = weir.config_file().to_string_lossy().into_owned();
    let answers = route_lines(&["--config", &config, "--database", "hand", "--user", "postgres"], input);
    assert_eq!(answers.len(), lines.len());

    let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let (mut wrong, mut reads, mut on_replica) = (vec![], 0_u32, 0_u32);
    for (line, answer) in lines.iter().zip(&answers) {
        assert_eq!(line["id"], answer["id"], "answers come in order");
        let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        *counts
            .entry((word(&line["label"]), word(&answer["target"]), word(&answer["reason"])))
            .or_default() += 1;
        let replica = answer["target"] == "replica";
        match line["safe_on_replica"].as_bool() {
            Some(false) if replica => {
                wrong.push(format!("{}: {} ({})", line["id"], line["sql"], line["why"]))
            }
            Some(true) if is_single_read(line) => {
                reads += 1;
                on_replica += u32::from(replica);
            }
            _ => {}
        }
    }
    for ((label, target, reason), count) in &counts {
        println!("{label:14} {target:8} {reason:22} {count:6}");
    }
    let share = on_replica as f64 / reads as f64;
    println!("wrong: {}; safe single reads on a replica: {on_replica} of {reads}", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(share >= 0.60, "{share}");
    Ok(())
}

/// A single statement that Postgres's grammar knows as a query, EXPLAIN or COPY.
fn is_single_read(line: &Value) -> bool {
    let read = |node: &Value| matches!(node.as_str(), Some("SelectStmt" | "ExplainStmt" | "CopyStmt"));
    line["sql"].is_string() && line["stmt"].as_array().is_some_and(|nodes| nodes.iter().all(read))
}
