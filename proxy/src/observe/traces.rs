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
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Telling the collector may take so long, from looking up its name to its answer.
const COLLECTOR_WAIT: Duration = Duration::from_secs(5);
/// Of a collector's answer only the status counts.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
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

fn start(config: &config::Traces) -> Result<Sending, String> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::reached_by(config)?)
        .with_endpoint(&config.url)
        .build()
        .map_err(|e| e.to_string())?;
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
struct Collector(ureq::Agent);

impl Collector {
    fn reached_by(config: &config::Traces) -> Result<Self, String> {
        let mut agent = ureq::Agent::config_builder()
            .timeout_global(Some(COLLECTOR_WAIT))
            .max_response_header_size(ANSWER_BYTES_MAX)
            .http_status_as_error(false)
            // Spans go where the configuration says, and nowhere else.
            .max_redirects(0)
            .proxy(None);
        if config.url.starts_with("https:") {
            let tls = ureq::tls::TlsConfig::builder()
                .root_certs(authorities(config.ca.as_deref())?)
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
            agent = agent.tls_config(tls.build());
        }
        Ok(Self(agent.build().into()))
    }

    fn post(&self, request: Request<Bytes>) -> Result<u16, ureq::Error> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, &body[..]))?;
        Ok(answer.status().as_u16())
    }
}

/// Whoever may have signed the collector's certificate: those in the file, else the system's.
fn authorities(file: Option<&Path>) -> Result<ureq::tls::RootCerts, String> {
    let found: Vec<CertificateDer<'static>> = match file {
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|e| format!("{}: {e}", path.display()))?,
        // One that cannot be read is one that nothing is trusted for.
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err("no certificate authorities are known: name a file in `traces.ca`".into());
    }
    let certificates: Vec<_> =
        found.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    Ok(ureq::tls::RootCerts::new_with_certs(&certificates))
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
            let status = match self.post(request) {
                Ok(status) => status,
                Err(error) => {
                    crate::limited!(warn, %error, "traces could not be sent");
                    return Err(error.into());
                }
            };
            let answer = Response::builder().status(status).body(Bytes::new())?;
            if !answer.status().is_success() {
                crate::limited!(warn, status, "the collector does not take traces");
            }
            Ok(answer)
        })
    }
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

    /// A certificate authority in a file, and a collector on `localhost` that it vouches for.
    fn secured(directory: &Path) -> (u16, std::path::PathBuf) {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        use std::io::{Read, Write};
        let (authority, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca =
            directory.join(format!("pgweir-traces-{}-{:x}.pem", std::process::id(), rand::random::<u64>()));
        std::fs::write(&ca, parameters.self_signed(&authority).unwrap().pem()).unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(parameters, authority)).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key))
            .map(Arc::new)
            .unwrap();
        let listener = std::net::TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let session = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = rustls::StreamOwned::new(session, socket);
                let mut request = vec![];
                let mut part = [0; 4096];
                while !request.ends_with(b"spans") {
                    match stream.read(&mut part) {
                        Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                        _ => break,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
            }
        });
        (port, ca)
    }

    #[test]
    fn a_collector_is_told_over_tls_only_if_its_certificate_is_vouched_for() {
        let directory = std::env::temp_dir();
        let ((port, ca), (_, stranger)) = (secured(&directory), secured(&directory));
        let post = |host: &str, ca: Option<&Path>| {
            let url = format!("https://{host}:{port}/v1/traces");
            let ca = ca.map(Path::to_owned);
            let collector =
                Collector::reached_by(&config::Traces { url: url.clone(), ca, ratio: 1.0 }).unwrap();
            collector.post(Request::post(url).body(Bytes::from_static(b"spans")).unwrap())
        };
        assert_eq!(post("localhost", Some(&ca)).unwrap(), 202);
        assert!(post("localhost", Some(&stranger)).is_err(), "signed by somebody else");
        assert!(post("127.0.0.1", Some(&ca)).is_err(), "a certificate for another name");
        if let Err(error) = authorities(None) {
            assert!(error.contains("traces.ca"), "{error}");
        } else {
            assert!(post("localhost", None).is_err(), "the system does not know this authority");
        }
        let _ = (std::fs::remove_file(ca), std::fs::remove_file(stranger));
    }
}
