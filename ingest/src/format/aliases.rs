//! Names that gateways give to the parts of a request.
//!
//! Owns: the table of names, and the user's additions to it. Never: values.
//!
//! Names are compared without case and separators' kind: `X-Forwarded-For`, `x_forwarded_for` and
//! `xForwardedFor` are one. Nested names are joined: `request.headers.User-Agent`.

mod words;

use std::collections::HashMap;
use std::sync::LazyLock;

use schemas::Field;

use crate::parts::{Part, Parts};
use crate::read::number::Unit;
use words::{CALLERS, TEXTS};

/// A text part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Peer,
    Client,
    Chain,
    Told,
    Request,
    Method,
    Target,
    Path,
    Query,
    Version,
    Referrer,
    UserAgent,
    Host,
    HostFallback,
    Scheme,
    RequestId,
    TraceId,
    TlsVersion,
    Ja4,
    Route,
    User,
    Principal,
    Account,
    AuthKind,
    Authorization,
    Cookie,
    ApiKey,
    TokenId,
    Session,
    Subject,
    OauthClient,
    Tenant,
    Service,
    ServiceVersion,
    ServiceInstance,
    Environment,
    Direction,
    PeerHost,
    BlockedBy,
}

impl Slot {
    /// Whether few logs have this part.
    #[inline]
    fn is_rare(self) -> bool {
        matches!(
            self,
            Self::Told
                | Self::TraceId
                | Self::TlsVersion
                | Self::Ja4
                | Self::Route
                | Self::Service
                | Self::ServiceVersion
                | Self::ServiceInstance
                | Self::Environment
                | Self::Direction
                | Self::PeerHost
        )
    }

    /// The place of this part. All arms are places in one struct, so that this is a look into a
    /// table and no jump.
    #[inline]
    pub(crate) fn of<'p, 'a>(self, parts: &'p mut Parts<'a>) -> &'p mut Part<'a> {
        parts.has_rare |= self.is_rare();
        match self {
            Self::Peer => &mut parts.peer,
            Self::Client => &mut parts.client,
            Self::Chain => &mut parts.chain,
            Self::Told => &mut parts.rare.told,
            Self::Request => &mut parts.request,
            Self::Method => &mut parts.method,
            Self::Target => &mut parts.target,
            Self::Path => &mut parts.path,
            Self::Query => &mut parts.query,
            Self::Version => &mut parts.version,
            Self::Referrer => &mut parts.referrer,
            Self::UserAgent => &mut parts.user_agent,
            Self::Host => &mut parts.host,
            Self::HostFallback => &mut parts.host_fallback,
            Self::Scheme => &mut parts.scheme,
            Self::RequestId => &mut parts.request_id,
            Self::TraceId => &mut parts.rare.trace_id,
            Self::TlsVersion => &mut parts.rare.tls_version,
            Self::Ja4 => &mut parts.rare.ja4,
            Self::Route => &mut parts.rare.route,
            Self::User => &mut parts.caller.user,
            Self::Principal => &mut parts.caller.principal,
            Self::Account => &mut parts.caller.account,
            Self::AuthKind => &mut parts.caller.kind,
            Self::Authorization => &mut parts.caller.authorization,
            Self::Cookie => &mut parts.caller.cookie,
            Self::ApiKey => &mut parts.caller.api_key,
            Self::TokenId => &mut parts.caller.token_id,
            Self::Session => &mut parts.caller.session,
            Self::Subject => &mut parts.caller.subject,
            Self::OauthClient => &mut parts.caller.oauth_client,
            Self::Tenant => &mut parts.caller.tenant,
            Self::Service => &mut parts.rare.service,
            Self::ServiceVersion => &mut parts.rare.service_version,
            Self::ServiceInstance => &mut parts.rare.service_instance,
            Self::Environment => &mut parts.rare.environment,
            Self::Direction => &mut parts.rare.direction,
            Self::PeerHost => &mut parts.rare.peer_host,
            Self::BlockedBy => &mut parts.blocked_by,
        }
    }

    /// Whether an empty value says something: that the header was not sent.
    pub(crate) fn keeps_empty(self) -> bool {
        matches!(self, Self::Authorization | Self::Cookie | Self::ApiKey | Self::Query)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Text(Slot),
    Time,
    Started,
    /// A span; without a unit it is the format's, or told by its look.
    Duration(Option<Unit>),
    Status,
    UpstreamStatus,
    RequestBytes,
    /// All that was sent, headers too, where the log has both.
    SentBytes,
    BodyBytes,
    Issued,
    Expires,
    Scopes,
    Roles,
    /// Whether the gateway refused: a flag.
    Blocked,
    /// Envoy's response flags.
    Flags,
    /// Envoy's response code details.
    Details,
    /// A column by its name.
    Column(Field),
    /// Known, and of no use.
    Ignore,
    /// Not known: it goes to `attrs`.
    Unknown,
}

type Row = (Meaning, &'static [&'static str]);

