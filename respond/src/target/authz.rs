//! The decision service: gateways ask it about every request, and it answers from memory.
//!
//! Owns: the table of who is blocked, and who a request is from.
//! Never: waits on a disk, another process or a lock that anything slow holds; blocks past the end
//! of an order, even when nobody tells it that the order ended.
//!
//! Understands nginx `auth_request`, Traefik `forwardAuth`, Caddy `forward_auth` and Envoy
//! `ext_authz` over HTTP: any method, any path under `/authz`, 200 or 403.
//! A request may name several callers (X-Real-IP, every X-Forwarded-For a client sent, a token, a
//! key). It is refused when any of them is blocked: inventing a further header helps nobody.

mod caller;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;
use runtime::clock::Clock;
use runtime::http::axum::Router;
use runtime::http::axum::extract::{ConnectInfo, Request, State};
use runtime::http::axum::http::{HeaderMap, HeaderValue, StatusCode};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::routing::any;
use runtime::metrics::Counter;
use schemas::{EventTime, Subject};

use super::{Held, TargetParts};
use crate::address;
use crate::config::{AuthzConfig, SettingsError, check_networks};
use crate::guard::NeverBlock;
use crate::ledger::Entry;
use crate::metrics::RespondMetrics;
use caller::Reader;
use table::Table;

type Hash = dyn Fn(&[u8]) -> String + Send + Sync;

/// Makes of a key or token, as a caller sends it, the hash that events show. Must be the one that
/// ingest uses in this installation.
#[derive(Clone)]
pub struct Fingerprint(Arc<Hash>);

impl Fingerprint {
    /// From a function.
    pub fn new(hash: impl Fn(&[u8]) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(hash))
    }

    fn of(&self, secret: &[u8]) -> String {
        (self.0)(secret)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Fingerprint")
    }
}

#[derive(Debug)]
pub(crate) struct Authz {
    listen: SocketAddr,
    never_block: NeverBlock,
    hashes: bool,
    reader: Reader,
    /// Replaced as a whole; the lock is held for the time of copying a pointer.
    table: Arc<RwLock<Arc<Table>>>,
    clock: Clock,
}

impl Authz {
    pub(super) fn new(
        config: &AuthzConfig,
        parts: &TargetParts<'_>,
    ) -> Result<Self, SettingsError> {
        check_networks("target.trusted_proxies", &config.trusted_proxies)?;
        let mut trusted: Vec<IpNet> =
            ["127.0.0.0/8", "::1"].into_iter().filter_map(address::network).collect();
        trusted.extend(config.trusted_proxies.iter().filter_map(|text| address::network(text)));
        let reader = Reader {
            trusted,
            key_header: caller::header("target.key_header", &config.key_header)?,
            principal_header: match &config.principal_header {
                Some(name) => Some(caller::header("target.principal_header", name)?),
                None => None,
            },
            fingerprint: parts.fingerprint.clone(),
        };
        Ok(Self {
            listen: config.listen,
            never_block: parts.never_block.clone(),
            hashes: parts.fingerprint.is_some(),
            reader,
            table: Arc::default(),
            clock: parts.clock.clone(),
        })
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(super) fn subjects(&self) -> Vec<&'static str> {
        let mut subjects = vec!["ip", "network", "principal"];
        if self.hashes {
            subjects.extend(["token", "key"]);
        }
        subjects
    }

    pub(super) fn hold(&self, desired: &BTreeMap<Subject, Entry>) -> Held {
        let (table, rejected) = Table::new(desired, &self.never_block);
        let table = Arc::new(table);
        let present = table.subjects();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Held { present, rejected }
    }

    pub(super) fn router(&self, metrics: &RespondMetrics) -> Router {
        let desk = Desk {
            reader: self.reader.clone(),
            never_block: self.never_block.clone(),
            table: Arc::clone(&self.table),
            clock: self.clock.clone(),
            passed: metrics.checks("passed"),
            refused: metrics.checks("refused"),
        };
        Router::new()
            .route("/authz", any(check))
            .route("/authz/", any(check))
            .route("/authz/{*rest}", any(check))
            .with_state(Arc::new(desk))
    }
}

#[derive(Debug)]
struct Desk {
    reader: Reader,
    never_block: NeverBlock,
    table: Arc<RwLock<Arc<Table>>>,
    clock: Clock,
    passed: Counter,
    refused: Counter,
}

async fn check(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    match desk.blocked(peer, request.headers()) {
        Some(order_id) => {
            desk.refused.inc();
            refusal(&order_id)
        }
        None => {
            desk.passed.inc();
            StatusCode::OK.into_response()
        }
    }
}

fn refusal(order_id: &str) -> Response {
    let reason = format!("tidegate:{order_id}");
    let body = format!("{{\"error\":\"blocked\",\"reason\":\"{reason}\"}}\n");
    let mut response =
        (StatusCode::FORBIDDEN, [("content-type", "application/json")], body).into_response();
    // An id is hexadecimal, so it is a value that a header can have.
    if let Ok(reason) = HeaderValue::from_str(&reason) {
        response.headers_mut().insert("x-block-reason", reason);
    }
    response
}

impl Desk {
    fn blocked(&self, peer: Option<std::net::IpAddr>, headers: &HeaderMap) -> Option<String> {
        let table = Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        if table.is_empty() {
            return None;
        }
        let now = EventTime(self.clock.unix_ms());
        let caller = self.reader.read(peer, headers);
        let open = |address: &&std::net::IpAddr| !self.never_block.protects_address(**address);
        let by_address =
            caller.addresses.iter().filter(open).find_map(|address| table.address(*address, now));
        by_address
            .or_else(|| caller.principals.iter().find_map(|name| table.principal(name, now)))
            .or_else(|| caller.secrets.iter().find_map(|hash| table.secret(hash, now)))
            .map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
