//! Unleash, feature flags.

use crate::application::{Application, Effort, Scene, plain_walker};
use crate::install;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::process::Process;
use pgweir_tests::{HarnessError, http};
use std::process::Command;

pub const UNLEASH: Application = Application {
    name: "unleash",
    what: "A server of feature flags (Node, Knex over node-postgres; npm)",
    // The last version that runs on Node 20.
    install: |place| install::from_npm(place, &["unleash-server@6.6.0"]),
    set_up,
    effort: Effort::Seconds,
    serve,
    walker: plain_walker,
    note: "Reads are single statements; a change reads, before it writes and after, in one \
           transaction. In one of twenty-three runs with `until_first_write` its server ended halfway; \
           its log was not kept then, and it has not happened again.",
};

/// Its server makes its own tables when it starts, and its administrator when it has started.
fn set_up(scene: &Scene) -> Result<(), HarnessError> {
    let _running = serve(scene)?;
    let address = format!("127.0.0.1:{}", scene.port);
    let login = r#"{"username": "admin", "password": "unleash4all"}"#;
    let json = [("content-type", "application/json")];
    wait_until("the administrator can log in", || {
        http::request(&address, "POST", "/auth/simple/login", &json, login)
            .is_ok_and(|answer| answer.status == 200)
    })
}

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    Ok(vec![scene.spawn_answering(unleash(scene), "unleash", "/health")?])
}

fn unleash(scene: &Scene) -> Command {
    let login = &scene.login;
    let mut command = scene.node("unleash-server/dist/server.js");
    command
        .env("NODE_ENV", "production")
        .env("DATABASE_HOST", &login.host)
        .env("DATABASE_PORT", login.port.to_string())
        .env("DATABASE_NAME", &login.database)
        .env("DATABASE_USERNAME", &login.user)
        .env("DATABASE_PASSWORD", &login.password)
        .env("DATABASE_SSL", "false")
        .env("HTTP_HOST", "127.0.0.1")
        .env("HTTP_PORT", scene.port.to_string())
        .env("CHECK_VERSION", "false")
        .env("SEND_TELEMETRY", "false");
    command
}
