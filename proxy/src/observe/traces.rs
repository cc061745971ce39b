//! Spans of statements, on their way to an OpenTelemetry collector.
//!
//! A span is made when its statement has ended, from what the session remembers: while traces are off a
//! statement pays one branch, while they are on only the sampled ones pay more. Spans wait in a bounded
//! queue for a thread of the SDK's, which sends them by OTLP over HTTP; what the queue cannot take is
//! dropped, and no statement ever waits for a collector.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use crate::config;
use arc_swap::ArcSwapOption;
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use router_rules::{Reason, Target};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Each step of talking to the collector may take so long.
const COLLECTOR_WAIT: Duration = Duration::from_secs(5);
/// Of a collector's answer only the first line counts.
const ANSWER_BYTES_MAX: u64 = 4096;
/// A `traceparent` is looked for in this much of a text's end, where it is appended.
const PARENT_BYTES_MAX: usize = 1024;

/// What there is to say about a statement that has ended.
#[derive(Debug)]
pub struct Told<'s> {
    /// `select`, `insert`, …; `batch` for several.
    pub kind: &'static str,
    /// The database.
    pub database: &'s str,
    /// The node that ran it.
    pub node: &'s str,
    /// What that node was to it.
    pub on: Target,
    /// Why there.
    pub reason: Reason,
    /// Names its shape.
    pub shape: u64,
    /// From its arrival to the end of its answer.
    pub took: Duration,
    /// Of that: waiting for a replica to catch up.
    pub freshness_wait: Duration,
    /// And waiting for a server connection or for a primary.
    pub lease_wait: Duration,
}

/// Where spans go, if anywhere.
#[derive(Debug, Default)]
pub struct Traces(ArcSwapOption<Sending>);

#[derive(Debug)]
struct Sending {
    config: config::Traces,
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

impl Traces {
    /// Follows the configuration.
    pub fn apply(&self, config: Option<&config::Traces>) {
        if self.0.load().as_ref().map(|sending| &sending.config) == config {
            return;
        }
        let sending = config.and_then(|config| match start(config) {
            Ok(sending) => Some(Arc::new(sending)),
            Err(error) => {
                tracing::error!(%error, "traces cannot be sent");
                None
            }
        });
        if let Some(old) = self.0.swap(sending) {
            // It sends what it has first, which may take a moment.
            std::thread::spawn(move || old.provider.shutdown());
        }
    }

    /// Sends what waits, and no more after it. Blocks for some seconds at most.
    pub fn end(&self) {
        if let Some(sending) = self.0.swap(None)
            && let Err(error) = sending.provider.shutdown_with_timeout(COLLECTOR_WAIT)
        {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }

    /// A statement has ended; `sql` is looked at for a parent's name only.
    pub fn tell(&self, told: &Told<'_>, sql: &[u8]) {
        let sending = self.0.load();
        let Some(sending) = sending.as_ref() else { return };
        let parent = parent(sql);
        let wanted = match &parent {
            Some(parent) => parent.is_sampled(),
            None => rand::random::<f64>() < sending.config.ratio,
        };
        if wanted {
            sending.tell(told, parent);
        }
    }
}

impl Sending {
    fn tell(&self, told: &Told<'_>, parent: Option<SpanContext>) {
        let ended = SystemTime::now();
        let (host, port) = told.node.rsplit_once(':').unwrap_or((told.node, ""));
        // Names where there are conventions: https://opentelemetry.io/docs/specs/semconv/database/
        let attributes = vec![
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.namespace", told.database.to_owned()),
            KeyValue::new("db.operation.name", told.kind),
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("server.port", port.parse::<i64>().unwrap_or(0)),
            KeyValue::new("pgweir.node", told.node.to_owned()),
            KeyValue::new("pgweir.role", told.on.as_str()),
            KeyValue::new("pgweir.reason", told.reason.as_str()),
            KeyValue::new("pgweir.shape", format!("{:016x}", told.shape)),
            KeyValue::new("pgweir.freshness_wait_seconds", told.freshness_wait.as_secs_f64()),
            KeyValue::new("pgweir.lease_wait_seconds", told.lease_wait.as_secs_f64()),
        ];
        let span = self
            .tracer
            .span_builder(told.kind)
            .with_kind(SpanKind::Client)
            .with_start_time(ended.checked_sub(told.took).unwrap_or(ended))
            .with_attributes(attributes);
        let around = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        self.tracer.build_with_context(span, &around).end_with_timestamp(ended);
    }
}

fn start(config: &config::Traces) -> Result<Sending, opentelemetry_otlp::ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Collector { authority: config.authority.clone() })
        .with_endpoint(format!("http://{}{}", config.authority, config.path))
        .build()?;
    // The environment (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) may say more, or otherwise.
    let mut resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("pgweir");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // Chosen already, before anything was made.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.build())
        .build();
    Ok(Sending { config: config.clone(), tracer: provider.tracer("pgweir"), provider })
}

