//! Syslog over UDP, TCP and TLS into the raw log.
//!
//! Owns: sockets, framing, and that nobody is read from faster than lines become durable.
//! Never: what a message means; header and line are taken apart with every other envelope.
//!
//! Syslog knows no acknowledgement. Over TCP and TLS a sender waits while lines cannot be made
//! durable, since nothing more is read; over UDP the operating system drops what does not fit its
//! buffer, so UDP is for those who can do without.

mod frames;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::retry::Backoff;
use runtime::tls::{Tls, TlsError, TlsFiles};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};
use transport::NewRecord;

use super::config::{InputConfig, SyslogProtocol};
use super::raw::RawLog;
use frames::Frames;

/// Senders at a time; further ones wait in the backlog of the operating system.
const SENDERS_MAX: usize = 256;
/// Bytes read from a sender at once; 256 of them hold 16 MiB.
const READ_BYTES: usize = 64 * 1024;
/// Datagrams made durable together.
const DATAGRAMS_MAX: usize = 1024;
/// The largest datagram that UDP can carry.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// The wait after a failed `accept`, which mostly means that file descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why a syslog input cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    /// The address is in use, or not this machine's.
    #[error("syslog input cannot listen on {protocol} {address} (setting `input.listen`)")]
    Listen {
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Certificate and key cannot be used.
    #[error("syslog input (settings `input.tls_certificate` and `input.tls_key`)")]
    Tls(#[source] TlsError),
}

impl Classified for SyslogError {
    fn class(&self) -> Class {
        match self {
            Self::Listen { .. } => Class::Dependency,
            Self::Tls(error) => error.class(),
        }
    }
}

/// A syslog input that listens.
#[derive(Debug)]
pub struct SyslogInput {
    sink: Sink,
    datagrams: Option<UdpSocket>,
    senders: Option<(TcpListener, Option<Tls>)>,
}

/// Where lines go.
#[derive(Debug, Clone)]
struct Sink {
    sensor: Bytes,
    raw: RawLog,
}

impl SyslogInput {
    /// Listens where the input says. Nothing is taken before it runs.
    ///
    /// # Errors
    /// When an address cannot be had, or the certificate cannot be used.
    pub async fn open(input: &InputConfig, raw: RawLog) -> Result<Self, SyslogError> {
        let sink = Sink { sensor: Bytes::from(input.sensor()), raw };
        let Some(address) = input.listen else {
            return Ok(Self { sink, datagrams: None, senders: None });
        };
        let failed = |protocol| move |source| SyslogError::Listen { protocol, address, source };
        let acceptor = match (&input.tls_certificate, &input.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(Tls::open(TlsFiles { certificate, key }, &[]).map_err(SyslogError::Tls)?)
            }
            _ => None,
        };
        // With a certificate nothing is taken in clear.
        let udp = input.protocol != SyslogProtocol::Tcp && acceptor.is_none();
        let tcp = input.protocol != SyslogProtocol::Udp || acceptor.is_some();
        let datagrams = match udp {
            true => Some(UdpSocket::bind(address).await.map_err(failed("udp"))?),
            false => None,
        };
        let senders = match tcp {
            true => Some((TcpListener::bind(address).await.map_err(failed("tcp"))?, acceptor)),
            false => None,
        };
        Ok(Self { sink, datagrams, senders })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// Never: a sender that fails is left, and others go on.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SyslogError> {
        let datagrams = async {
            if let Some(socket) = &self.datagrams {
                take_datagrams(socket, &self.sink, &stop).await;
            }
        };
        let senders = async {
            if let Some((listener, acceptor)) = &self.senders {
                take_senders(listener, acceptor.as_ref(), &self.sink, &stop).await;
            }
        };
        tokio::join!(datagrams, senders);
        Ok(())
    }
}

impl Sink {
    fn line(&self, line: Bytes) -> NewRecord {
        self.raw.line(&self.sensor, line, None)
    }

    /// Makes lines durable, however long it takes. False when the process ends before.
    async fn keep(&self, records: Vec<NewRecord>, stop: &CancellationToken) -> bool {
        if records.is_empty() {
            return true;
        }
        let mut backoff = Backoff::network();
        while let Err(error) = self.raw.append(records.clone()).await {
            let lines = records.len();
            warn!(input = ?self.sensor, %error, lines, "syslog lines wait for the raw log");
            let wait = tokio::time::sleep(backoff.next_wait(None));
            if stop.run_until_cancelled(wait).await.is_none() {
                warn!(input = ?self.sensor, lines, "syslog lines were lost: the process ends");
                return false;
            }
        }
        true
    }
}

async fn take_datagrams(socket: &UdpSocket, sink: &Sink, stop: &CancellationToken) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv(&mut buffer) => received,
        };
        let mut records = Vec::new();
        let mut next = received;
        // What is there already is made durable together.
        while let Ok(len) = next {
            let datagram = buffer.get(..len).unwrap_or_default();
            let lines = datagram.split(|byte| *byte == b'\n').map(trimmed);
            for line in lines.filter(|line| !line.is_empty()) {
                records.push(sink.line(Bytes::copy_from_slice(line)));
            }
            if records.len() >= DATAGRAMS_MAX {
                break;
            }
            next = socket.try_recv(&mut buffer);
        }
        if !sink.keep(records, stop).await {
            return;
        }
    }
}

/// Without the end that some senders add: a carriage return, or NUL.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut line = line;
    while let Some(rest) = line.strip_suffix(b"\r").or_else(|| line.strip_suffix(b"\0")) {
        line = rest;
    }
    line
}

async fn take_senders(
    listener: &TcpListener,
    acceptor: Option<&Tls>,
    sink: &Sink,
    stop: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(SENDERS_MAX));
    let mut senders = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = senders.join_next() => {
                if let Err(error) = ended {
                    warn!(%error, "a syslog connection failed");
                }
                continue;
            }
            accepted = accept(listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let (sink, stop, acceptor) = (sink.clone(), stop.clone(), acceptor.cloned());
        senders.spawn(async move {
            match acceptor {
                None => take_stream(stream, peer, &sink, &stop).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => take_stream(stream, peer, &sink, &stop).await,
                    Err(error) => info!(%peer, %error, "a syslog sender did not get through TLS"),
                },
            }
            drop(permit);
        });
    }
    while senders.join_next().await.is_some() {}
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            warn!(%error, "cannot accept a syslog connection");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

/// Reads a sender to its end. What it sent whole before `stop` is kept.
async fn take_stream(
    mut stream: impl AsyncRead + Unpin,
    peer: SocketAddr,
    sink: &Sink,
    stop: &CancellationToken,
) {
    let mut frames = Frames::default();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        buffer.clear();
        let read = tokio::select! {
            () = stop.cancelled() => break,
            read = stream.read_buf(&mut buffer) => read,
        };
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                info!(%peer, %error, "a syslog sender went away");
                break;
            }
        }
        let mut records = Vec::new();
        frames.feed(&buffer, &mut |line| records.push(sink.line(line)));
        if !sink.keep(records, stop).await {
            return;
        }
    }
    // The last line may have come without its end.
    let mut records = Vec::new();
    frames.end(&mut |line| records.push(sink.line(line)));
    sink.keep(records, stop).await;
}

#[cfg(test)]
mod tests;
