//! An HTTP/1.1 server with limits.
//!
//! Owns: listening, the bounds on what a client may take, the drain of connections.
//! Never: routes; components bring their [`axum::Router`].

mod counts;
mod holder;
mod listen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{Class, Classified};

pub use axum;
pub use counts::HttpMetrics;
pub use listen::{ListenError, Listening, listen};

/// The wait after a failed `accept`, which mostly means that file descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bytes of a request's head; more is answered with 431. 64 KiB hold every cookie that browsers
/// send, and 256 connections keep 16 MiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; further ones wait in the backlog of the operating system.
    pub connections_max: usize,
    /// Bytes of a request's body; more is answered with 413.
    pub body_bytes_max: usize,
    /// From the first byte of a head, or from the end of the last request, to the end of the head.
    pub head_max: Duration,
    /// From the end of the head to the beginning of the answer; more is answered with 408.
    pub request_max: Duration,
    /// After this age a connection ends with the request under way, which is cut off when it and
    /// its answer take twice [`Limits::request_max`]: a client that never reads keeps no place.
    pub age_max: Duration,
}

impl Default for Limits {
    /// 256 connections with bodies of 8 MiB are at most 2 GiB, when all arrive at once.
    fn default() -> Self {
        Self {
            connections_max: 256,
            body_bytes_max: 8 * 1024 * 1024,
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
}

impl Serving {
    /// With the default limits.
    #[must_use]
    pub fn new(metrics: HttpMetrics) -> Self {
        Self { limits: Limits::default(), metrics }
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
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        service.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(serving.limits.head_max);
    builder.max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let open = serving.metrics.opened();
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = either(stop.cancelled(), tokio::time::sleep(serving.limits.age_max)) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(serving.limits.request_max * 2, connection).await
        }
    };
    drop(open);
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => serving.metrics.broken(peer, &error),
        Err(_elapsed) => serving.metrics.cut_off(peer),
    }
    drop(permit);
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
    router
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(serving.limits, within_limits))
        .layer(from_fn_with_state(serving.metrics.clone(), counted))
}

async fn counted(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics.answered(response.status());
    response
}

async fn within_limits(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limits.body_bytes_max) {
        let max = limits.body_bytes_max;
        let told = format!("the body is larger than the {max} bytes allowed; send smaller parts\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, told).into_response();
    }
    let request = request.map(|body| Body::new(Limited::new(body, limits.body_bytes_max)));
    match tokio::time::timeout(limits.request_max, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response()
        }
    }
}

#[cfg(test)]
mod tests;
