//! A cancel hits the right statement and only it.

use crate::support::{Outcome, stage};
use pgweir_tests::HarnessError;
use pgweir_tests::raw::{self, Frame};
use std::time::{Duration, Instant};

fn code(frames: &[Frame]) -> Option<String> {
    frames.iter().find(|frame| frame.tag == b'E')?.field(b'C')
}

#[test]
fn a_cancel_ends_the_statement_with_57014_and_the_session_lives() -> Outcome {
    let stage = stage();
    // One for the primary (a sleep belongs to one node), one that a replica may run.
    for sql in ["SELECT pg_sleep(60)", "SELECT count(*) FROM generate_series(1, 100000000000)"] {
        let mut client = stage.client()?;
        let start = Instant::now();
        client.send(&raw::query(sql))?;
        std::thread::sleep(Duration::from_millis(300));
        client.cancel()?;
        assert_eq!(code(&client.until_ready()?).as_deref(), Some("57014"), "{sql}");
        assert!(start.elapsed() < Duration::from_secs(20), "{sql}");
        assert_eq!(client.value("SELECT 1")?, "1");
    }
    Ok(())
}

#[test]
fn a_cancel_works_inside_a_transaction_and_for_prepared_statements() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.run("BEGIN")?;
    client.prepare("nap", "SELECT pg_sleep($1)")?;
    let nap = [raw::bind("", "nap", &[Some("60")]), raw::execute("", 0), raw::sync()].concat();
    client.send(&nap)?;
    std::thread::sleep(Duration::from_millis(300));
    client.cancel()?;
    assert_eq!(code(&client.until_ready()?).as_deref(), Some("57014"));
    assert_eq!(client.refusal("SELECT 1")?.0, "25P02");
    client.run("ROLLBACK")?;
    Ok(())
}

#[test]
fn a_cancel_for_an_idle_session_hits_nobody() -> Outcome {
    let stage = stage();
    let mut sleeper = stage.client()?;
    sleeper.send(&raw::query("SELECT 'slept' FROM pg_sleep(1.5)"))?;
    let mut idle = stage.client()?;
    for _ in 0..20 {
        idle.value("SELECT 1")?;
        idle.cancel()?;
    }
    assert_eq!(idle.value("SELECT 2")?, "2");
    assert_eq!(code(&sleeper.until_ready()?), None, "the wrong session was cancelled");
    Ok(())
}

#[test]
fn a_wrong_key_is_ignored_in_silence() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    let (pid, mut secret) = client.key.clone().expect("a cancel key");
    client.send(&raw::query("SELECT 'slept' FROM pg_sleep(1)"))?;
    secret[0] ^= 0x55;
    raw::cancel(stage.weir.port(), pid, &secret)?;
    raw::cancel(stage.weir.port(), pid.wrapping_add(1), &secret)?;
    raw::cancel(stage.weir.port(), 0, &[])?;
    raw::cancel(stage.weir.port(), pid, &[0; 300])?;
    assert_eq!(code(&client.until_ready()?), None);
    Ok(())
}

#[test]
fn thousands_of_cancels_for_idle_sessions_and_wrong_keys_hit_nobody_who_works() -> Outcome {
    const REQUESTS: usize = 2_000;
    let stage = stage();
    let mut workers = (0..8).map(|_| stage.client()).collect::<Result<Vec<_>, HarnessError>>()?;
    let mut idle = (0..8).map(|_| stage.client()).collect::<Result<Vec<_>, HarnessError>>()?;
    // They have just used the servers that the workers have now: late cancels are for them.
    for client in &mut idle {
        client.run("UPDATE counter SET n = n WHERE false")?;
    }
    let keys: Vec<_> = idle.iter().chain(&workers).filter_map(|client| client.key.clone()).collect();
    let port = stage.weir.port();
    std::thread::scope(|scope| {
        let storm: Vec<_> = (0..8)
            .map(|number| {
                let keys = &keys;
                scope.spawn(move || -> Outcome {
                    for request in 0..REQUESTS / 8 {
                        let at = (number + request) % keys.len();
                        let (process, mut secret) = keys[at].clone();
                        if at >= 8 {
                            secret[request % 4] ^= 1 + (request % 255) as u8;
                        }
                        raw::cancel(port, process, &secret)?;
                    }
                    Ok(())
                })
            })
            .collect();
        while storm.iter().any(|thread| !thread.is_finished()) {
            for worker in &mut workers {
                worker.send(&raw::query("UPDATE counter SET n = n WHERE false; SELECT pg_sleep(0.02)"))?;
            }
            for worker in &mut workers {
                assert_eq!(code(&worker.until_ready()?), None, "a worker was hit");
            }
        }
        storm.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    for client in &mut idle {
        assert_eq!(client.value("SELECT 1")?, "1");
    }
    Ok(())
}

#[test]
fn in_a_storm_of_cancels_each_hits_its_own() -> Outcome {
    let stage = stage();
    let mut clients = (0..16).map(|_| stage.client()).collect::<Result<Vec<_>, HarnessError>>()?;
    for round in 0..5 {
        for client in &mut clients {
            client.send(&raw::query("SELECT pg_sleep(1.5)"))?;
        }
        std::thread::sleep(Duration::from_millis(200));
        // Only those with an even number are cancelled; the others sleep to the end.
        for client in clients.iter().step_by(2) {
            client.cancel()?;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let wanted = (number % 2 == 0).then_some("57014");
            let got = code(&client.until_ready()?);
            assert_eq!(got.as_deref(), wanted, "client {number}, round {round}");
        }
    }
    Ok(())
}
