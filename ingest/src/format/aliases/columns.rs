//! Columns and meanings, there and back.
//!
//! Owns: how a column that is given by its name is read, and which column shows what was read.
//! Never: names of gateways.

use schemas::Field;

use super::{Meaning, Slot};
use crate::read::number::Unit;

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
