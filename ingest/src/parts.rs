//! What a format finds in a line.
//!
//! Owns: the raw parts of a request, as formats leave them, and the texts that had to be rewritten
//! for it. Never: cleaning, hashing, columns.
//!
//! Formats only find; `assemble` alone gives meaning, so that no format can forget to mask.

use std::borrow::Cow;
use std::cell::OnceCell;

use schemas::{Event, EventTime};

use crate::mask::Clear;

/// A text of a line, or one that was made from it and is [`Kept`] as long.
pub(crate) type Part<'a> = Option<&'a str>;

/// A text as a column holds it.
pub(crate) type Column<'a> = Option<Cow<'a, str>>;

/// Texts that do not stand in a line as they were meant, kept as long as the line: a chain, since
/// few lines have one and hardly any has many.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    first: OnceCell<Box<Link>>,
}

#[derive(Debug)]
struct Link {
    text: String,
    next: OnceCell<Box<Link>>,
}

impl Kept {
    fn keep(&self, text: String) -> &str {
        let mut place = &self.first;
        while let Some(link) = place.get() {
            place = &link.next;
        }
        &place.get_or_init(|| Box::new(Link { text, next: OnceCell::new() })).text
    }
}

/// The raw parts of a request.
#[derive(Debug, Clone)]
pub(crate) struct Parts<'a> {
    kept: &'a Kept,
    /// Whether a part reads otherwise than it stands in the line.
    pub(crate) rewritten: bool,
    /// When the response ended, or whatever moment the log gives where it gives but one.
    pub(crate) time: Option<EventTime>,
    /// When the request started.
    pub(crate) started: Option<EventTime>,
    /// Microseconds.
    pub(crate) duration: Option<i64>,
    pub(crate) peer: Part<'a>,
    /// The client by the gateway's own judgement.
    pub(crate) client: Part<'a>,
    /// X-Forwarded-For.
    pub(crate) chain: Part<'a>,
    /// Whether the chain stands in the client's place.
    pub(crate) chain_in_front: bool,
    /// A whole request line; `method`, `target` and `version` go before it.
    pub(crate) request: Part<'a>,
    pub(crate) method: Part<'a>,
    /// Path with query.
    pub(crate) target: Part<'a>,
    pub(crate) path: Part<'a>,
    /// Query, with or without its question mark.
    pub(crate) query: Part<'a>,
    pub(crate) version: Part<'a>,
    pub(crate) status: Option<i32>,
    pub(crate) upstream_status: Option<i32>,
    /// Whether the log says that no application was asked.
    pub(crate) no_upstream: bool,
    /// Who answered, where the log names it.
    pub(crate) blocked_by: Part<'a>,
    pub(crate) request_bytes: Option<i64>,
    pub(crate) response_bytes: Option<i64>,
    pub(crate) referrer: Part<'a>,
    pub(crate) user_agent: Part<'a>,
    pub(crate) host: Part<'a>,
    /// A host of lower standing, such as the server's name.
    pub(crate) host_fallback: Part<'a>,
    pub(crate) scheme: Part<'a>,
    pub(crate) request_id: Part<'a>,
    pub(crate) caller: Credentials<'a>,
    /// Parts that few logs have.
    pub(crate) rare: Rare<'a>,
    /// Whether there may be any of those.
    pub(crate) has_rare: bool,
    /// Names beside the columns, and their values.
    pub(crate) attrs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What follows the parts that the format knows; it is searched for secrets.
    pub(crate) rest: &'a str,
    /// What everything in the line but the User-Agent is clear of, so that masking need not look
    /// for it.
    pub(crate) clear: Clear,
    /// Columns given by name: our own event, and mappings.
    pub(crate) columns: Option<Box<Event<'static>>>,
}

impl<'a> Parts<'a> {
    /// No parts yet.
    pub(crate) fn new(kept: &'a Kept) -> Self {
        Self {
            kept,
            rewritten: false,
            time: None,
            started: None,
            duration: None,
            peer: None,
            client: None,
            chain: None,
            chain_in_front: false,
            request: None,
            method: None,
            target: None,
            path: None,
            query: None,
            version: None,
            status: None,
            upstream_status: None,
            no_upstream: false,
            blocked_by: None,
            request_bytes: None,
            response_bytes: None,
            referrer: None,
            user_agent: None,
            host: None,
            host_fallback: None,
            scheme: None,
            request_id: None,
            caller: Credentials::default(),
            rare: Rare::default(),
            has_rare: false,
            attrs: Vec::new(),
            rest: "",
            clear: Clear::default(),
            columns: None,
        }
    }

    /// A text that is a part from now on, wherever it stands.
    #[inline]
    pub(crate) fn keep(&mut self, text: Cow<'a, str>) -> &'a str {
        match text {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => {
                self.rewritten = true;
                self.kept.keep(text)
            }
        }
    }

    /// The parts that few logs have, to be filled.
    pub(crate) fn rare(&mut self) -> &mut Rare<'a> {
        self.has_rare = true;
        &mut self.rare
    }
}

/// Parts that few logs have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rare<'a> {
    /// The client by a header that names but one.
    pub(crate) told: Part<'a>,
    pub(crate) trace_id: Part<'a>,
    pub(crate) tls_version: Part<'a>,
    pub(crate) ja4: Part<'a>,
    pub(crate) route: Part<'a>,
    pub(crate) service: Part<'a>,
    pub(crate) service_version: Part<'a>,
    pub(crate) service_instance: Part<'a>,
    pub(crate) environment: Part<'a>,
    pub(crate) direction: Part<'a>,
    pub(crate) peer_host: Part<'a>,
}

/// What a line says of who called.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Credentials<'a> {
    /// The name of Basic authentication, or another that the gateway did not check.
    pub(crate) user: Part<'a>,
    pub(crate) principal: Part<'a>,
    pub(crate) account: Part<'a>,
    pub(crate) kind: Part<'a>,
    /// The header; empty where the log shows that there was none.
    pub(crate) authorization: Part<'a>,
    /// The cookies; empty where the log shows that there were none.
    pub(crate) cookie: Part<'a>,
    /// The key; empty where the log shows that there was none.
    pub(crate) api_key: Part<'a>,
    pub(crate) token_id: Part<'a>,
    pub(crate) session: Part<'a>,
    pub(crate) subject: Part<'a>,
    pub(crate) issued: Option<EventTime>,
    pub(crate) expires: Option<EventTime>,
    pub(crate) oauth_client: Part<'a>,
    pub(crate) tenant: Part<'a>,
    pub(crate) scopes: Vec<&'a str>,
    pub(crate) roles: Vec<&'a str>,
    /// Whether the log shows every header, so that what is missing was not sent.
    pub(crate) all_headers: bool,
    /// Whether a header or name of a secret was there that is none of the above.
    pub(crate) other_secret: bool,
    /// Whether the connection came with a client certificate.
    pub(crate) certificate: bool,
}

impl Credentials<'_> {
    /// Whether there is nothing but names in it.
    pub(crate) fn shows_no_credentials(&self) -> bool {
        self.authorization.is_none()
            && self.cookie.is_none()
            && self.api_key.is_none()
            && self.token_id.is_none()
            && self.session.is_none()
            && self.oauth_client.is_none()
            && self.tenant.is_none()
            && self.scopes.is_empty()
            && self.roles.is_empty()
    }
}

/// A part borrowed from the line; absent where it is empty or `-`.
pub(crate) fn part(text: &str) -> Part<'_> {
    crate::read::words::present(text)
}
