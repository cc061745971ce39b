//! procrastinate, a job queue in the database.

use crate::application::{Application, Effort, Scene};
use crate::install;
use pgweir_tests::HarnessError;
use pgweir_tests::process::Process;
use std::path::PathBuf;
use std::process::Command;

pub const PROCRASTINATE: Application = Application {
    name: "procrastinate",
    what: "A job queue with one worker (Python, psycopg 3; PyPI)",
    install: |place| install::from_pypi(place, &["procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9"]),
    set_up,
    effort: Effort::Seconds,
    serve,
    walker: |scene| with_libpq(scene, scene.python("python")),
    note: "Its connections are not in autocommit: each query is a transaction of its own, so that \
           nothing splits unless transactions do. Jobs are fetched and ended by functions that \
           write, which are no reads. The worker listens, which pins its session.",
};

fn set_up(scene: &Scene) -> Result<(), HarnessError> {
    let mut schema = procrastinate(scene);
    schema.args(["schema", "--apply"]);
    scene.run(schema)?;
    // What the walk's tasks leave behind.
    scene.login.sql("CREATE TABLE results (job bigint PRIMARY KEY, sum int NOT NULL)").map(drop)
}

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    let mut worker = procrastinate(scene);
    worker.args(["worker", "--concurrency", "4"]);
    Ok(vec![scene.spawn(worker, "worker")?])
}

fn procrastinate(scene: &Scene) -> Command {
    let walks = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("apps/walks");
    let mut command = with_libpq(scene, scene.python("procrastinate"));
    command
        .env("PYTHONPATH", walks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["--app", "procrastinate_tasks.app"]);
    command
}

/// libpq's own variables say where the database is.
fn with_libpq(scene: &Scene, mut command: Command) -> Command {
    command.envs(scene.login.environment());
    command
}
