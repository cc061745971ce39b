//! Every decision can be seen: metrics, trace, `pgweir route`, logs, the status page.

use crate::support::{Outcome, mark, route_lines, stage};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::{Cluster, RawClient, Weir};
use router_rules::Reason;

const READ: &str = "SELECT count(*) FROM product";

#[test]
fn statements_are_counted_by_database_target_and_reason() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let count = |target| -> Result<f64, pgweir_tests::HarnessError> {
        let labels = [("database", "app"), ("target", target)];
        Ok(weir.metrics()?.sum("pgweir_statements_total", &labels))
    };
    let mut client = pgweir_tests::RawClient::login(&weir.app())?;
    let (primary, total) = (count("primary")?, count("primary")? + count("replica")?);
    for _ in 0..10 {
        client.run("UPDATE counter SET n = n WHERE id = 70")?;
        client.run(READ)?;
    }
    assert!(count("primary")? >= primary + 10.0);
    assert_eq!(count("primary")? + count("replica")?, total + 20.0);
    let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    for reason in weir.metrics()?.by_label("pgweir_statements_total", "reason").keys() {
        assert!(known.contains(&reason.as_str()), "unknown reason {reason:?}");
    }
    Ok(())
}

#[test]
fn the_documented_metrics_are_there() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let metrics = stage.weir.metrics()?;
    for name in [
        "pgweir_statements_total",
        "pgweir_statement_seconds_count",
        "pgweir_proxy_seconds_count",
        "pgweir_node_up",
        "pgweir_node_is_primary",
        "pgweir_replica_lag_bytes",
        "pgweir_replica_lag_seconds",
        "pgweir_server_connections",
        "pgweir_clients",
        "pgweir_lease_wait_seconds_count",
        "pgweir_build_info",
    ] {
        assert!(metrics.has(name, &[]), "{name} is missing");
    }
    for node in stage.cluster.addresses() {
        assert!(metrics.has("pgweir_node_up", &[("node", &node)]), "no pgweir_node_up for {node}");
    }
    Ok(())
}

#[test]
fn trace_tells_node_and_reason_of_each_statement_in_a_notice() -> Outcome {
    let stage = stage();
    stage.wait_for_replica(READ)?;
    let mut client = stage.client()?;
    client.run("SET pgweir.trace = on")?;
    let notice = |client: &mut pgweir_tests::RawClient, sql: &str| {
        let frames = client.query(sql)?;
        let text: Vec<_> = frames.iter().filter(|f| f.tag == b'N').filter_map(|f| f.field(b'M')).collect();
        Ok::<_, pgweir_tests::HarnessError>(text.join("\n"))
    };
    let mark = mark();
    let text = notice(&mut client, &format!("/* {mark} */ {READ}"))?;
    let nodes = stage.cluster.nodes_that_ran(&mark);
    assert!(text.contains(&stage.cluster.address(nodes[0])), "{text:?}, but it ran on {nodes:?}");
    assert!(text.contains("read_only"), "{text:?}");
    let text = notice(&mut client, "UPDATE counter SET n = n WHERE id = 71")?;
    assert!(text.contains(&stage.cluster.address(0)) && text.contains("write"), "{text:?}");
    client.run("SET pgweir.trace = off")?;
    assert_eq!(notice(&mut client, READ)?, "");
    let last = client.value("SHOW pgweir.last_route")?;
    assert!(last.contains("read_only"), "{last:?}");
    Ok(())
}

