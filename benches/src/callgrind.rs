//! A program under `valgrind --tool=callgrind`, asked from time to time what it has counted.

use crate::bench_error::BenchError;
use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A process that valgrind runs.
#[derive(Debug)]
pub struct Counted {
    process: u32,
    directory: PathBuf,
    dumps: Cell<u32>,
}

impl Counted {
    /// The programs that are needed are here.
    pub fn is_possible() -> bool {
        let runs = |name: &str| {
            let mut command = Command::new(name);
            command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        runs("valgrind") && runs("vgdb")
    }

    /// A program that runs this one and counts; what it counts goes to `directory`.
    pub fn program(counted: &Path, directory: &Path) -> Result<PathBuf, BenchError> {
        let path = directory.join("counted.sh");
        let text = format!(
            "#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file='{}/out' --vgdb=yes --quiet '{}' \"$@\"\n",
            directory.display(),
            counted.display()
        );
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        Ok(path)
    }

    /// The process that was started by such a program.
    pub fn of(process: u32, directory: &Path) -> Counted {
        Counted { process, directory: directory.to_owned(), dumps: Cell::new(0) }
    }

    /// Instructions since the last call. Their profile is kept under this name.
    pub fn dump(&self, name: &str) -> Result<u64, BenchError> {
        let output =
            Command::new("vgdb").args([&format!("--pid={}", self.process), "dump", name]).output()?;
        if !output.status.success() {
            return Err(BenchError(format!("vgdb: {}", String::from_utf8_lossy(&output.stderr))));
        }
        self.dumps.set(self.dumps.get() + 1);
        let written = self.directory.join(format!("out.{}", self.dumps.get()));
        let profile = self.directory.join(name);
        std::fs::rename(&written, &profile)
            .map_err(|error| BenchError(format!("{}: {error}", written.display())))?;
        total(&std::fs::read_to_string(&profile)?)
            .ok_or_else(|| BenchError(format!("{} has no totals", profile.display())))
    }
}

/// The sum over a profile: <https://valgrind.org/docs/manual/cl-format.html>.
fn total(profile: &str) -> Option<u64> {
    let line = profile.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_read() {
        assert_eq!(total("version: 1\nevents: Ir\nfn=(1) f\n12 40\n\ntotals: 12345\n"), Some(12_345));
        assert_eq!(total("version: 1\n"), None);
    }
}
