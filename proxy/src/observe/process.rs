//! What this process takes from the machine, under the names that every exporter uses.
//!
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fmt::Write;

/// Clock ticks per second in `/proc/self/stat`: 100 on every Linux of today.
const TICKS: f64 = 100.0;
/// Pages of memory in `/proc/self/statm`.
const PAGE_BYTES: u64 = 4096;

/// Text for `/metrics`; empty where there is no `/proc`.
pub(super) fn metrics() -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = write!(
            out,
            "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}\n"
        );
    };
    if let Some(seconds) = cpu_seconds() {
        put("cpu_seconds_total", "counter", "User and system CPU time", seconds);
    }
    if let Some(seconds) = start_time_seconds() {
        put("start_time_seconds", "gauge", "When the process started, in seconds since 1970", seconds);
    }
    if let Some(bytes) = resident_bytes() {
        put("resident_memory_bytes", "gauge", "Memory in use", bytes as f64);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        put("open_fds", "gauge", "Open files and sockets", files.count() as f64);
    }
    if let Some(max) = max_files() {
        put("max_fds", "gauge", "How many files and sockets may be open", max);
    }
    out
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything: count fields from behind it (utime is the 12th, stime the 13th).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}

/// When this process started, in seconds since 1970: the kernel counts from its own start.
fn start_time_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The 22nd field of all, the 20th behind the name.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + ticks / TICKS)
}

/// Memory in use, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}

fn max_files() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|l| l.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_memory_time_and_open_files() {
        let text = super::metrics();
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds"] {
            let line = text.lines().find(|l| l.starts_with(&format!("process_{name} ")));
            let value: f64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
            assert!(value >= 0.0 && (name == "cpu_seconds_total" || value >= 1.0), "{name} {value}");
        }
    }
}
