//! Redmine, as Debian packages it.

use super::SECRET;
use crate::application::{Application, Effort, Scene, plain_walker};
use crate::install;
use pgweir_tests::HarnessError;
use pgweir_tests::process::{self, Process};
use std::process::Command;

const PROGRAM: &str = "/usr/share/redmine";

/// Redmine's administrator has to change the password first, and its API is off.
const OPEN: &str = "Setting.rest_api_enabled = '1'; \
     admin = User.find_by_login('admin'); admin.must_change_passwd = false; admin.save!";

pub const REDMINE: Application = Application {
    name: "redmine",
    what: "A project and issue tracker (Ruby on Rails, ActiveRecord over pg; Debian)",
    install: |_| install::from_debian(&[PROGRAM, "/usr/bin/puma"]),
    set_up,
    effort: Effort::Seconds,
    serve,
    walker: plain_walker,
    note: "Rails opens transactions for changes only, and a page is dozens of reads. The primary \
           keeps those for which no replica had caught up within `freshness_wait`, since pages come \
           right after changes on a machine with two cores.",
};

fn set_up(scene: &Scene) -> Result<(), HarnessError> {
    copy(scene)?;
    for task in ["db:migrate", "redmine:load_default_data"] {
        let mut rake = ruby(scene, "rake");
        rake.arg(task).env("REDMINE_LANG", "en");
        scene.run(rake)?;
    }
    let mut runner = ruby(scene, "rails");
    runner.args(["runner", OPEN]);
    scene.run(runner)
}

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    copy(scene)?;
    let mut server = ruby(scene, "rails");
    server.args(["server", "--using", "puma", "--binding", "127.0.0.1", "--port", &scene.port.to_string()]);
    Ok(vec![scene.spawn_answering(server, "redmine", "/")?])
}

/// An instance of its own: Redmine keeps configuration, caches and files below its program.
fn copy(scene: &Scene) -> Result<(), HarnessError> {
    let copy = scene.place.join("redmine");
    if copy.exists() {
        return Ok(());
    }
    let mut cp = Command::new("cp");
    cp.args(["--recursive", "--no-preserve=ownership", PROGRAM]).arg(&copy);
    process::run(cp)?;
    // In the package these lead to what the whole machine has.
    let instances = copy.join("instances");
    for link in [&instances, &copy.join("Gemfile.lock")] {
        std::fs::remove_file(link).map_err(|error| HarnessError::Io("removing a link".into(), error))?;
    }
    for directory in ["config", "tmp", "log", "files"] {
        std::fs::create_dir_all(instances.join("default").join(directory))
            .map_err(|error| HarnessError::Io(format!("making {directory}"), error))?;
    }
    // Where Redmine looks for the web server that its administrator has chosen.
    scene.write("redmine/Gemfile.local", "gem \"puma\"\n")?;
    let login = &scene.login;
    let (host, port, database, user, password) =
        (&login.host, login.port, &login.database, &login.user, &login.password);
    scene
        .write(
            "redmine/instances/default/config/database.yml",
            &format!(
                "production:\n  adapter: postgresql\n  encoding: utf8\n  host: {host}\n  port: {port}\n\
                 \x20 database: {database}\n  username: {user}\n  password: {password}\n"
            ),
        )
        .map(drop)
}

fn ruby(scene: &Scene, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(scene.place.join("redmine"))
        .env("RAILS_ENV", "production")
        .env("SECRET_KEY_BASE", SECRET);
    command
}
