//! Temporary directories that go when the process goes.

use crate::error::{Doing, HarnessError};
use crate::reaper;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A new, empty directory, removed at the end of the process at the latest.
pub fn directory() -> Result<PathBuf, HarnessError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("pgweir-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    // Left behind by a process of the same number, after a power cut perhaps.
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).doing(|| format!("making {}", directory.display()))?;
    reaper::remove_at_end(&directory);
    Ok(directory)
}
