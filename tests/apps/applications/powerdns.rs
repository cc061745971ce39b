//! PowerDNS with its PostgreSQL backend.

use super::SECRET;
use crate::application::{Application, Effort, Scene};
use crate::install;
use pgweir_tests::HarnessError;
use pgweir_tests::process::Process;
use std::process::Command;

const PROGRAM: &str = "/usr/sbin/pdns_server";
const SCHEMA: &str = "/usr/share/pdns-backend-pgsql/schema/schema.pgsql.sql";

pub const POWERDNS: Application = Application {
    name: "powerdns",
    what: "A name server (C++, libpq; Debian)",
    install: |_| install::from_debian(&[PROGRAM, SCHEMA]),
    set_up,
    effort: Effort::Seconds,
    serve,
    walker,
    note: "A change is a transaction that reads the zone which it has just changed: these reads are \
           right on the primary only. Questions by DNS, the API's reads and those before a change \
           are on replicas.",
};

fn set_up(scene: &Scene) -> Result<(), HarnessError> {
    let schema = std::fs::read_to_string(SCHEMA)
        .map_err(|error| HarnessError::Io(format!("reading {SCHEMA}"), error))?;
    scene.login.sql(&schema).map(drop)
}

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    let login = &scene.login;
    let (place, port, dns_port) = (scene.place.display(), scene.port, scene.other_port);
    let (database_port, database, user, password) =
        (login.port, &login.database, &login.user, &login.password);
    scene.write(
        "pdns.conf",
        &format!(
            "launch=gpgsql\n\
             gpgsql-host={}\ngpgsql-port={database_port}\ngpgsql-dbname={database}\n\
             gpgsql-user={user}\ngpgsql-password={password}\ngpgsql-dnssec=yes\n\
             local-address=127.0.0.1\nlocal-port={dns_port}\nsocket-dir={place}\nsecurity-poll-suffix=\n\
             webserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={port}\napi=yes\napi-key={SECRET}\n",
            login.host
        ),
    )?;
    let mut command = Command::new(PROGRAM);
    command.arg(format!("--config-dir={place}")).args(["--daemon=no", "--guardian=no", "--write-pid=no"]);
    Ok(vec![scene.spawn_answering(command, "pdns", "/api/v1/servers")?])
}

fn walker(_: &Scene) -> Command {
    let mut python = Command::new("python3");
    python.env("WALK_KEY", SECRET);
    python
}
