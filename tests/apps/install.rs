//! Applications under `target/apps`, installed once per version.

use crate::model;
use pgweir_tests::HarnessError;
use pgweir_tests::process::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where all of them are.
pub fn shelf() -> Result<PathBuf, HarnessError> {
    let me =
        std::env::current_exe().map_err(|error| HarnessError::Io("finding this program".into(), error))?;
    let target = me
        .ancestors()
        .nth(2)
        .ok_or_else(|| HarnessError::failed("this program is in no target directory"))?;
    Ok(target.join("apps"))
}

/// Where one of them is.
pub fn place(name: &str) -> Result<PathBuf, HarnessError> {
    let place = shelf()?.join(name);
    std::fs::create_dir_all(&place)
        .map_err(|error| HarnessError::Io(format!("making {}", place.display()), error))?;
    Ok(place)
}

/// Packages from PyPI, in a virtual environment of their own.
pub fn from_pypi(place: &Path, packages: &[&str]) -> Result<(), HarnessError> {
    once(place, packages, || {
        let venv = place.join("venv");
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&venv);
        run(make)?;
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(pip).map(drop)
    })
}

/// Packages from npm.
pub fn from_npm(place: &Path, packages: &[&str]) -> Result<(), HarnessError> {
    once(place, packages, || {
        // Without a file of ours, npm would look for one in the directories above.
        std::fs::write(place.join("package.json"), "{\"private\": true}\n")
            .map_err(|error| HarnessError::Io("writing package.json".into(), error))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .args(packages)
            .current_dir(place);
        run(npm).map(drop)
    })
}

/// What `deploy/demo/prepare.sh apps` installs from Debian: is it there?
pub fn from_debian(files: &[&str]) -> Result<(), HarnessError> {
    match files.iter().find(|file| !Path::new(file).exists()) {
        None => Ok(()),
        Some(file) => {
            Err(HarnessError::failed(format!("{file} is missing: run `deploy/demo/prepare.sh apps`")))
        }
    }
}

/// Installs unless the same packages have been installed to the end before.
fn once(
    place: &Path,
    packages: &[&str],
    install: impl FnOnce() -> Result<(), HarnessError>,
) -> Result<(), HarnessError> {
    let stamp = place.join("installed");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("  installing {} (the first time only) …", packages.join(", "));
    model::forget(place);
    install()?;
    std::fs::write(&stamp, wanted)
        .map_err(|error| HarnessError::Io(format!("writing {}", stamp.display()), error))
}
