//! An operator's day: reloads, the console, Prometheus.

use crate::support::{Outcome, ends_well, load, stage};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until, wait_until_within};
use pgweir_tests::ports::free_port;
use pgweir_tests::process::{Process, run};
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use pgweir_tests::usage::Usage;
use pgweir_tests::{HarnessError, Weir, http, scratch};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn console(weir: &Weir) -> Login {
    Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir")
}

/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const PROTOCOL_3_0: i32 = 3 << 16;

#[test]
fn a_thousand_reloads_under_load_lose_nothing_and_do_not_grow() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("runtime.watch_config", false).start()?;
    let clients = load(&stage.cluster, &weir.app(), &[], 20)?;
    let mut idle = RawClient::login(&weir.app())?;
    let mut console = RawClient::login(&console(&weir))?;
    let text = weir.config_text();
    let mut first = 0;
    for i in 0..1000 {
        let wait = if i % 2 == 0 { "5s" } else { "6s" };
        let changed = format!("{text}\n[limits]\ndrain = \"{wait}\"\n");
        std::fs::write(weir.config_file(), changed).map_err(|e| HarnessError::failed(e.to_string()))?;
        console.run("RELOAD")?;
        if i == 100 {
            first = Usage::of_tree(weir.pid()).resident_bytes;
        }
    }
    let last = Usage::of_tree(weir.pid()).resident_bytes;
    assert!(last < first + (8 << 20), "grew from {first} to {last} bytes in 900 reloads");
    assert_eq!(idle.value("SELECT 1")?, "1");
    assert!(weir.metrics()?.sum("pgweir_config_reloads_total", &[("result", "applied")]) >= 999.0);
    ends_well(clients);
    Ok(())
}

#[test]
fn the_file_is_watched_and_the_console_says_what_changed() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let changed = weir.config_text().replace("[listen]", "[routing]\nmax_lag = \"7s\"\n\n[listen]");
    let fresh = weir.config_file().with_extension("new");
    std::fs::write(&fresh, &changed).map_err(|e| HarnessError::failed(e.to_string()))?;
    std::fs::rename(&fresh, weir.config_file()).map_err(|e| HarnessError::failed(e.to_string()))?;
    let seen = wait_until("the change is seen without a signal", || weir.log().contains("routing.max_lag"));
    assert!(seen.is_ok(), "{}", weir.log());
    let rows = console(&weir).sql("SHOW CONFIG")?;
    let row = rows.iter().find(|row| row[0].as_deref() == Some("routing.max_lag"));
    assert_eq!(row.and_then(|r| r[1].clone()).as_deref(), Some("\"7s\""));

    let broken = changed.replace("max_lag = \"7s\"", "max_lag = 7\nmax_lagg = 1");
    std::fs::write(weir.config_file(), broken).map_err(|e| HarnessError::failed(e.to_string()))?;
    let (state, message) = RawClient::login(&console(&weir))?.refusal("RELOAD")?;
    assert_eq!(state, "F0000");
    assert!(message.contains("`max_lag`: expected a duration") && message.contains("unknown key `max_lagg`"));
    assert_eq!(weir.app().value("SELECT 1")?, "1");
    Ok(())
}

#[test]
fn listen_addresses_come_and_go_with_a_reload() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let more = free_port();
    let before = format!("\"127.0.0.1:{}\"", weir.port());
    let both = format!("[{before}, \"127.0.0.1:{more}\"]");
    let mut old = RawClient::login(&weir.app())?;
    weir.overwrite_config(
        &weir.config_text().replace(&format!("address = {before}"), &format!("address = {both}")),
        "applied",
    )?;
    let there = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(there(more) && there(weir.port()));
    let only = format!("\"127.0.0.1:{more}\"");
    weir.overwrite_config(&weir.config_text().replace(&both, &only), "applied")?;
    wait_until("the old address is closed", || !there(weir.port()))?;
    assert!(there(more));
    assert_eq!(old.value("SELECT 1")?, "1", "who came through the old address stays");
    Ok(())
}