const FACTS: &[Row] = &[
    (
        Meaning::Time,
        &[
            "time",
            "ts",
            "timestamp",
            "time_unix_nano",
            "time_iso8601",
            "request_time_epoch",
            "time_local",
            "msec",
            "datetime",
            "date_time",
            "date",
            "event_time",
            "log_time",
            "logged_at",
            "ts_ms",
            "timestamp_ms",
            "epoch",
            "time_msec",
            "time_unix",
            "end_time",
            "eventtime",
            "time_stamp",
            "ts_iso",
            "timestamp_iso",
            "created_at",
            "when",
            "t",
        ],
    ),
    (
        Meaning::Started,
        &[
            "started_at",
            "start_time",
            "start",
            "request_start",
            "start_utc",
            "starttime",
            "event_start",
            "time_start",
            "request_time_start",
            "accept_date",
            "start_timestamp",
        ],
    ),
    (
        Meaning::Duration(Some(Unit::Seconds)),
        &[
            "request_time",
            "duration_s",
            "duration_seconds",
            "latency_s",
            "rt",
            "request_time_s",
            "time_taken_s",
            "elapsed_s",
            "request_duration_seconds",
            "response_time_s",
        ],
    ),
    (
        Meaning::Duration(Some(Unit::Millis)),
        &[
            "duration_ms",
            "latencies_request",
            "response_latency",
            "latency_ms",
            "dur_ms",
            "elapsed_ms",
            "response_time_ms",
            "t_total_ms",
            "request_time_ms",
            "time_taken_ms",
            "took_ms",
            "responsetimems",
            "total_time_ms",
            "request_duration_ms",
            "ta",
            "time_taken",
            "durationms",
            "processing_time_ms",
        ],
    ),
    (
        Meaning::Duration(Some(Unit::Micros)),
        &[
            "duration_us",
            "latency_us",
            "dur_us",
            "elapsed_us",
            "response_time_us",
            "time_us",
            "request_time_us",
            "time_taken_us",
        ],
    ),
    (
        Meaning::Duration(Some(Unit::Nanos)),
        &["duration_ns", "latency_ns", "elapsed_ns", "event_duration", "response_time_ns"],
    ),
    (
        Meaning::Duration(None),
        &[
            "duration",
            "latency",
            "elapsed",
            "response_time",
            "took",
            "request_duration",
            "responsetime",
            "processing_time",
            "total_time",
            "elapsed_time",
        ],
    ),
    (
        Meaning::Status,
        &[
            "status",
            "status_code",
            "response",
            "response_code",
            "code",
            "http_status",
            "response_status",
            "downstream_status",
            "statuscode",
            "http_status_code",
            "http_response_status_code",
            "sc_status",
            "resp_status",
            "response_status_code",
            "http_code",
            "final_status",
        ],
    ),
    (
        Meaning::UpstreamStatus,
        &[
            "upstream_status",
            "origin_status",
            "backend_status",
            "upstream_response_code",
            "target_status_code",
            "origin_response_status",
            "integration_status",
        ],
    ),
    (
        Meaning::RequestBytes,
        &[
            "request_bytes",
            "http_request_body_bytes",
            "request_length",
            "bytes_received",
            "bytes_in",
            "request_size",
            "request_content_size",
            "bytes_read",
            "http_request_bytes",
            "received_bytes",
            "cs_bytes",
            "req_bytes",
            "request_body_size",
            "http_request_body_size",
            "http_request_size",
            "http_request_content_length",
        ],
    ),
    (
        Meaning::BodyBytes,
        &[
            "body_bytes_sent",
            "http_response_body_bytes",
            "response_bytes",
            "body_bytes_out",
            "response_size",
            "size",
            "downstream_content_size",
            "response_body_size",
            "content_length",
            "response_length",
            "http_response_bytes",
            "body_bytes",
            "resp_body_size",
            "response_content_length",
            "http_response_body_size",
            "http_response_size",
            "http_response_content_length",
        ],
    ),
    (
        Meaning::SentBytes,
        &[
            "bytes_sent",
            "bytes_out",
            "bytes",
            "sent_bytes",
            "sc_bytes",
            "resp_bytes",
            "bytes_written",
        ],
    ),
    (Meaning::Blocked, &["blocked", "denied", "is_blocked", "waf_blocked"]),
    (Meaning::Flags, &["response_flags", "flags"]),
    (Meaning::Details, &["response_code_details", "detail", "details"]),
    (
        Meaning::Ignore,
        &[
            "level",
            "logger",
            "msg",
            "message",
            "version",
            "log_level",
            "severity",
            "stream",
            "tag",
            "tags",
            "resp_headers",
            "response_headers",
            "remote_port",
            "client_port",
            "connection",
            "conn",
            "connection_requests",
            "pid",
            "request_remote_port",
            "log_logger",
            "type",
            "input_type",
            "upstream_response_time",
            "upstream_connect_time",
            "upstream_header_time",
            "urt",
            "uct",
            "uht",
            "request_completion",
            "pipe",
            "ecs_version",
            "error",
            "upstream_response_length",
            "upstream_bytes_received",
            "upstream_bytes_sent",
            "status_text",
            "response_reason",
            "x_envoy_upstream_service_time",
            "upstream_service_time",
            "upstream_local_address",
            "downstream_local_address",
            "connection_termination_details",
            "upstream_transport_failure_reason",
            "gzip_ratio",
            "ssl_cipher",
            "ssl_ciphers",
            "span_id",
            "trace_flags",
            "integration_latency",
            "severity_text",
            "severity_number",
            "upstream_cluster",
            "protocol_scheme",
        ],
    ),
];

