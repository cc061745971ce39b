//! The sample application's Python: a virtual environment under `target/`, made once.

use pgweir_tests::HarnessError;
use pgweir_tests::process::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The application's directory.
pub fn application() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/app")
}

/// An interpreter that has what `requirements.txt` names.
pub fn prepared() -> Result<PathBuf, HarnessError> {
    let wanted = application().join("requirements.txt");
    let wanted = std::fs::read_to_string(&wanted)
        .map_err(|error| HarnessError::Io(format!("reading {}", wanted.display()), error))?;
    let place = target_directory()?.join("demo-venv");
    let stamp = place.join("installed-requirements.txt");
    let python = place.join("bin/python");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!("Installing the application's Python packages (the first time only) …");
    // Debian's own interpreter is the one that Debian's packages complete.
    let system = ["/usr/bin/python3", "python3"];
    let system = system.iter().find(|program| can_make_environments(program));
    let system =
        system.ok_or_else(|| HarnessError::failed("no Python 3.11 with venv and ensurepip found"))?;
    let mut venv = Command::new(system);
    venv.args(["-m", "venv", "--clear"]).arg(&place);
    run(venv)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    pip.arg(application().join("requirements.txt"));
    run(pip)?;
    std::fs::write(&stamp, wanted)
        .map_err(|error| HarnessError::Io(format!("writing {}", stamp.display()), error))?;
    Ok(python)
}

fn can_make_environments(program: &str) -> bool {
    let test = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    Command::new(program).args(["-c", test]).output().is_ok_and(|output| output.status.success())
}

fn target_directory() -> Result<PathBuf, HarnessError> {
    let me =
        std::env::current_exe().map_err(|error| HarnessError::Io("finding this program".into(), error))?;
    let target = me.ancestors().nth(2).map(Path::to_owned);
    target.ok_or_else(|| HarnessError::failed("this program is in no target directory"))
}