#[test]
fn the_console_speaks_the_extended_protocol_and_knows_roles() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("console.stats_users", vec!["app"])
        .set("console.admin_users", vec![WEIR])
        .start()?;
    weir.app().sql("SELECT count(*) FROM product")?;
    let mut admin = RawClient::login(&console(&weir))?;
    admin.prepare("nodes", "SHOW NODES")?;
    assert_eq!(admin.execute("nodes", &[])?.len(), 3);
    assert_eq!(admin.execute("nodes", &[])?.len(), 3, "a prepared command may be run again");
    assert_eq!(admin.refusal("SHOW 'NODES; --")?.0, "42601");
    assert_eq!(admin.refusal("DRAIN nowhere:1")?.0, "22023");
    assert_eq!(admin.run("/* x */ show version; -- y")?.len(), 1);
    let stats = weir.app().database("pgbouncer");
    assert!(!stats.sql("SHOW POOLS")?.is_empty());
    for command in ["PAUSE", "RELOAD", "SHUTDOWN", "KILL app", "DRAIN x"] {
        assert_eq!(RawClient::login(&stats)?.refusal(command)?.0, "42501", "{command}");
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|e| HarnessError::failed(e.to_string()))?;
    let typed = runtime.block_on(async {
        let (client, connection) = console(&weir).config().connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let rows = client.query("SHOW LISTS", &[]).await?;
        let nodes = rows.iter().find(|r| r.get::<_, &str>(0) == "nodes");
        Ok(nodes.map_or(-1, |r| r.get(1)))
    });
    let typed: i64 = typed.map_err(|e: tokio_postgres::Error| HarnessError::failed(e.to_string()))?;
    assert_eq!(typed, 3, "numbers come in binary too");
    Ok(())
}

#[test]
fn pause_holds_clients_and_resume_lets_them_go_on() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    // With a server of their own or without.
    let mut clients = vec![];
    for sql in ["SELECT 1", "CREATE TEMP TABLE own (a int)", "LISTEN news", "SELECT pg_backend_pid()"] {
        let mut client = RawClient::login(&weir.app())?;
        client.run(sql)?;
        clients.push(client);
    }
    console(&weir).sql("PAUSE")?;
    for client in &mut clients {
        client.send_frame(b'Q', b"SELECT 42\0")?;
        assert!(client.is_silent_for(Duration::from_millis(300))?, "it was served while paused");
    }
    console(&weir).sql("RESUME")?;
    for client in &mut clients {
        assert!(client.until_ready()?.iter().any(|f| f.tag == b'D'));
    }
    Ok(())
}

#[test]
fn the_console_refuses_databases_that_are_not_there_and_settings_that_it_would_ignore() -> Outcome {
    let stage = stage();
    let console = console(&stage.weir);
    for (command, words) in [
        ("PAUSE nope", "there is no database \"nope\""),
        ("RESUME nope", "there is no database \"nope\""),
        ("ROUTE 'SELECT 1' ON nope", "there is no database \"nope\""),
        ("SET pool_mode = 'session'", "\"pool_mode\" cannot be set here"),
        ("SET nonsense = 1", "\"nonsense\" cannot be set here"),
    ] {
        let error = console.sql(command).expect_err(command).to_string();
        assert!(error.contains(words), "{command}: {error}");
    }
    console.sql("SET application_name = 'an exporter'")?;
    assert!(!console.sql("ROUTE 'SELECT 1' ON app")?.is_empty());
    Ok(())
}

#[test]
fn a_misspelt_hint_or_setting_is_answered_with_the_nearest_word() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    let mut notices = |sql: &str| {
        let frames = client.query(sql)?;
        let notices = frames.iter().filter(|f| f.tag == b'N').filter_map(|f| f.field(b'M'));
        Ok::<_, HarnessError>(notices.collect::<Vec<_>>().join("\n"))
    };
    assert!(notices("/* pgweir: replcia */ SELECT 1")?.contains("did you mean \"replica\"?"));
    assert!(notices("/* pgwier: replica */ SELECT 1")?.contains("a hint begins with \"pgweir:\""));
    assert!(notices("/* pgweir: group=nobody */ SELECT 1")?.contains("a group that no node"));
    assert!(notices("/* pgweir: consistency=sesion */ SELECT 1")?.contains("consistency=session"));
    assert!(notices("SET pgweir.trac = on")?.contains("did you mean \"pgweir.trace\"?"));
    assert!(notices("SET pgwier.trace = on")?.contains("did you mean \"pgweir.trace\"?"));
    assert_eq!(notices("/* pgweir: replica */ SELECT 1")?, "");
    assert_eq!(notices("SET myapp.tenant = '7'")?, "");
    Ok(())
}