/// What is asked of pgweir is a setting like any other: it goes with its transaction, or with its savepoint.
#[test]
fn what_is_asked_of_pgweir_ends_as_settings_do() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    client.run("SET pgweir.route = 'primary'")?;
    for (set, within) in [
        ("SET LOCAL pgweir.consistency = 'global'", "global"),
        ("SELECT set_config('pgweir.consistency', 'session', true)", "session"),
    ] {
        client.run("BEGIN")?;
        client.run(set)?;
        assert_eq!(client.value("SHOW pgweir.consistency")?, within);
        client.run("COMMIT")?;
        assert_eq!(client.value("SHOW pgweir.consistency")?, "proxy", "{set}");
    }
    client.run("BEGIN")?;
    client.run("SET pgweir.consistency = 'session'")?;
    client.run("SAVEPOINT a")?;
    client.run("SET pgweir.route = 'auto'")?;
    client.run("ROLLBACK TO a")?;
    assert_eq!(client.value("SHOW pgweir.route")?, "primary");
    assert_eq!(client.value("SHOW pgweir.consistency")?, "session");
    client.run("ROLLBACK")?;
    assert_eq!(client.value("SHOW pgweir.consistency")?, "proxy");
    client.run("BEGIN")?;
    client.run("SET pgweir.consistency = 'session'")?;
    client.run("COMMIT")?;
    assert_eq!(client.value("SHOW pgweir.consistency")?, "session");
    assert_eq!(client.value("SHOW pgweir.route")?, "primary");
    client.run("RESET ALL")?;
    assert_eq!(client.value("SHOW pgweir.route")?, "auto");
    Ok(())
}

#[test]
fn route_answers_without_running_anything() -> Outcome {
    let stage = stage();
    let config = stage.weir.config_file().to_string_lossy().into_owned();
    let mark = mark();
    for (sql, words) in [
        (format!("/* {mark} */ SELECT * FROM product"), ["replica", "read_only"]),
        (format!("/* {mark} */ DELETE FROM product"), ["primary", "write"]),
        (format!("/* {mark} */ SELECT writer('x')"), ["primary", "writing_function"]),
        (format!("/* {mark} */ SELECT * FROM scratch"), ["primary", "unlogged_relation"]),
    ] {
        let arguments = ["route", "--config", &config, "--database", "app", &sql];
        let (status, out, error) = stage.weir.command(&arguments)?;
        assert!(status.success(), "{sql}: {out}{error}");
        for word in words {
            assert!(out.contains(word), "{sql}: no {word:?} in {out:?}");
        }
    }
    assert!(stage.cluster.nodes_that_ran(&mark).is_empty(), "something was run");
    Ok(())
}

#[test]
fn route_reads_json_lines_offline() -> Outcome {
    let stage = stage();
    let lines = [
        r#"{"id": "a", "sql": "SELECT 1"}"#,
        r#"{"id": "b", "sql": "DELETE FROM t", "ctx": {"rels": ["public.t:r:p"]}}"#,
        r#"{"id": "c", "sql": "SELECT * FROM t", "ctx": {"rels": ["public.t:r:p"]}}"#,
        r#"{"id": "d", "sql": "SELECT * FROM nobody_knows"}"#,
    ];
    let config = stage.weir.config_file().to_string_lossy().into_owned();
    let answers = route_lines(&["--offline", "--config", &config, "--database", "app"], lines.join("\n"));
    let targets: Vec<_> =
        answers.iter().map(|a| (a["id"].as_str().unwrap(), a["target"].as_str().unwrap())).collect();
    assert_eq!(targets, [("a", "replica"), ("b", "primary"), ("c", "replica"), ("d", "primary")]);
    assert!(answers.iter().all(|answer| answer["reason"].is_string()));
    Ok(())
}

#[test]
fn a_rule_that_logs_writes_one_line_per_statement_without_its_text() -> Outcome {
    let stage = stage();
    let rule = toml::toml! {
        name = "watch reads"
        kind = ["select"]
        target = "replica"
        log = true
    };
    let weir = Weir::builder(&stage.cluster).push("rule", rule).start()?;
    let mut client = pgweir_tests::RawClient::login(&weir.app())?;
    client.run("SET work_mem = '5MB'")?;
    for value in ["one-value", "other-value"] {
        client.run(&format!("SELECT count(*) FROM product WHERE name = '{value}'"))?;
    }
    let log = weir.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("a rule matched")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().all(|line| line.contains("watch reads") && line.contains("select")), "{log}");
    assert!(!log.contains("-value"), "{log}");
    Ok(())
}

#[test]
fn health_and_readiness_tell_a_living_process_from_a_useful_one() -> Outcome {
    let stage = stage();
    assert_eq!(stage.weir.get("/healthz")?.status, 200);
    assert_eq!(stage.weir.get("/readyz")?.status, 200);
    // All nodes are addresses where nobody listens.
    let nobody = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let weir = Weir::builder_for(&nobody).without_waiting().start()?;
    assert_eq!(weir.get("/healthz")?.status, 200);
    assert_eq!(weir.get("/readyz")?.status, 503);
    Ok(())
}

