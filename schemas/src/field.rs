//! The columns of an event: one table from which everything else is derived.
//!
//! Owns: names, order, kinds and meaning of the columns, and the row type [`Event`].
//! Never: Arrow, Avro or JSON; those read this table.
//!
//! The order is the order on the wire. New columns go to the end of their section in a new schema
//! version and stay nullable, so that old readers and old bytes keep working.

use std::borrow::Cow;

use crate::time::EventTime;

/// How a column is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Free text, UTF-8.
    Text,
    /// Text with few distinct values.
    Code,
    /// A count or a size: 64 bits, never negative, so that sums of it only grow.
    Count,
    /// A whole number of either sign, 64 bits.
    Number,
    /// A small whole number, 32 bits.
    Status,
    /// Yes or no.
    Flag,
    /// Milliseconds since the Unix epoch, UTC.
    Time,
    /// A list of texts.
    List,
    /// Text by text.
    Map,
    /// A fraction, 64 bits.
    Ratio,
}

/// Which record a column belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Read from the log by `ingest`.
    Access,
    /// Joined by `enrich`.
    Enriched,
}

/// What is known about a column.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name in SQL, Avro and JSON.
    pub name: &'static str,
    /// How it is stored.
    pub kind: Kind,
    /// Which record it belongs to.
    pub section: Section,
    /// What it says, with its unit.
    pub doc: &'static str,
    /// The name in OpenTelemetry's semantic conventions; empty where there is none.
    pub otel: &'static str,
    /// The name in the Elastic Common Schema; empty where there is none.
    pub ecs: &'static str,
    /// The name in OCSF (class HTTP Activity); empty where there is none.
    pub ocsf: &'static str,
    /// Whether it can tell who a person is.
    pub personal: bool,
}

macro_rules! row_type {
    (Text, $l:lifetime) => { Option<Cow<$l, str>> };
    (Code, $l:lifetime) => { Option<Cow<$l, str>> };
    (Count, $l:lifetime) => { Option<i64> };
    (Number, $l:lifetime) => { Option<i64> };
    (Status, $l:lifetime) => { Option<i32> };
    (Flag, $l:lifetime) => { Option<bool> };
    (Time, $l:lifetime) => { Option<EventTime> };
    (List, $l:lifetime) => { Option<Vec<Cow<$l, str>>> };
    (Map, $l:lifetime) => { Option<Vec<(Cow<$l, str>, Cow<$l, str>)>> };
    (Ratio, $l:lifetime) => { Option<f64> };
}
pub(crate) use row_type;

macro_rules! personal {
    () => {
        false
    };
    (personal) => {
        true
    };
}

macro_rules! events {
    ($($section:ident { $($variant:ident $name:ident: $kind:ident, $doc:literal,
        [$otel:literal, $ecs:literal, $ocsf:literal] $($personal:ident)?;)* })*) => {
        /// A column of an event, in the order of the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Field {
            $($(#[doc = $doc] $variant,)*)*
        }

        impl Field {
            /// Every column, in order.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];
            const SPECS: &'static [Spec] = &[$($(Spec {
                name: stringify!($name), kind: Kind::$kind, section: Section::$section,
                doc: $doc, otel: $otel, ecs: $ecs, ocsf: $ocsf, personal: personal!($($personal)?),
            },)*)*];
        }

        /// One event as a row. Absent is `None`, and `None` never means "none".
        ///
        /// The fields are the columns; [`Field`] documents each.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Event<'a> {
            $($(#[doc = $doc] pub $name: row_type!($kind, 'a),)*)*
        }

        /// Calls `$visit! { Variant name Kind; … }` once with all columns, in order.
        macro_rules! each_field {
            ($visit:ident) => { $visit! { $($($variant $name $kind;)*)* } };
        }
        pub(crate) use each_field;
    };
}

