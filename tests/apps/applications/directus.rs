//! Directus, a headless content management system.

use super::SECRET;
use crate::application::{Application, Effort, Scene};
use crate::install;
use pgweir_tests::HarnessError;
use pgweir_tests::process::Process;
use std::process::Command;

const ADMINISTRATOR: &str = "admin@example.com";

pub const DIRECTUS: Application = Application {
    name: "directus",
    what: "A headless content management system (Node, Knex over node-postgres; npm)",
    // The last version that runs on Node 20.
    install: |place| install::from_npm(place, &["directus@11.3.5"]),
    set_up: |scene| {
        let mut bootstrap = directus(scene);
        bootstrap.arg("bootstrap");
        scene.run(bootstrap)
    },
    effort: Effort::Seconds,
    serve,
    walker,
    note: "Reads are single statements, and transactions are for changes. What an INSERT leaves in \
           `currval` pins a session until others want its server.",
};

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    let mut start = directus(scene);
    start.arg("start");
    Ok(vec![scene.spawn_answering(start, "directus", "/server/ping")?])
}

fn directus(scene: &Scene) -> Command {
    let login = &scene.login;
    let mut command = scene.node("directus/cli.js");
    command
        .env("DB_CLIENT", "pg")
        .env("DB_HOST", &login.host)
        .env("DB_PORT", login.port.to_string())
        .env("DB_DATABASE", &login.database)
        .env("DB_USER", &login.user)
        .env("DB_PASSWORD", &login.password)
        .env("HOST", "127.0.0.1")
        .env("PORT", scene.port.to_string())
        .env("PUBLIC_URL", scene.url())
        .env("SECRET", SECRET)
        .env("ADMIN_EMAIL", ADMINISTRATOR)
        .env("ADMIN_PASSWORD", SECRET)
        .env("STORAGE_LOCAL_ROOT", scene.place.join("uploads"))
        .env("EXTENSIONS_PATH", scene.place.join("extensions"))
        .env("TELEMETRY", "false");
    command
}

fn walker(_: &Scene) -> Command {
    let mut python = Command::new("python3");
    python.env("WALK_EMAIL", ADMINISTRATOR).env("WALK_PASSWORD", SECRET);
    python
}
