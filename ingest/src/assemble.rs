//! Makes an event of the parts that a format found.
//!
//! Owns: the meaning of parts, cleaning and hashing before any column is filled, the redacted line.
//! Never: formats.

use std::borrow::Cow;

use schemas::{Event, EventTime};

use crate::address::{self, Caller, Said};
use crate::caller::{self, Circumstances, Identity, head};
use crate::format::Format;
use crate::keys::Keys;
use crate::mask::{self, Clear};
use crate::memo::Agents;
use crate::parts::{Part, Parts};
use crate::payload::{self, Class, Classes};
use crate::read::words::Bytes;
use crate::secret;
use crate::settings::Settings;
use crate::target::{self, Found, RequestLine, Target};

/// Bytes of a User-Agent that are kept.
const AGENT_BYTES_MAX: usize = 1024;
/// Bytes of an id, a name, a word that are kept.
const WORD_BYTES_MAX: usize = 256;
/// Bytes of a name in `attrs` that are kept.
const ATTR_NAME_BYTES_MAX: usize = 64;

/// What an event is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) keys: &'a Keys,
    pub(crate) format: Format,
    /// The line without its envelope.
    pub(crate) line: &'a str,
    pub(crate) event_id: &'a str,
    pub(crate) observed: EventTime,
}

/// Makes an event in the place of an empty one: a row of all columns is not moved for nothing.
pub(crate) fn fill<'a>(
    event: &mut Event<'a>,
    parts: &mut Parts<'a>,
    job: Job<'a>,
    agents: &mut Agents,
) {
    let mut asked = asked(parts, job.keys);
    let mut found = std::mem::take(&mut asked.found);
    let evidence = !asked.classes.is_empty();
    let circumstances = Circumstances {
        status: parts.status,
        method: asked.method.as_deref(),
        path: asked.path.as_deref(),
        query: asked.query.as_deref(),
    };
    let identity = caller::identify(&mut parts.caller, circumstances, job.keys, &mut found);
    (event.client_ip, event.peer_ip) = addresses(parts, job.settings);
    facts(event, parts, job);
    identity_columns(event, identity);
    (event.token_issued, event.token_expires) = (parts.caller.issued, parts.caller.expires);
    event.method = asked.method;
    event.path = asked.path;
    event.query_keys = asked.query_keys;
    event.url_param_kind = asked.url_param_kind.map(Cow::Borrowed);
    event.http_version = asked.version;
    let mut classes = asked.classes;
    let agent_clear = agent(event, parts.user_agent.take(), &mut classes, agents);
    referrer(event, parts.referrer.take(), &mut classes, (job.keys, &mut found));
    event.attack_class = Some(if classes.is_empty() {
        Vec::new()
    } else {
        classes.names().map(Cow::Borrowed).collect()
    });
    event.blocked_by = blocked_by(parts, job.format);
    words(event, parts, job.keys, &mut found);
    place(event, parts, asked.host, job);
    event.attrs = attrs(std::mem::take(&mut parts.attrs), job.keys, &mut found);
    if job.settings.keep_line {
        rest_secrets(parts.rest, &mut found);
        let clear = parts.clear.and(agent_clear);
        let how = mask::How { known: &found, evidence, thorough: false, clear };
        event.line = Some(mask::line(job.line, how));
    }
    if let Some(columns) = parts.columns.take() {
        let made = std::mem::take(event);
        *event = with_columns(*columns, &made);
    }
}

/// Columns that need no cleaning.
fn facts<'a>(event: &mut Event<'a>, parts: &Parts<'a>, job: Job<'a>) {
    let end = parts.started.map(|start| start.plus(parts.duration.unwrap_or(0) / 1000));
    event.event_id = Some(Cow::Borrowed(job.event_id));
    event.event_time = parts.time.or(end);
    event.started_at = parts.started;
    event.observed_time = Some(job.observed);
    event.sensor = Some(Cow::Borrowed(&job.settings.sensor));
    event.format = Some(Cow::Borrowed(job.format.name()));
    event.direction = Some(direction(parts.direction.as_deref()));
    event.status = parts.status;
    event.upstream_status = parts.upstream_status;
    event.request_bytes = parts.request_bytes;
    event.response_bytes = parts.response_bytes;
    event.duration_us = parts.duration;
}

fn identity_columns<'a>(event: &mut Event<'a>, identity: Identity<'a>) {
    event.auth_kind = Some(Cow::Borrowed(identity.kind));
    event.principal = identity.principal;
    event.account = identity.account;
    event.token_id = identity.token;
    event.session_id = identity.session;
    event.oauth_client = identity.oauth_client;
    event.tenant = identity.tenant;
    event.scopes = identity.scopes;
    event.roles = identity.roles;
}

