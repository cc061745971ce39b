//! The configuration changes while everybody goes on.

use crate::support::{Outcome, Stage, stage};
use pgweir_tests::Weir;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::RawClient;
use pgweir_tests::weir::set;
use std::sync::atomic::{AtomicBool, Ordering};
use toml::Value;

#[test]
fn a_good_file_takes_effect_without_losing_a_connection() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("pool.lease_wait", "10s").start()?;
    let mut idle = RawClient::login(&weir.app())?;
    let mut busy = RawClient::login(&weir.app())?;
    busy.run("BEGIN; UPDATE counter SET n = n WHERE id = 60")?;
    weir.reconfigure(|config| {
        set(config, "pool.server_connections_max", Value::Integer(1));
        set(config, "pool.lease_wait", Value::from("300ms"));
    })?;
    assert_eq!(busy.value("UPDATE counter SET n = n WHERE id = 61 RETURNING id")?, "61");
    // The new limits are in force: one server, which is taken, and a short wait.
    assert_eq!(idle.refusal("UPDATE counter SET n = n WHERE id = 62")?.0, "53300");
    busy.run("COMMIT")?;
    assert_eq!(idle.value("UPDATE counter SET n = n WHERE id = 62 RETURNING id")?, "62");
    Ok(())
}

#[test]
fn a_bad_file_is_refused_whole_and_the_old_one_stays() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let good = weir.config_text();
    let mut client = RawClient::login(&weir.app())?;
    for (text, word) in [
        ("this is no TOML [", "pgweir.toml"),
        ("", "cluster"),
        (
            "[listen]\naddress = \"127.0.0.1:1\"\n[pool]\nserver_conections_max = 3\n",
            "server_connections_max",
        ),
    ] {
        weir.overwrite_config(text, "refused")?;
        assert!(weir.log().contains(word), "the log does not mention {word:?}");
        assert_eq!(client.value("SELECT count(*) FROM product")?, "100");
        assert_eq!(weir.app().value("SELECT 1")?, "1");
    }
    // Put right, it is taken again.
    weir.overwrite_config(&good, "unchanged")?;
    weir.reconfigure(|config| set(config, "pool.lease_wait", Value::from("9s")))
}

#[test]
fn a_node_can_be_added_and_removed_under_load() -> Outcome {
    let stage = Stage::own(|weir| weir)?;
    stage.cluster.node(0).superuser().database("app").sql(crate::support::SCHEMA)?;
    stage.cluster.wait_caught_up()?;
    let all = stage.cluster.addresses();
    let weir = Weir::builder_for(&all[..2]).start()?;
    let over = AtomicBool::new(false);
    let list = |nodes: &[String]| Value::Array(nodes.iter().map(|n| Value::from(n.as_str())).collect());
    let serves = |node: usize| {
        let mark = crate::support::mark();
        let sql = format!("/* {mark} */ SELECT count(*) FROM product");
        for _ in 0..10 {
            if weir.app().sql(&sql).is_err() {
                return false;
            }
        }
        stage.cluster.nodes_that_ran(&mark).contains(&node)
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=4)
            .map(|number| {
                let (weir, over) = (&weir, &over);
                scope.spawn(move || -> Outcome {
                    let mut client = RawClient::login(&weir.app())?;
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(client.value("SELECT count(*) FROM product")?, "100");
                        client.run(&format!("UPDATE counter SET n = n WHERE id = {number}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        let story = || -> Outcome {
            wait_until("the first replica reads", || serves(1))?;
            weir.reconfigure(|config| set(config, "cluster.nodes", list(&all)))?;
            wait_until("the added replica reads", || serves(2))?;
            weir.reconfigure(|config| set(config, "cluster.nodes", list(&[all[0].clone(), all[2].clone()])))?;
            wait_until("the removed replica does not", || !serves(1))
        };
        let result = story();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no panic")?;
        }
        result
    })
}

#[test]
fn check_reports_every_mistake_at_once_with_its_place() -> Outcome {
    let stage = stage();
    let file = stage.cluster.directory().join("wrong.toml");
    let text = "[listen]\naddress = \"127.0.0.1\"\n\n[cluster]\nnodes = []\nuser = \"pgweir\"\n\n[pool]\nlease_wait = \"soon\"\n";
    std::fs::write(&file, text).expect("the directory can be written to");
    let file = file.to_string_lossy().into_owned();
    let (status, out, error) = stage.weir.command(&["check", "--config", &file])?;
    let told = out + &error;
    assert_eq!(status.code(), Some(1), "{told}");
    for line in [2, 5, 9] {
        assert!(told.contains(&format!("{file}:{line}:")), "line {line} is not reported:\n{told}");
    }
    let good = stage.weir.config_file().to_string_lossy().into_owned();
    let (status, out, error) = stage.weir.command(&["check", "--config", &good])?;
    assert_eq!(status.code(), Some(0), "{out}{error}");
    Ok(())
}

#[test]
fn check_refuses_whatever_is_no_configuration() -> Outcome {
    let stage = stage();
    let place = stage.cluster.directory();
    let path = |name: &str| place.join(name).to_string_lossy().into_owned();
    std::fs::write(path("empty.toml"), "").expect("writable");
    std::fs::write(path("binary.toml"), [0xff, 0xfe, 0x00, 0x80]).expect("writable");
    for name in ["empty.toml", "binary.toml", "missing.toml", "."] {
        let (status, out, error) = stage.weir.command(&["check", "--config", &path(name)])?;
        assert_eq!(status.code(), Some(1), "{name}: {out}{error}");
        assert!(!error.contains("panicked"), "{name}: {error}");
    }
    Ok(())
}
