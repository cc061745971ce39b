//! The HTTP address: `/metrics`, `/healthz`, `/readyz`, and the status page at `/`.
//!
//! Few connections at once, short time-outs, small requests: whoever reaches the port cannot take
//! anything from the clients that matter, nor from a probe of our health: where all places are taken the
//! newest connection gets the oldest one's. Data asks for the bearer token if one is configured; the page
//! itself is the same for everybody and holds none. Without a token only those are answered that call us
//! by a name of ours ([`host`]).

use super::metrics::Metrics;
use super::picture::Picture;
use super::{host, status};
use crate::config::{HttpTls, Secret};
use crate::net::patient::Patient;
use crate::net::room::Room;
use crate::net::tls::plain_server;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::TextEncoder;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Connections at once: some scrapers, probes and a few open pages.
const CONNECTIONS_MAX: usize = 128;
/// From accept to the end of the TLS handshake, for the head of each request, and between two of them.
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// Who reads nothing of an answer for so long does not want it.
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// A connection takes no more requests after this long; pages and scrapers come back.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// Nor after so many: a page asks once a second.
const REQUESTS_MAX: u32 = 100;
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
    /// Names by which it may be called while there is no token.
    pub hosts: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// TLS from these files.
///
/// # Errors
/// What is wrong with them.
pub fn tls(files: &HttpTls) -> Result<TlsAcceptor, String> {
    let config = plain_server(&files.certificate, &files.key).map_err(|error| error.to_string())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until the future is dropped.
pub async fn serve(site: Arc<Site>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let router = router(site);
    let room = Room::default();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, tls) = (router.clone(), tls.clone());
                let mut place = room.enter(CONNECTIONS_MAX);
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(stream, tls, router) => {}
                        () = place.is_taken() => {}
                    }
                });
            }
            Err(error) => {
                crate::limited!(warn, %error, "HTTP: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, to its end. What goes wrong on it is the other side's business.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    let stream = Patient::new(stream, WRITE_WAIT);
    match tls {
        None => converse(stream, router).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_WAIT, tls.accept(stream)).await {
                converse(stream, router).await;
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let router = TowerToHyperService::new(router);
    let asked = AtomicU32::new(0);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let is_last = asked.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_MAX;
        let answer = router.call(request);
        async move {
            let mut answer = answer.await?;
            if is_last {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES_MAX);
    let mut conversation = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    if tokio::time::timeout(CONNECTION_LIFETIME, conversation.as_mut()).await.is_err() {
        conversation.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(HEAD_WAIT, conversation).await;
    }
}

fn router(site: Arc<Site>) -> Router {
    let data = Router::new()
        .route("/metrics", get(metrics))
        .route("/status.json", get(status_json))
        .route_layer(middleware::from_fn_with_state(site.clone(), ask_for_token));
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("page/status.html"))))
        .route("/status.css", get(async || asset("text/css; charset=utf-8", include_str!("page/status.css"))))
        .route(
            "/status.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("page/status.js"))),
        )
        .merge(data)
        .route_layer(middleware::from_fn_with_state(site.clone(), ask_for_host))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
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

/// 421 where there is no token and the request calls us by a name that others may own.
async fn ask_for_host(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    // Two of them: whoever is on the way may have gone by the other one (RFC 9112, 3.2).
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return (StatusCode::BAD_REQUEST, "more than one Host header\n").into_response();
    }
    let named = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    let host = match (request.uri().authority(), named) {
        (Some(authority), _) => Some(authority.as_str().into()),
        (None, named) => named.map(String::from_utf8_lossy),
    };
    let hosts = (site.hosts)();
    let is_ours = |host: &str| host::is_ours(host, hosts.iter().map(String::as_str));
    if (site.token)().is_some() || host.is_none_or(|host| is_ours(&host)) {
        return next.run(request).await;
    }
    let told = "this address is not known by that name: add it to http.hosts, or set http.token\n";
    (StatusCode::MISDIRECTED_REQUEST, told).into_response()
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
