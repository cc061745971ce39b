//! What operators are told of single statements: slow ones in the log, spans for a collector.

use crate::support::{Outcome, stage};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::RawClient;
use pgweir_tests::{HarnessError, Weir, weir};
use prost::Message;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_slow_lease_is_logged_by_shape_and_a_fast_one_is_not() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster)
        .set("pool.server_connections_max", 1)
        .set("log.slow_lease", "200ms")
        .start()?;
    let mut first = RawClient::login(&weir.app())?;
    first.run("UPDATE counter SET n = n WHERE id = 84")?;
    first.run("BEGIN; UPDATE counter SET n = n WHERE id = 84")?;
    assert!(!weir.log().contains("slow lease"), "{}", weir.log());
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| RawClient::login(&weir.app())?.run("UPDATE counter SET n = 471100 - 471100 + n"));
        std::thread::sleep(Duration::from_millis(700));
        first.run("COMMIT")?;
        waiting.join().expect("no panic")
    })?;
    let log = weir.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("slow lease")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in ["shape=", "milliseconds=", "database=\"app\"", "user=\"app\"", "node="] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    assert!(!log.contains("471100") && !log.contains("UPDATE"), "the text is in the log:\n{log}");
    Ok(())
}

#[test]
fn slow_statements_do_not_flood_the_log() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("log.slow_statement", "1ms").start()?;
    let mut client = RawClient::login(&weir.app())?;
    for _ in 0..60 {
        client.run("SELECT pg_sleep(0.003)")?;
    }
    let count = weir.log().matches("slow statement").count();
    assert!((1..60).contains(&count), "{count} lines");
    Ok(())
}

/// A collector that keeps what it gets.
struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Result<Self, HarnessError> {
        let failed = |e: std::io::Error| HarnessError::failed(e.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let (spans, bytes) = (Arc::<Mutex<Vec<Span>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (kept, raw) = (spans.clone(), bytes.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(body) = taken(stream) else { continue };
                let request = ExportTraceServiceRequest::decode(&body[..]).expect("an OTLP request");
                let resources = request.resource_spans;
                for scope in resources.into_iter().flat_map(|resource| resource.scope_spans) {
                    kept.lock().expect("no panic").extend(scope.spans);
                }
                raw.lock().expect("no panic").extend(body);
            }
        });
        Ok(Self { port, spans, bytes })
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("no panic").clone()
    }
}

/// Reads one request and answers it; its body.
fn taken(mut stream: TcpStream) -> Option<Vec<u8>> {
    let (mut head, mut byte) = (vec![], [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(body)
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name}: {other:?} in {span:?}"),
    }
}

fn traced(endpoint: String, ratio: f64) -> Result<Weir, HarnessError> {
    let stage = stage();
    Weir::builder(&stage.cluster)
        .set("traces.endpoint", endpoint)
        .set("traces.ratio", ratio)
        .environment("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
}

#[test]
fn a_collector_gets_a_span_per_statement_with_node_reason_and_waits() -> Outcome {
    let collector = Collector::start()?;
    let weir = traced(format!("http://127.0.0.1:{}", collector.port), 1.0)?;
    let mut client = RawClient::login(&weir.app())?;
    client.run("UPDATE counter SET n = n WHERE id = 85")?;
    client.run("SELECT name FROM product WHERE name <> 'very-private-value'")?;
    client.run("SELECT pg_sleep(0.2)")?;
    wait_until("three spans have come", || collector.spans().len() >= 3)?;
    let spans = collector.spans();
    let of = |kind: &str| spans.iter().filter(|span| span.name == kind).collect::<Vec<_>>();
    let update = of("update")[0];
    assert_eq!(attribute(update, "pgweir.role"), "primary");
    assert_eq!(attribute(update, "pgweir.reason"), "write");
    assert_eq!(attribute(update, "db.namespace"), "app");
    let nodes = stage().cluster.addresses();
    assert!(nodes.contains(&attribute(update, "pgweir.node")), "{update:?}");
    for select in of("select") {
        assert!(attribute(select, "pgweir.freshness_wait_seconds").parse::<f64>().is_ok_and(|s| s >= 0.0));
        assert_eq!(attribute(select, "pgweir.shape").len(), 16);
    }
    let longest = spans.iter().map(|span| span.end_time_unix_nano - span.start_time_unix_nano).max();
    assert!(longest.is_some_and(|nanos| (200_000_000..5_000_000_000).contains(&nanos)), "{longest:?}");
    let bytes = collector.bytes.lock().expect("no panic").clone();
    assert!(String::from_utf8_lossy(&bytes).contains("service.name"));
    assert!(!String::from_utf8_lossy(&bytes).contains("very-private-value"));
    // The last ones are sent when it leaves.
    client.run("SELECT 1")?;
    weir.signal("TERM");
    weir.wait(Duration::from_secs(20));
    assert!(collector.spans().len() >= 4);
    Ok(())
}

#[test]
fn a_span_joins_the_trace_that_its_statement_names_and_a_reload_ends_them() -> Outcome {
    let collector = Collector::start()?;
    let weir = traced(format!("http://127.0.0.1:{}/v1/traces", collector.port), 0.0)?;
    let mut client = RawClient::login(&weir.app())?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for _ in 0..20 {
        client.run("SELECT count(*) FROM product")?;
        client
            .run(&format!("SELECT count(*) FROM product /*traceparent='00-{trace}-00f067aa0ba902b7-00'*/"))?;
    }
    client.run(&format!("SELECT 1 /*traceparent='00-{trace}-00f067aa0ba902b7-01'*/"))?;
    wait_until("the span has come", || !collector.spans().is_empty())?;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "only the sampled trace is continued");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&spans[0].trace_id), trace);
    assert_eq!(hex(&spans[0].parent_span_id), "00f067aa0ba902b7");
    weir.reconfigure(|config| drop(config.remove("traces")))?;
    client.run(&format!("SELECT 2 /*traceparent='00-{trace}-00f067aa0ba902b7-01'*/"))?;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(collector.spans().len(), 1);
    weir.reconfigure(|config| {
        let endpoint = format!("http://127.0.0.1:{}", collector.port);
        weir::set(config, "traces.endpoint", endpoint.into());
        weir::set(config, "traces.ratio", 1.0.into());
    })?;
    client.run("SELECT 3")?;
    wait_until("they come again", || collector.spans().len() >= 2)
}

#[test]
fn a_collector_that_is_not_there_costs_a_line_in_the_log_and_no_statement_anything() -> Outcome {
    let weir = traced("http://127.0.0.1:1".into(), 1.0)?;
    let mut client = RawClient::login(&weir.app())?;
    for _ in 0..100 {
        client.run("SELECT count(*) FROM product")?;
    }
    wait_until("it is said", || weir.log().contains("traces could not be sent"))
}
