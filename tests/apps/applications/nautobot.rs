//! Nautobot, a kin of NetBox.

use super::SECRET;
use crate::application::{Application, Effort, Scene};
use crate::install;
use pgweir_tests::HarnessError;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::process::Process;
use std::net::TcpStream;
use std::process::Command;

pub const NAUTOBOT: Application = Application {
    name: "nautobot",
    what: "A network's source of truth, grown from NetBox (Python, Django over psycopg2, uWSGI; PyPI)",
    install: |place| install::from_pypi(place, &["nautobot==3.2.7"]),
    set_up,
    effort: Effort::Minutes,
    serve,
    walker,
    note: "A change is a transaction that reads before and after it writes, and logs what has changed. Django's \
           `iterator()` outside of transactions declares a cursor WITH HOLD, which pins the session to the primary \
           until it is closed: what is asked meanwhile stays there, too.",
};

fn set_up(scene: &Scene) -> Result<(), HarnessError> {
    configure(scene)?;
    let _redis = redis(scene)?;
    let mut migrate = nautobot(scene);
    migrate.args(["migrate", "--no-input"]);
    scene.run(migrate)?;
    let mut superuser = nautobot(scene);
    superuser
        .args(["createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.com"])
        .env("DJANGO_SUPERUSER_PASSWORD", SECRET);
    scene.run(superuser)
}

fn serve(scene: &Scene) -> Result<Vec<Process>, HarnessError> {
    configure(scene)?;
    let redis = redis(scene)?;
    let mut start = nautobot(scene);
    let address = format!("127.0.0.1:{}", scene.port);
    start.args([
        "start",
        "--http-socket",
        &address,
        "--master",
        "--processes",
        "2",
        "--threads",
        "2",
        "--die-on-term",
    ]);
    let process = scene.spawn_answering(start, "nautobot", "/api/status/")?;
    // The last is the first to be dropped: redis goes after whoever uses it.
    Ok(vec![process, redis])
}

fn configure(scene: &Scene) -> Result<(), HarnessError> {
    if scene.place.join("nautobot_config.py").exists() {
        return Ok(());
    }
    let mut init = nautobot(scene);
    init.args(["init", "--disable-installation-metrics"]);
    scene.run(init)
}

fn redis(scene: &Scene) -> Result<Process, HarnessError> {
    let port = scene.other_port;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
        .arg(&scene.place);
    let process = scene.spawn(command, "redis")?;
    wait_until("redis listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok(process)
}

fn nautobot(scene: &Scene) -> Command {
    let login = &scene.login;
    let mut command = scene.python("nautobot-server");
    command
        .env("NAUTOBOT_ROOT", &scene.place)
        .env("NAUTOBOT_DB_ENGINE", "django.db.backends.postgresql")
        .env("NAUTOBOT_DB_HOST", &login.host)
        .env("NAUTOBOT_DB_PORT", login.port.to_string())
        .env("NAUTOBOT_DB_NAME", &login.database)
        .env("NAUTOBOT_DB_USER", &login.user)
        .env("NAUTOBOT_DB_PASSWORD", &login.password)
        .env("NAUTOBOT_REDIS_HOST", "127.0.0.1")
        .env("NAUTOBOT_REDIS_PORT", scene.other_port.to_string())
        .env("NAUTOBOT_ALLOWED_HOSTS", "127.0.0.1")
        .env("NAUTOBOT_INSTALLATION_METRICS_ENABLED", "false")
        .env("NAUTOBOT_SECRET_KEY", format!("{SECRET}-{SECRET}-{SECRET}"));
    command
}

fn walker(_: &Scene) -> Command {
    let mut python = Command::new("python3");
    python.env("WALK_PASSWORD", SECRET);
    python
}