/// Columns given by their names go before those that were made.
fn with_columns<'a>(columns: Event<'a>, made: &Event<'a>) -> Event<'a> {
    let mut event = columns;
    if let (Some(given), Some(found)) = (&mut event.attrs, &made.attrs) {
        let owned = |text: &Cow<'_, str>| Cow::Owned(text.to_string());
        given.extend(found.iter().map(|(name, value)| (owned(name), owned(value))));
    }
    event.fill_from(made);
    event
}

/// What was asked for, cleaned.
#[derive(Debug, Default)]
struct Asked<'a> {
    method: Part<'a>,
    host: Part<'a>,
    path: Part<'a>,
    query: Part<'a>,
    query_keys: Option<Vec<Cow<'a, str>>>,
    url_param_kind: Option<&'static str>,
    version: Part<'a>,
    classes: Classes,
    found: Found<'a>,
}

impl Asked<'_> {
    fn into_owned(self) -> Asked<'static> {
        let owned = |part: Part<'_>| part.map(|text| Cow::Owned(text.into_owned()));
        let all = |list: Vec<Cow<'_, str>>| {
            list.into_iter().map(|text| Cow::Owned(text.into_owned())).collect()
        };
        Asked {
            method: owned(self.method),
            host: owned(self.host),
            path: owned(self.path),
            query: owned(self.query),
            query_keys: self.query_keys.map(all),
            url_param_kind: self.url_param_kind,
            version: owned(self.version),
            classes: self.classes,
            found: all(self.found),
        }
    }
}

/// The texts of a request as they were sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent<'s> {
    request: Option<&'s str>,
    method: Option<&'s str>,
    target: Option<&'s str>,
    path: Option<&'s str>,
    query: Option<&'s str>,
    version: Option<&'s str>,
    /// What all of them are clear of.
    clear: Clear,
}

fn asked<'a>(parts: &Parts<'a>, keys: &Keys) -> Asked<'a> {
    if let Some(sent) = sent_borrowed(parts) {
        return ask(sent, keys);
    }
    let sent = Sent {
        request: parts.request.as_deref(),
        method: parts.method.as_deref(),
        target: parts.target.as_deref(),
        path: parts.path.as_deref(),
        query: parts.query.as_deref(),
        version: parts.version.as_deref(),
        // What was escaped may stand in them now.
        clear: Clear::default(),
    };
    ask(sent, keys).into_owned()
}

/// The texts, where all of them stand in the line.
fn sent_borrowed<'a>(parts: &Parts<'a>) -> Option<Sent<'a>> {
    Some(Sent {
        request: in_line(&parts.request)?,
        method: in_line(&parts.method)?,
        target: in_line(&parts.target)?,
        path: in_line(&parts.path)?,
        query: in_line(&parts.query)?,
        version: in_line(&parts.version)?,
        clear: parts.clear,
    })
}

/// A part as a slice of the line; nothing where it had to be copied.
fn in_line<'a>(part: &Part<'a>) -> Option<Option<&'a str>> {
    match part {
        None => Some(None),
        Some(Cow::Borrowed(text)) => Some(Some(text)),
        Some(Cow::Owned(_)) => None,
    }
}

fn ask<'s>(sent: Sent<'s>, keys: &Keys) -> Asked<'s> {
    let mut asked = Asked::default();
    let line = sent.request.map(request_line).unwrap_or_default();
    if line.foreign {
        asked.classes.add(Class::Protocol);
    }
    let method = sent.method.or(line.method);
    asked.method = method.and_then(target::method);
    let version = sent.version.or(line.version);
    asked.version = version.and_then(target::version);
    if asked.version.is_none() && version.is_some_and(target::is_made_up_version) {
        asked.classes.add(Class::Protocol);
    }
    let Some(text) = sent.target.or(line.target).or(sent.path) else { return asked };
    // IIS writes the path decoded, beside its query: a `#` in it is the path's.
    let alone = sent.query.is_some() && line.target.is_none() && sent.target.is_none();
    let is_path = alone && !text.contains(['?', '%'])
        || sent.clear.queries && asked.method.as_deref() != Some("CONNECT");
    let parted = if is_path && text.starts_with('/') {
        Target { path: text, ..Target::default() }
    } else {
        target::target(text, asked.method.as_deref())
    };
    let given = sent.query.map(|query| query.trim_start_matches('?'));
    let query = parted.query.or(given).filter(|query| !query.is_empty());
    // A path without any word of its query may have lost it: then nothing is known of parameters.
    let is_whole = sent.target.or(line.target).is_some() || sent.query.is_some();
    asked.classes.join(payload::in_target(parted.path, query));
    asked.host = parted.host.map(Cow::Borrowed);
    if !parted.path.is_empty() {
        asked.path = Some(target::path(parted.path, keys, &mut asked.found));
    }
    if query.is_some() || is_whole {
        asked.query_keys =
            Some(query.map(|query| target::query_keys(query, keys)).unwrap_or_default());
        asked.url_param_kind = Some(target::url_param_kind(query).name());
    }
    asked.query = query.map(Cow::Borrowed);
    asked
}

