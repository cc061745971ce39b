//! The log lines that rules ask for (`rule[].log`): one per statement, so many a second.

use super::rate::LogLimit;
use router_rules::session::Who;
use router_rules::{Classified, Decision};
use std::time::{Duration, Instant};

/// Lines per second; what comes beyond them is counted, and the count is logged. A rule that matches
/// everything must not fill a disk.
const LINES_PER_SECOND_MAX: u32 = 100;

/// Writes the lines.
#[derive(Debug)]
pub struct Ruled {
    limit: LogLimit,
}

impl Default for Ruled {
    fn default() -> Self {
        Self { limit: LogLimit::new(LINES_PER_SECOND_MAX, Duration::from_secs(1)) }
    }
}

impl Ruled {
    /// A statement was matched by a rule that wants it logged. SQL and values are not written: the shape
    /// names the statement.
    pub fn log(&self, rule: &str, part: &Classified, decision: &Decision, who: Who<'_>) {
        let Some(left_out) = self.limit.allow(Instant::now()) else { return };
        if left_out > 0 {
            tracing::info!(left_out, "log lines of rules were left out: too many in one second");
        }
        tracing::info!(
            rule,
            kind = part.statements.first().map_or("empty", |s| s.kind.as_str()),
            shape = format_args!("{:016x}", part.shape),
            role = decision.target.as_str(),
            reason = decision.reason.as_str(),
            refused = decision.refuse.is_some(),
            user = who.user,
            database = who.database,
            "a rule matched"
        );
    }
}
