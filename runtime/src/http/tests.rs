use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use expect_test::expect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{HttpMetrics, Limits, Listening, Serving, listen, serve};
use crate::error::{Class, Classified};
use crate::metrics::Metrics;

fn at(address: SocketAddr) -> Listening<'static> {
    Listening { what: "admin endpoint", address, setting: "admin.listen" }
}

fn serving(metrics: &Metrics, limits: Limits) -> Serving {
    Serving { limits, ..Serving::new(HttpMetrics::new(metrics, "test")) }
}

fn loopback() -> Listening<'static> {
    at("127.0.0.1:0".parse().unwrap())
}

/// Serves `router` while `client` talks to it, then stops the server; what was counted.
async fn check<F>(router: Router, limits: Limits, client: impl FnOnce(SocketAddr) -> F) -> String
where
    F: Future<Output = ()>,
{
    let metrics = Metrics::new();
    let serving = serving(&metrics, limits);
    let listener = listen(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (served, ()) = tokio::join!(serve(listener, router, serving, stop.clone()), async {
        client(address).await;
        stop.cancel();
    });
    served.unwrap();
    let encoded = metrics.encode();
    let series = encoded.lines().filter(|line| line.starts_with("tidegate_http_"));
    let mut series: Vec<&str> = series.collect();
    series.sort_unstable();
    series.join("\n")
}

async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_holder_and_the_setting() {
    let holder = listen(loopback()).await.unwrap();
    let address = holder.local_addr().unwrap();
    let error = listen(at(address)).await.unwrap_err();
    let told = error.to_string();
    let (start, end) = told.split_once(" is in use").unwrap();
    assert_eq!(start, format!("admin endpoint cannot listen on {address}: the port"));
    assert!(end.ends_with("; stop the other one or set `admin.listen` to a free address"), "{end}");
    if cfg!(target_os = "linux") {
        assert!(end.contains(&format!("(pid {})", std::process::id())), "{end}");
    }
    assert_eq!(error.class(), Class::Dependency);
}

#[tokio::test]
async fn an_address_of_another_machine_is_told() {
    let error = listen(at("192.0.2.1:7070".parse().unwrap())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "admin endpoint cannot listen on 192.0.2.1:7070: this machine has no address 192.0.2.1; \
         set `admin.listen` to one of its own, or to 127.0.0.1"
    );
    assert_eq!(error.class(), Class::Input);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_announced_or_not() {
    let router =
        Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
    let limits = Limits { body_bytes_max: 10, ..Limits::default() };
    let counted = check(router, limits, async |address| {
        let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
        let fits = send(address, &format!("{head}content-length: 10\r\n\r\n0123456789")).await;
        assert!(fits.starts_with("HTTP/1.1 200 OK") && fits.ends_with("\r\n\r\n10"), "{fits}");
        let announced = send(address, &format!("{head}content-length: 11\r\n\r\n")).await;
        assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
        let chunked =
            format!("{head}transfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n");
        let unannounced = send(address, &chunked).await;
        assert!(unannounced.starts_with("HTTP/1.1 413"), "{unannounced}");
    })
    .await;
    expect![[r#"
        tidegate_http_answered_requests_total{server="test",status="200"} 1
        tidegate_http_answered_requests_total{server="test",status="413"} 2
        tidegate_http_open_connections{server="test"} 0"#]]
    .assert_eq(&counted);
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_a_slow_route_is_408() {
    let router = Router::new().route("/", get(std::future::pending::<()>));
    let limits = Limits {
        head_max: Duration::from_millis(50),
        request_max: Duration::from_millis(50),
        ..Limits::default()
    };
    let counted = check(router, limits, async |address| {
        let cut = send(address, "GET / HTTP/1.1\r\nhost:").await;
        assert!(!cut.contains("200"), "{cut}");
        let idle = send(address, "").await;
        assert!(!idle.contains("200"), "{idle}");
        let slow = send(address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
        let other = send(address, "\x16\x03\x01 this is TLS").await;
        assert!(other.starts_with("HTTP/1.1 400"), "{other}");
    })
    .await;
    expect![[r#"
        tidegate_http_answered_requests_total{server="test",status="408"} 1
        tidegate_http_broken_connections_total{server="test",reason="not_http"} 1
        tidegate_http_broken_connections_total{server="test",reason="timeout"} 2
        tidegate_http_open_connections{server="test"} 0"#]]
    .assert_eq(&counted);
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_room() {
    let router = Router::new().route("/", get(async || "here"));
    let limits = Limits { connections_max: 1, ..Limits::default() };
    check(router, limits, async |address| {
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        first.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        let second = send(address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let mut second = std::pin::pin!(second);
        let early = tokio::time::timeout(Duration::from_millis(100), second.as_mut()).await;
        assert!(early.is_err(), "the second connection was served beside the first: {early:?}");
        drop(first);
        assert!(second.await.ends_with("here"));
    })
    .await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_the_stop() {
    let listener = listen(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let inner = stop.clone();
    let router = Router::new().route(
        "/",
        get(async move || {
            inner.cancel();
            tokio::task::yield_now().await;
            "finished"
        }),
    );
    let serving = serve(listener, router, serving(&Metrics::new(), Limits::default()), stop);
    let (served, answer) =
        tokio::join!(serving, send(address, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    served.unwrap();
    assert!(answer.ends_with("finished"), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_reads_keeps_no_place() {
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/large", get(async || "x".repeat(64 * 1024 * 1024)));
    let limits = Limits {
        connections_max: 1,
        age_max: Duration::from_millis(50),
        request_max: Duration::from_millis(50),
        ..Limits::default()
    };
    let counted = check(router, limits, async |address| {
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let answer = send(address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("here"), "{answer}");
    })
    .await;
    assert!(counted.contains(r#"{server="test",reason="too_slow"} 1"#), "{counted}");
}

#[tokio::test]
async fn a_head_without_end_is_431() {
    let router = Router::new().route("/", get(async || "here"));
    let counted = check(router, Limits::default(), async |address| {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: {}", "x".repeat(80 * 1024));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close before it has read all.
        drop(stream.write_all(head.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    })
    .await;
    assert!(counted.contains(r#"{server="test",reason="not_http"} 1"#), "{counted}");
}

#[tokio::test]
async fn bodies_that_find_no_room_are_429_and_told_when_to_come_back() {
    let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    // One body fits; what is held of the first leaves no room for a second.
    let limits = Limits { bodies_bytes_max: 4096, ..Limits::default() };
    let counted = check(router, limits, async |address| {
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4096\r\n\r\n";
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(format!("{head}{}", "x".repeat(4095)).as_bytes()).await.unwrap();
        let refused = loop {
            // Until the first one has arrived there is room.
            let answer = send(address, &format!("{head}{}", "y".repeat(4096))).await;
            if !answer.ends_with("4096") {
                break answer;
            }
        };
        assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
        assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
        assert!(refused.ends_with("send it again\n"), "{refused}");
        slow.write_all(b"x").await.unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("4096"), "{answer}");
        let after = send(address, &format!("{head}{}", "y".repeat(4096))).await;
        assert!(after.ends_with("4096"), "{after}");
    })
    .await;
    assert!(counted.contains(r#"status="429"} 1"#), "{counted}");
}

/// A server with a certificate for `localhost`, which a client that trusts it may talk to.
pub(super) mod tls {
    use std::net::SocketAddr;
    use std::path::Path;
    use std::sync::Arc;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use tokio::net::TcpStream;
    use tokio_rustls::client::TlsStream;

    use crate::http::PROTOCOLS;
    use crate::tls::{Tls, TlsFiles};

    pub(in crate::http) fn server() -> Tls {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        Tls::open(TlsFiles { certificate: &certificate, key: &key }, PROTOCOLS).unwrap()
    }

    pub(in crate::http) async fn client(
        address: SocketAddr,
        protocol: &str,
    ) -> TlsStream<TcpStream> {
        let certificate = include_bytes!("../tls/certificate.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_taken() {
    let listener = listen(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, stop) = (Metrics::new(), CancellationToken::new());
    let serving = Serving { tls: Some(tls::server()), ..serving(&metrics, Limits::default()) };
    let router = Router::new().route("/", get(async || "here"));
    let (served, ()) = tokio::join!(serve(listener, router, serving, stop.clone()), async {
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let mut clear = TcpStream::connect(address).await.unwrap();
        clear.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        drop(clear.read_to_end(&mut answer).await);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        let mut stream = tls::client(address, "http/1.1").await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"here"), "{answer:?}");
        stop.cancel();
    });
    served.unwrap();
    let counted = r#"tidegate_http_broken_connections_total{server="test",reason="no_tls"} 1"#;
    assert!(metrics.encode().contains(counted), "{}", metrics.encode());
}
