//! HTTP/2, as gRPC's clients speak it.
//!
//! Owns: how a connection tells that it is HTTP/2, the bounds on what one takes, and the tasks of its
//! streams. Never: pushes to a client; server push is gone from the protocol's uses.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};

use super::{Client, HEAD_BYTES_MAX, Limits, Requests, Spoken};

/// How HTTP/2 begins; no method of HTTP/1.1 has this name.
const PREFACE: &[u8] = b"PRI ";
/// The wait for the rest of [`PREFACE`], of which only a part has come.
const PREFACE_TURN: Duration = Duration::from_millis(5);
/// Requests at a time on one connection. Exporters send one after the other, or a few.
const STREAMS_MAX: u32 = 16;
/// Bytes that a client may send of one request, and of all on a connection, before it is read on.
/// Of 256 connections at most 512 MiB wait in such windows, and as much as a component takes at all
/// is bounded there.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes of an answer that wait for a client to read them.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// A client that says nothing for so long is asked whether it is there, and has so long to say so.
const PING_AFTER: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

type Connection<S> = http2::Connection<TokioIo<S>, Requests, Streams>;

/// A connection, and the tasks that it begins.
pub(super) fn connection<S>(
    stream: TokioIo<S>,
    service: Requests,
    limits: Limits,
) -> (Connection<S>, Streams)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = Streams::default();
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_AFTER.min(limits.age_max))
        .keep_alive_timeout(PONG_WITHIN);
    (builder.serve_connection(stream, service), streams)
}

impl<S> Spoken for Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Client {
    /// Whether the first bytes are those of HTTP/2; they stay to be read. Where none come, it is not.
    pub(super) async fn begins_with_http2(&self, stream: &TcpStream) -> bool {
        let first = async {
            let mut start = [0; PREFACE.len()];
            loop {
                let there = stream.peek(&mut start).await.unwrap_or(0);
                let start = start.get(..there).unwrap_or_default();
                if there == 0 || !PREFACE.starts_with(start) {
                    return false;
                }
                if there == PREFACE.len() {
                    return true;
                }
                tokio::time::sleep(PREFACE_TURN).await;
            }
        };
        tokio::select! {
            first = first => first,
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(self.serving.limits.head_max) => false,
        }
    }
}

/// The tasks of a connection's streams: their panics are not lost, and they end with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            resume(ended);
        }
        tasks.spawn(stream);
    }
}

impl Streams {
    /// Waits for all; a panic of one goes on here.
    pub(super) async fn end(self) {
        let mut tasks = {
            let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        while let Some(ended) = tasks.join_next().await {
            resume(ended);
        }
    }
}

fn resume(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests;