events! {
Access {
    EventId event_id: Text, "Stable identity of the event, made from the origin of its line.", ["log.record.uid", "event.id", "metadata.uid"];
    Line line: Text, "The raw line after redaction, at most 2 KiB.", ["log.record.original", "event.original", "raw_data"] personal;
    EventTime event_time: Time, "When the response ended: start plus duration where the log gives the start.", ["", "@timestamp", "time"];
    StartedAt started_at: Time, "When the request started, where the log says so.", ["", "event.start", "start_time"];
    ObservedTime observed_time: Time, "When Tidegate first saw the line.", ["", "event.created", "metadata.logged_time"];
    Sensor sensor: Code, "Name of the input that brought the line.", ["", "observer.name", "metadata.log_provider"];
    Format format: Code, "Log format that the line was read as.", ["", "event.dataset", "metadata.log_format"];
    Direction direction: Code, "`in` for requests to the customer's API, `out` for its own calls.", ["", "network.direction", "connection_info.direction"];
    RequestId request_id: Text, "Identity of the request as the gateway gave it.", ["", "http.request.id", "http_request.uid"];
    TraceId trace_id: Text, "Trace the request belongs to.", ["trace_id", "trace.id", "metadata.correlation_uid"];
    Method method: Code, "HTTP method, upper case.", ["http.request.method", "http.request.method", "http_request.http_method"];
    Scheme scheme: Code, "`http` or `https`, as the client used it.", ["url.scheme", "url.scheme", "http_request.url.scheme"];
    Host host: Code, "Host that was asked for, without port, lower case.", ["server.address", "url.domain", "http_request.url.hostname"];
    Path path: Text, "Path as sent, without the query; values that look like secrets are redacted.", ["url.path", "url.path", "http_request.url.path"] personal;
    QueryKeys query_keys: List, "Names of the query parameters, in order. Values never travel.", ["url.query", "url.query", "http_request.url.query_string"];
    HttpVersion http_version: Code, "`1.0`, `1.1`, `2.0` or `3.0`.", ["network.protocol.version", "http.version", "http_request.version"];
    Referrer referrer: Text, "Host and path of the Referer, without its query.", ["http.request.header.referer", "http.request.referrer", "http_request.referrer"] personal;
    UrlParamKind url_param_kind: Code, "Where a URL in the query points: none, public, private, loopback, link_local, metadata.", ["", "", ""];
    Route route: Code, "Route template, such as `/v1/orders/{id}`.", ["http.route", "", "api.operation"];
    RouteSource route_source: Code, "Where the template comes from: gateway, spec, learned, none.", ["", "", ""];
    Status status: Status, "HTTP status sent to the client.", ["http.response.status_code", "http.response.status_code", "http_response.code"];
    UpstreamStatus upstream_status: Status, "HTTP status of the application behind the gateway.", ["", "", ""];
    BlockedBy blocked_by: Code, "Who answered instead of the application: a gateway's rule, a WAF, `tidegate:<order id>`.", ["", "", "firewall_rule.name"];
    RequestBytes request_bytes: Count, "Size of the request in bytes.", ["http.request.size", "http.request.bytes", "http_request.length"];
    ResponseBytes response_bytes: Count, "Size of the response in bytes.", ["http.response.size", "http.response.bytes", "http_response.length"];
    DurationUs duration_us: Count, "Time from first byte in to last byte out, in microseconds.", ["http.server.request.duration", "event.duration", "duration"];
    ClientIp client_ip: Text, "Address of the client behind trusted proxies, canonical.", ["client.address", "client.ip", "src_endpoint.ip"] personal;
    PeerIp peer_ip: Text, "Address of the other end of the connection, canonical.", ["network.peer.address", "source.ip", "proxy.ip"] personal;
    TlsVersion tls_version: Code, "TLS version; null where unknown.", ["tls.protocol.version", "tls.version", "tls.version"];
    Ja4 ja4: Code, "JA4 fingerprint of the client's TLS greeting.", ["tls.client.ja3", "tls.client.ja3", "tls.ja3_hash"];
    UserAgent user_agent: Text, "User-Agent as sent.", ["user_agent.original", "user_agent.original", "http_request.user_agent"] personal;
    AuthKind auth_kind: Code, "How the request authenticated: unknown, none, basic, jwt, api_key, mtls, cookie.", ["", "", "auth_protocol"];
    Principal principal: Text, "Who the request was made as.", ["user.id", "user.name", "actor.user.name"] personal;
    Account account: Text, "Account that a login was tried on.", ["", "user.target.name", "user.name"] personal;
    TokenId token_id: Text, "Keyed hash or `jti` of the token.", ["", "", "session.credential_uid"] personal;
    TokenIssued token_issued: Time, "When the token was issued, as claimed.", ["", "", "session.created_time"];
    TokenExpires token_expires: Time, "When the token expires, as claimed.", ["", "", "session.expiration_time"];
    SessionId session_id: Text, "Keyed hash of the session.", ["session.id", "", "session.uid"] personal;
    OauthClient oauth_client: Code, "OAuth client that the token was issued to.", ["", "", "actor.app_uid"];
    Scopes scopes: List, "Scopes of the token, as claimed.", ["user.scope", "", ""];
    Roles roles: List, "Roles of the caller.", ["user.roles", "user.roles", "actor.user.groups"];
    Tenant tenant: Code, "Tenant the caller belongs to.", ["", "organization.id", "actor.user.org.uid"];
    AttackClass attack_class: List, "Payload classes found in path, query, User-Agent and Referer, or a WAF's finding.", ["", "threat.technique.name", "attacks.technique.name"];
    Service service: Code, "The customer's API that was called.", ["service.name", "service.name", "api.service.name"];
    ServiceVersion service_version: Code, "Version of the instance that answered.", ["service.version", "service.version", "api.service.version"];
    ServiceInstance service_instance: Code, "Instance that answered.", ["service.instance.id", "service.node.name", "api.service.uid"];
    Environment environment: Code, "Deployment environment, such as `production`.", ["deployment.environment.name", "service.environment", "cloud.project_uid"];
    PeerHost peer_host: Code, "Host that the service itself called (direction `out`).", ["server.address", "destination.domain", "dst_endpoint.hostname"];
    Synthetic synthetic: Flag, "Whether it is one of our own probes.", ["", "", ""];
    SampleWeight sample_weight: Ratio, "How many requests this one stands for where the log is sampled.", ["", "", ""];
    Attrs attrs: Map, "What the line named beside the columns; names are data.", ["", "labels", "unmapped"] personal;
}
Enriched {
    DeployId deploy_id: Code, "Deploy that the answering instance ran.", ["deployment.id", "", ""];
    DeployedAt deployed_at: Time, "When that deploy went live.", ["", "", ""];
    DeployAgeS deploy_age_s: Count, "Seconds from that deploy to the event.", ["", "", ""];
    PreviousDeployId previous_deploy_id: Code, "The deploy before it.", ["", "", ""];
    Commit commit: Code, "Commit that was deployed.", ["vcs.ref.head.revision", "", ""];
    ChangeId change_id: Code, "Change request that brought the commit.", ["vcs.change.id", "", ""];
    Repository repository: Code, "Repository of the commit.", ["vcs.repository.url.full", "", ""];
    PipelineRun pipeline_run: Code, "Pipeline run that deployed it.", ["cicd.pipeline.run.id", "", ""];
    Owner owner: Code, "Team that owns the service.", ["", "", "api.group.name"];
    PrincipalKind principal_kind: Code, "human, service, anonymous or unknown.", ["", "", "actor.user.type"];
    PrincipalActive principal_active: Flag, "Whether the principal was active at the event.", ["", "", ""];
    CredentialOwner credential_owner: Text, "Who the API key was given to.", ["", "", ""] personal;
    ClientAsn client_asn: Number, "Autonomous system of the client's address.", ["", "client.as.number", "src_endpoint.autonomous_system.number"];
    ClientOrg client_org: Code, "Organisation of that autonomous system.", ["", "client.as.organization.name", "src_endpoint.autonomous_system.name"];
    ClientCountry client_country: Code, "Country of the client's address, ISO 3166-1 alpha-2.", ["geo.country.iso_code", "client.geo.country_iso_code", "src_endpoint.location.country"];
    ClientKind client_kind: Code, "Kind of network: own, cloud, tor, or a list's name.", ["", "", ""];
    ObjectType object_type: Code, "Kind of object that the path names.", ["", "", "resources.type"];
    ObjectId object_id: Text, "Keyed hash of the object that the path names.", ["", "", "resources.uid"] personal;
    ObjectNumber object_number: Number, "The object's number where it is one.", ["", "", ""];
    ObjectTenant object_tenant: Code, "Tenant that the object belongs to.", ["", "", ""];
    RouteDeclared route_declared: Flag, "Whether the service's OpenAPI document has this method and route.", ["", "", ""];
    RouteAuthRequired route_auth_required: Flag, "Whether the document asks for authentication here.", ["", "", ""];
    RouteScopes route_scopes: List, "Scopes that the document asks for.", ["", "", ""];
    RoutePrivileged route_privileged: Flag, "Whether the route is for administration.", ["", "", ""];
    RouteLogin route_login: Flag, "Whether the route takes passwords.", ["", "", ""];
    RouteDeprecated route_deprecated: Flag, "Whether the document calls it deprecated.", ["", "", ""];
    RouteDeclaredQuery route_declared_query: List, "Query parameters that the document knows.", ["", "", ""];
    ContextMissing context_missing: List, "What could not be joined: deploy, identity, route, network.", ["", "", ""];
}
}

impl Field {
    /// Name, kind and meaning.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "one entry a variant, by the same macro")]
    pub fn spec(self) -> &'static Spec {
        &Self::SPECS[self as usize]
    }

    /// The name in SQL, Avro and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The place in a batch.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The column of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Section};

    #[test]
    fn every_column_is_found_by_its_name() {
        for (place, field) in Field::ALL.iter().enumerate() {
            assert_eq!(Field::named(field.name()), Some(*field));
            assert_eq!(field.index(), place);
        }
        assert_eq!(Field::named("timestamp"), None);
    }

    #[test]
    fn access_columns_come_first() {
        let sections: Vec<Section> = Field::ALL.iter().map(|f| f.spec().section).collect();
        let first = sections.iter().position(|s| *s == Section::Enriched).unwrap();
        assert!(sections[first..].iter().all(|s| *s == Section::Enriched));
    }
}
