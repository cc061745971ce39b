//! Prefect's server.

use crate::application::{Application, Effort, Scene, plain_walker};
use crate::install;
use pgweir_tests::HarnessError;
use pgweir_tests::process::Process;
use std::process::Command;

pub const PREFECT: Application = Application {
    name: "prefect",
    what: "A workflow server with its background services (Python, SQLAlchemy over asyncpg; PyPI)",
    install: |place| install::from_pypi(place, &["prefect==3.9.1"]),
    set_up: |scene| {
        let mut upgrade = prefect(scene);
        upgrade.args(["server", "database", "upgrade", "--yes"]);
        scene.run(upgrade)
    },
    effort: Effort::Seconds,
    serve,
    walker: plain_walker,
    note: "asyncpg and SQLAlchemy begin a transaction for everything, so that nothing splits unless \
           transactions do. A new state reads the run that it has just written, in one transaction: \
           right on the primary only. The primary keeps asyncpg's questions about types, and what \
           is asked beside them.",
};

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    let mut server = prefect(scene);
    server.args(["server", "start", "--no-ui", "--host", "127.0.0.1", "--port", &scene.port.to_string()]);
    Ok(vec![scene.spawn_answering(server, "prefect", "/api/health")?])
}

fn prefect(scene: &Scene) -> Command {
    let database = scene.login.uri().replacen("postgresql://", "postgresql+asyncpg://", 1);
    let mut command = scene.python("prefect");
    command
        .env("PREFECT_API_DATABASE_CONNECTION_URL", database)
        .env("PREFECT_HOME", &scene.place)
        .env("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        .env("DO_NOT_TRACK", "1");
    command
}
