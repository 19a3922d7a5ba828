//! Log formats.
//!
//! Owns: the closed list of formats, most specific first, and what it means that a line does not
//! fit one. Never: the meaning of the parts that a format finds.

mod alb;
mod aliases;
mod api_gateway;
mod caddy;
mod clf;
mod combined;
mod ecs;
mod envoy;
mod envoy_json;
mod haproxy;
mod ingress_nginx;
mod json;
mod kong;
mod other;
mod otlp;
mod own;
mod ssl_request;
mod template;
mod traefik;
mod traefik_json;
mod w3c;

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use schemas::Reason;

pub(crate) use aliases::{Aliases, column_of};
pub use aliases::{Mapping, MappingError};
pub(crate) use json::Memory;
pub(crate) use other::{client, directive, guess};
pub use template::{Template, TemplateError};
pub(crate) use w3c::Layout;

use crate::parts::Parts;
use crate::read::times::Times;

/// A log format. The order is that of the list: more specific ones first, so that a line that fits
/// two is read as the more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Our own event as JSON.
    Tidegate,
    /// A log record of OpenTelemetry with the HTTP conventions.
    Otlp,
    /// Traefik's access log as JSON.
    TraefikJson,
    /// Caddy's access log.
    Caddy,
    /// Kong's log plugins.
    Kong,
    /// AWS API Gateway's access log as JSON.
    ApiGateway,
    /// Envoy's JSON with the names of its default format.
    EnvoyJson,
    /// The Elastic Common Schema.
    Ecs,
    /// The Kubernetes ingress of nginx.
    IngressNginx,
    /// Traefik's text format.
    Traefik,
    /// Envoy's default text format, Istio's too.
    Envoy,
    /// HAProxy's HTTP log.
    Haproxy,
    /// The access log of AWS load balancers.
    Alb,
    /// CloudFront's standard log.
    CloudFront,
    /// The W3C log of IIS.
    Iis,
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
    /// The input's own, by a template.
    Template,
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
    /// The last time as it was written, in which nothing needs masking.
    pub(crate) clear_time: String,
    /// The columns of the last `#Fields:` line.
    pub(crate) fields: Option<Layout>,
    /// The input's own format.
    pub(crate) template: Option<Arc<Template>>,
}

impl Format {
    /// Every format that is told by its lines, most specific first.
    pub const ALL: [Self; 20] = [
        Self::Tidegate,
        Self::Otlp,
        Self::TraefikJson,
        Self::Caddy,
        Self::Kong,
        Self::ApiGateway,
        Self::EnvoyJson,
        Self::Ecs,
        Self::IngressNginx,
        Self::Traefik,
        Self::Envoy,
        Self::Haproxy,
        Self::Alb,
        Self::CloudFront,
        Self::Iis,
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
            Self::Otlp => "otlp",
            Self::Kong => "kong",
            Self::ApiGateway => "api_gateway",
            Self::Ecs => "ecs",
            Self::Alb => "alb",
            Self::CloudFront => "cloudfront",
            Self::Iis => "iis",
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
            Self::Template => "template",
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub fn doc(self) -> &'static str {
        match self {
            Self::Tidegate => "our own event, one JSON object a line, names as in docs/fields.md",
            Self::Otlp => "OpenTelemetry log records with the HTTP conventions, JSON or protobuf",
            Self::Kong => "Kong, http-log and the other log plugins",
            Self::ApiGateway => "AWS API Gateway, access log as JSON of $context variables",
            Self::Ecs => "Elastic Common Schema, as Filebeat's modules and ECS loggers write it",
            Self::Alb => "AWS application and classic load balancers",
            Self::CloudFront => "AWS CloudFront, standard log",
            Self::Iis => "IIS, W3C extended, by its #Fields line or one of the usual layouts",
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
            Self::Template => "the input's own format, by its template",
        }
    }

    /// How much it says that a line fits: what a format asks of a line beyond others.
    pub(crate) fn weight(self) -> u32 {
        match self {
            Self::Tidegate | Self::Otlp | Self::TraefikJson | Self::Caddy | Self::EnvoyJson => 4,
            Self::Kong | Self::ApiGateway => 4,
            Self::IngressNginx | Self::Traefik | Self::Envoy | Self::Haproxy => 4,
            Self::Alb | Self::CloudFront | Self::Iis => 4,
            Self::Ecs => 3,
            Self::SslRequest | Self::VhostCombined => 3,
            Self::Combined => 2,
            Self::Common | Self::Json | Self::Template => 1,
        }
    }

    /// Whether the lines are JSON objects.
    pub(crate) fn is_json(self) -> bool {
        matches!(
            self,
            Self::Tidegate
                | Self::Otlp
                | Self::TraefikJson
                | Self::Caddy
                | Self::Kong
                | Self::ApiGateway
                | Self::EnvoyJson
                | Self::Ecs
                | Self::Json
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
        if self.is_json() != line.starts_with('{') && self != Self::Template {
            return Err(Failure::other("another kind of line"));
        }
        match self {
            Self::Tidegate => own::read(line, desk, parts),
            Self::Otlp => otlp::read(line, desk, parts),
            Self::Kong => kong::read(line, desk, parts),
            Self::ApiGateway => api_gateway::read(line, desk, parts),
            Self::Ecs => ecs::read(line, desk, parts),
            Self::Alb => alb::read(line, desk, parts),
            Self::CloudFront => w3c::read_cloudfront(line, desk, parts),
            Self::Iis => w3c::read_iis(line, desk, parts),
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
            Self::Template => match desk.template.clone() {
                Some(template) => template.read(line, desk, parts),
                None => Err(Failure::other("no template")),
            },
        }
    }
}

/// A name that is no format's, and no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No format is called so.
    #[error("`{name}` is no log format{nearest}; take auto, a template, or one of {known}")]
    Unknown {
        /// What was given.
        name: String,
        /// What may have been meant.
        nearest: String,
        /// The names that there are.
        known: String,
    },
    /// A template that cannot be used.
    #[error("the template cannot be used: {0}")]
    Template(#[from] TemplateError),
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
            "kong_json" | "kong_http_log" => Some(Self::Kong),
            "apigateway" | "aws_api_gateway" => Some(Self::ApiGateway),
            "elb" | "aws_alb" | "aws_elb" => Some(Self::Alb),
            "aws_cloudfront" => Some(Self::CloudFront),
            "w3c" | "iis_w3c" => Some(Self::Iis),
            "otlp_json" | "opentelemetry" => Some(Self::Otlp),
            _ => None,
        };
        let by_name = Self::ALL.into_iter().find(|format| format.name() == plain);
        by_name.or(by_alias).ok_or_else(|| {
            let distance = |known: &Self| strsim::damerau_levenshtein(known.name(), &plain);
            let near = Self::ALL.into_iter().min_by_key(distance);
            let near = near.filter(|near| distance(near) <= plain.len().div_ceil(3));
            FormatError::Unknown {
                name: name.to_owned(),
                nearest: near.map(|near| format!(" (`{}`?)", near.name())).unwrap_or_default(),
                known: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests;
