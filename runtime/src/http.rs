//! An HTTP server with limits: HTTP/1.1, and HTTP/2 where a component asks for it.
//!
//! Owns: listening, the bounds on what a client may take, the drain of connections, TLS.
//! Never: routes; components bring their [`axum::Router`].

mod counts;
pub mod grpc;
mod holder;
mod http2;
mod listen;
mod room;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{Class, Classified};
use crate::tls::Tls;

pub use axum;
pub use counts::HttpMetrics;
pub use listen::{ListenError, Listening, listen};
use room::Unread;
pub use room::{Filling, Hold, NoRoom, Room};

/// The wait after a failed `accept`, which mostly means that file descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// When to come back who found no room. By then a second's worth of requests is written.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes of a request's head; more is answered with 431. 64 KiB hold every cookie that browsers
/// send, and 256 connections keep 16 MiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What is offered to clients over TLS, the best first.
pub const PROTOCOLS: &[&str] = &["h2", "http/1.1"];

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; further ones wait in the backlog of the operating system.
    pub connections_max: usize,
    /// Bytes of a request's body; more is answered with 413.
    pub body_bytes_max: usize,
    /// Bytes of the bodies of all requests under way; who finds no room is answered with 429.
    pub bodies_bytes_max: usize,
    /// From the first byte of a head, or from the end of the last request, to the end of the head.
    pub head_max: Duration,
    /// From the end of the head to the beginning of the answer; more is answered with 408.
    pub request_max: Duration,
    /// After this age a connection ends with the request under way, which is cut off when it and
    /// its answer take twice [`Limits::request_max`]: a client that never reads keeps no place.
    pub age_max: Duration,
}

impl Default for Limits {
    /// 32 bodies of 8 MiB may arrive at once, or any number of smaller ones up to 256 MiB.
    fn default() -> Self {
        Self {
            connections_max: 256,
            body_bytes_max: 8 * 1024 * 1024,
            bodies_bytes_max: 256 * 1024 * 1024,
            head_max: Duration::from_secs(10),
            request_max: Duration::from_secs(30),
            age_max: Duration::from_mins(5),
        }
    }
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct Serving {
    /// What clients may take.
    pub limits: Limits,
    /// What is counted.
    pub metrics: HttpMetrics,
    /// Where it is there, nothing is taken in clear.
    pub tls: Option<Tls>,
    /// Whether a client may speak HTTP/2, which gRPC needs: by ALPN over TLS, and without TLS by
    /// beginning with it.
    pub http2: bool,
}

impl Serving {
    /// With the default limits, HTTP/1.1, in clear.
    #[must_use]
    pub fn new(metrics: HttpMetrics) -> Self {
        Self { limits: Limits::default(), metrics, tls: None, http2: false }
    }
}

/// Why a server stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A route panicked.
    #[error("a request to {listen} panicked")]
    Panicked {
        /// Where the server listened.
        listen: SocketAddr,
        /// The panic.
        source: JoinError,
    },
    /// The socket does not know its own address.
    #[error("socket without an address")]
    NoAddress(#[source] std::io::Error),
}

impl Classified for ServeError {
    fn class(&self) -> Class {
        Class::Bug
    }
}

/// Serves until `stop` is cancelled, then lets the requests under way finish.
///
/// # Errors
/// When a route panics: the state that it shares is no longer known to be right.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    serving: Serving,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listen = listener.local_addr().map_err(ServeError::NoAddress)?;
    let service = TowerToHyperService::new(limited(router, &serving));
    let room = Arc::new(Semaphore::new(serving.limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => seen(listen, ended)?,
            accepted = accept(&listener, &room) => {
                if let Some(accepted) = accepted {
                    let (service, serving) = (service.clone(), serving.clone());
                    connections.spawn(connection(accepted, service, serving, stop.clone()));
                }
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        seen(listen, ended)?;
    }
    Ok(())
}

/// A connection and its place among [`Limits::connections_max`].
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
}

/// Serves a connection to its end, or until `stop` to the end of the request under way.
async fn connection(
    accepted: Accepted,
    service: TowerToHyperService<Router>,
    serving: Serving,
    stop: CancellationToken,
) {
    let Accepted { stream, peer, permit } = accepted;
    let client = Client { peer, service, serving, stop };
    let open = client.serving.metrics.opened();
    match client.serving.tls.clone() {
        None => {
            let http2 = client.serving.http2 && client.begins_with_http2(&stream).await;
            client.serve(stream, http2).await;
        }
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                client.serve(stream, http2).await;
            }
            Err(error) => client.serving.metrics.no_tls(peer, &error),
        },
    }
    drop(open);
    drop(permit);
}

