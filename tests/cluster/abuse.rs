//! Hostile hands beside and before a log-in, at other addresses and at the nodes: others notice nothing.

use crate::support::{Outcome, login_outcome, stage};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until};
use pgweir_tests::process::Process;
use pgweir_tests::raw::RawClient;
use pgweir_tests::{HarnessError, Weir, scratch};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn failed(error: std::io::Error) -> HarnessError {
    HarnessError::failed(error.to_string())
}

#[test]
fn silent_sockets_keep_out_neither_clients_nor_consoles() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("limits.logins_max", 20)
        .set("limits.clients_max", 3)
        .set("limits.login", "10min")
        .start()?;
    let mut neighbour = RawClient::login(&weir.app())?;
    let silent = (0..80).map(|_| TcpStream::connect(("127.0.0.1", weir.port())).map_err(failed));
    let silent = silent.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(neighbour.value("SELECT 1")?, "1");
    assert_eq!(weir.app().value("SELECT 2")?, "2");
    // All places are taken: those who look what is the matter have their own.
    let _others = [RawClient::login(&weir.app())?, RawClient::login(&weir.app())?];
    let refused = login_outcome(&weir.app(), &[])?;
    assert_eq!(refused.err().map(|[_, code, _]| code).as_deref(), Some("53300"));
    let console = weir.app().user(WEIR, WEIR_PASSWORD).database("pgweir");
    assert_eq!(console.sql("SHOW CLIENTS")?.len(), 3);
    assert_eq!(neighbour.value("SELECT 3")?, "3");
    // The oldest have made room, the newest have not.
    let is_closed = |mut socket: &TcpStream| {
        let patience = socket.set_read_timeout(Some(Duration::from_millis(50)));
        patience.is_ok() && matches!(socket.read(&mut [0]), Ok(0))
    };
    assert!(is_closed(&silent[0]) && !is_closed(&silent[79]));
    Ok(())
}

#[test]
fn a_flood_of_garbage_is_a_few_lines_in_the_log() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let began = Instant::now();
    for _ in 0..400 {
        let mut client = TcpStream::connect(("127.0.0.1", weir.port())).map_err(failed)?;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").map_err(failed)?;
        let _ = client.read_to_end(&mut vec![]);
    }
    let lines = weir.log().matches("cannot be understood").count();
    let allowed = 10 * (began.elapsed().as_secs() as usize + 2);
    assert!((1..=allowed).contains(&lines) && lines < 400, "{lines} lines, {allowed} are allowed");
    Ok(())
}

#[test]
fn no_filter_prints_statements_or_values() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).environment("PGWEIR_LOG", "trace,sqlparser=trace").start()?;
    let mut client = RawClient::login(&weir.app())?;
    for sql in [
        "SELECT 'swordfish' AS found",
        "SELECT * FROM product WHERE name = 'swordfish' ORDER BY price LIMIT 3",
        "PREPARE swordfish AS SELECT count(*) FROM product WHERE name = $1; EXECUTE swordfish('swordfish')",
        "SELECT 'swordfish",
    ] {
        let _ = client.query(sql)?;
    }
    assert!(weir.log().contains("DEBUG") || weir.log().contains("TRACE"), "it says a lot");
    assert!(!weir.log().contains("swordfish"), "a statement is in the log");
    Ok(())
}

/// Another process with the same addresses, and what it says.
fn second(model: &Weir, more: &str) -> Result<(Process, std::path::PathBuf), HarnessError> {
    let directory = scratch::directory()?;
    let (config, log) = (directory.join("pgweir.toml"), directory.join("second.log"));
    let text = model.config_text().replace("[listen]", &format!("[listen]\n{more}"));
    std::fs::write(&config, text).map_err(failed)?;
    let mut command = Command::new(pgweir_tests::weir::program()?);
    command.args(["run", "--config"]).arg(&config);
    Ok((Process::spawn(command, &log, "KILL")?, log))
}

#[test]
fn a_second_process_at_the_same_address_does_not_start() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let (mut process, log) = second(&weir, "")?;
    let status = process.wait(Duration::from_secs(60));
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{said}");
    for key in ["listen.address", "http.address"] {
        assert!(said.contains(key) && said.to_lowercase().contains("in use"), "{key}: {said}");
    }
    assert_eq!(weir.app().value("SELECT 1")?, "1");
    let (mut process, log) = second(&weir, "share_address = true")?;
    wait_until("whoever is told to share does", || {
        std::fs::read_to_string(&log).unwrap_or_default().matches("listening").count() > 0
    })?;
    process.signal("TERM");
    process.wait(Duration::from_secs(60));
    Ok(())
}

/// All that somebody was sent.
type Heard = Arc<Mutex<Vec<u8>>>;

/// Somebody who stands in for a node and asks everybody for the password in clear; what it was sent.
fn impostor() -> Result<(u16, Heard), HarnessError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let heard = Heard::default();
    let told = heard.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    told.lock().expect("nobody panics").extend_from_slice(&bytes[..count]);
                    let asks_tls = bytes[4..].starts_with(&80_877_103_i32.to_be_bytes());
                    let answer: &[u8] = if asks_tls { b"N" } else { b"R\0\0\0\x08\0\0\0\x03" };
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok((port, heard))
}

#[test]
fn who_stands_in_for_a_node_learns_no_password() -> Outcome {
    let stage = stage();
    let node = |port| vec![toml::Value::from(format!("127.0.0.1:{port}"))];
    let asked = |heard: &Mutex<Vec<u8>>| {
        let heard = heard.lock().expect("nobody panics").clone();
        let found = |text: &[u8]| heard.windows(text.len()).any(|window| window == text);
        (found(b"user\0"), found(WEIR_PASSWORD.as_bytes()))
    };
    let (port, heard) = impostor()?;
    let weir = Weir::builder(&stage.cluster).set("cluster.nodes", node(port)).without_waiting().start()?;
    // Probes ask by themselves, and a log-in asks for the user's password.
    let _ = login_outcome(&weir.app(), &[]);
    wait_until("it has been asked", || asked(&heard).0)?;
    wait_until("pgweir says why it stays away", || weir.log().contains("cluster.require_auth"))?;
    let _ = login_outcome(&weir.app(), &[]);
    assert!(!asked(&heard).1, "the password has left in clear");
    // Unless somebody has allowed it.
    let (port, heard) = impostor()?;
    let all = ["scram-sha-256", "password"].map(toml::Value::from).to_vec();
    let _careless = Weir::builder(&stage.cluster)
        .set("cluster.nodes", node(port))
        .set("cluster.require_auth", all)
        .without_waiting()
        .start()?;
    wait_until("it is told", || asked(&heard).1)
}
