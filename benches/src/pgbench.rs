//! One run of pgbench, read from its per-transaction log.
//!
//! The log tells when each transaction ended, so the transactions between two readings of a
//! process's CPU time can be counted exactly: log-ins at the beginning and stragglers at the end
//! belong to no figure.

use crate::bench_error::BenchError;
use pgweir_tests::sql::Login;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One transaction of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transaction {
    /// Which client ran it.
    pub client: u32,
    /// Its duration, µs, without connecting.
    pub micros: f64,
    /// When it ended, seconds since the epoch.
    pub ended: f64,
}

/// What pgbench is told.
#[derive(Debug)]
pub struct Run<'a> {
    /// The program.
    pub program: &'a Path,
    /// Where it connects.
    pub login: &'a Login,
    /// Script and protocol.
    pub arguments: &'a [String],
    /// `-c`.
    pub clients: usize,
    /// `-T`, whole seconds.
    pub seconds: u64,
    /// Size of the tables, for scripts of ours.
    pub scale: u32,
    /// An empty directory for the log.
    pub directory: &'a Path,
}

impl Run<'_> {
    /// Starts it.
    pub fn start(&self) -> Result<Child, BenchError> {
        Ok(Command::new(self.program)
            .current_dir(self.directory)
            .envs(self.login.environment())
            // What is compared offers TLS or does not: without it all have the same to do.
            .env("PGSSLMODE", "disable")
            .args(self.arguments)
            .args(["-n", "-l", "--log-prefix=transactions", "-j", "2"])
            .args(["-c", &self.clients.to_string()])
            .args(["-T", &self.seconds.to_string()])
            .args(["-D", &format!("scale={}", self.scale)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    /// Waits for its end; its words if it failed or any client of it did.
    pub fn finish(&self, child: Child) -> Result<Vec<Transaction>, BenchError> {
        let output = child.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        // pgbench goes on with the clients that are left; we don't.
        if !output.status.success() || words.contains("aborted") {
            let first: Vec<&str> = words.lines().filter(|line| line.contains("error")).take(2).collect();
            return Err(BenchError(format!("pgbench ended with {}: {}", output.status, first.join("; "))));
        }
        let mut transactions = Vec::new();
        for entry in std::fs::read_dir(self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("transactions.") {
                let text = std::fs::read_to_string(&path)?;
                transactions.extend(text.lines().filter_map(parse));
                std::fs::remove_file(&path)?;
            }
        }
        Ok(transactions)
    }
}

/// `client transaction time script epoch micros`, see
/// <https://www.postgresql.org/docs/current/pgbench.html>, "Per-Transaction Logging".
fn parse(line: &str) -> Option<Transaction> {
    let mut fields = line.split_whitespace();
    let client = fields.next()?.parse().ok()?;
    let micros = fields.nth(1)?.parse().ok()?;
    let seconds: f64 = fields.nth(1)?.parse().ok()?;
    let fraction: f64 = fields.next()?.parse().ok()?;
    Some(Transaction { client, micros, ended: seconds + fraction / 1e6 })
}

/// The clock that pgbench's log uses, seconds.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// The times, µs, from one transaction's end to the next one's, client by client: with `-C` that
/// is a whole cycle of connecting, asking and leaving.
pub fn cycles(transactions: &[Transaction]) -> Vec<f64> {
    let mut last: HashMap<u32, f64> = HashMap::new();
    let mut found = Vec::new();
    for transaction in transactions {
        if let Some(before) = last.insert(transaction.client, transaction.ended) {
            found.push((transaction.ended - before) * 1e6);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read() {
        let read = parse("3 199 2241 0 1175850568 995598").expect("a line");
        assert_eq!((read.client, read.micros), (3, 2241.0));
        assert!((read.ended - 1_175_850_568.995_598).abs() < 1e-6);
        assert_eq!(parse("3 199 skipped 0 1175850568 995598"), None);
    }

    #[test]
    fn a_cycle_is_counted_client_by_client() {
        let at = |client, ended| Transaction { client, micros: 1.0, ended };
        assert_eq!(cycles(&[at(0, 1.0), at(1, 1.5), at(0, 3.0)]), vec![2e6]);
    }
}
