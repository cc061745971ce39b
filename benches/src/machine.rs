//! What the figures were measured on.

use serde::Serialize;
use std::process::Command;

/// The machine and the programs, without a date: results are compared by commit.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Processor model.
    pub processor: String,
    /// Cores that the run could use.
    pub cores: usize,
    /// Memory, GiB.
    pub memory_gib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Distribution.
    pub system: String,
    /// Name and version of each program.
    pub programs: Vec<(String, String)>,
}

impl Machine {
    /// Looks around.
    pub fn look(programs: Vec<(String, String)>) -> Machine {
        Machine {
            processor: field("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: field("/proc/meminfo", "MemTotal", ':')
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| (kib + (1 << 19)) >> 20),
            kernel: read("/proc/sys/kernel/osrelease"),
            system: field("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "unknown".into()),
            programs,
        }
    }
}

/// The first line that `program --version` says, on either output.
pub fn version(mut command: Command) -> String {
    let Ok(output) = command.output() else { return "not installed".into() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// The command line that asks for the same run again, wherever this pgweir was built.
pub fn asked() -> String {
    let mut words = std::env::args().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--pgweir" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str, separator: char) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(separator)?.1.trim().trim_matches('"').to_owned())
}
