//! PostgreSQL's regression statements, session by session, directly and through pgweir, and what differs.
//!
//! ```text
//! pgweir-replay --corpus DIR [--families 40]
//! ```
//! Two fresh clusters get the same statements in the same order: one is asked directly, before the other
//! stands pgweir with a replica. Each file of the suite is one session. Then every read is asked once
//! more: nothing changes the catalog now, so that the replica is read from as it would be by an
//! application. No refusal by a replica (25006) may come back that a direct connection does not give.

use pgweir_tests::raw::Frame;
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, RawClient, Weir};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One session of the suite: its statements in order, and which of them only read.
struct File {
    name: String,
    statements: Vec<(String, bool)>,
}

/// What came back, as far as it must be the same.
#[derive(PartialEq)]
struct Answer {
    /// SQLSTATEs in order.
    sqlstates: Vec<String>,
    /// DataRow and CommandComplete bodies.
    rows: Vec<Vec<u8>>,
}

/// What the comparison found.
#[derive(Default)]
struct Findings {
    asked: u64,
    same: u64,
    /// (direct, through) SQLSTATEs that differ.
    sqlstates: BTreeMap<(String, String), (u64, String)>,
    /// Rows that differ; an example.
    rows: (u64, String),
    lost: u64,
    /// 25006 that only pgweir's client saw.
    refused: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut corpus, mut families) = (None, usize::MAX);
    while let (Some(option), Some(value)) = (arguments.next(), arguments.next()) {
        match option.as_str() {
            "--corpus" => corpus = Some(PathBuf::from(value)),
            "--families" => families = value.parse().expect("a number"),
            other => panic!("unknown option {other}"),
        }
    }
    let Some(corpus) = corpus else {
        eprintln!("usage: pgweir-replay --corpus DIR [--families N]");
        return ExitCode::FAILURE;
    };
    match replay(&read(&corpus, families)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The suite's files in the order in which they were run.
fn read(corpus: &Path, families: usize) -> Vec<File> {
    let text = std::fs::read_to_string(corpus.join("dev.jsonl")).expect("the corpus can be read");
    let mut files: Vec<File> = vec![];
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of the corpus is JSON");
        if line["source"] != "regress15" {
            continue;
        }
        let name = line["family"].as_str().unwrap_or("?").to_owned();
        let read = line["label"] == "replica_ok";
        let texts: Vec<&str> = match &line["sql"] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let statements = texts.iter().filter(|sql| may_be_replayed(sql)).map(|sql| (sql.to_string(), read));
        match files.iter_mut().find(|file| file.name == name) {
            Some(file) => file.statements.extend(statements),
            None => files.push(File { name, statements: statements.collect() }),
        }
    }
    files.truncate(families);
    files
}

/// Left out: what waits for data from the client, ends the session or the server's peace, or takes long.
fn may_be_replayed(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    ![
        "from stdin",
        "from  stdin",
        "pg_terminate_backend",
        "alter system",
        "pg_sleep",
        "pg_reload_conf",
        "vacuum full",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

fn replay(files: &[File]) -> Result<bool, HarnessError> {
    let direct = Cluster::builder().replicas(0).start()?;
    let split = Cluster::builder().replicas(1).start()?;
    direct.node(0).superuser().sql("CREATE DATABASE regression")?;
    split.node(0).superuser().sql("CREATE DATABASE regression")?;
    split.wait_caught_up()?;
    let weir = Weir::builder(&split).start()?;
    let logins = [direct.node(0).superuser().database("regression"), weir.superuser().database("regression")];
    let mut sound = true;
    for (pass, reads_only) in [("the suite", false), ("its reads once more", true)] {
        let started = Instant::now();
        let before = weir.metrics()?;
        let mut findings = Findings::default();
        for file in files {
            let statements = file.statements.iter().filter(|(_, read)| *read || !reads_only);
            session(&logins, statements.map(|(sql, _)| sql.as_str()), &file.name, &mut findings)?;
        }
        let after = weir.metrics()?;
        let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
        println!("\n{pass}: {} statements in {:.0} s", findings.asked, started.elapsed().as_secs_f64());
        println!("to replicas: {}", grown("pgweir_statements_total", &[("target", "replica")]));
        println!("caught by the safety net: {}", grown("pgweir_reroutes_total", &[]));
        for (cause, count) in after.by_label("pgweir_reroutes_total", "cause") {
            println!("  {cause}: {count} (since the start)");
        }
        findings.print();
        sound &= findings.refused.is_empty();
    }
    weir.assert_sound();
    Ok(sound)
}

/// One session, asked twice.
fn session<'a>(
    logins: &[Login; 2],
    statements: impl Iterator<Item = &'a str>,
    name: &str,
    findings: &mut Findings,
) -> Result<(), HarnessError> {
    let mut clients = [open(&logins[0])?, open(&logins[1])?];
    for sql in statements {
        findings.asked += 1;
        let mut answers = vec![];
        for (client, login) in clients.iter_mut().zip(logins) {
            let answer = ask(client, sql);
            if answer.is_err() {
                *client = open(login)?;
            }
            answers.push(answer.ok());
        }
        match (&answers[0], &answers[1]) {
            (Some(a), Some(b)) => findings.compare(a, b, name, sql),
            _ => findings.lost += 1,
        }
    }
    Ok(())
}

/// A server may still be busy with the session before: try for a while.
fn open(login: &Login) -> Result<RawClient, HarnessError> {
    let mut client = RawClient::login(login);
    for _ in 0..20 {
        if client.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
        client = RawClient::login(login);
    }
    let mut client = client?;
    client.run("SET statement_timeout = '5s'")?;
    Ok(client)
}

fn ask(client: &mut RawClient, sql: &str) -> Result<Answer, HarnessError> {
    let frames: Vec<Frame> = client.query(sql)?;
    let of = |tag: u8| frames.iter().filter(move |frame| frame.tag == tag);
    Ok(Answer {
        sqlstates: of(b'E').filter_map(|frame| frame.field(b'C')).collect(),
        rows: frames.iter().filter(|f| matches!(f.tag, b'D' | b'C')).map(|f| f.body.clone()).collect(),
    })
}

impl Findings {
    fn compare(&mut self, direct: &Answer, through: &Answer, file: &str, sql: &str) {
        if direct == through {
            self.same += 1;
            return;
        }
        let example = format!("{file}: {}", sql.chars().take(160).collect::<String>());
        if direct.sqlstates == through.sqlstates {
            self.rows.0 += 1;
            if self.rows.0 <= 40 {
                self.rows.1.push_str(&format!("    {example}\n"));
            }
            return;
        }
        if through.sqlstates.iter().any(|s| s == "25006") && !direct.sqlstates.iter().any(|s| s == "25006") {
            self.refused.push(example.clone());
        }
        let key = (direct.sqlstates.join(" "), through.sqlstates.join(" "));
        self.sqlstates.entry(key).or_insert((0, example)).0 += 1;
    }

    fn print(&self) {
        println!("the same: {}; other rows: {}; connection lost: {}", self.same, self.rows.0, self.lost);
        print!("{}", self.rows.1);
        for ((direct, through), (count, example)) in &self.sqlstates {
            let word = |s: &str| if s.is_empty() { "success".to_owned() } else { s.to_owned() };
            println!("  {} directly, {} through pgweir: {count}, as {example}", word(direct), word(through));
        }
        println!("25006 through pgweir only: {}", self.refused.len());
        for example in &self.refused {
            println!("  {example}");
        }
    }
}
