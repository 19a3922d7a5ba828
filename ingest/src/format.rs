//! Log formats.
//!
//! Owns: the closed list of formats, most specific first, and what it means that a line does not
//! fit one. Never: the meaning of the parts that a format finds.

mod aliases;
mod caddy;
mod clf;
mod combined;
mod envoy;
mod envoy_json;
mod haproxy;
mod ingress_nginx;
mod json;
mod other;
mod own;
mod ssl_request;
mod traefik;
mod traefik_json;

use std::borrow::Cow;
use std::str::FromStr;

use schemas::Reason;

pub(crate) use aliases::Aliases;
pub use aliases::{Mapping, MappingError};
pub(crate) use json::Memory;
pub(crate) use other::{client, directive, guess};

use crate::parts::Parts;
use crate::read::times::Times;

/// A log format. The order is that of the list: more specific ones first, so that a line that fits
/// two is read as the more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Our own event as JSON.
    Tidegate,
    /// Traefik's access log as JSON.
    TraefikJson,
    /// Caddy's access log.
    Caddy,
    /// Envoy's JSON with the names of its default format.
    EnvoyJson,
    /// The Kubernetes ingress of nginx.
    IngressNginx,
    /// Traefik's text format.
    Traefik,
    /// Envoy's default text format, Istio's too.
    Envoy,
    /// HAProxy's HTTP log.
    Haproxy,
    /// Apache's log of TLS requests.
    SslRequest,
    /// Combined with the host in front.
    VhostCombined,
    /// Combined, of nginx and Apache.
    Combined,
    /// Common, of Apache and many others.
    Common,
    /// JSON with any names.
    Json,
}

/// Why a line is not of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// What is missing or wrong; a fragment.
    pub(crate) what: Cow<'static, str>,
    /// Whether that helps somebody who does not know which format it was tried as.
    pub(crate) tells: bool,
}

impl Failure {
    /// The line does not begin to look like the format.
    pub(crate) const fn other(what: &'static str) -> Self {
        Self { reason: Reason::UnknownFormat, what: Cow::Borrowed(what), tells: false }
    }

    /// The line is not of the format, for a reason that helps by itself.
    pub(crate) const fn telling(what: &'static str) -> Self {
        Self { reason: Reason::UnknownFormat, what: Cow::Borrowed(what), tells: true }
    }

    /// The line begins like the format and does not keep to it.
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Self { reason: Reason::Malformed, what: Cow::Borrowed(what), tells: true }
    }

    /// A needed value cannot be read.
    pub(crate) fn value(what: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::BadValue, what: what.into(), tells: true }
    }
}

/// What a format reads with: times, names of JSON keys.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) times: Times,
    pub(crate) aliases: Aliases,
    pub(crate) memory: Memory,
    pub(crate) own_memory: Memory,
}

impl Format {
    /// Every format, most specific first.
    pub const ALL: [Self; 13] = [
        Self::Tidegate,
        Self::TraefikJson,
        Self::Caddy,
        Self::EnvoyJson,
        Self::IngressNginx,
        Self::Traefik,
        Self::Envoy,
        Self::Haproxy,
        Self::SslRequest,
        Self::VhostCombined,
        Self::Combined,
        Self::Common,
        Self::Json,
    ];