/// `traceparent='00-…'` in a comment, as sqlcommenter writes it.
///
/// <https://www.w3.org/TR/trace-context/#traceparent-header>
fn parent(sql: &[u8]) -> Option<SpanContext> {
    const MARK: &[u8] = b"traceparent='";
    const LENGTH: usize = "00-00000000000000000000000000000000-0000000000000000-00".len();
    let end = &sql[sql.len().saturating_sub(PARENT_BYTES_MAX)..];
    let at = memchr::memmem::rfind(end, MARK)? + MARK.len();
    let text = std::str::from_utf8(end.get(at..at + LENGTH)?).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let parent = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    parent.is_valid().then_some(parent)
}

/// Speaks to the collector; blocks, on the SDK's own thread.
#[derive(Debug)]
struct Collector {
    authority: String,
}

impl HttpClient for Collector {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let sent = self.post(&request).and_then(|status| {
                let answer = Response::builder().status(status).body(Bytes::new());
                answer.map_err(io::Error::other)
            });
            let refused = |answer: &Response<Bytes>| !answer.status().is_success();
            match &sent {
                Ok(answer) if refused(answer) => {
                    crate::limited!(warn, status = %answer.status(), "the collector does not take traces");
                }
                Ok(_) => {}
                Err(error) => crate::limited!(warn, %error, "traces could not be sent"),
            }
            Ok(sent?)
        })
    }
}

impl Collector {
    /// Sends the request on a connection of its own; the status of the answer.
    fn post(&self, request: &Request<Bytes>) -> io::Result<u16> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(COLLECTOR_WAIT))?;
        stream.set_write_timeout(Some(COLLECTOR_WAIT))?;
        let path = request.uri().path();
        let mut out = format!("POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.authority);
        out += &format!("content-length: {}\r\n", request.body().len());
        let mut out = out.into_bytes();
        for (name, value) in request.headers() {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(request.body());
        stream.write_all(&out)?;
        let mut answer = vec![];
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        status(&answer).ok_or_else(|| io::Error::other("the collector's answer is not HTTP"))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::other(format!("{} has no address", self.authority));
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, COLLECTOR_WAIT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.starts_with("HTTP/1.").then(|| line.get(9..)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_parent_is_read_from_a_comment_and_nonsense_is_none() {
        let sql = |value: &str| format!("SELECT 1 /*db_driver='x',traceparent='{value}'*/").into_bytes();
        let found = parent(&sql(&format!("00-{TRACE}-{SPAN}-01"))).unwrap();
        assert_eq!((found.trace_id().to_string().as_str(), found.is_sampled()), (TRACE, true));
        assert!(!parent(&sql(&format!("00-{TRACE}-{SPAN}-00"))).unwrap().is_sampled());
        for nonsense in [
            "",
            "00",
            &format!("01-{TRACE}-{SPAN}-01"),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "z".repeat(16)),
            &format!("00{TRACE}-{SPAN}--01"),
            &format!("00-{TRACE}-{SPAN}-é"),
        ] {
            assert!(parent(&sql(nonsense)).is_none(), "{nonsense}");
        }
        assert!(parent(b"SELECT 1").is_none());
        assert!(parent(b"traceparent='").is_none());
    }

    #[test]
    fn of_an_answer_the_status_counts() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.1 503"), Some(503));
        for nonsense in
            [&b""[..], b"HTTP/1.1", b"SSH-2.0-OpenSSH", b"HTTP/1.1 2x0 ", "HTTP/1.1é00".as_bytes()]
        {
            assert_eq!(status(nonsense), None);
        }
    }
}
