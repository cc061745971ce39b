//! What freshness may cost, held against what was measured.

use super::Results;

/// One aim, and whether this run shows that it is met.
#[derive(Debug)]
pub struct Aim {
    /// What is aimed at.
    pub text: String,
    /// What was measured.
    pub measured: String,
    /// `holds`, `missed`, or `not shown` where the figures decide neither.
    pub verdict: &'static str,
}

/// `proxy` may cost so much more than `eventual` while nothing is written.
const CPU_MORE_MAX: f64 = 0.02;
/// The share of the reads of tables that are not written that replicas serve at least.
const SHARE_MIN: f64 = 0.95;
/// Writes per second to the table, in the aim about waits.
pub const WAITED_WRITES: u64 = 100;
/// Beyond the delay, a read of a table that is written waits no longer, ms.
const WAIT_BEYOND_MS: f64 = 5.0;
/// What an idle prober may cost a node, share of a core.
const IDLE_MAX: f64 = 0.001;

/// All of them, as far as the run says anything about them.
pub fn of(results: &Results) -> Vec<Aim> {
    let at = |level: &'static str| results.lines.iter().filter(move |line| line.level == level);
    let mut aims = Vec::new();
    for line in at("proxy").filter(|line| line.delay_ms == 5 && (line.writes == 0 || !line.same_table)) {
        aims.push(Aim {
            text: format!(
                "`proxy`, delay 5 ms, {} writes/s elsewhere: at least 95 % of the reads on replicas",
                line.writes
            ),
            measured: format!("{:.2} %", line.replica_share * 100.0),
            verdict: verdict(line.replica_share >= SHARE_MIN),
        });
    }
    for line in at("proxy").filter(|line| line.writes == WAITED_WRITES && line.same_table) {
        let most = line.delay_ms as f64 + WAIT_BEYOND_MS;
        aims.push(Aim {
            text: format!(
                "`proxy`, delay {} ms, {WAITED_WRITES} writes/s to the table: 99 % of the reads wait less than {most} ms",
                line.delay_ms
            ),
            measured: match results.floors.iter().find(|floor| floor.delay_ms == line.delay_ms) {
                Some(floor) => format!(
                    "{:.2} ms (99 % of {} writes were on a replica within {:.2} ms, half within {:.2} ms)",
                    line.wait_p99_ms, floor.writes, floor.p99_ms, floor.p50_ms
                ),
                None => format!("{:.2} ms", line.wait_p99_ms),
            },
            verdict: verdict(line.wait_p99_ms < most),
        });
    }
    if let Some(ratio) = &results.ratio {
        let (low, high) = (ratio.mean - ratio.margin - 1.0, ratio.mean + ratio.margin - 1.0);
        aims.push(Aim {
            text: "`proxy` costs at most 2 % CPU more than `eventual` while nothing is written".into(),
            measured: format!(
                "{:+.2} % ({:+.2} to {:+.2} %, {} pairs of slices in one process)",
                (ratio.mean - 1.0) * 100.0,
                low * 100.0,
                high * 100.0,
                ratio.pairs
            ),
            verdict: match (high <= CPU_MORE_MAX, low > CPU_MORE_MAX) {
                (true, _) => "holds",
                (_, true) => "missed",
                _ => "not shown",
            },
        });
    }
    let added = at("proxy").map(|line| line.statements_added).fold(0.0, f64::max);
    if at("proxy").next().is_some() {
        aims.push(Aim {
            text: "`proxy` sends no statement more to the primary than clients do".into(),
            measured: format!("{added:.0} of {}", at("proxy").map(|line| line.written).sum::<usize>()),
            verdict: verdict(added == 0.0),
        });
    }
    let most = results.idle.iter().copied().fold(0.0, f64::max);
    aims.push(Aim {
        text: "an idle prober costs each node less than 0.1 % of a core".into(),
        measured: format!("{:.3} % at most", most * 100.0),
        verdict: verdict(most < IDLE_MAX),
    });
    aims
}

fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "missed" }
}