/// The names of one input.
#[derive(Debug)]
pub(crate) struct Aliases {
    table: HashMap<String, Meaning>,
}

static OURS: LazyLock<Aliases> = LazyLock::new(|| Aliases::new(&Mapping::default(), &[]));

impl Aliases {
    /// The table without any user's names.
    pub(crate) fn ours() -> &'static Self {
        &OURS
    }

    /// The table with a template's names before ours, and the user's before all.
    pub(crate) fn new(mapping: &Mapping, template: &[(String, Meaning)]) -> Self {
        let rows = TEXTS.iter().chain(CALLERS).chain(FACTS);
        let ours =
            rows.flat_map(|(meaning, names)| names.iter().map(|n| ((*n).to_owned(), *meaning)));
        let users = mapping.names.iter().map(|(name, field)| (plain(name), meaning(*field)));
        let known = template.iter().filter(|(_, meaning)| *meaning != Meaning::Unknown);
        let named = known.map(|(name, meaning)| (plain(name), *meaning));
        Self { table: ours.chain(named).chain(users).collect() }
    }

    /// What a name stands for.
    pub(crate) fn meaning(&self, name: &str) -> Meaning {
        if name.len() > 128 {
            return Meaning::Unknown;
        }
        self.table.get(plain(name).as_str()).copied().unwrap_or(Meaning::Unknown)
    }
}

/// A name without case and kinds of separators.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut last_was_small = false;
    for letter in name.trim_start_matches(['$', '@', ':', '_']).chars() {
        match letter {
            'A'..='Z' => {
                if last_was_small {
                    out.push('_');
                }
                out.push(letter.to_ascii_lowercase());
                last_was_small = false;
            }
            '-' | '.' | ' ' | '_' | '/' | ':' => {
                if !out.ends_with('_') {
                    out.push('_');
                }
                last_was_small = false;
            }
            _ => {
                out.push(letter);
                last_was_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
            }
        }
    }
    out
}

/// How a column given by its name is read.
pub(crate) fn meaning(field: Field) -> Meaning {
    let slot = match field {
        Field::EventTime => return Meaning::Time,
        Field::StartedAt => return Meaning::Started,
        Field::DurationUs => return Meaning::Duration(Some(Unit::Micros)),
        Field::Status => return Meaning::Status,
        Field::UpstreamStatus => return Meaning::UpstreamStatus,
        Field::RequestBytes => return Meaning::RequestBytes,
        Field::ResponseBytes => return Meaning::BodyBytes,
        Field::TokenIssued => return Meaning::Issued,
        Field::TokenExpires => return Meaning::Expires,
        Field::Scopes => return Meaning::Scopes,
        Field::Roles => return Meaning::Roles,
        Field::RequestId => Slot::RequestId,
        Field::TraceId => Slot::TraceId,
        Field::Method => Slot::Method,
        Field::Scheme => Slot::Scheme,
        Field::Host => Slot::Host,
        Field::Path => Slot::Path,
        Field::HttpVersion => Slot::Version,
        Field::Referrer => Slot::Referrer,
        Field::Route => Slot::Route,
        Field::BlockedBy => Slot::BlockedBy,
        Field::ClientIp => Slot::Client,
        Field::PeerIp => Slot::Peer,
        Field::TlsVersion => Slot::TlsVersion,
        Field::Ja4 => Slot::Ja4,
        Field::UserAgent => Slot::UserAgent,
        Field::AuthKind => Slot::AuthKind,
        Field::Principal => Slot::Principal,
        Field::Account => Slot::Account,
        Field::TokenId => Slot::TokenId,
        Field::SessionId => Slot::Session,
        Field::OauthClient => Slot::OauthClient,
        Field::Tenant => Slot::Tenant,
        Field::Service => Slot::Service,
        Field::ServiceVersion => Slot::ServiceVersion,
        Field::ServiceInstance => Slot::ServiceInstance,
        Field::Environment => Slot::Environment,
        Field::Direction => Slot::Direction,
        Field::PeerHost => Slot::PeerHost,
        other => return Meaning::Column(other),
    };
    Meaning::Text(slot)
}

