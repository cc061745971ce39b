//! The directory of pgweir's own on this machine: where it is, and that nobody else may enter it.

use rustix::process::geteuid;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What systemd made for us, or the user's own, or one among the temporary files.
pub(super) fn usual(environment: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let variable = |name| environment(name).filter(|value| !value.is_empty());
    if let Some(made) = variable("RUNTIME_DIRECTORY") {
        // Several are separated by colons.
        return PathBuf::from(made.split(':').next().unwrap_or_default()).join("peers");
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(own) => PathBuf::from(own).join("pgweir"),
        None => std::env::temp_dir().join(format!("pgweir-{}", geteuid().as_raw())),
    }
}

/// Makes it where it is missing.
///
/// # Errors
/// When that cannot be done, or others may enter it.
pub fn enter(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Not followed: somebody else's link could lead anywhere.
    let found = std::fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other("not a directory that this user alone may enter"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual_with(name: &str, value: &str) -> PathBuf {
        usual(&|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn it_is_where_the_system_wants_such_directories() {
        assert_eq!(usual_with("RUNTIME_DIRECTORY", "/run/pgweir:/run/more"), Path::new("/run/pgweir/peers"));
        assert_eq!(usual_with("XDG_RUNTIME_DIR", "/run/user/7"), Path::new("/run/user/7/pgweir"));
        assert!(usual_with("XDG_RUNTIME_DIR", "").starts_with(std::env::temp_dir()));
    }
}