#[test]
fn kill_client_ends_one_client_and_nobody_else() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let mut victim = RawClient::login_with(&weir.app(), PROTOCOL_3_0, &[("application_name", "victim")])?;
    let mut other = RawClient::login(&weir.app())?;
    victim.run("BEGIN; UPDATE counter SET n = n WHERE id = 90")?;
    let clients = console(&weir).sql("SHOW CLIENTS")?;
    let row = clients.iter().find(|row| row[17].as_deref() == Some("victim")).expect("the victim is listed");
    let id = row[18].clone().unwrap_or_default();
    console(&weir).sql(&format!("KILL_CLIENT {id}"))?;
    let farewell = victim.until_closed(Duration::from_secs(5))?;
    assert!(String::from_utf8_lossy(&farewell).contains("57P01"), "{farewell:?}");
    assert_eq!(other.value("UPDATE counter SET n = n WHERE id = 90 RETURNING id")?, "90", "its lock is gone");
    Ok(())
}

#[test]
fn a_drained_node_gets_no_more_reads_until_it_is_undrained() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let replicas = stage.cluster.replicas();
    let drained = stage.cluster.address(replicas[0]);
    console(&weir).sql(&format!("DRAIN '{drained}'"))?;
    let mut client = RawClient::login(&weir.app())?;
    let mut ran_on = |text: &str| {
        let mark = crate::support::mark();
        client.run(&format!("/* {mark} */ {text}")).map(|_| stage.cluster.nodes_that_ran(&mark))
    };
    for _ in 0..20 {
        assert!(
            !ran_on("SELECT count(*) FROM product")?.contains(&replicas[0]),
            "a read went to a drained node"
        );
    }
    console(&weir).sql(&format!("UNDRAIN '{drained}'"))?;
    wait_until("it serves again", || {
        ran_on("SELECT count(*) FROM product").is_ok_and(|n| n.contains(&replicas[0]))
    })
}

/// From Debian's packages, which `make test` installs.
fn installed(program: &str) -> Result<PathBuf, HarnessError> {
    let path = Path::new("/usr/bin").join(program);
    if path.is_file() { Ok(path) } else { Err(HarnessError::failed(format!("{program} is not installed"))) }
}

#[test]
fn debians_pgbouncer_exporter_works_against_the_console() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    weir.app().sql("SELECT count(*) FROM product")?;
    let port = free_port();
    let mut command = Command::new(installed("prometheus-pgbouncer-exporter")?);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--pgbouncer-host", "127.0.0.1"]);
    command.args(["--pgbouncer-port", &weir.port().to_string(), "--pgbouncer-user", WEIR]);
    command.env("PGPASSWORD", WEIR_PASSWORD);
    let _exporter = Process::spawn(command, &scratch::directory()?.join("exporter.log"), "KILL")?;
    let address = format!("127.0.0.1:{port}");
    let answer = || http::get(&address, "/metrics").map(|a| a.body).unwrap_or_default();
    wait_until_within(Duration::from_secs(20), "the exporter answers", || answer().contains("pgbouncer_"))?;
    let text = answer();
    for part in [
        "pgbouncer_requests_total{database=\"app\"} ",
        "pgbouncer_waiting_clients{database=\"app\",user=\"app\"} 0.0",
        "pgbouncer_pool_size{database=\"app\"} 20.0",
        "pgbouncer_used_clients 0.0",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    Ok(())
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Every expression of every dashboard, `$instance` standing for all.
fn dashboard_expressions() -> Result<Vec<String>, HarnessError> {
    let mut found = vec![];
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(expression)) = map.get("expr") {
                    found.push(expression.replace("$instance", ".*").replace("$__rate_interval", "1m"));
                }
                map.values().for_each(|v| collect(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| collect(v, found)),
            _ => {}
        }
    }
    for name in ["overview", "routing"] {
        let path = deploy().join(format!("grafana/dashboards/{name}.json"));
        let text = std::fs::read_to_string(path).map_err(|e| HarnessError::failed(e.to_string()))?;
        collect(&serde_json::from_str(&text).map_err(|e| HarnessError::failed(e.to_string()))?, &mut found);
    }
    assert!(found.len() > 25, "the dashboards have lost their panels");
    Ok(found)
}

