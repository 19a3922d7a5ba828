//! Who a request is from.
//!
//! Owns: reading addresses, principals and secrets from what a gateway passes on.
//! Never: verifies a token; that is the gateway's and the application's. A claim that is false can
//! only get its own request refused.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ipnet::IpNet;
use runtime::http::axum::http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::Fingerprint;
use crate::address;
use crate::config::SettingsError;

/// Bytes of a token whose claims are read. Gateways refuse headers of more than 8 to 64 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Secrets read of one request: at most so many keys, so many hashes.
const KEYS_MAX: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// Who may name another address than its own.
    pub(super) trusted: Vec<IpNet>,
    pub(super) key_header: HeaderName,
    pub(super) principal_header: Option<HeaderName>,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// All that a request says it is from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) principals: Vec<String>,
    /// Hashes of keys and tokens, and ids of tokens.
    pub(super) secrets: Vec<String>,
}

pub(super) fn header(key: &str, name: &str) -> Result<HeaderName, SettingsError> {
    name.parse().map_err(|_no_name| {
        SettingsError::value(key, format!("`{name}` is no name of a header; write `x-api-key`"))
    })
}

impl Reader {
    pub(super) fn read(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Caller {
        let mut caller = Caller { addresses: self.addresses(peer, headers), ..Caller::default() };
        if let Some(name) = &self.principal_header {
            let names = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            caller.principals.extend(names.map(str::to_owned));
        }
        for value in headers.get_all(header::AUTHORIZATION) {
            self.authorization(value.as_bytes(), &mut caller);
        }
        if let Some(fingerprint) = &self.fingerprint {
            let keys = headers.get_all(&self.key_header).iter().take(KEYS_MAX);
            caller.secrets.extend(keys.map(|key| fingerprint.of(key.as_bytes())));
        }
        caller
    }

    /// The addresses that the request may come from: what the gateway says, and what it may have
    /// left standing of what the client said.
    fn addresses(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Vec<IpAddr> {
        let peer = peer.map(|address| address.to_canonical());
        if let Some(stranger) = peer.filter(|address| !self.trusts(*address)) {
            return vec![stranger];
        }
        let mut addresses = Vec::new();
        for value in headers.get_all("x-real-ip") {
            addresses.extend(value.to_str().ok().and_then(single));
        }
        let forwarded: Vec<IpAddr> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(single)
            .collect();
        let nearest = forwarded.iter().rev().find(|address| !self.trusts(**address));
        addresses.extend(nearest.or(forwarded.first()));
        if addresses.is_empty() {
            addresses.extend(peer);
        }
        addresses.dedup();
        addresses
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    fn authorization(&self, value: &[u8], caller: &mut Caller) {
        let Some(space) = value.iter().position(|byte| *byte == b' ') else { return };
        let (scheme, credentials) = value.split_at(space);
        let credentials = credentials.trim_ascii();
        if credentials.len() > TOKEN_BYTES_MAX {
            return;
        }
        if scheme.eq_ignore_ascii_case(b"bearer") {
            if let Some(fingerprint) = &self.fingerprint {
                caller.secrets.push(fingerprint.of(credentials));
            }
            let claims = claims(credentials);
            let claim = |name: &str| claims.as_ref()?.get(name)?.as_str().map(str::to_owned);
            caller.principals.extend(claim("sub"));
            caller.secrets.extend(claim("jti"));
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            let decoded = STANDARD.decode(credentials).ok();
            let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            let user = decoded.as_deref().and_then(|text| text.split(':').next());
            caller.principals.extend(user.map(str::to_owned));
        }
    }
}

/// An address as gateways write it, also with a port or in brackets.
fn single(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let address = bare.or_else(with_port).or_else(bracketed)?;
    address::network(&address.to_string()).map(|net| net.addr())
}

/// The claims of a JSON Web Token (RFC 7519): the middle of three parts.
fn claims(token: &[u8]) -> Option<Value> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (_head, body) = (parts.next()?, parts.next()?);
    parts.next()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}
