//! The sample application, started and filled.

use crate::python::application;
use crate::topology::{self, PARTS, Part};
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

/// Where the application is to be found, if nobody else is there.
const USUAL_PORT: u16 = 8000;
/// As many ports as are tried before the demo gives up.
const PORTS_TRIED: usize = 5;
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
        let place = scratch::directory()?;
        let mut board = Board {
            address: String::new(),
            environment: environment(cluster, weir, &place)?,
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
        board.serve(&place.join("gunicorn.log"))?;
        Ok(board)
    }

    /// Starts gunicorn: at the usual address if it is free, the one that people remember.
    fn serve(&mut self, log: &Path) -> Result<(), HarnessError> {
        let deadline = Instant::now() + START_TIME_MAX;
        for port in std::iter::once(USUAL_PORT).chain(std::iter::repeat_with(free_port)).take(PORTS_TRIED) {
            // Two demos may find the same port free: only gunicorn's own word says whose it is.
            if TcpListener::bind(("127.0.0.1", port)).is_err() {
                continue;
            }
            self.address = format!("127.0.0.1:{port}");
            let _ = std::fs::remove_file(log);
            let mut gunicorn = self.command(&["-m", "gunicorn", "board.wsgi:application"]);
            gunicorn.args(["--bind", &self.address]);
            let mut gunicorn = Process::spawn(gunicorn, log, "QUIT")?;
            loop {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                if said.contains("Connection in use") {
                    break;
                }
                let listens = said.contains("Listening at");
                if listens && http::get(&self.address, "/").is_ok_and(|answer| answer.status == 200) {
                    self._gunicorn = Some(gunicorn);
                    return Ok(());
                }
                if gunicorn.ended().is_some() || Instant::now() > deadline {
                    return Err(HarnessError::failed(format!("the application does not answer:\n{said}")));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Err(HarnessError::failed("found no free port for the application"))
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

    /// The application's Python with what its programs need to know.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.args(arguments).current_dir(application());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn environment(cluster: &Cluster, weir: &Weir, place: &Path) -> Result<Vec<(String, String)>, HarnessError> {
    let nodes = place.join("nodes.json");
    std::fs::write(&nodes, topology::describe(cluster, weir).to_string())
        .map_err(|error| HarnessError::Io("describing the nodes".into(), error))?;
    // What programs leave in the temporary directory goes with ours.
    let temporary = place.join("tmp");
    std::fs::create_dir(&temporary)
        .map_err(|error| HarnessError::Io(format!("making {}", temporary.display()), error))?;
    let name = |(index, part): (usize, &Part)| format!("{}={}", cluster.address(index), part.name);
    let names: Vec<String> = PARTS.iter().enumerate().map(name).collect();
    let mut environment = weir.app().environment();
    environment.extend([
        ("DJANGO_SETTINGS_MODULE", "board.settings.demo".to_owned()),
        ("BOARD_VAR", place.join("var").to_string_lossy().into_owned()),
        // The control room's peak and its buttons at the same time, and a visitor beside them.
        ("BOARD_THREADS", "8".to_owned()),
        ("PGWEIR_HTTP", format!("http://{}", weir.http_address())),
        ("PGWEIR_CONSOLE", topology::dsn(&topology::console(weir))),
        ("PGWEIR_NODE_NAMES", names.join(",")),
        ("PGWEIR_DEMO_NODES", nodes.to_string_lossy().into_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("TMPDIR", temporary.to_string_lossy().into_owned()),
    ]);
    Ok(environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
