//! Where an application's reads ran, by the servers' own logs.

use crate::judge::is_read;
use pgweir_tests::cluster::APP;
use pgweir_tests::{Cluster, HarnessError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

/// User, database and transaction id of each entry: a read with an id comes after a write of its transaction.
pub const LINE_PREFIX: &str = "%m [%p] %u@%d %x ";

/// How far each node's log had come.
#[derive(Debug)]
pub struct Mark(Vec<u64>);

/// What was read, and where.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    /// On the replicas.
    pub replicas: u64,
    /// On the primary, in a transaction that had written: nowhere else is it right.
    pub after_write: u64,
    /// The others on the primary.
    pub kept: u64,
    /// Those by their shape.
    pub kept_shapes: BTreeMap<String, u64>,
    /// All shapes.
    pub shapes: BTreeSet<String>,
    /// What pgweir asked on its own account, in sessions of the application's role.
    pub own: u64,
}

impl Reads {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.replicas + self.after_write + self.kept
    }

    /// Of all reads, those on replicas, in percent.
    pub fn share(&self) -> f64 {
        self.replicas as f64 * 100.0 / self.all().max(1) as f64
    }

    /// Of the reads that need not see a write of their own transaction, those on replicas, in percent.
    pub fn share_of_free(&self) -> f64 {
        self.replicas as f64 * 100.0 / (self.replicas + self.kept).max(1) as f64
    }

    fn add(&mut self, text: &str, on_primary: bool, has_written: bool, known: Option<&Reads>) {
        let shape = shape(text);
        // pgweir spells out pg_catalog; applications do so too, but they do it directly as well.
        if known.is_some_and(|known| !known.shapes.contains(&shape)) && text.contains("pg_catalog.") {
            self.own += 1;
            return;
        }
        match (on_primary, has_written) {
            (false, _) => self.replicas += 1,
            (true, true) => self.after_write += 1,
            (true, false) => {
                self.kept += 1;
                *self.kept_shapes.entry(shape.clone()).or_default() += 1;
            }
        }
        self.shapes.insert(shape);
    }
}

impl Mark {
    /// From here on.
    pub fn set(cluster: &Cluster) -> Mark {
        let length = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        Mark(cluster.nodes().iter().map(|node| length(node.log())).collect())
    }

    /// The reads in this database since then. `known` are those of the direct run.
    pub fn count(
        &self,
        cluster: &Cluster,
        database: &str,
        known: Option<&Reads>,
    ) -> Result<Reads, HarnessError> {
        let writers = writers(cluster, database)?;
        let mut reads = Reads::default();
        for (index, node) in cluster.nodes().iter().enumerate() {
            let on_primary = index == cluster.primary();
            for (has_written, text) in statements(&since(node.log(), self.0[index])?, database) {
                if is_read(&text, &writers) {
                    reads.add(&text, on_primary, has_written, known);
                }
            }
        }
        Ok(reads)
    }
}

fn since(log: &std::path::Path, start: u64) -> Result<String, HarnessError> {
    let failed = |error| HarnessError::Io(format!("reading {}", log.display()), error);
    let mut file = std::fs::File::open(log).map_err(failed)?;
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The statements of the application's role: had its transaction an id, and the text.
fn statements(log: &str, database: &str) -> Vec<(bool, String)> {
    let who = format!("] {APP}@{database} ");
    let mut found: Vec<(bool, String)> = Vec::new();
    let mut ours = false;
    for line in log.lines() {
        // Later lines of an entry begin with a tab.
        if let Some(more) = line.strip_prefix('\t') {
            if let Some((_, text)) = found.last_mut().filter(|_| ours) {
                text.push('\n');
                text.push_str(more);
            }
            continue;
        }
        let entry = line.split_once(&who).and_then(|(_, rest)| rest.split_once(" LOG:  "));
        let statement = entry.and_then(|(id, message)| Some((id, statement(message)?)));
        ours = statement.is_some();
        found.extend(statement.map(|(id, text)| (id != "0", text.to_owned())));
    }
    found
}

/// `statement: …` or `execute name: …`; further rows of a portal (`execute fetch from`) are no statement.
fn statement(message: &str) -> Option<&str> {
    if let Some(text) = message.strip_prefix("statement: ") {
        return Some(text);
    }
    let (name, text) = message.strip_prefix("execute ")?.split_once(": ")?;
    (!name.starts_with("fetch from ")).then_some(text)
}

/// A statement without its literals, in one line.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut quoted = false;
    let mut digits = false;
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if c == '\'' {
            quoted = !quoted;
            shape.push_str(if quoted { "?" } else { "" });
            continue;
        }
        let is_digit =
            c.is_ascii_digit() && (digits || !shape.ends_with(|p: char| p.is_alphanumeric() || p == '_'));
        match (quoted, is_digit) {
            (true, _) => {}
            (false, true) => shape.push_str(if digits { "" } else { "?" }),
            (false, false) => shape.push(c),
        }
        digits = is_digit;
    }
    shape
}

/// The names of the database's own functions that may write.
fn writers(cluster: &Cluster, database: &str) -> Result<Vec<String>, HarnessError> {
    let sql = "SELECT DISTINCT proname FROM pg_proc WHERE provolatile = 'v' AND oid >= 16384";
    let rows = cluster.sql(cluster.primary(), database, sql)?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_entry_by_entry() {
        let log = "2026-01-01 00:00:00.1 UTC [7] app@shop 0 LOG:  execute <unnamed>: SELECT 1\n\tFROM t\n\
                   2026-01-01 00:00:00.1 UTC [7] app@shop 0 DETAIL:  parameters: $1 = '1'\n\tmore\n\
                   2026-01-01 00:00:00.1 UTC [7] app@shop 0 LOG:  execute fetch from c: SELECT 2\n\
                   2026-01-01 00:00:00.1 UTC [8] app@other 0 LOG:  statement: SELECT 3\n\
                   2026-01-01 00:00:00.1 UTC [7] app@shop 741 LOG:  statement: SELECT 4\n";
        let expected = [(false, "SELECT 1\nFROM t".to_owned()), (true, "SELECT 4".to_owned())];
        assert_eq!(statements(log, "shop"), expected);
    }

    #[test]
    fn a_shape_has_no_literals() {
        assert_eq!(shape("SELECT a1,\n 23 FROM t2 WHERE x = 'it' AND y IN ($1, 4)"), {
            "SELECT a1, ? FROM t2 WHERE x = ? AND y IN ($?, ?)"
        });
    }
}