/// A request line; some logs call the target alone so.
fn request_line(text: &str) -> RequestLine<'_> {
    let target_only = text.starts_with('/') && !text.contains(' ');
    if target_only {
        RequestLine { target: Some(text), ..RequestLine::default() }
    } else {
        target::request_line(text)
    }
}

fn addresses<'a>(parts: &Parts<'a>, settings: &Settings) -> (Part<'a>, Part<'a>) {
    let columns = |caller: Caller<'a>| {
        let text = |address: Option<address::Address<'a>>| address.map(|address| address.text);
        (text(caller.client), text(caller.peer))
    };
    let borrowed = || {
        Some(Said {
            peer: in_line(&parts.peer)?,
            client: in_line(&parts.client)?,
            chain: in_line(&parts.chain)?,
            told: in_line(&parts.told)?,
            chain_in_front: parts.chain_in_front,
        })
    };
    if let Some(said) = borrowed() {
        return columns(address::caller(said, &settings.trusted_proxies));
    }
    let said = Said {
        peer: parts.peer.as_deref(),
        client: parts.client.as_deref(),
        chain: parts.chain.as_deref(),
        told: parts.told.as_deref(),
        chain_in_front: parts.chain_in_front,
    };
    let caller = address::caller(said, &settings.trusted_proxies);
    let owned = |address: Option<address::Address<'_>>| {
        address.map(|address| Cow::Owned(address.text.into_owned()))
    };
    (owned(caller.client), owned(caller.peer))
}

fn direction(said: Option<&str>) -> Cow<'static, str> {
    let outward = ["out", "outbound", "egress"];
    let out = said.is_some_and(|said| outward.iter().any(|word| word.eq_ignore_ascii_case(said)));
    Cow::Borrowed(if out { "out" } else { "in" })
}

/// Fills the User-Agent. What it is clear of.
fn agent<'a>(
    event: &mut Event<'a>,
    agent: Part<'a>,
    classes: &mut Classes,
    agents: &mut Agents,
) -> Clear {
    let Some(agent) = agent else { return Clear::OF_ALL };
    let known = agents.look_at(&agent);
    classes.join(known.classes);
    let agent = match &known.masked {
        Some(masked) => Cow::Owned(masked.to_string()),
        None => agent,
    };
    let clear = known.clear;
    event.user_agent = Some(head(agent, AGENT_BYTES_MAX));
    clear
}

fn referrer<'a>(
    event: &mut Event<'a>,
    referer: Part<'a>,
    classes: &mut Classes,
    (keys, found): (&Keys, &mut Found<'a>),
) {
    let Some(referer) = referer else { return };
    classes.join(payload::in_referer(&referer));
    event.referrer = match referer {
        Cow::Borrowed(text) => target::referrer(text, keys, found),
        Cow::Owned(text) => {
            let mut inner = Vec::new();
            let column = target::referrer(&text, keys, &mut inner);
            found.extend(inner.iter().map(|text| Cow::Owned(text.to_string())));
            column.map(|column| Cow::Owned(column.into_owned()))
        }
    };
}

/// Who answered instead of the application, where the log shows it. Only refusals count: a route
/// that is not there and a server that is down are answers too, but nobody was blocked.
fn blocked_by<'a>(parts: &mut Parts<'a>, format: Format) -> Part<'a> {
    let named = parts.blocked_by.take().map(|by| head(by, WORD_BYTES_MAX));
    let refused = parts.no_upstream && matches!(parts.status, Some(403 | 429 | 444));
    named.or_else(|| {
        refused.then_some(Cow::Borrowed(match format {
            Format::IngressNginx => "nginx",
            Format::Traefik | Format::TraefikJson => "traefik",
            Format::Haproxy => "haproxy",
            Format::Alb => "alb",
            Format::Kong => "kong",
            Format::ApiGateway => "apigateway",
            _ => "gateway",
        }))
    })
}

/// Where the request went: host, service and the rest.
fn place<'a>(event: &mut Event<'a>, parts: &mut Parts<'a>, asked: Part<'a>, job: Job<'a>) {
    let host = parts.host.take().and_then(host);
    event.host = host.or_else(|| asked.and_then(self::host));
    event.host = event.host.take().or_else(|| parts.host_fallback.take().and_then(self::host));
    event.scheme = parts.scheme.take().filter(|scheme| scheme.len() <= 8).map(lower);
    let settings = job.settings;
    let set = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
    event.service = event.service.take().or_else(|| set(&settings.service));
    event.service = event.service.take().or_else(|| event.host.clone());
    event.environment = event.environment.take().or_else(|| set(&settings.environment));
    event.peer_host = parts.peer_host.take().and_then(self::host);
    event.tls_version = parts.tls_version.take().map(tls_version);
}

