//! The HTTP address as browsers, scrapers and strangers see it.

use super::*;
use crate::observe::picture::State;
use crate::rows::NodeStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn node(name: &str) -> NodeStatus {
    NodeStatus {
        name: name.into(),
        role: "primary",
        up: true,
        serving: true,
        since: Duration::from_secs(5),
        lag_bytes: 0,
        lag: Duration::ZERO,
        lagging: false,
        stranded: false,
        several: false,
        differs: false,
        lsn: "0/5000060".into(),
        timeline: 1,
        outstanding: 0,
        drained: false,
        groups: vec![],
        zone: None,
        weight: 100,
        source: None,
        error: None,
    }
}

async fn start(picture: Picture, token: Option<&str>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = token.map(|t| Secret(t.into()));
    let site = Site {
        picture: Box::new(move || picture.clone()),
        metrics: Arc::new(Metrics::new().unwrap()),
        token: Box::new(move || token.clone()),
        hosts: Box::new(|| vec!["pgweir.example.org".into()]),
    };
    tokio::spawn(serve(Arc::new(site), listener, None));
    address
}

/// Sends bytes, reads to the end.
async fn raw(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = vec![];
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: std::net::SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let answer = raw(address, request.as_bytes()).await;
    (answer[9..12].parse().unwrap(), answer)
}

#[tokio::test]
async fn every_page_answers() {
    let address = start(Picture { nodes: vec![node("a:1")], ..Picture::default() }, None).await;
    for (path, part) in [
        ("/healthz", "alive"),
        ("/readyz", "ready"),
        ("/metrics", "pgweir_build_info"),
        ("/metrics", "process_resident_memory_bytes"),
        ("/metrics", "server_connections{node=\"a:1\",state=\"idle\"} 0"),
        ("/", "<title>pgweir</title>"),
        ("/status.js", "use strict"),
        ("/status.css", "prefers-color-scheme"),
        ("/status.json", "\"0/5000060\""),
    ] {
        let (status, answer) = get(address, path, "").await;
        assert!(status == 200 && answer.contains(part), "{path}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}");
    }
    assert_eq!(get(address, "/etc/passwd", "").await.0, 404);
}

#[tokio::test]
async fn readiness_fails_while_draining_or_without_nodes() {
    let none = start(Picture::default(), None).await;
    assert_eq!(get(none, "/readyz", "").await.0, 503);
    assert_eq!(get(none, "/healthz", "").await.0, 200);
    let picture = Picture { nodes: vec![node("a:1")], state: State::Draining, ..Picture::default() };
    let (status, answer) = get(start(picture, None).await, "/readyz", "").await;
    assert!(status == 503 && answer.contains("draining"));
}

#[tokio::test]
async fn data_asks_for_the_token_and_health_does_not() {
    let address = start(Picture { nodes: vec![node("a:1")], ..Picture::default() }, Some("s3cret")).await;
    for path in ["/metrics", "/status.json"] {
        assert_eq!(get(address, path, "").await.0, 401);
        assert_eq!(get(address, path, "Authorization: Bearer wrong\r\n").await.0, 401);
        assert_eq!(get(address, path, "Authorization: Basic s3cret\r\n").await.0, 401);
        assert_eq!(get(address, path, "Authorization: bearer s3cret\r\n").await.0, 200);
    }
    for path in ["/healthz", "/readyz", "/"] {
        let (status, answer) = get(address, path, "").await;
        assert_eq!(status, 200);
        assert!(!answer.contains("a:1") && !answer.contains("s3cret"));
    }
}

#[tokio::test]
async fn names_from_outside_cannot_become_markup() {
    let mut bad = node("<script>alert(1)</script>");
    bad.error = Some("\"><img src=x>".into());
    let address = start(Picture { nodes: vec![bad], ..Picture::default() }, None).await;
    let (_, json) = get(address, "/status.json", "").await;
    assert!(
        json.contains("content-type: application/json") && json.contains("x-content-type-options: nosniff")
    );
    let script = include_str!("page/status.js");
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(word), "{word}");
    }
    for page in [include_str!("page/status.html"), script, include_str!("page/status.css")] {
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("://"), "an asset from elsewhere");
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_next_one_is_served() {
    let address = start(Picture { nodes: vec![node("a:1")], ..Picture::default() }, None).await;
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5_000));
    for request in [
        &b"\r\n\r\n\r\n\0\0\0\0"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\0B: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /%00%ff%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let answer = raw(address, request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?} → {answer}");
    }
    assert_eq!(get(address, "/healthz", "").await.0, 200);
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let address = start(Picture::default(), None).await;
    let mut silent = vec![];
    for _ in 0..CONNECTIONS_MAX + 20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Their heads never come: they are closed, and whoever waits is served.
    let (status, _) = get(address, "/healthz", "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn without_a_token_a_name_that_others_may_own_is_refused() {
    let asked = |address, path: &'static str, host: &'static str| async move {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        raw(address, request.as_bytes()).await[9..12].parse::<u16>().unwrap()
    };
    let open = start(Picture::default(), None).await;
    for path in ["/", "/metrics", "/status.json", "/status.js"] {
        assert_eq!(asked(open, path, "evil.example.com:9127").await, 421, "{path}");
        assert_eq!(asked(open, path, "pgweir.example.org:9127").await, 200, "{path}");
        assert_eq!(asked(open, path, "127.0.0.1:9127").await, 200, "{path}");
    }
    let twice = "127.0.0.1\r\nHost: evil.example.com";
    assert_eq!(asked(open, "/metrics", twice).await, 400);
    assert_eq!(asked(open, "/healthz", "evil.example.com").await, 200);
    let closed = start(Picture::default(), Some("sesame")).await;
    assert_eq!(asked(closed, "/metrics", "evil.example.com").await, 401);
}

#[tokio::test]
async fn sockets_that_never_read_do_not_silence_it() {
    let address = start(Picture::default(), None).await;
    let request = "GET /status.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS_MAX as usize - 1);
    let mut deaf = vec![];
    for _ in 0..CONNECTIONS_MAX + 20 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    for _ in 0..3 {
        assert_eq!(get(address, "/healthz", "").await.0, 200);
    }
}

#[tokio::test]
async fn a_connection_takes_so_many_requests_and_no_more() {
    let address = start(Picture::default(), None).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2 * REQUESTS_MAX as usize);
    let answers = raw(address, request.as_bytes()).await;
    assert!(answers.matches("200 OK").count() <= REQUESTS_MAX as usize);
    assert!(answers.contains("connection: close"));
}
