use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use axum::routing::post;
use http_body_util::BodyExt;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::http::tests::tls;
use crate::http::{HttpMetrics, Limits, Listening, ServeError, Serving, grpc, listen, serve};
use crate::metrics::Metrics;

/// Serves calls while a client talks to the server.
async fn check<F>(
    changed: impl FnOnce(Serving) -> Serving,
    client: impl FnOnce(std::net::SocketAddr) -> F,
) -> Result<(), ServeError>
where
    F: Future<Output = ()>,
{
    let router = Router::new()
        .route("/echo", post(async |body: Bytes| echo(body)))
        .route("/slow", post(slow))
        .route("/broken", post(broken));
    let address = "127.0.0.1:0".parse().unwrap();
    let listening = Listening { what: "test", address, setting: "test.listen" };
    let listener = listen(listening).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving =
        Serving { http2: true, ..Serving::new(HttpMetrics::new(&Metrics::new(), "test")) };
    let serving = changed(serving);
    let (served, ()) = tokio::join!(serve(listener, router, serving, stop.clone()), async {
        client(address).await;
        stop.cancel();
    });
    served
}

fn echo(body: Bytes) -> Response {
    use axum::response::IntoResponse as _;
    match grpc::message(body) {
        Ok(message) => grpc::reply(&message.bytes),
        Err(status) => status.into_response(),
    }
}

/// Keeps what it was sent, for ever.
async fn slow(body: Bytes) {
    std::future::pending::<()>().await;
    drop(body);
}

async fn broken() {
    panic!("a bug");
}

async fn connected<S>(stream: S) -> SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    TokioExecutor::new().execute(async move { drop(connection.await) });
    sender
}

/// Headers and trailers of an answer, and its body.
async fn call(sender: &mut SendRequest<Body>, path: &str, body: &[u8]) -> (HeaderMap, Bytes) {
    let framed = [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .body(Body::from(framed))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let mut headers = head.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    (headers, body.to_bytes())
}

#[tokio::test]
async fn calls_and_requests_share_a_port() {
    let served = check(
        |serving| serving,
        async |address| {
            let mut sender = connected(TcpStream::connect(address).await.unwrap()).await;
            for message in [&b"first"[..], b"second"] {
                let (headers, body) = call(&mut sender, "/echo", message).await;
                assert_eq!(headers["grpc-status"], "0");
                assert_eq!(&body[5..], message);
            }
            let mut plain = TcpStream::connect(address).await.unwrap();
            let head = "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
            plain.write_all(format!("{head}content-length: 5\r\n\r\n").as_bytes()).await.unwrap();
            plain.write_all(b"\0\0\0\0\0").await.unwrap();
            let mut answer = String::new();
            plain.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            // A method of HTTP/1.1 whose name begins alike, letter by letter.
            let mut alike = TcpStream::connect(address).await.unwrap();
            for letter in b"PR /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
                alike.write_all(&[*letter]).await.unwrap();
            }
            let mut answer = String::new();
            alike.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        },
    );
    served.await.unwrap();
}

#[tokio::test]
async fn over_tls_calls_are_told_by_alpn() {
    let served = check(
        |serving| Serving { tls: Some(tls::server()), ..serving },
        async |address| {
            let mut sender = connected(tls::client(address, "h2").await).await;
            let (headers, _) = call(&mut sender, "/echo", b"x").await;
            assert_eq!(headers["grpc-status"], "0");
        },
    );
    served.await.unwrap();
}

#[tokio::test]
async fn limits_are_told_in_the_language_of_calls() {
    let limits = Limits {
        body_bytes_max: 100,
        bodies_bytes_max: 1024,
        request_max: Duration::from_millis(100),
        ..Limits::default()
    };
    let served = check(
        |serving| Serving { limits, ..serving },
        async |address| {
            let mut sender = connected(TcpStream::connect(address).await.unwrap()).await;
            let (headers, _) = call(&mut sender, "/echo", &[b'x'; 200]).await;
            assert_eq!(headers["grpc-status"], "3", "{headers:?}");
            assert!(headers["grpc-message"].to_str().unwrap().contains("100 bytes allowed"));
            let (headers, _) = call(&mut sender, "/slow", b"x").await;
            assert_eq!(headers["grpc-status"], "4", "{headers:?}");
            // What one call holds leaves no room for another.
            let mut other = sender.clone();
            let (slow, full) = tokio::join!(call(&mut other, "/slow", &[b'x'; 90]), async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                call(&mut sender, "/echo", b"x").await
            });
            assert_eq!(slow.0["grpc-status"], "4");
            assert_eq!(full.0["grpc-status"], "8", "{:?}", full.0);
            assert!(full.0.contains_key("grpc-status-details-bin"));
        },
    );
    served.await.unwrap();
}

#[tokio::test]
async fn a_panic_of_a_route_stops_the_server() {
    let served = check(
        |serving| serving,
        async |address| {
            let mut sender = connected(TcpStream::connect(address).await.unwrap()).await;
            let request = Request::post("http://localhost/broken").body(Body::empty()).unwrap();
            assert!(sender.send_request(request).await.is_err());
        },
    );
    assert!(matches!(served.await, Err(ServeError::Panicked { .. })));
}
