//! What the variables of gateways' log languages stand for.
//!
//! Owns: the tables of Envoy, Apache and HAProxy, and which of nginx' names are well known.
//! Never: names of JSON, which are `aliases`'; a header is looked up there by its name.

use super::super::aliases::{Aliases, Meaning, Slot};
use super::{Shape, Variable};
use crate::read::number::Unit;

/// A language of log formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// `$name`, `${name}`.
    Nginx,
    /// `%NAME%`, `%NAME(argument):length%`.
    Envoy,
    /// `%h`, `%>s`, `%{name}i`.
    Apache,
    /// `%ci`, `%[fetch]`, `%{+Q}r`.
    Haproxy,
}

impl Language {
    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Apache => "Apache",
            Self::Haproxy => "HAProxy",
        }
    }
}

type Row = (&'static str, Meaning);

const ENVOY: &[Row] = &[
    ("START_TIME", Meaning::Started),
    ("START_TIME_LOCAL", Meaning::Started),
    ("EMIT_TIME", Meaning::Time),
    ("PROTOCOL", Meaning::Text(Slot::Version)),
    ("RESPONSE_CODE", Meaning::Status),
    ("RESPONSE_FLAGS", Meaning::Flags),
    ("RESPONSE_FLAGS_LONG", Meaning::Ignore),
    ("RESPONSE_CODE_DETAILS", Meaning::Details),
    ("CONNECTION_TERMINATION_DETAILS", Meaning::Ignore),
    ("BYTES_RECEIVED", Meaning::RequestBytes),
    ("BYTES_SENT", Meaning::BodyBytes),
    ("DURATION", Meaning::Duration(Some(Unit::Millis))),
    ("REQUEST_DURATION", Meaning::Ignore),
    ("RESPONSE_DURATION", Meaning::Ignore),
    ("RESPONSE_TX_DURATION", Meaning::Ignore),
    ("COMMON_DURATION", Meaning::Ignore),
    ("ROUTE_NAME", Meaning::Text(Slot::Route)),
    ("VIRTUAL_CLUSTER_NAME", Meaning::Ignore),
    ("UPSTREAM_HOST", Meaning::Text(Slot::ServiceInstance)),
    ("UPSTREAM_REMOTE_ADDRESS", Meaning::Text(Slot::ServiceInstance)),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Meaning::Text(Slot::ServiceInstance)),
    ("UPSTREAM_CLUSTER", Meaning::Unknown),
    ("UPSTREAM_LOCAL_ADDRESS", Meaning::Ignore),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Meaning::Ignore),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Meaning::Ignore),
    ("DOWNSTREAM_REMOTE_ADDRESS", Meaning::Text(Slot::Client)),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Meaning::Text(Slot::Client)),
    ("DOWNSTREAM_REMOTE_PORT", Meaning::Ignore),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Meaning::Text(Slot::Peer)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Meaning::Text(Slot::Peer)),
    ("DOWNSTREAM_LOCAL_ADDRESS", Meaning::Ignore),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Meaning::Ignore),
    ("DOWNSTREAM_LOCAL_PORT", Meaning::Ignore),
    ("DOWNSTREAM_TLS_VERSION", Meaning::Text(Slot::TlsVersion)),
    ("DOWNSTREAM_TLS_CIPHER", Meaning::Ignore),
    ("DOWNSTREAM_PEER_SUBJECT", Meaning::Text(Slot::Principal)),
    ("DOWNSTREAM_PEER_URI_SAN", Meaning::Text(Slot::Principal)),
    ("REQUESTED_SERVER_NAME", Meaning::Text(Slot::HostFallback)),
    ("HOSTNAME", Meaning::Unknown),
    ("ACCESS_LOG_TYPE", Meaning::Ignore),
    ("STREAM_ID", Meaning::Ignore),
    ("TRACE_ID", Meaning::Text(Slot::TraceId)),
    ("TLS_JA3_FINGERPRINT", Meaning::Unknown),
    ("TLS_JA4_FINGERPRINT", Meaning::Text(Slot::Ja4)),
    ("GRPC_STATUS", Meaning::Unknown),
    ("PATH", Meaning::Text(Slot::Target)),
    ("REQ", Meaning::Unknown),
    ("RESP", Meaning::Unknown),
    ("TRAILER", Meaning::Unknown),
    ("DYNAMIC_METADATA", Meaning::Unknown),
    ("CLUSTER_METADATA", Meaning::Unknown),
    ("METADATA", Meaning::Unknown),
    ("FILTER_STATE", Meaning::Unknown),
    ("ENVIRONMENT", Meaning::Unknown),
    ("QUERY_PARAM", Meaning::Unknown),
];

