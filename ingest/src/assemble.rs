//! Makes an event of the parts that a format found.
//!
//! Columns go where they are put: most lines are read straight into a batch, without an event that
//! would be filled, copied from and dropped.
//!
//! Owns: the meaning of parts, cleaning and hashing before any column is filled, the redacted line.
//! Never: formats.

mod asked;

use std::borrow::Cow;

use schemas::{Event, EventTime, Sheet};

use crate::address::{self, Said};
use crate::caller::{self, Circumstances, Identity, head};
use crate::format::Format;
use crate::keys::Keys;
use crate::mask::{self, Clear};
use crate::memo::Agents;
use crate::parts::{Column, Part, Parts};
use crate::payload::{self, Classes};
use crate::read::words::Bytes;
use crate::secret;
use crate::settings::Settings;
use crate::target::{self, Found};

use asked::asked;

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

/// Client and peer, as columns hold them.
pub(crate) type Addresses<'a> = (Column<'a>, Column<'a>);

/// Makes an event that may have columns given by their names.
pub(crate) fn event<'a>(
    parts: &mut Parts<'a>,
    addresses: Addresses<'a>,
    job: Job<'a>,
    agents: &mut Agents,
) -> Event<'a> {
    let columns = parts.columns.take();
    let mut made = Event::default();
    fill(&mut made, parts, addresses, job, agents);
    match columns {
        Some(columns) => with_columns(*columns, &made),
        None => made,
    }
}

/// Puts the columns of the parts into an empty sheet, but for those given by their names.
pub(crate) fn fill<'a>(
    sheet: &mut impl Sheet<'a>,
    parts: &mut Parts<'a>,
    (client, peer): Addresses<'a>,
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
        query: asked.query,
    };
    let identity = caller::identify(&parts.caller, circumstances, job.keys, &mut found);
    sheet.client_ip(client);
    sheet.peer_ip(peer);
    facts(sheet, parts, job);
    identity_columns(sheet, identity);
    sheet.token_issued(parts.caller.issued);
    sheet.token_expires(parts.caller.expires);
    sheet.method(asked.method);
    sheet.path(asked.path);
    sheet.query_keys(asked.query_keys);
    sheet.url_param_kind(asked.url_param_kind.map(Cow::Borrowed));
    sheet.http_version(asked.version);
    let mut classes = asked.classes;
    let agent_clear = agent(sheet, parts.user_agent, &mut classes, agents);
    sheet.referrer(referrer(parts.referrer, &mut classes, (job.keys, &mut found)));
    sheet.attack_class(Some(if classes.is_empty() {
        Vec::new()
    } else {
        classes.names().map(Cow::Borrowed).collect()
    }));
    let place = words(sheet, parts, job, &mut found);
    put_place(sheet, parts, (asked.host, place), job.settings);
    sheet.attrs(attrs(std::mem::take(&mut parts.attrs), job.keys, &mut found));
    if job.settings.keep_line {
        rest_secrets(parts.rest, &mut found);
        let clear = parts.clear.and(agent_clear);
        let how = mask::How { known: &found, evidence, thorough: false, clear };
        sheet.line(Some(mask::line(job.line, how)));
    }
}

/// Columns that need no cleaning.
fn facts<'a>(sheet: &mut impl Sheet<'a>, parts: &Parts<'a>, job: Job<'a>) {
    let end = parts.started.map(|start| start.plus(parts.duration.unwrap_or(0) / 1000));
    sheet.event_id(Some(Cow::Borrowed(job.event_id)));
    sheet.event_time(parts.time.or(end));
    sheet.started_at(parts.started);
    sheet.observed_time(Some(job.observed));
    sheet.sensor(Some(Cow::Borrowed(&job.settings.sensor)));
    sheet.format(Some(Cow::Borrowed(job.format.name())));
    sheet.direction(Some(direction(parts.rare.direction)));
    sheet.status(parts.status);
    sheet.upstream_status(parts.upstream_status);
    sheet.request_bytes(parts.request_bytes);
    sheet.response_bytes(parts.response_bytes);
    sheet.duration_us(parts.duration);
}

fn identity_columns<'a>(sheet: &mut impl Sheet<'a>, identity: Identity<'a>) {
    sheet.auth_kind(Some(Cow::Borrowed(identity.kind)));
    sheet.principal(identity.principal);
    sheet.account(identity.account);
    sheet.token_id(identity.token);
    if let Some(more) = identity.more {
        sheet.session_id(more.session);
        sheet.oauth_client(more.oauth_client);
        sheet.tenant(more.tenant);
        sheet.scopes(more.scopes);
        sheet.roles(more.roles);
    }
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

/// Who sent a request, and who handed it over.
pub(crate) fn addresses<'a>(parts: &Parts<'a>, settings: &Settings) -> Addresses<'a> {
    let said = Said {
        peer: parts.peer,
        client: parts.client,
        chain: parts.chain,
        told: parts.rare.told,
        chain_in_front: parts.chain_in_front,
    };
    let caller = address::caller(said, &settings.trusted_proxies);
    (caller.client.map(|client| client.text), caller.peer.map(|peer| peer.text))
}

fn direction(said: Option<&str>) -> Cow<'static, str> {
    let outward = ["out", "outbound", "egress"];
    let out = said.is_some_and(|said| outward.iter().any(|word| word.eq_ignore_ascii_case(said)));
    Cow::Borrowed(if out { "out" } else { "in" })
}

