//! What a server counts.
//!
//! Owns: the metrics of HTTP, with their log lines.
//! Never: paths or addresses as labels; a client chooses them, so there is no end of them.

use std::net::SocketAddr;

use axum::http::StatusCode;
use tracing::debug;

use crate::metrics::{Counters, Gauge, Metrics, Unit};

/// The metrics of one server.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    server: &'static str,
    answered: Counters<2>,
    open: Gauge,
    broken: Counters<2>,
}

/// Counts a connection as long as it lives.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl HttpMetrics {
    /// For the server of this name, such as `admin`.
    #[must_use]
    pub fn new(metrics: &Metrics, server: &'static str) -> Self {
        let http = metrics.component("http");
        let answered = "Requests answered, by server and status";
        let open = "Connections that are open now, by server";
        let broken = "Connections that did not end well, by server and reason";
        Self {
            server,
            answered: http.counters("answered", Unit::Requests, answered, ["server", "status"]),
            open: http.gauges("open", Unit::Connections, open, ["server"]).with([server]),
            broken: http.counters("broken", Unit::Connections, broken, ["server", "reason"]),
        }
    }

    pub(super) fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    pub(super) fn answered(&self, status: StatusCode) {
        self.answered.with([self.server, status.as_str()]).inc();
    }

    /// A client that read or wrote too slowly.
    pub(super) fn cut_off(&self, peer: SocketAddr) {
        self.broken.with([self.server, "too_slow"]).inc();
        debug!(server = self.server, %peer, reason = "too_slow", "connection broke");
    }

    /// A client that did not get through the handshake of TLS.
    pub(super) fn no_tls(&self, peer: SocketAddr, error: &std::io::Error) {
        self.broken.with([self.server, "no_tls"]).inc();
        debug!(server = self.server, %peer, %error, reason = "no_tls", "connection broke");
    }

    pub(super) fn broken(&self, peer: SocketAddr, error: &hyper::Error) {
        let reason = if error.is_timeout() {
            "timeout"
        } else if error.is_parse() {
            "not_http"
        } else {
            "closed"
        };
        self.broken.with([self.server, reason]).inc();
        debug!(server = self.server, %peer, %error, reason, "connection broke");
    }
}