/// The requests of one client.
#[derive(Debug, Clone)]
struct Requests {
    peer: SocketAddr,
    router: TowerToHyperService<Router>,
}

impl Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.call(request)
    }
}

/// A connection that is served, whatever it speaks.
trait Spoken: Future<Output = Result<(), hyper::Error>> {
    /// Takes no further request.
    fn wind_down(self: Pin<&mut Self>);
}

/// One client.
struct Client {
    peer: SocketAddr,
    service: TowerToHyperService<Router>,
    serving: Serving,
    stop: CancellationToken,
}

impl Client {
    async fn serve<S>(self, stream: S, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = Requests { peer: self.peer, router: self.service.clone() };
        let (stream, limits) = (TokioIo::new(stream), self.serving.limits);
        if http2 {
            let (connection, streams) = http2::connection(stream, service, limits);
            self.drive(connection).await;
            return streams.end().await;
        }
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.head_max);
        builder.max_buf_size(HEAD_BYTES_MAX);
        self.drive(builder.serve_connection(stream, service)).await;
    }

    async fn drive(&self, connection: impl Spoken) {
        let Self { peer, serving, stop, .. } = self;
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = either(stop.cancelled(), tokio::time::sleep(serving.limits.age_max)) => None,
        };
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => {
                connection.as_mut().wind_down();
                tokio::time::timeout(serving.limits.request_max * 2, connection).await
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => serving.metrics.broken(*peer, &error),
            Err(_elapsed) => serving.metrics.cut_off(*peer),
        }
    }
}

impl<S> Spoken for http1::Connection<TokioIo<S>, Requests>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}

fn seen(listen: SocketAddr, ended: Result<(), JoinError>) -> Result<(), ServeError> {
    ended.map_err(|source| ServeError::Panicked { listen, source })
}

/// The next connection, once there is room for it. None after a failure that may pass.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some(Accepted { stream, peer, permit }),
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

fn limited(router: Router, serving: &Serving) -> Router {
    let room = Room::new(serving.limits.bodies_bytes_max);
    router
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state((serving.limits, room), within_limits))
        .layer(from_fn_with_state(serving.metrics.clone(), counted))
}

async fn counted(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics.answered(response.status());
    response
}

async fn within_limits(
    State((limits, room)): State<(Limits, Room)>,
    request: Request,
    next: Next,
) -> Response {
    let is_call = grpc::is_call(request.headers());
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limits.body_bytes_max) {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, limits, is_call);
    }
    let answered = async {
        let (head, body) = request.into_parts();
        let status = match room.read(body, limits.body_bytes_max).await {
            Ok(body) => return next.run(Request::from_parts(head, Body::from(body))).await,
            Err(Unread::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Err(Unread::NoRoom) => StatusCode::TOO_MANY_REQUESTS,
            Err(Unread::Broken) => StatusCode::BAD_REQUEST,
        };
        refused(status, limits, is_call)
    };
    let answered = tokio::time::timeout(limits.request_max, answered).await;
    answered.unwrap_or_else(|_elapsed| refused(StatusCode::REQUEST_TIMEOUT, limits, is_call))
}

/// An answer in the language of who asked.
fn refused(status: StatusCode, limits: Limits, is_call: bool) -> Response {
    let max = limits.body_bytes_max;
    let retry_after = (status == StatusCode::TOO_MANY_REQUESTS).then_some(RETRY_AFTER);
    let told = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            format!("the body is larger than the {max} bytes allowed; send smaller parts")
        }
        StatusCode::REQUEST_TIMEOUT => "the request took too long".to_owned(),
        StatusCode::TOO_MANY_REQUESTS => NoRoom.to_string(),
        _ => "the body ended before its end".to_owned(),
    };
    if is_call {
        let code = grpc::Code::of_http(status);
        return grpc::Status { code, message: told, retry_after }.into_response();
    }
    let mut response = (status, format!("{told}\n")).into_response();
    if let Some(retry_after) = retry_after {
        let seconds = HeaderValue::from(retry_after.as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

#[cfg(test)]
mod tests;
