//! Two pgweirs on two machines, as far as they know: a cancel request reaches the session through either.

use crate::support::{Outcome, stage};
use pgweir_tests::ports::free_port;
use pgweir_tests::raw::{self, Frame, RawClient};
use pgweir_tests::{HarnessError, Weir, WeirBuilder, scratch};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use toml::Value;

const SECRET: &str = "a secret of all of them";

fn code(frames: &[Frame]) -> Option<String> {
    frames.iter().find(|frame| frame.tag == b'E')?.field(b'C')
}

/// A pgweir on a machine of its own: nobody else meets in its directory.
fn machine(port: u16, peers: &[u16], secret: &str) -> Result<WeirBuilder, HarnessError> {
    let peers: Vec<_> = peers.iter().map(|port| Value::from(format!("127.0.0.1:{port}"))).collect();
    let directory = scratch::directory()?.join("run");
    Ok(Weir::builder(&stage().cluster)
        .set("runtime.directory", directory.to_string_lossy().into_owned())
        .set("fleet.listen", format!("127.0.0.1:{port}"))
        .set("fleet.peers", Value::Array(peers))
        .set("fleet.secret", secret))
}

/// Datagrams that have come and nobody has read.
fn waiting(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 1024];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

#[test]
fn a_cancel_that_reaches_another_machine_finds_its_session() -> Outcome {
    let (one, two, three) = (free_port(), free_port(), free_port());
    // Nobody: it sees what the first one passes on.
    let watcher = UdpSocket::bind("127.0.0.1:0").expect("a port");
    watcher.set_nonblocking(true).expect("a socket");
    let watched = watcher.local_addr().expect("bound").port();
    let first = machine(one, &[one, two, three, watched], SECRET)?.start()?;
    let second = machine(two, &[one, two, three], SECRET)?.start()?;
    let stranger = machine(three, &[one, two], "a secret of its own, not theirs")?.start()?;
    let mut client = RawClient::login(&first.app())?;
    let (pid, secret) = client.key.clone().expect("a key");

    let begin = Instant::now();
    client.send(&raw::query("SELECT pg_sleep(60)"))?;
    std::thread::sleep(Duration::from_millis(300));
    raw::cancel(second.port(), pid, &secret)?;
    assert_eq!(code(&client.until_ready()?).as_deref(), Some("57014"));
    assert!(begin.elapsed() < Duration::from_secs(40));
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(waiting(&watcher), 0, "what was passed on is passed on again");

    // By a wrong key, and by one who has not the fleet's secret, nothing ends; nor does the next statement.
    client.send(&raw::query("SELECT 'slept' FROM pg_sleep(2)"))?;
    std::thread::sleep(Duration::from_millis(200));
    let mut wrong = secret.to_vec();
    wrong[0] ^= 1;
    for _ in 0..20 {
        raw::cancel(second.port(), pid, &wrong)?;
    }
    raw::cancel(stranger.port(), pid, &secret)?;
    let forged = [&pid.to_be_bytes(), &secret[..]].concat();
    watcher.send_to(&forged, ("127.0.0.1", one)).expect("sent");
    let frames = client.until_ready()?;
    assert_eq!(code(&frames), None);
    assert_eq!(client.value("SELECT 1")?, "1");

    // A key that the first one does not know is told to all its peers, each time it is sent.
    raw::cancel(first.port(), pid, &wrong)?;
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(waiting(&watcher), 3);
    for weir in [&first, &second, &stranger] {
        assert_eq!(weir.app().value("SELECT 1")?, "1");
    }
    Ok(())
}

#[test]
fn a_cancel_that_reaches_a_machine_where_a_process_is_being_replaced_finds_its_session() -> Outcome {
    let (one, two) = (free_port(), free_port());
    let first = machine(one, &[two], SECRET)?.start()?;
    let second = machine(two, &[one], SECRET)?.start()?;
    let mut client = RawClient::login(&first.app())?;
    let (pid, secret) = client.key.clone().expect("a key");
    client.send(&raw::query("SELECT pg_sleep(60)"))?;
    let successor = super::takeover::Second::replacing(&first, first.pid())?;
    // Several datagrams, by several ports: both processes are told of some.
    for _ in 0..5 {
        raw::cancel(second.port(), pid, &secret)?;
    }
    assert_eq!(code(&client.until_ready()?).as_deref(), Some("57014"));
    drop(successor);
    Ok(())
}