const APACHE: &[Row] = &[
    ("a", Meaning::Text(Slot::Client)),
    ("A", Meaning::Ignore),
    ("b", Meaning::BodyBytes),
    ("B", Meaning::BodyBytes),
    ("D", Meaning::Duration(Some(Unit::Micros))),
    ("f", Meaning::Ignore),
    ("h", Meaning::Text(Slot::Peer)),
    ("H", Meaning::Text(Slot::Version)),
    ("I", Meaning::RequestBytes),
    ("k", Meaning::Ignore),
    ("l", Meaning::Ignore),
    ("L", Meaning::Text(Slot::RequestId)),
    ("m", Meaning::Text(Slot::Method)),
    ("O", Meaning::SentBytes),
    ("p", Meaning::Ignore),
    ("P", Meaning::Ignore),
    ("q", Meaning::Text(Slot::Query)),
    ("r", Meaning::Text(Slot::Request)),
    ("R", Meaning::Ignore),
    ("s", Meaning::Status),
    ("S", Meaning::Ignore),
    ("t", Meaning::Time),
    ("T", Meaning::Duration(Some(Unit::Seconds))),
    ("u", Meaning::Text(Slot::User)),
    ("U", Meaning::Text(Slot::Path)),
    ("v", Meaning::Text(Slot::HostFallback)),
    ("V", Meaning::Text(Slot::Host)),
    ("X", Meaning::Ignore),
];

const HAPROXY: &[Row] = &[
    ("ci", Meaning::Text(Slot::Peer)),
    ("cp", Meaning::Ignore),
    ("r", Meaning::Text(Slot::Request)),
    ("HM", Meaning::Text(Slot::Method)),
    ("HU", Meaning::Text(Slot::Target)),
    ("HP", Meaning::Text(Slot::Path)),
    ("HPO", Meaning::Text(Slot::Path)),
    ("HQ", Meaning::Text(Slot::Query)),
    ("HV", Meaning::Text(Slot::Version)),
    ("ST", Meaning::Status),
    ("B", Meaning::SentBytes),
    ("U", Meaning::RequestBytes),
    ("t", Meaning::Started),
    ("tr", Meaning::Started),
    ("trg", Meaning::Started),
    ("trl", Meaning::Started),
    ("T", Meaning::Started),
    ("Tl", Meaning::Started),
    ("Ts", Meaning::Started),
    ("ms", Meaning::Ignore),
    ("Ta", Meaning::Duration(Some(Unit::Millis))),
    ("Tt", Meaning::Ignore),
    ("Tu", Meaning::Ignore),
    ("TR", Meaning::Ignore),
    ("Tc", Meaning::Ignore),
    ("Td", Meaning::Ignore),
    ("Th", Meaning::Ignore),
    ("Ti", Meaning::Ignore),
    ("Tq", Meaning::Ignore),
    ("Tr", Meaning::Ignore),
    ("Tw", Meaning::Ignore),
    ("ID", Meaning::Text(Slot::RequestId)),
    ("sslv", Meaning::Text(Slot::TlsVersion)),
    ("sslc", Meaning::Ignore),
    ("f", Meaning::Ignore),
    ("ft", Meaning::Ignore),
    ("b", Meaning::Unknown),
    ("s", Meaning::Text(Slot::ServiceInstance)),
    ("si", Meaning::Ignore),
    ("sp", Meaning::Ignore),
    ("bi", Meaning::Ignore),
    ("bp", Meaning::Ignore),
    ("fi", Meaning::Ignore),
    ("fp", Meaning::Ignore),
    ("ts", Meaning::Unknown),
    ("tsc", Meaning::Unknown),
    ("CC", Meaning::Ignore),
    ("CS", Meaning::Ignore),
    ("hr", Meaning::Ignore),
    ("hrl", Meaning::Ignore),
    ("hs", Meaning::Ignore),
    ("hsl", Meaning::Ignore),
    ("ac", Meaning::Ignore),
    ("fc", Meaning::Ignore),
    ("bc", Meaning::Ignore),
    ("sc", Meaning::Ignore),
    ("rc", Meaning::Ignore),
    ("sq", Meaning::Ignore),
    ("bq", Meaning::Ignore),
    ("lc", Meaning::Ignore),
    ("rt", Meaning::Ignore),
    ("pid", Meaning::Ignore),
    ("H", Meaning::Ignore),
    ("o", Meaning::Ignore),
];

