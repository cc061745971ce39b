//! The HTTP address: `/metrics`, `/healthz`, `/readyz`, and the status page at `/`.
//!
//! Few connections at once, short time-outs, small requests: whoever reaches the port cannot take
//! anything from the clients that matter. Data asks for the bearer token if one is configured; the page
//! itself is the same for everybody and holds none.

use super::metrics::Metrics;
use super::picture::Picture;
use super::status;
use crate::config::{HttpTls, Secret};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::TextEncoder;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections at once: some scrapers, probes and a few open pages.
const CONNECTIONS_MAX: usize = 128;
/// From accept to the end of the TLS handshake, and for the head of each request.
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// A connection is closed after this long; pages and scrapers come back.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);
/// What one request's head may need.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the pages are made of.
pub struct Site {
    /// All that there is, now.
    pub picture: Box<dyn Fn() -> Picture + Send + Sync>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The token in force, if one is asked for.
    pub token: Box<dyn Fn() -> Option<Secret> + Send + Sync>,
}

/// TLS from these files.
///
/// # Errors
/// What is wrong with them.
pub fn tls(files: &HttpTls) -> Result<TlsAcceptor, String> {
    let says = |e: &dyn std::fmt::Display| format!("{}: {e}", files.certificate.display());
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = chain.map_err(|e| says(&e))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| says(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| says(&e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until the future is dropped.
pub async fn serve(site: Arc<Site>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let router = router(site);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, tls) = (router.clone(), tls.clone());
                connections.spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_LIFETIME, connection(stream, tls, router)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "HTTP: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, to its end. What goes wrong on it is the other side's business.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES_MAX);
    let _ = match tls {
        None => http.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => match tokio::time::timeout(HEAD_WAIT, tls.accept(stream)).await {
            Ok(Ok(stream)) => http.serve_connection(TokioIo::new(stream), service).await,
            _ => return,
        },
    };
}

fn router(site: Arc<Site>) -> Router {
    let data = Router::new()
        .route("/metrics", get(metrics))
        .route("/status.json", get(status_json))
        .route_layer(middleware::from_fn_with_state(site.clone(), ask_for_token));
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("page/status.html"))))
        .route("/status.css", get(async || asset("text/css; charset=utf-8", include_str!("page/status.css"))))
        .route(
            "/status.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("page/status.js"))),
        )
        .merge(data)
        .layer(middleware::map_response(harden))
        .with_state(site)
}

async fn ready(State(site): State<Arc<Site>>) -> (StatusCode, String) {
    match (site.picture)().ready() {
        Ok(()) => (StatusCode::OK, "ready\n".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let families = site.metrics.gather(&(site.picture)().gauges());
    let mut text = match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    text.push_str(&super::process::metrics());
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()
}

async fn status_json(State(site): State<Arc<Site>>) -> Response {
    axum::Json(status::json(&(site.picture)(), &site.metrics)).into_response()
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// 401 unless the request carries the token, if one is asked for.
async fn ask_for_token(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match (site.token)() {
        Some(token) if !carries(request.headers(), &token) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, "bearer token required\n").into_response()
        }
        _ => next.run(request).await,
    }
}

fn carries(headers: &HeaderMap, token: &Secret) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given =
        value.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // Digests are compared, so that the time says nothing about the token.
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    given.is_some_and(|(_, given)| digest(given.trim()).as_ref() == digest(&token.0).as_ref())
}

/// Nothing from elsewhere, nothing framed, nothing kept.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
