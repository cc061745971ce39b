//! Where the PostgreSQL programs are.

use crate::error::{Doing, HarnessError};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with `postgres`, `initdb` and `pg_basebackup`, and the version found in it.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// Looks into `PGWEIR_PG_BIN`, then `PATH`, then where distributions put them (newest first).
    pub fn find() -> Result<Self, HarnessError> {
        if let Some(directory) = std::env::var_os("PGWEIR_PG_BIN") {
            return Self::at(Path::new(&directory));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::split_paths(&path).chain(distribution_places());
        let found = candidates.filter(|place| place.join("initdb").is_file()).find_map(|place| {
            // A link farm such as /usr/bin may hold `initdb` without its neighbours.
            let real = place.join("initdb").canonicalize().ok()?;
            Self::at(real.parent()?).ok()
        });
        found.ok_or_else(|| {
            HarnessError::failed(
                "no PostgreSQL server programs found: install them (Debian: postgresql) \
                 or point PGWEIR_PG_BIN at the directory that holds initdb and postgres",
            )
        })
    }

    /// Takes the programs in `directory`.
    pub fn at(directory: &Path) -> Result<Self, HarnessError> {
        let output = Command::new(directory.join("postgres"))
            .arg("--version")
            .output()
            .doing(|| format!("running {}/postgres --version", directory.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = text
            .split_whitespace()
            .filter_map(|word| word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .next()
            .ok_or_else(|| HarnessError::failed(format!("no version in {text:?}")))?;
        Ok(Binaries { directory: directory.to_owned(), major })
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The full path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Is this loadable module installed (for `shared_preload_libraries`)?
    pub fn has_module(&self, name: &str) -> bool {
        let file = format!("{name}.so");
        ["../lib", "../lib/postgresql", "../../lib"]
            .iter()
            .any(|lib| self.directory.join(lib).join(&file).is_file())
    }
}

/// Debian and Ubuntu, Red Hat and Fedora, Alpine, source builds; the highest version first.
fn distribution_places() -> Vec<PathBuf> {
    let versioned = |root: &str, prefix: &str| -> Vec<(u32, PathBuf)> {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((name.strip_prefix(prefix)?.parse().ok()?, entry.path().join("bin")))
            })
            .collect()
    };
    let mut places = versioned("/usr/lib/postgresql", "");
    places.extend(versioned("/usr", "pgsql-"));
    places.extend(versioned("/usr/libexec", "postgresql"));
    places.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let fixed = ["/usr/local/pgsql/bin", "/usr/libexec/postgresql"].map(PathBuf::from);
    places.into_iter().map(|(_, place)| place).chain(fixed).collect()
}
