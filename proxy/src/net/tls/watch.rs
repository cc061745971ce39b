//! Notices that certificate files were replaced.

use crate::limits::CERTIFICATES_CHECK_EVERY;
use parking_lot::Mutex;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What changes when a file is replaced, be it by a rename on the way to it: inode, size, time.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Files, and what they looked like when they were last read.
#[derive(Debug)]
pub(super) struct Watch(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    files: Vec<(PathBuf, Stamp)>,
    at: Instant,
}

impl Watch {
    /// To be made before the files are read, so that no change is missed.
    pub(super) fn over<'a>(files: impl IntoIterator<Item = Option<&'a PathBuf>>) -> Self {
        let files = files.into_iter().flatten().map(|path| (path.clone(), stamp(path))).collect();
        Self(Mutex::new(Seen { files, at: Instant::now() }))
    }

    /// True once after a change. Looks at the files at most every [`CERTIFICATES_CHECK_EVERY`].
    pub(super) fn has_changed(&self) -> bool {
        let mut seen = self.0.lock();
        seen.at.elapsed() >= CERTIFICATES_CHECK_EVERY && seen.look()
    }
}

impl Seen {
    fn look(&mut self) -> bool {
        self.at = Instant::now();
        let mut changed = false;
        for (path, seen) in &mut self.files {
            let now = stamp(path);
            changed |= now != *seen;
            *seen = now;
        }
        changed
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_noticed_once() {
        let path = std::env::temp_dir().join(format!("pgweir-watch-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let watch = Watch::over([Some(&path), None]);
        assert!(!watch.0.lock().look());
        assert!(!watch.has_changed(), "not looked at again so soon");
        std::fs::write(&path, "another").unwrap();
        assert!(watch.0.lock().look());
        assert!(!watch.0.lock().look());
        std::fs::remove_file(&path).unwrap();
        assert!(watch.0.lock().look());
    }
}