#[test]
fn the_status_page_shows_the_nodes_and_no_secret() -> Outcome {
    let stage = stage();
    let page = stage.weir.get("/")?;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    // The page draws itself from figures that it fetches.
    let figures = stage.weir.get("/status.json")?;
    assert_eq!(figures.status, 200);
    for node in stage.cluster.addresses() {
        assert!(figures.body.contains(&node), "{node} is not in {}", figures.body);
    }
    for text in [&page.body, &figures.body] {
        assert!(!text.contains("-secret"), "a password is on the page");
    }
    assert_eq!(stage.weir.get("/nothing-here")?.status, 404);
    Ok(())
}

#[test]
fn no_log_and_no_metric_holds_a_value_or_a_secret() -> Outcome {
    let cluster = Cluster::builder().start()?;
    let weir = Weir::builder(&cluster).environment("RUST_LOG", "trace").user("app", "app-secret").start()?;
    let mut client = pgweir_tests::RawClient::login(&weir.app())?;
    client.run("CREATE TABLE person (name text)")?;
    client.run("INSERT INTO person VALUES ('very-private-value')")?;
    client.prepare("p", "SELECT name FROM person WHERE name = $1")?;
    client.execute("p", &[Some("very-private-value")])?;
    client.refusal("SELECT 'very-private-value'::int")?;
    client.refusal("SELEC 'very-private-value'")?;
    client.run("SELECT name FROM person WHERE name = 'very-private-value'")?;
    let wrong = weir.app().user("app", "very-private-value");
    assert!(wrong.sql("SELECT 1").is_err());
    let (log, metrics) = (weir.log(), weir.get("/metrics")?.body);
    for secret in ["very-private-value", "app-secret", "pgweir-secret", "SCRAM-SHA-256$"] {
        let line = log.lines().chain(metrics.lines()).find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret:?} is in {line:?}");
    }
    Ok(())
}

/// Reads within transactions, before their first write and behind it, and what the audit makes of them.
#[test]
fn the_audit_tells_what_until_first_write_could_bring() -> Outcome {
    let cluster = Cluster::builder().replicas(1).count_statements().start()?;
    cluster.sql(cluster.primary(), "app", "CREATE TABLE audited (a int); GRANT ALL ON audited TO app")?;
    cluster.sql(cluster.primary(), "app", "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")?;
    cluster.wait_caught_up()?;
    let weir = Weir::builder(&cluster).start()?;
    let mut client = RawClient::login(&weir.app())?;
    let read = "SELECT count(*) FROM audited";
    wait_until("a replica serves reads", || {
        client.run(read).is_ok()
            && weir.metrics().is_ok_and(|m| m.sum("pgweir_statements_total", &[("target", "replica")]) > 0.0)
    })?;
    for sql in ["BEGIN", read, read, "INSERT INTO audited VALUES (1)", read, "COMMIT"] {
        client.run(sql)?;
    }
    // A snapshot that lasts cannot move.
    for sql in ["BEGIN ISOLATION LEVEL REPEATABLE READ", read, "COMMIT", read] {
        client.run(sql)?;
    }
    assert_eq!(weir.metrics()?.sum("pgweir_reads_before_write_total", &[("database", "app")]), 2.0);
    client.run("SET pgweir.transactions = 'until_first_write'")?;
    for sql in ["BEGIN", read, "COMMIT"] {
        client.run(sql)?;
    }
    assert_eq!(weir.metrics()?.sum("pgweir_reads_before_write_total", &[("database", "app")]), 2.0);
    let config = weir.config_file().to_string_lossy().into_owned();
    let audit = ["audit", "--config", &config, "--database", "app"];
    let (status, out, error) = weir.command(&[&audit[..], &["--json"]].concat())?;
    assert!(status.success(), "{out}{error}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("a JSON document");
    assert_eq!(told["reads_before_write"], 2, "{out}");
    assert!(told["transactions_begun"].as_i64() >= Some(2), "{out}");
    let (status, out, error) = weir.command(&audit)?;
    assert!(status.success() && out.contains("2 reads on the primary"), "{out}{error}");
    Ok(())
}
