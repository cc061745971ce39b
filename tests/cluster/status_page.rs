//! The status page as a browser shows it: under load, on a phone, in the dark, with hostile names.

use crate::support::{Outcome, ends_well, load, stage};
use pgweir_tests::node::SUPERUSER;
use pgweir_tests::process::run;
use pgweir_tests::raw::{PROTOCOL_3_0, RawClient};
use pgweir_tests::{HarnessError, Weir, scratch};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// How long the page is watched before it is judged: some points on each line.
const SECONDS: u32 = 12;

fn look(weir: &Weir, shots: &Path) -> Result<Value, HarnessError> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/status.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(format!("http://{}/", weir.http_address())).arg(shots);
    command.arg(SECONDS.to_string());
    let told = run(command)?;
    serde_json::from_str(&told).map_err(|e| HarnessError::failed(format!("{e}: {told}")))
}

/// Debian has a browser as a package; elsewhere somebody may have installed one.
fn has_browser() -> bool {
    let name = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let found = Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("left out: there is no chromium");
    }
    found
}

#[test]
fn the_page_draws_lag_per_replica_and_the_share_of_reads_by_reason_under_load() -> Outcome {
    if !has_browser() {
        return Ok(());
    }
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let shots = match std::env::var_os("PGWEIR_SHOTS") {
        Some(directory) => directory.into(),
        None => scratch::directory()?,
    };
    let clients = load(&stage.cluster, &weir.app(), &["--rate", "200"], SECONDS + 12)?;
    let seen = look(&weir, &shots)?;
    for name in ["wide", "phone"] {
        let page = &seen[name];
        let points = |key: &str| -> Vec<u64> {
            page[key].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
        };
        assert_eq!(page["nodes"], 3, "{name}: {page}");
        let lag = points("lag");
        assert!(lag.len() == 2 && lag.iter().all(|n| *n >= 5), "{name}: lag over time: {lag:?}");
        assert!(points("rate").len() == 2, "{name}: {page}");
        for reason in ["read_only", "write"] {
            let row = page["bars"].as_array().into_iter().flatten().find(|row| row["name"] == reason);
            let row = row.unwrap_or_else(|| panic!("{name}: no {reason} in {page}"));
            assert!(row["width"].as_f64().is_some_and(|width| width > 5.0), "{name}: {row}");
            assert!(row["text"].as_str().is_some_and(|text| text.contains('%')), "{name}: no share: {row}");
        }
        assert!(page["wide"].as_f64().is_some_and(|more| more <= 0.0), "{name} scrolls sideways");
    }
    let ground = |name: &str| seen[name]["ground"].as_str().unwrap_or_default().to_owned();
    assert_ne!(ground("wide"), ground("phone"), "it is as bright in the dark");
    assert_eq!(seen["problems"], Value::Array(vec![]), "the browser complains");
    let own = Value::from(format!("http://{}", weir.http_address()));
    assert_eq!(seen["requests"], Value::Array(vec![own]), "it asks elsewhere");
    ends_well(clients);
    Ok(())
}

#[test]
fn hostile_names_of_users_databases_and_applications_stay_text() -> Outcome {
    if !has_browser() {
        return Ok(());
    }
    const NAME: &str = "<img src=x onerror=window.hacked=true>";
    let cluster = pgweir_tests::Cluster::builder().start()?;
    let root = cluster.node(0).superuser();
    root.sql(&format!("CREATE ROLE \"{NAME}\" LOGIN SUPERUSER PASSWORD 'x'"))?;
    root.sql(&format!("CREATE DATABASE \"{NAME}\""))?;
    cluster.wait_caught_up()?;
    let weir = Weir::builder(&cluster).set("console.admin_users", vec![SUPERUSER, NAME]).start()?;
    let login = weir.app().user(NAME, "x").database(NAME);
    let mut client = RawClient::login_with(&login, PROTOCOL_3_0, &[("application_name", NAME)])?;
    client.run("SELECT 1")?;
    client.run("BEGIN; SELECT 1; CREATE TEMPORARY TABLE t (n int)")?;
    let clients = login.database("pgweir").sql("SHOW CLIENTS")?;
    assert!(clients.iter().any(|row| row[17].as_deref() == Some(NAME)), "the console shows it as it is");
    // Metrics escape it as the format wants.
    let metrics = weir.metrics()?;
    assert!(metrics.sum("pgweir_statements_total", &[("database", NAME)]) >= 1.0);
    let seen = look(&weir, &scratch::directory()?)?;
    for name in ["wide", "phone"] {
        let page = &seen[name];
        assert_eq!(
            (&page["strange"], &page["hacked"]),
            (&Value::from(0), &Value::from(false)),
            "{name}: {page}"
        );
        assert!(page["text"].as_str().is_some_and(|text| text.contains(NAME)), "{name}: {page}");
    }
    assert_eq!(seen["problems"], Value::Array(vec![]));
    client.run("ROLLBACK")?;
    Ok(())
}