    /// The name in configuration and in column `format`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::TraefikJson => "traefik_json",
            Self::Caddy => "caddy",
            Self::EnvoyJson => "envoy_json",
            Self::IngressNginx => "ingress_nginx",
            Self::Traefik => "traefik",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::SslRequest => "apache_ssl_request",
            Self::VhostCombined => "vhost_combined",
            Self::Combined => "combined",
            Self::Common => "common",
            Self::Json => "json",
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub fn doc(self) -> &'static str {
        match self {
            Self::Tidegate => "our own event, one JSON object a line, names as in docs/fields.md",
            Self::TraefikJson => "Traefik, accessLog.format json",
            Self::Caddy => "Caddy, http.log.access as JSON",
            Self::EnvoyJson => "Envoy, Envoy Gateway and Istio, json_format with the default names",
            Self::IngressNginx => "ingress-nginx, its default upstreaminfo format",
            Self::Traefik => "Traefik, accessLog.format common",
            Self::Envoy => "Envoy and Istio, the default text format",
            Self::Haproxy => "HAProxy, option httplog; times without a zone are the input's",
            Self::SslRequest => "Apache, ssl_request_log",
            Self::VhostCombined => "combined or common with the virtual host in front",
            Self::Combined => "nginx combined and main, Apache combined",
            Self::Common => "Apache common (CLF)",
            Self::Json => "JSON of any gateway; well-known names, others by `mapping`",
        }
    }

    /// How much it says that a line fits: what a format asks of a line beyond others.
    pub(crate) fn weight(self) -> u32 {
        match self {
            Self::Tidegate | Self::TraefikJson | Self::Caddy | Self::EnvoyJson => 4,
            Self::IngressNginx | Self::Traefik | Self::Envoy | Self::Haproxy => 4,
            Self::SslRequest | Self::VhostCombined => 3,
            Self::Combined => 2,
            Self::Common | Self::Json => 1,
        }
    }

    /// Whether the lines are JSON objects.
    pub(crate) fn is_json(self) -> bool {
        matches!(
            self,
            Self::Tidegate | Self::TraefikJson | Self::Caddy | Self::EnvoyJson | Self::Json
        )
    }

    /// Formats that a line may have where this one was named: a server writes a shorter line when
    /// the request was broken.
    pub(crate) fn family(self) -> &'static [Self] {
        match self {
            Self::VhostCombined | Self::Combined | Self::Common => {
                &[Self::VhostCombined, Self::Combined, Self::Common]
            }
            Self::IngressNginx => &[Self::Combined, Self::Common],
            Self::Traefik => &[Self::Common],
            _ => &[],
        }
    }

    /// Finds the parts of a line. After a failure `parts` may hold some.
    pub(crate) fn read<'a>(
        self,
        line: &'a str,
        desk: &mut Desk,
        parts: &mut Parts<'a>,
    ) -> Result<(), Failure> {
        if self.is_json() != line.starts_with('{') {
            return Err(Failure::other("another kind of line"));
        }
        match self {
            Self::Tidegate => own::read(line, desk, parts),
            Self::TraefikJson => traefik_json::read(line, desk, parts),
            Self::Caddy => caddy::read(line, desk, parts),
            Self::EnvoyJson => envoy_json::read(line, desk, parts),
            Self::IngressNginx => ingress_nginx::read(line, desk, parts),
            Self::Traefik => traefik::read(line, desk, parts),
            Self::Envoy => envoy::read(line, desk, parts),
            Self::Haproxy => haproxy::read(line, desk, parts),
            Self::SslRequest => ssl_request::read(line, desk, parts),
            Self::VhostCombined => combined::read_vhost(line, desk, parts),
            Self::Combined => combined::read(line, desk, parts),
            Self::Common => combined::read_common(line, desk, parts),
            Self::Json => json::read(line, desk, parts),
        }
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no log format; take auto, or one of {known}")]
pub struct FormatError {
    /// What was given.
    pub name: String,
    /// The names that there are.
    pub known: String,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        let plain = name.trim().to_ascii_lowercase().replace('-', "_");
        let by_alias = match plain.as_str() {
            "nginx" | "nginx_combined" | "nginx_main" | "apache" | "apache2"
            | "apache_combined" => Some(Self::Combined),
            "nginx_json" | "apache_json" | "haproxy_json" => Some(Self::Json),
            "clf" | "apache_common" | "nginx_common" => Some(Self::Common),
            "apache_vhost" | "apache_vhost_combined" | "nginx_vhost" => Some(Self::VhostCombined),
            "traefik_clf" | "traefik_common" => Some(Self::Traefik),
            "caddy_json" => Some(Self::Caddy),
            "envoy_text" | "istio" => Some(Self::Envoy),
            "envoy_gateway" | "istio_json" => Some(Self::EnvoyJson),
            "haproxy_http" => Some(Self::Haproxy),
            "ssl_request" => Some(Self::SslRequest),
            _ => None,
        };
        let by_name = Self::ALL.into_iter().find(|format| format.name() == plain);
        by_name.or(by_alias).ok_or_else(|| FormatError {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests;
