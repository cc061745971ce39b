//! A new process takes the place of a running one; no client is refused, no cancel is lost.

use crate::support::{Outcome, ends_well, load, stage};
use pgweir_tests::cluster::{wait_until, wait_until_within};
use pgweir_tests::ports::free_port;
use pgweir_tests::process::Process;
use pgweir_tests::raw::{self, Frame, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir, scratch, weir};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Another process with the same configuration, and so on the same addresses.
pub struct Second {
    process: Process,
    log: PathBuf,
}

impl Second {
    fn start(first: &Weir, arguments: &[&str]) -> Result<Self, HarnessError> {
        let mut command = Command::new(weir::program()?);
        command.arg("run").arg("--config").arg(first.config_file()).args(arguments);
        let log = scratch::directory()?.join("second.log");
        Ok(Self { process: Process::spawn(command, &log, "TERM")?, log })
    }

    /// One that replaces the process `pid`; returns when it serves.
    pub fn replacing(first: &Weir, pid: u32) -> Result<Self, HarnessError> {
        let second = Self::start(first, &["--replace", &pid.to_string()])?;
        wait_until("the new process has taken over", || second.log().contains("taken over"))?;
        Ok(second)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn code(frames: &[Frame]) -> Option<String> {
    frames.iter().find(|frame| frame.tag == b'E')?.field(b'C')
}

#[test]
fn a_new_process_takes_over_under_load_and_no_connection_fails() -> Outcome {
    let stage = stage();
    let directory = scratch::directory()?.to_string_lossy().into_owned();
    let old = Weir::builder(&stage.cluster).set("listen.unix_directories", directory.as_str()).start()?;
    // -C: a connection for every transaction.
    let by_tcp = load(&stage.cluster, &old.app(), &["-C"], 10)?;
    let by_socket = load(&stage.cluster, &old.app(), &["-C", "-h", &directory], 10)?;
    std::thread::sleep(Duration::from_secs(1));
    let mut second = Second::replacing(&old, old.pid())?;
    let left = old.wait(Duration::from_secs(20)).and_then(|status| status.code());
    assert_eq!(left, Some(0), "the old process left in good order");
    std::thread::sleep(Duration::from_secs(1));
    let third = Second::replacing(&old, second.process.id())?;
    let left = second.process.wait(Duration::from_secs(20)).and_then(|status| status.code());
    assert_eq!(left, Some(0), "{}", second.log());
    ends_well(by_tcp);
    ends_well(by_socket);
    assert!(!third.log().contains("panicked"), "{}", third.log());
    Ok(())
}

#[test]
fn who_cannot_take_over_says_so_and_the_old_one_stays() -> Outcome {
    let stage = stage();
    let old = Weir::builder(&stage.cluster).start()?;
    for nobody in ["0", "-1", "999999999"] {
        let mut second = Second::start(&old, &[&format!("--replace={nobody}")])?;
        let status = second.process.wait(Duration::from_secs(20)).and_then(|status| status.code());
        assert_eq!(status, Some(1), "{}", second.log());
        assert!(second.log().contains("--replace"), "{}", second.log());
    }
    assert_eq!(old.app().value("SELECT 1")?, "1");
    Ok(())
}

#[test]
fn a_cancel_reaches_its_session_whichever_process_takes_it() -> Outcome {
    let stage = stage();
    let old = Weir::builder(&stage.cluster).set("listen.share_address", true).start()?;
    let second = Second::start(&old, &[])?;
    wait_until("the second process serves", || {
        second.log().contains("listening") && second.log().contains("is the primary")
    })?;
    // The kernel spreads them, and their cancels, over both.
    let mut clients =
        (0..16).map(|_| RawClient::login(&old.app())).collect::<Result<Vec<_>, HarnessError>>()?;
    for client in &mut clients {
        client.send(&raw::query("SELECT pg_sleep(60)"))?;
    }
    std::thread::sleep(Duration::from_millis(500));
    for client in &clients {
        let (pid, mut secret) = client.key.clone().expect("a cancel key");
        secret[0] ^= 0x55;
        raw::cancel(old.port(), pid, &secret)?;
    }
    assert!(clients[0].is_silent_for(Duration::from_millis(300))?, "a wrong key has cancelled");
    for client in &clients {
        client.cancel()?;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(code(&client.until_ready()?).as_deref(), Some("57014"), "client {number}");
        assert_eq!(client.value("SELECT 1")?, "1");
    }
    Ok(())
}

#[test]
fn a_cancel_reaches_a_session_of_the_process_that_leaves() -> Outcome {
    let stage = stage();
    let old = Weir::builder(&stage.cluster).start()?;
    let mut client = RawClient::login(&old.app())?;
    client.run("BEGIN; UPDATE counter SET n = n WHERE id = 83")?;
    client.send(&raw::query("SELECT pg_sleep(60)"))?;
    let second = Second::replacing(&old, old.pid())?;
    wait_until("the old one listens no more", || old.log().contains("leaving"))?;
    std::thread::sleep(Duration::from_millis(500));
    let (pid, mut secret) = client.key.clone().expect("a cancel key");
    secret[0] ^= 0x55;
    raw::cancel(old.port(), pid, &secret)?;
    assert!(client.is_silent_for(Duration::from_millis(300))?, "a wrong key has cancelled");
    client.cancel()?;
    assert_eq!(code(&client.until_ready()?).as_deref(), Some("57014"));
    client.run("ROLLBACK")?;
    let left = old.wait(Duration::from_secs(20)).and_then(|status| status.code());
    assert_eq!(left, Some(0));
    assert_eq!(old.app().value("SELECT 1")?, "1", "{}", second.log());
    Ok(())
}

/// What systemd does with a socket unit, as `sd_listen_fds` defines it: holds the socket, starts the
/// service with it as file descriptor 3, and (on SIGUSR1, as `systemctl restart`) ends and starts it again.
/// <https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html>
const SYSTEMD: &str = r#"
import os, signal, socket, sys
host, port, *command = sys.argv[1:]
listener = socket.create_server((host, int(port)), backlog=4096)
stopping = False
child = 0

def start():
    global child
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.execv(command[0], command)

def stop(*_):
    global stopping
    stopping = True
    os.kill(child, signal.SIGTERM)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGUSR1, lambda *_: os.kill(child, signal.SIGTERM))
start()
while True:
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(f"the service ended with {status}")
    if stopping:
        break
    print("restarted", flush=True)
    start()
"#;

fn under_systemd(config: &Path, port: u16, log: &Path) -> Result<Process, HarnessError> {
    let mut command = Command::new("python3");
    command.args(["-c", SYSTEMD, "127.0.0.1", &port.to_string()]).arg(weir::program()?);
    command.arg("run").arg("--config").arg(config);
    Process::spawn(command, log, "TERM")
}

#[test]
fn with_a_socket_that_systemd_holds_a_restart_refuses_nobody() -> Outcome {
    let stage = stage();
    let model = Weir::builder(&stage.cluster).start()?;
    let (port, directory) = (free_port(), scratch::directory()?);
    let (config, log) = (directory.join("pgweir.toml"), directory.join("log"));
    let text = model.config_text().replace(&model.address(), &format!("127.0.0.1:{port}"));
    let text = text.replace(&model.http_address(), &format!("127.0.0.1:{}", free_port()));
    std::fs::write(&config, text).map_err(|e| HarnessError::failed(e.to_string()))?;
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut systemd = under_systemd(&config, port, &log)?;
    let login = Login { port, ..model.app() };
    wait_until_within(Duration::from_secs(30), "it serves on the socket it was given", || {
        login.value("SELECT 1").is_ok()
    })?;
    // A thread each: pgbench connects in the foreground, and others would idle meanwhile.
    let clients = load(&stage.cluster, &login, &["-C", "-j", "8"], 8)?;
    for restarts in 1..=2 {
        std::thread::sleep(Duration::from_secs(1));
        systemd.signal("USR1");
        wait_until("it has been restarted", || read().matches("restarted").count() == restarts)?;
        wait_until("and serves again", || read().matches("is the primary").count() > restarts)?;
    }
    ends_well(clients);
    systemd.signal("TERM");
    assert_eq!(systemd.wait(Duration::from_secs(20)).and_then(|s| s.code()), Some(0), "{}", read());
    Ok(())
}
