//! What a name can stand for.
//!
//! Owns: the meanings, and the place of each text among the parts. Never: names.

use schemas::Field;

use crate::parts::{Part, Parts};
use crate::read::number::Unit;

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
