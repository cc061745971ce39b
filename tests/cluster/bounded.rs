//! Hostile and broken clients are refused or bounded, and the others notice nothing.

use crate::assert_same;
use crate::support::{Outcome, Stage, stage};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::{HarnessError, Weir};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LOGIN_MAX: Duration = Duration::from_secs(2);

/// A pgweir whose clients have two seconds to log in.
fn strict(stage: &Stage) -> Result<Weir, HarnessError> {
    Weir::builder(&stage.cluster).set("limits.login", "2s").start()
}

fn works(weir: &Weir) -> Outcome {
    let start = Instant::now();
    assert_eq!(weir.app().value("SELECT count(*) FROM product")?, "100");
    assert!(start.elapsed() < Duration::from_secs(5), "others wait for {:?}", start.elapsed());
    Ok(())
}

#[test]
fn garbage_instead_of_a_start_up_packet_ends_the_connection() -> Outcome {
    let stage = stage();
    let garbage: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 0],
        &[0, 0, 0, 4],
        &[0, 0, 0, 7, 0, 3, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        // The list of parameters is not terminated; a name has no value.
        &[0, 0, 0, 13, 0, 3, 0, 0, b'u', b's', b'e', b'r', b'x'],
        &[0, 0, 0, 14, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0, b'x'],
    ];
    for bytes in garbage {
        let says = |port| -> Result<bool, HarnessError> {
            let mut client = RawClient::connect(port)?;
            client.send(bytes)?;
            client.until_closed(Duration::from_secs(10)).map(|said| !said.is_empty())
        };
        // What is no client of Postgres is not told anything.
        assert_same!(says(stage.weir.port())?, says(stage.cluster.node(0).port())?, "{bytes:?} is answered");
    }
    wait_until("the log names the limit", || stage.weir.log().to_lowercase().contains("startup_bytes_max"))?;
    works(&stage.weir)
}

#[test]
fn a_start_up_packet_at_the_limit_is_taken_and_one_beyond_is_not() -> Outcome {
    let stage = stage();
    let outcome = |port, filling: usize| -> Result<u8, HarnessError> {
        let mut client = RawClient::connect(port)?;
        let name = "x".repeat(filling);
        let parameters = [("user", "app"), ("database", "app"), ("application_name", &*name)];
        client.startup(raw::PROTOCOL_3_0, &parameters)?;
        // Closed without a word counts as refused, as an error does.
        Ok(client.frame().map_or(b'E', |frame| frame.tag))
    };
    for filling in [9_000, 9_900, 10_100, 60_000] {
        let direct = outcome(stage.cluster.node(0).port(), filling)?;
        assert_same!(outcome(stage.weir.port(), filling)?, direct, "{filling} bytes");
    }
    Ok(())
}

#[test]
fn frames_with_impossible_lengths_or_tags_are_refused_as_by_postgres() -> Outcome {
    let stage = stage();
    let frames: [&[u8]; 9] = [
        &[b'Q', 0, 0, 0, 0],
        &[b'Q', 0, 0, 0, 3],
        &[b'Q', 0x7f, 0xff, 0xff, 0xff],
        &[b'Q', 0xff, 0xff, 0xff, 0xff],
        &[b'S', 0x7f, 0xff, 0xff, 0xff],
        &[b'z', 0, 0, 0, 4],
        &[0, 0, 0, 0, 4],
        b"Q\0\0\0\x08SELE",
        b"P\0\0\0\x08abcd",
    ];
    for bytes in frames {
        let outcome = |mut client: RawClient| -> Result<_, HarnessError> {
            client.send(bytes)?;
            let frame = client.frame();
            Ok(frame.ok().map(|frame| (char::from(frame.tag), frame.field(b'C'))))
        };
        let direct = outcome(stage.direct()?)?;
        let through = outcome(stage.client()?)?;
        assert_same!(through, direct, "{bytes:?}");
    }
    works(&stage.weir)
}