struct Prometheus {
    address: String,
    _process: Process,
}

impl Prometheus {
    fn start(weir: &Weir) -> Result<Self, HarnessError> {
        let directory = scratch::directory()?;
        let copy = |name: &str| std::fs::copy(deploy().join("prometheus").join(name), directory.join(name));
        let failed = |e: std::io::Error| HarnessError::failed(e.to_string());
        copy("recording.yml").map_err(failed)?;
        copy("alerts.yml").map_err(failed)?;
        let config = std::fs::read_to_string(deploy().join("prometheus/prometheus.yml")).map_err(failed)?;
        assert!(config.contains("127.0.0.1:16432") && config.contains("5s"));
        let config = config.replace("127.0.0.1:16432", &weir.http_address()).replace("5s", "1s");
        std::fs::write(directory.join("prometheus.yml"), config).map_err(failed)?;
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(installed("prometheus")?);
        command.arg(format!("--config.file={}", directory.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::spawn(command, &directory.join("prometheus.log"), "KILL")?;
        Ok(Self { address, _process: process })
    }

    /// How many series the expression gives now; its error if it is refused.
    fn query(&self, expression: &str) -> Result<usize, HarnessError> {
        let encoded: String = expression.bytes().map(|b| format!("%{b:02X}")).collect();
        let answer = http::get(&self.address, &format!("/api/v1/query?query={encoded}"))?;
        let value: Value = serde_json::from_str(&answer.body)
            .map_err(|e| HarnessError::failed(format!("{e}: {}", answer.body)))?;
        match value["data"]["result"].as_array() {
            Some(series) => Ok(series.len()),
            None => Err(HarnessError::failed(format!("{expression}: {}", answer.body))),
        }
    }
}

#[test]
fn prometheus_evaluates_every_expression_of_every_dashboard_and_rule() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let prometheus = Prometheus::start(&weir)?;
    let mut pinned = RawClient::login(&weir.app())?;
    pinned.run("LISTEN news")?;
    let clients = load(&stage.cluster, &weir.app(), &[], 15)?;
    // Rates want a few scrapes.
    let ready = "pgweir:statement_seconds:p99_5m{target=\"replica\"} and on () count_over_time(pgweir_build_info[1m]) > 8";
    wait_until_within(Duration::from_secs(40), "a few scrapes have been made", || {
        prometheus.query(ready).is_ok_and(|n| n > 0)
    })?;
    // Some say something only when it has happened, which a healthy pgweir spares us.
    let only_sometimes = ["changes(", "freshness_wait_seconds_bucket"];
    for expression in dashboard_expressions()? {
        let series = prometheus.query(&expression)?;
        let excused = only_sometimes.iter().any(|part| expression.contains(part));
        assert!(series > 0 || excused, "no data: {expression}");
    }
    let rules = http::get(&prometheus.address, "/api/v1/rules")?.body;
    let rules: Value = serde_json::from_str(&rules).map_err(|e| HarnessError::failed(e.to_string()))?;
    let groups = rules["data"]["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> =
        groups.iter().flat_map(|g| g["rules"].as_array().into_iter().flatten()).collect();
    assert!(rules.len() >= 23, "{} rules", rules.len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert!(
            rule["state"].is_null() || rule["state"] == "inactive",
            "it fires on a healthy pgweir: {rule}"
        );
    }
    // Alerts have no data while all is well, but what they look at is there.
    let mut names = BTreeSet::new();
    for rule in &rules {
        let expression = rule["query"].as_str().unwrap_or_default();
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        names.extend(
            words.filter(|w| w.starts_with("pgweir_") || w.starts_with("process_")).map(str::to_owned),
        );
    }
    assert!(names.len() > 12);
    for name in names {
        assert!(prometheus.query(&name)? > 0, "there is no metric {name}");
    }
    ends_well(clients);
    Ok(())
}

#[test]
fn promtool_finds_each_alert_firing_on_what_it_is_for() -> Outcome {
    let mut command = Command::new(installed("promtool")?);
    command.args(["test", "rules"]).arg(deploy().join("prometheus/alerts_test.yml"));
    run(command)?;
    let mut command = Command::new(installed("promtool")?);
    command.args(["check", "config"]).arg(deploy().join("prometheus/prometheus.yml"));
    run(command).map(drop)
}
