//! The database that the runs' own are copies of: set up once, directly.

use crate::application::{Application, Effort, Scene};
use crate::stage::Stage;
use pgweir_tests::HarnessError;
use pgweir_tests::process;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a slow set-up has made, kept beside the application until another version is installed.
const KEPT: &str = "model.dump";

/// Fills an empty database with what the application needs before it starts.
pub fn fill(stage: &Stage, application: &Application, scene: &Scene) -> Result<(), HarnessError> {
    let kept = scene.installed.join(KEPT);
    if kept.exists() {
        return restore(stage, scene, &kept);
    }
    (application.set_up)(scene)?;
    match application.effort {
        Effort::Seconds => Ok(()),
        Effort::Minutes => keep(stage, scene, &kept),
    }
}

/// Forgets what another version has made.
pub fn forget(installed: &Path) {
    let _ = std::fs::remove_file(installed.join(KEPT));
}

fn keep(stage: &Stage, scene: &Scene, kept: &Path) -> Result<(), HarnessError> {
    // Renamed into place: half of a dump is none.
    let fresh = kept.with_extension("new");
    let mut dump = program(stage, scene, "pg_dump");
    dump.args(["--format=custom", "--file"]).arg(&fresh);
    process::run(dump)?;
    std::fs::rename(&fresh, kept)
        .map_err(|error| HarnessError::Io(format!("keeping {}", kept.display()), error))
}

fn restore(stage: &Stage, scene: &Scene, kept: &PathBuf) -> Result<(), HarnessError> {
    let mut restore = program(stage, scene, "pg_restore");
    restore.args(["--no-owner", "--exit-on-error", "--dbname", &scene.login.database]).arg(kept);
    process::run(restore).map(drop)
}

fn program(stage: &Stage, scene: &Scene, name: &str) -> Command {
    let mut command = Command::new(stage.cluster().binaries().program(name));
    command.envs(scene.login.environment());
    command
}
