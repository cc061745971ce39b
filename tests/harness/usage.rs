//! What a process and its children have used, from `/proc`.

use std::collections::HashMap;
use std::time::Duration;

/// CPU time and memory of a process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User CPU time.
    pub user: Duration,
    /// System CPU time.
    pub system: Duration,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

impl Usage {
    /// Adds up `pid`, its living descendants, and the children that they have waited for.
    pub fn of_tree(pid: u32) -> Usage {
        let mut pids = descendants(pid);
        pids.push(pid);
        let mut sum = Usage::default();
        for pid in pids {
            let Some(stat) = Stat::read(pid) else {
                continue;
            };
            sum.user += ticks(stat.user);
            sum.system += ticks(stat.system);
            sum.resident_bytes += resident_bytes(pid);
        }
        sum
    }

    /// User and system time together.
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// CPU time of `pid`'s living threads and those of its living descendants, to the nanosecond where
/// [`Usage`] counts hundredths of a second.
///
/// <https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat>
pub fn on_cpu(pid: u32) -> Duration {
    let of_thread = |entry: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let of_process = |pid: u32| -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.filter_map(of_thread).sum()
    };
    Duration::from_nanos(descendants(pid).into_iter().map(of_process).sum::<u64>() + of_process(pid))
}

/// All living children of `pid`, their children, and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = Stat::read(child) {
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let mut found = children.remove(&pid).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found
}

struct Stat {
    parent: u32,
    user: u64,
    system: u64,
}

impl Stat {
    /// `/proc/PID/stat`, see proc(5); the second field may itself hold blanks and parentheses.
    fn read(pid: u32) -> Option<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
        Some(Stat {
            parent: number(1)? as u32,
            user: number(11)? + number(13)?,
            system: number(12)? + number(14)?,
        })
    }
}

/// Linux reports in hundredths of a second on every architecture that Rust runs on here.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 10)
}

fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
