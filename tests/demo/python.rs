//! The sample application's Python: a virtual environment under `target/`, made once.

use pgweir_tests::HarnessError;
use pgweir_tests::process::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much shall be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What the application runs on.
    Application,
    /// And what drives a browser, if there is one.
    Browser,
    /// And the linters.
    Development,
}

impl Extent {
    /// The file of pinned versions. The later ones include the earlier ones.
    fn requirements(self) -> &'static str {
        match self {
            Extent::Browser if browser() => "requirements-test.txt",
            Extent::Application | Extent::Browser => "requirements.txt",
            Extent::Development => "requirements-dev.txt",
        }
    }
}

/// The application's directory.
pub fn application() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/app")
}

/// Is there a Chromium that tests can drive?
pub fn browser() -> bool {
    [("CHROMIUM", "chromium"), ("CHROMEDRIVER", "chromedriver")].iter().all(|(variable, program)| {
        let program = std::env::var_os(variable).unwrap_or_else(|| program.into());
        let mut command = Command::new(program);
        command.arg("--version");
        run(command).is_ok()
    })
}

/// An interpreter that has what the extent's file names.
pub fn prepared(extent: Extent) -> Result<PathBuf, HarnessError> {
    let name = extent.requirements();
    let file = application().join(name);
    let wanted = all_lines(&file)?;
    let place = target_directory()?.join("demo-venv");
    let python = place.join("bin/python");
    let stamp = place.join(format!("installed-{name}"));
    let usable = runs(&python);
    if usable && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!("Installing the application's Python packages (the first time only) …");
    if !usable {
        make_environment(&place)?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&file);
    run(pip)?;
    std::fs::write(&stamp, wanted)
        .map_err(|error| HarnessError::Io(format!("writing {}", stamp.display()), error))?;
    Ok(python)
}

/// A file of requirements with those that it includes.
fn all_lines(file: &Path) -> Result<String, HarnessError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| HarnessError::Io(format!("reading {}", file.display()), error))?;
    let mut all = String::new();
    for line in text.lines() {
        match line.strip_prefix("-r ") {
            Some(included) => all += &all_lines(&file.with_file_name(included))?,
            None => all += &format!("{line}\n"),
        }
    }
    Ok(all)
}

fn make_environment(place: &Path) -> Result<(), HarnessError> {
    // Debian's own interpreter is the one that Debian's packages complete.
    let system = ["/usr/bin/python3", "/usr/bin/python3.11", "python3"].map(Path::new);
    let system = system.into_iter().find(|program| can_make_environments(program));
    let system =
        system.ok_or_else(|| HarnessError::failed("no Python 3.11 with venv and ensurepip found"))?;
    let mut venv = Command::new(system);
    venv.args(["-m", "venv", "--clear"]).arg(place);
    run(venv).map(drop)
}

/// False for an environment that is not there, or whose interpreter an upgrade has taken away.
fn runs(python: &Path) -> bool {
    succeeds(python, "import pip")
}

fn can_make_environments(program: &Path) -> bool {
    succeeds(program, "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))")
}

fn succeeds(python: &Path, script: &str) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", script]);
    run(command).is_ok()
}

fn target_directory() -> Result<PathBuf, HarnessError> {
    let me =
        std::env::current_exe().map_err(|error| HarnessError::Io("finding this program".into(), error))?;
    let target = me.ancestors().nth(2).map(Path::to_owned);
    target.ok_or_else(|| HarnessError::failed("this program is in no target directory"))
}
