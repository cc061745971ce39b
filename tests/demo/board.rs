//! The sample application, started and filled.

use crate::python::application;
use pgweir_tests::node::{SUPERUSER, SUPERUSER_PASSWORD};
use pgweir_tests::ports::free_port;
use pgweir_tests::process::{Process, run};
use pgweir_tests::{Cluster, HarnessError, Weir, http, scratch};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Who may log in to the application and its admin pages.
pub const PERSON: &str = "demo";
/// With this password.
pub const PASSWORD: &str = "weir-and-water";

/// How long gunicorn may take to answer.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// The running application.
#[derive(Debug)]
pub struct Board {
    address: String,
    environment: Vec<(String, String)>,
    python: PathBuf,
    _gunicorn: Option<Process>,
}

impl Board {
    /// Migrates, seeds and serves, all of it through pgweir.
    pub fn start(python: &Path, cluster: &Cluster, weir: &Weir) -> Result<Board, HarnessError> {
        // The usual address if it is free: it is the one that people remember.
        let usual = TcpListener::bind(("127.0.0.1", 8000)).is_ok();
        let port = if usual { 8000 } else { free_port() };
        let place = scratch::directory()?;
        let mut board = Board {
            address: format!("127.0.0.1:{port}"),
            environment: environment(cluster, weir, port, &place)?,
            python: python.to_owned(),
            _gunicorn: None,
        };
        println!("Preparing the application through pgweir: migrate …");
        run(board.manage(&["migrate", "--verbosity", "0"]))?;
        println!("  seed …");
        run(board.manage(&["seed"]))?;
        println!("  createsuperuser …");
        let mut create = board.manage(&["createsuperuser", "--noinput", "--username", PERSON]);
        create.args(["--email", "demo@example.org"]).env("DJANGO_SUPERUSER_PASSWORD", PASSWORD);
        run(create)?;
        println!("Starting the application …");
        let mut gunicorn = board.command(&["-m", "gunicorn", "board.wsgi:application"]);
        gunicorn.args(["--bind", &board.address]);
        let log = place.join("gunicorn.log");
        let mut gunicorn = Process::spawn(gunicorn, &log, "QUIT")?;
        let deadline = Instant::now() + START_TIME_MAX;
        while !http::get(&board.address, "/").is_ok_and(|answer| answer.status == 200) {
            if gunicorn.ended().is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(HarnessError::failed(format!("the application does not answer:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        board._gunicorn = Some(gunicorn);
        Ok(board)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn manage(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["manage.py"]);
        command.args(arguments);
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.args(arguments).current_dir(application());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn environment(
    cluster: &Cluster,
    weir: &Weir,
    port: u16,
    place: &Path,
) -> Result<Vec<(String, String)>, HarnessError> {
    let nodes = place.join("nodes.json");
    std::fs::write(&nodes, describe(cluster, weir).to_string())
        .map_err(|error| HarnessError::Io("describing the nodes".into(), error))?;
    let names: Vec<String> =
        (0..cluster.nodes().len()).map(|node| format!("{}={}", cluster.address(node), name(node))).collect();
    let mut environment: Vec<(String, String)> =
        weir.app().environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    environment.extend(
        [
            ("DJANGO_SETTINGS_MODULE", "board.settings.demo".to_owned()),
            ("BOARD_VAR", place.join("var").to_string_lossy().into_owned()),
            ("BOARD_BIND", format!("127.0.0.1:{port}")),
            ("PGWEIR_HTTP", weir.http_address()),
            ("PGWEIR_NODE_NAMES", names.join(",")),
            ("PGWEIR_DEMO_NODES", nodes.to_string_lossy().into_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(environment)
}

/// What the application's control room needs to know to pause, stop and add nodes.
fn describe(cluster: &Cluster, weir: &Weir) -> serde_json::Value {
    let nodes: Vec<serde_json::Value> = cluster
        .nodes()
        .iter()
        .enumerate()
        .map(|(index, node)| {
            serde_json::json!({
                "name": name(index),
                "address": cluster.address(index),
                "zone": "a",
                "data": node.data(),
                "dsn": format!(
                    "host=127.0.0.1 port={} user={SUPERUSER} password={SUPERUSER_PASSWORD} dbname=postgres",
                    node.port()
                ),
            })
        })
        .collect();
    let mut description = serde_json::json!({
        "bin": cluster.binaries().program("postgres").parent(),
        "zone": "a",
        "config": weir.config_file(),
        "pid": weir.pid(),
        "nodes": nodes,
    });
    if let Some(user) = cluster.server_user() {
        description["run_as"] = user.into();
    }
    description
}

/// What people call a node.
pub fn name(index: usize) -> String {
    match index {
        0 => "primary".to_owned(),
        replica => format!("replica-{replica}"),
    }
}