/// Puts the User-Agent. What it is clear of.
fn agent<'a>(
    sheet: &mut impl Sheet<'a>,
    agent: Part<'a>,
    classes: &mut Classes,
    agents: &mut Agents,
) -> Clear {
    let Some(agent) = agent else { return Clear::OF_ALL };
    let known = agents.look_at(agent);
    classes.join(known.classes);
    let agent = match &known.masked {
        Some(masked) => Cow::Owned(masked.to_string()),
        None => Cow::Borrowed(agent),
    };
    sheet.user_agent(Some(head(agent, AGENT_BYTES_MAX)));
    known.clear
}

fn referrer<'a>(
    referer: Part<'a>,
    classes: &mut Classes,
    (keys, found): (&Keys, &mut Found<'a>),
) -> Column<'a> {
    let referer = referer?;
    classes.join(payload::in_referer(referer));
    target::referrer(referer, keys, found)
}

/// Who answered instead of the application, where the log shows it. Only refusals count: a route
/// that is not there and a server that is down are answers too, but nobody was blocked.
fn blocked_by<'a>(parts: &Parts<'a>, format: Format) -> Part<'a> {
    let named = parts.blocked_by.map(|by| mask::head(by, WORD_BYTES_MAX));
    let refused = parts.no_upstream && matches!(parts.status, Some(403 | 429 | 444));
    named.or_else(|| {
        refused.then_some(match format {
            Format::IngressNginx => "nginx",
            Format::Traefik | Format::TraefikJson => "traefik",
            Format::Haproxy => "haproxy",
            Format::Alb => "alb",
            Format::Kong => "kong",
            Format::ApiGateway => "apigateway",
            _ => "gateway",
        })
    })
}

/// The words of a line that say where a request went.
#[derive(Default)]
struct Place<'a> {
    service: Column<'a>,
    environment: Column<'a>,
}

/// Puts where the request went: host, service and the rest.
fn put_place<'a>(
    sheet: &mut impl Sheet<'a>,
    parts: &Parts<'a>,
    (asked, said): (Part<'a>, Place<'a>),
    settings: &'a Settings,
) {
    let named = parts.host.and_then(address::host).or_else(|| asked.and_then(address::host));
    let host_column = named.or_else(|| parts.host_fallback.and_then(address::host));
    let set = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
    let service = said.service.or_else(|| set(&settings.service));
    sheet.service(service.or_else(|| host_column.clone()));
    sheet.host(host_column);
    sheet.scheme(parts.scheme.filter(|scheme| scheme.len() <= 8).map(address::lower));
    sheet.environment(said.environment.or_else(|| set(&settings.environment)));
}

/// `TLSv1.3`, whatever way it was written: Envoy's `TLSv1_3`, Caddy's 772, `1.3`.
fn tls_version(text: &str) -> &str {
    match text.trim_start_matches("TLS").trim_start_matches(['v', ' ']) {
        "1.3" | "1_3" | "772" => "TLSv1.3",
        "1.2" | "1_2" | "771" => "TLSv1.2",
        "1.1" | "1_1" | "770" => "TLSv1.1",
        "1" | "1.0" | "1_0" | "769" => "TLSv1",
        _ => mask::head(text, 16),
    }
}

/// Puts ids and other words that a caller may have chosen. Gives those that `put_place` puts.
fn words<'a>(
    sheet: &mut impl Sheet<'a>,
    parts: &mut Parts<'a>,
    job: Job<'a>,
    found: &mut Found<'a>,
) -> Place<'a> {
    let blocked_by = blocked_by(parts, job.format);
    let mut word = |part: Part<'a>| part.map(|text| clean(Cow::Borrowed(text), job.keys, found));
    sheet.request_id(word(parts.request_id));
    sheet.blocked_by(word(blocked_by));
    if !parts.has_rare {
        return Place::default();
    }
    let rare = &parts.rare;
    sheet.trace_id(word(rare.trace_id.map(trace_id)));
    sheet.ja4(word(rare.ja4));
    sheet.service_version(word(rare.service_version));
    sheet.service_instance(word(rare.service_instance));
    sheet.peer_host(rare.peer_host.and_then(address::host));
    sheet.tls_version(rare.tls_version.map(tls_version).map(Cow::Borrowed));
    // A route is one only where it is a template; routers' names are none.
    match word(rare.route) {
        Some(route) if route.starts_with('/') => {
            sheet.route(Some(route));
            sheet.route_source(Some(Cow::Borrowed("gateway")));
        }
        Some(name) => parts.attrs.push((Cow::Borrowed("route"), name)),
        None => {}
    }
    Place { service: word(rare.service), environment: word(rare.environment) }
}

/// The trace of a `traceparent`, `00-<trace>-<span>-01`; other ids as they are.
fn trace_id(text: &str) -> &str {
    let is_parent = text.len() == 55 && text.as_bytes().get(2) == Some(&b'-');
    text.get(3..35).filter(|_| is_parent).unwrap_or(text)
}

/// What most ids are written with.
static ID: Bytes = Bytes::of(b"0123456789abcdef-");

fn is_id_byte(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6) | (byte == b'-')
}

/// A word without secrets, of bounded length.
fn clean<'a>(text: Cow<'a, str>, keys: &Keys, found: &mut Found<'a>) -> Cow<'a, str> {
    // Most are UUIDs and other hexadecimal ids, in which nothing can hide.
    if text.len() <= 64 && ID.are_all_of_by(&text, is_id_byte) {
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