/// The column that shows what was read so; none where it only helps to fill others.
pub(crate) fn column_of(wanted: Meaning) -> Option<&'static str> {
    let shown = match wanted {
        Meaning::Flags | Meaning::Details | Meaning::Blocked => Field::BlockedBy,
        Meaning::SentBytes => Field::ResponseBytes,
        Meaning::Duration(_) => Field::DurationUs,
        Meaning::Text(Slot::Request) => return Some("method, path, query_keys, http_version"),
        Meaning::Text(Slot::Target) => return Some("path, query_keys"),
        Meaning::Text(Slot::Query) => Field::QueryKeys,
        Meaning::Text(Slot::Chain | Slot::Told) => Field::ClientIp,
        Meaning::Text(Slot::HostFallback) => Field::Host,
        Meaning::Text(Slot::User | Slot::Subject) => Field::Principal,
        Meaning::Text(Slot::Authorization | Slot::ApiKey) => return Some("auth_kind, token_id"),
        Meaning::Text(Slot::Cookie) => return Some("auth_kind, session_id"),
        Meaning::Unknown => return Some("attrs"),
        Meaning::Ignore => return None,
        _ => Field::ALL.iter().copied().find(|field| meaning(*field) == wanted)?,
    };
    Some(shown.name())
}

/// The user's names for columns, per input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    names: Vec<(String, Field)>,
}

/// A mapping to what is no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is mapped to `{column}`, which is no column; see docs/fields.md")]
pub struct MappingError {
    /// The name in the log.
    pub name: String,
    /// What it was mapped to.
    pub column: String,
}

impl Mapping {
    /// A mapping from names in the log, nested ones joined by dots, to names of columns.
    ///
    /// # Errors
    /// Where a column is unknown.
    pub fn new<'n>(
        names: impl IntoIterator<Item = (&'n str, &'n str)>,
    ) -> Result<Self, MappingError> {
        let read = |(name, column): (&str, &str)| match Field::named(column) {
            Some(field) => Ok((name.to_owned(), field)),
            None => Err(MappingError { name: name.to_owned(), column: column.to_owned() }),
        };
        Ok(Self { names: names.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// What the user says that a name stands for.
    pub(crate) fn meaning(&self, name: &str) -> Option<Meaning> {
        let found = self.names.iter().find(|(known, _)| plain(known) == plain(name));
        found.map(|(_, field)| meaning(*field))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Aliases, CALLERS, FACTS, Mapping, Meaning, Slot, TEXTS, plain};

    #[test]
    fn no_name_stands_for_two_things_and_all_are_plain() {
        let mut seen = HashSet::new();
        for (_, names) in TEXTS.iter().chain(CALLERS).chain(FACTS) {
            for name in *names {
                assert!(seen.insert(*name), "{name} twice");
                assert_eq!(plain(name), *name);
            }
        }
    }

    #[test]
    fn dress_does_not_matter() {
        let aliases = Aliases::new(&Mapping::default(), &[]);
        for name in ["X-Forwarded-For", "x_forwarded_for", "xForwardedFor", "$x_forwarded_for"] {
            assert_eq!(aliases.meaning(name), Meaning::Text(Slot::Chain), "{name}");
        }
        assert_eq!(aliases.meaning("DownstreamStatus"), Meaning::Status);
        assert_eq!(aliases.meaning(":authority"), Meaning::Text(Slot::Host));
        assert_eq!(aliases.meaning("request.headers.User-Agent"), Meaning::Text(Slot::UserAgent));
        assert_eq!(aliases.meaning("shoe_size"), Meaning::Unknown);
    }

    #[test]
    fn the_users_names_go_first() {
        let mapping =
            Mapping::new([("kunde", "principal"), ("status", "upstream_status")]).unwrap();
        let aliases = Aliases::new(&mapping, &[]);
        assert_eq!(aliases.meaning("kunde"), Meaning::Text(Slot::Principal));
        assert_eq!(aliases.meaning("status"), Meaning::UpstreamStatus);
        assert_eq!(
            Mapping::new([("a", "statusx")]).unwrap_err().to_string(),
            "`a` is mapped to `statusx`, which is no column; see docs/fields.md"
        );
    }
}
