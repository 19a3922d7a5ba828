//! The directory over HTTP, page by page.
//!
//! Owns: requests, limits, and what to say about answers. Never: what a user or a group means;
//! follows a redirect, which could carry the token elsewhere.

use std::time::Duration;

use reqwest::{Client, Url, header};
use runtime::config::Secret;
use schemas::EventTime;
use serde_json::Value;

use crate::fetch;

/// Resources asked for at a time. Directories give less where they please.
const PAGE: usize = 200;

/// Resources of a kind at most. With their lines they are 500 MiB.
const RESOURCES_MAX: usize = 1_000_000;

/// Bytes of a page: two hundred groups with thousands of members each.
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(30);

/// Why a pull does not count.
#[derive(Debug, thiserror::Error)]
pub enum ScimError {
    /// The setting is no address, or there is no client.
    #[error("`context.scim.url`: {0}")]
    Setting(String),
    /// No answer.
    #[error("no answer from {path}: {why}")]
    Away {
        /// The route.
        path: String,
        /// Why.
        why: String,
    },
    /// An answer that is none.
    #[error("{path} answered {status}: {shown}{hint}")]
    Refused {
        /// The route.
        path: String,
        /// The status.
        status: u16,
        /// The beginning of the answer.
        shown: String,
        /// What to do.
        hint: &'static str,
    },
    /// An answer that cannot be used.
    #[error("{path}: {why}")]
    Form {
        /// The route.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl ScimError {
    /// Whether the directory does not know the filter (RFC 7644, 3.4.2.2 and 3.12).
    pub(super) fn refuses_filter(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 501, .. })
    }
}

/// What is listed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Users,
    Groups,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Users => "Users",
            Self::Groups => "Groups",
        }
    }
}

/// A directory.
#[derive(Debug)]
pub(super) struct Directory {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

/// A ListResponse (RFC 7644, 3.4.2).
#[derive(Debug)]
struct Page {
    total: usize,
    resources: Vec<Value>,
}

impl Directory {
    pub(super) fn new(url: &str, token: Option<Secret>) -> Result<Self, ScimError> {
        // A base without the last slash would lose its last part when it is joined.
        let base = format!("{}/", url.trim_end_matches('/'));
        let base = Url::parse(&base).map_err(|error| ScimError::Setting(error.to_string()))?;
        let client = fetch::client(PAGE_WITHIN, None).map_err(ScimError::Setting)?;
        Ok(Self { client, base, token })
    }

    /// All resources of a kind, or those that changed after a moment.
    pub(super) async fn all(
        &self,
        kind: Kind,
        since: Option<EventTime>,
    ) -> Result<Vec<Value>, ScimError> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let page = self.page(kind, since, all.len() + 1).await?;
            let empty = page.resources.is_empty();
            all.extend(page.resources);
            if all.len() >= page.total {
                return Ok(all);
            }
            let form = |why| ScimError::Form { path: kind.path().to_owned(), why };
            if empty {
                let (known, total) = (all.len(), page.total);
                return Err(form(format!("the pages end after {known} of {total} resources")));
            }
            if page.total > RESOURCES_MAX {
                let why = format!("{} are more than {RESOURCES_MAX} resources", page.total);
                return Err(form(why));
            }
        }
    }

    async fn page(
        &self,
        kind: Kind,
        since: Option<EventTime>,
        start: usize,
    ) -> Result<Page, ScimError> {
        let path = || kind.path().to_owned();
        let joined = self.base.join(kind.path());
        let mut url = joined.map_err(|error| ScimError::Setting(error.to_string()))?;
        url.query_pairs_mut()
            .append_pair("startIndex", &start.to_string())
            .append_pair("count", &PAGE.to_string());
        if let Some(since) = since {
            let filter = format!("meta.lastModified gt \"{since}\"");
            url.query_pairs_mut().append_pair("filter", &filter);
        }
        let mut request = self.client.get(url).header(header::ACCEPT, "application/scim+json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let away = |error| ScimError::Away { path: path(), why: fetch::bare(&error) };
        let mut response = request.send().await.map_err(away)?;
        let status = response.status().as_u16();
        let body = fetch::body(&mut response, PAGE_BYTES_MAX).await;
        let body = body.map_err(|why| ScimError::Form { path: path(), why })?;
        if status != 200 {
            return Err(refused(path(), status, &body));
        }
        read(&body).map_err(|why| ScimError::Form { path: path(), why })
    }
}

fn read(body: &[u8]) -> Result<Page, String> {
    let mut page: Value =
        serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let total = page.get("totalResults").and_then(Value::as_u64);
    let total = total.ok_or("no ListResponse: `totalResults` is missing")?;
    let total = usize::try_from(total).map_err(|error| format!("`totalResults`: {error}"))?;
    // Where nothing is found it may be left out.
    let resources = match page.get_mut("Resources").map(Value::take) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(resources)) => resources,
        Some(_) => return Err("`Resources` is no list".to_owned()),
    };
    Ok(Page { total, resources })
}

fn refused(path: String, status: u16, body: &[u8]) -> ScimError {
    let hint = match status {
        401 | 403 => "; set `context.scim.token` to a token that may read users and groups",
        404 => "; set `context.scim.url` to the base, to which /Users is added",
        300..=399 => "; set `context.scim.url` to where it redirects, which is not followed",
        _ => "",
    };
    ScimError::Refused { path, status, shown: fetch::shown(body), hint }
}