/// Variables of nginx that people log and that `aliases` does not name.
const NGINX: [&str; 26] = [
    "args",
    "binary_remote_addr",
    "body_bytes_sent",
    "bytes_sent",
    "connection",
    "host",
    "hostname",
    "msec",
    "pid",
    "realip_remote_addr",
    "remote_addr",
    "remote_port",
    "remote_user",
    "request",
    "request_method",
    "request_uri",
    "server_addr",
    "server_port",
    "status",
    "upstream_cache_status",
    "time_iso8601",
    "time_local",
    "http_user_agent",
    "http_referer",
    "http_x_forwarded_for",
    "upstream_status",
];

/// How variables of nginx begin whose names end freely.
const NGINX_FAMILIES: [&str; 9] =
    ["http_", "sent_http_", "upstream_", "arg_", "cookie_", "geoip", "ssl_", "jwt_", "proxy_"];

/// What a variable stands for. The error holds the nearest names.
pub(super) fn variable(
    language: Language,
    name: &str,
    argument: &str,
) -> Result<Variable, Vec<String>> {
    let aliases = Aliases::ours();
    let meaning = match language {
        Language::Nginx => nginx(aliases, name)?,
        Language::Envoy => envoy(aliases, name, argument)?,
        Language::Apache => apache(aliases, name, argument)?,
        Language::Haproxy if name.is_empty() => fetch(aliases, argument),
        Language::Haproxy => of(HAPROXY, name)?,
    };
    let shown = match (language, argument) {
        (_, "") => name.to_owned(),
        (Language::Haproxy, argument) if name.is_empty() => argument.to_owned(),
        (_, argument) => argument.to_owned(),
    };
    Ok(Variable { name: shown, meaning, shape: shape(language, name, argument, meaning) })
}

fn of(rows: &[Row], name: &str) -> Result<Meaning, Vec<String>> {
    let row = rows.iter().find(|(known, _)| *known == name);
    row.map(|(_, meaning)| *meaning).ok_or_else(|| nearest(name, rows.iter().map(|row| row.0)))
}

/// The names that somebody may have meant, nearest first.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Vec<String> {
    let scored = known.map(|known| (strsim::damerau_levenshtein(name, known), known));
    let far = name.len() / 3;
    let mut near: Vec<_> = scored.filter(|(distance, _)| *distance <= far).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
}

/// nginx lets people make variables, so a name that is like no known one is theirs.
fn nginx(aliases: &Aliases, name: &str) -> Result<Meaning, Vec<String>> {
    // `$uri` is decoded and lacks the query; `$request_uri` is what was asked for.
    let meaning = match name {
        "uri" | "document_uri" => Meaning::Text(Slot::Path),
        _ => aliases.meaning(name),
    };
    let family = NGINX_FAMILIES.iter().any(|family| name.starts_with(family));
    if meaning != Meaning::Unknown || family || NGINX.contains(&name) {
        return Ok(meaning);
    }
    let near = nearest(name, NGINX.into_iter());
    let close = |near: &String| strsim::damerau_levenshtein(name, near) <= 2;
    if near.first().is_some_and(close) { Err(near) } else { Ok(Meaning::Unknown) }
}