#[test]
fn bodies_that_lie_about_their_content_get_an_error_and_leak_into_nothing() -> Outcome {
    let stage = stage();
    // Each is a whole frame whose inner counts and strings do not fit it.
    let lies = [
        raw::frame(b'B', b"\0\0\xff\xff"),
        raw::frame(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        raw::frame(b'P', b"s\0SELECT 1\0\xff\xff"),
        raw::frame(b'P', b"s\0SELECT 1"),
        raw::frame(b'D', b"X\0"),
        raw::frame(b'D', b""),
        raw::frame(b'C', b"S"),
        raw::frame(b'E', b"\0\0"),
        raw::frame(b'F', b"\0\0"),
        raw::frame(b'S', b"more"),
        raw::frame(b'Q', b""),
        raw::frame(b'H', b"x"),
        raw::frame(b'd', b"outside of any copy"),
        raw::frame(b'c', b""),
        raw::frame(b'f', b"x\0"),
        raw::frame(b'p', b"a password, now?\0"),
    ];
    for lie in lies {
        let outcome = |mut client: RawClient| -> Result<_, HarnessError> {
            client.send(&[lie.clone(), raw::sync(), raw::query("SELECT 1")].concat())?;
            let mut seen = Vec::new();
            // Up to the end of the connection, or of the query if it survives.
            while let Ok(frame) = client.frame() {
                let done = frame.tag == b'C' && frame.text() == "SELECT 1";
                seen.push((char::from(frame.tag), frame.field(b'C')));
                if done {
                    break;
                }
            }
            seen.iter_mut().for_each(|(tag, code)| {
                if *tag != 'E' {
                    *code = None
                }
            });
            Ok(seen)
        };
        let direct = outcome(stage.direct()?)?;
        let through = outcome(stage.client()?)?;
        assert_same!(through, direct, "{:?}", String::from_utf8_lossy(&lie));
    }
    works(&stage.weir)
}

#[test]
fn who_says_nothing_or_half_of_something_is_shown_out_in_time() -> Outcome {
    let stage = stage();
    let weir = strict(&stage)?;
    let half: [&[u8]; 4] = [b"", &[0, 0], &[0, 0, 0, 50, 0, 3, 0, 0, b'u'], &1234_i32.to_be_bytes()];
    for bytes in half {
        let mut client = RawClient::connect(weir.port())?;
        client.send(bytes)?;
        let start = Instant::now();
        client.until_closed(LOGIN_MAX * 5)?;
        assert!(start.elapsed() >= LOGIN_MAX / 2, "{bytes:?}: after {:?}", start.elapsed());
    }
    // Half-way through authentication, too.
    let mut client = RawClient::connect(weir.port())?;
    client.startup(raw::PROTOCOL_3_0, &[("user", "app"), ("database", "app")])?;
    assert_eq!(client.frame()?.tag, b'R');
    client.until_closed(LOGIN_MAX * 5)?;
    works(&weir)
}

#[test]
fn half_a_message_holds_no_server_and_harms_nobody() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.server_connections_max", 1).start()?;
    let mut halves = Vec::new();
    for _ in 0..5 {
        let mut client = RawClient::login(&weir.app())?;
        client.send(&raw::query("SELECT count(*) FROM product")[..12])?;
        halves.push(client);
    }
    for _ in 0..5 {
        works(&weir)?;
    }
    // The other half arrives after all.
    for client in &mut halves {
        client.send(&raw::query("SELECT count(*) FROM product")[12..])?;
        assert_eq!(raw::tags(&client.until_ready()?), "TDCZ");
    }
    Ok(())
}

#[test]
fn a_client_that_never_reads_costs_little_memory_and_nobody_elses_time() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    works(&weir)?;
    let before = weir.usage().resident_bytes;
    let mut deaf = Vec::new();
    for _ in 0..5 {
        let mut client = RawClient::login(&weir.app())?;
        client.send(&raw::query("SELECT repeat('x', 1000) FROM generate_series(1, 500000)"))?;
        deaf.push(client);
    }
    for _ in 0..20 {
        works(&weir)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let growth = weir.usage().resident_bytes.saturating_sub(before);
    assert!(growth < 24 << 20, "memory grew by {} kB", growth >> 10);
    drop(deaf);
    works(&weir)
}

#[test]
fn a_client_that_pipelines_without_reading_is_held_back() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    works(&weir)?;
    let before = weir.usage().resident_bytes;
    let mut client = RawClient::login(&weir.app())?;
    let statement = raw::query("SELECT repeat('x', 100000)");
    let socket = client.stream();
    socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a time-out can be set");
    let burst = statement.repeat(1000);
    // 100 MB asked for at a time; sooner or later the socket takes no more.
    let blocked = (0..1000).any(|_| std::io::Write::write_all(socket, &burst).is_err());
    assert!(blocked, "a client may ask without end and never read");
    let growth = weir.usage().resident_bytes.saturating_sub(before);
    assert!(growth < 48 << 20, "memory grew by {} kB", growth >> 10);
    works(&weir)
}

#[test]
fn thousands_of_silent_connections_are_bounded_and_others_go_on() -> Outcome {
    let stage = stage();
    let weir =
        Weir::builder(&stage.cluster).set("limits.login", "4s").set("limits.clients_max", 20_000).start()?;
    works(&weir)?;
    let before = weir.usage().resident_bytes;
    let mut resident = RawClient::login(&weir.app())?;
    // As many as this process may open, ten thousand at most.
    let count = open_files_max().saturating_sub(200).min(10_000);
    assert!(count >= 500, "raise the limit of open files: `ulimit -n`");
    let silent: Vec<TcpStream> =
        (0..count).map_while(|_| TcpStream::connect(("127.0.0.1", weir.port())).ok()).collect();
    assert_eq!(silent.len(), count, "connections were refused");
    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(resident.value("SELECT count(*) FROM product")?, "100");
        assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    }
    works(&weir)?;
    let each = weir.usage().resident_bytes.saturating_sub(before) / count as u64;
    assert!(each < 32 << 10, "{each} bytes per silent connection");
    wait_until("the silent ones are gone", || {
        weir.metrics().is_ok_and(|metrics| metrics.sum("pgweir_clients", &[]) <= 2.0)
    })
}

#[test]
fn beyond_the_limit_of_clients_postgres_own_sqlstate_is_given() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("limits.clients_max", 3).start()?;
    let mut clients = (0..3).map(|_| RawClient::login(&weir.app())).collect::<Result<Vec<_>, _>>()?;
    let refused = crate::support::login_outcome(&weir.app(), &[]);
    let refused = refused?.expect_err("a fourth client was let in");
    assert_eq!(refused[1], "53300", "{refused:?}");
    wait_until("the log names the limit", || weir.log().contains("clients_max"))?;
    assert_eq!(clients[0].value("SELECT 1")?, "1");
    clients.pop();
    wait_until("a place is free again", || RawClient::login(&weir.app()).is_ok())
}

/// The soft limit of this process, which `make test` raises.
fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(1024)
}