fn host(text: Cow<'_, str>) -> Part<'_> {
    match text {
        Cow::Borrowed(text) => address::host(text),
        Cow::Owned(text) => address::host(&text).map(|host| Cow::Owned(host.into_owned())),
    }
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => address::lower(text),
        Cow::Owned(text) => Cow::Owned(text.to_ascii_lowercase()),
    }
}

/// `TLSv1.3`, whatever way it was written: Envoy's `TLSv1_3`, Caddy's 772, `1.3`.
fn tls_version(text: Cow<'_, str>) -> Cow<'_, str> {
    let known = match text.trim_start_matches("TLS").trim_start_matches(['v', ' ']) {
        "1.3" | "1_3" | "772" => "TLSv1.3",
        "1.2" | "1_2" | "771" => "TLSv1.2",
        "1.1" | "1_1" | "770" => "TLSv1.1",
        "1" | "1.0" | "1_0" | "769" => "TLSv1",
        _ => return head(text, 16),
    };
    Cow::Borrowed(known)
}

/// Ids and other words that a caller may have chosen.
fn words<'a>(event: &mut Event<'a>, parts: &mut Parts<'a>, keys: &Keys, found: &mut Found<'a>) {
    let mut word = |part: Part<'a>| part.map(|text| clean(text, keys, found));
    event.request_id = word(parts.request_id.take());
    event.trace_id = word(parts.trace_id.take().map(trace_id));
    event.ja4 = word(parts.ja4.take());
    event.service = word(parts.service.take());
    event.service_version = word(parts.service_version.take());
    event.service_instance = word(parts.service_instance.take());
    event.environment = word(parts.environment.take());
    event.blocked_by = word(event.blocked_by.take());
    // A route is one only where it is a template; routers' names are none.
    match word(parts.route.take()) {
        Some(route) if route.starts_with('/') => {
            event.route = Some(route);
            event.route_source = Some(Cow::Borrowed("gateway"));
        }
        Some(name) => parts.attrs.push((Cow::Borrowed("route"), name)),
        None => {}
    }
}

/// The trace of a `traceparent`, `00-<trace>-<span>-01`; other ids as they are.
fn trace_id(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_parent = text.len() == 55 && text.as_bytes().get(2) == Some(&b'-');
    match text {
        Cow::Borrowed(text) if is_parent => Cow::Borrowed(text.get(3..35).unwrap_or(text)),
        Cow::Owned(text) if is_parent => Cow::Owned(text.get(3..35).unwrap_or(&text).to_owned()),
        text => text,
    }
}

/// What most ids are written with.
static ID: Bytes = Bytes::of(b"0123456789abcdef-");

/// A word without secrets, of bounded length.
fn clean<'a>(text: Cow<'a, str>, keys: &Keys, found: &mut Found<'a>) -> Cow<'a, str> {
    // Most are UUIDs and other hexadecimal ids, in which nothing can hide.
    if text.len() <= 64 && ID.are_all_of(&text) {
        return text;
    }
    if secret::is_value(&text) {
        let hash = keys.hash(&text);
        found.push(text);
        return Cow::Owned(hash);
    }
    let masked = match &text {
        Cow::Borrowed(text) => mask::value(text),
        Cow::Owned(text) => Cow::Owned(mask::value(text).into_owned()),
    };
    head(masked, WORD_BYTES_MAX)
}

type Attrs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// What the line named beside the columns. Values under names of secrets become hashes.
fn attrs<'a>(attrs: Attrs<'a>, keys: &Keys, found: &mut Found<'a>) -> Option<Attrs<'a>> {
    if attrs.is_empty() {
        return None;
    }
    let mut clean_one = |(name, value): (Cow<'a, str>, Cow<'a, str>)| {
        let last = name.rsplit('.').next().unwrap_or(&name);
        let value = if secret::is_name(last) {
            let hash = keys.hash(&value);
            found.push(value);
            Cow::Owned(hash)
        } else if value.starts_with(['{', '[']) {
            let how = mask::How { thorough: true, ..mask::How::default() };
            head(Cow::Owned(mask::line(&value, how).into_owned()), WORD_BYTES_MAX)
        } else {
            clean(value, keys, found)
        };
        (head(clean(name, keys, found), ATTR_NAME_BYTES_MAX), value)
    };
    Some(attrs.into_iter().map(&mut clean_one).collect())
}

/// Words that look like secrets in the part of a line that no format knows.
fn rest_secrets<'a>(rest: &'a str, found: &mut Found<'a>) {
    if rest.len() < 16 {
        return;
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+');
    for word in rest.split(|c: char| !is_part(c)).filter(|word| secret::is_value(word)) {
        found.push(Cow::Borrowed(word));
    }
}