fn envoy(aliases: &Aliases, name: &str, argument: &str) -> Result<Meaning, Vec<String>> {
    let meaning = of(ENVOY, name)?;
    Ok(match name {
        // Of `X?Y` the second stands in where the first is not there; both say the same.
        "REQ" => {
            let mut known = argument.split('?').map(|header| request_header(aliases, header));
            known.rfind(|meaning| *meaning != Meaning::Unknown).unwrap_or(Meaning::Unknown)
        }
        "RESP" if argument.eq_ignore_ascii_case("x-request-id") => Meaning::Text(Slot::RequestId),
        _ => meaning,
    })
}

fn request_header(aliases: &Aliases, header: &str) -> Meaning {
    match header.to_ascii_lowercase().as_str() {
        ":path" => Meaning::Text(Slot::Target),
        "x-envoy-upstream-service-time" => Meaning::Ignore,
        lower => aliases.meaning(lower),
    }
}

fn apache(aliases: &Aliases, name: &str, argument: &str) -> Result<Meaning, Vec<String>> {
    Ok(match (name, argument) {
        ("i", header) => request_header(aliases, header),
        ("o", header) if header.eq_ignore_ascii_case("x-request-id") => {
            Meaning::Text(Slot::RequestId)
        }
        ("o" | "n" | "C" | "^ti" | "^to", _) => Meaning::Unknown,
        ("e" | "x", name) => aliases.meaning(name),
        ("a", "c") => Meaning::Text(Slot::Peer),
        ("T", "ms") => Meaning::Duration(Some(Unit::Millis)),
        ("T", "us") => Meaning::Duration(Some(Unit::Micros)),
        ("t", "msec_frac" | "usec_frac") => Meaning::Ignore,
        _ => of(APACHE, name)?,
    })
}

/// A fetch of HAProxy, `%[req.hdr(User-Agent)]`, converters left out.
fn fetch(aliases: &Aliases, text: &str) -> Meaning {
    let plain = text.split(',').next().unwrap_or(text);
    let (fetch, argument) = plain.split_once('(').unwrap_or((plain, ""));
    let argument = argument.trim_end_matches(')').split(',').next().unwrap_or("");
    match fetch {
        "src" => Meaning::Text(Slot::Peer),
        "method" => Meaning::Text(Slot::Method),
        "path" => Meaning::Text(Slot::Path),
        "pathq" | "url" => Meaning::Text(Slot::Target),
        "query" => Meaning::Text(Slot::Query),
        "status" => Meaning::Status,
        "unique-id" => Meaning::Text(Slot::RequestId),
        "ssl_fc_protocol" => Meaning::Text(Slot::TlsVersion),
        "ssl_fc_sni" => Meaning::Text(Slot::HostFallback),
        "req.hdr" | "req.fhdr" | "hdr" | "capture.req.hdr" => request_header(aliases, argument),
        "date" | "accept_date" | "request_date" => Meaning::Started,
        _ => Meaning::Unknown,
    }
}

fn shape(language: Language, name: &str, argument: &str, meaning: Meaning) -> Shape {
    match (language, name) {
        (Language::Apache, "t") if argument.is_empty() => Shape::BracketedTime,
        (Language::Nginx, "time_local") => Shape::CommonTime,
        (Language::Haproxy, "T" | "Tl" | "trg" | "trl") => Shape::CommonTime,
        (Language::Nginx, name) if name.starts_with("upstream_") => Shape::Tries,
        (Language::Nginx, "http_x_forwarded_for" | "proxy_add_x_forwarded_for") => Shape::Tries,
        _ if meaning == Meaning::Text(Slot::Request) => Shape::Request,
        _ => Shape::Word,
    }
}
