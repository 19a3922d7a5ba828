//! Lists of objects from the API server.
//!
//! Owns: requests, pages, limits, and what to say about answers. Never: what an object means.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Url, header};
use serde_json::Value;

use super::KubernetesConfig;
use crate::fetch;
use crate::problem::Problem;

/// Objects asked for at a time; what `kubectl` asks for.
const PAGE: usize = 500;

/// Objects of a kind at most. With about 8 KiB each while they are read, 800 MiB would be the end.
const OBJECTS_MAX: usize = 100_000;

/// Bytes of a page: five hundred objects of 64 KiB each.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(30);

const WHAT: &str = "the cluster is not read";

/// The API server with the credentials of this moment.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: Url,
    token: String,
}

impl Api {
    pub(super) async fn open(config: &KubernetesConfig, base: &Path) -> Result<Self, Problem> {
        let problem = |why: String, next| Problem::new(WHAT, why, next).at_url(&config.url);
        let file = base.join(&config.token_file);
        let token = tokio::fs::read_to_string(&file).await.map_err(|error| {
            let why = format!("{}: {error}", file.display());
            let next = "set `token_file` of [context.kubernetes]; in a pod it is there unless \
                        `automountServiceAccountToken` is false";
            problem(why, next)
        })?;
        let mut authority = None;
        if config.url.starts_with("https:") {
            let file = base.join(&config.ca_file);
            authority = Some(tokio::fs::read(&file).await.map_err(|error| {
                let why = format!("{}: {error}", file.display());
                problem(why, "set `ca_file` of [context.kubernetes]")
            })?);
        }
        let client = fetch::client(PAGE_WITHIN, authority.as_deref())
            .map_err(|why| problem(why, "see `ca_file`: it holds certificates in PEM"))?;
        let url = format!("{}/", config.url.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| problem(error.to_string(), "correct `url`"))?;
        let scope = config.namespace.as_ref();
        let scope = scope.map_or_else(String::new, |name| format!("namespaces/{name}/"));
        let base = url.join(&format!("apis/apps/v1/{scope}"));
        let base = base.map_err(|error| problem(error.to_string(), "correct `namespace`"))?;
        Ok(Self { client, base, token: token.trim().to_owned() })
    }

    /// All objects of a kind, page by page.
    pub(super) async fn all(
        &self,
        kind: &str,
        labels: Option<&str>,
    ) -> Result<Vec<Value>, Problem> {
        let mut all = Vec::new();
        let mut rest: Option<String> = None;
        loop {
            let mut url = self.base.join(kind).map_err(|error| {
                Problem::new(WHAT, error.to_string(), "correct `url`").at_url(self.base.as_str())
            })?;
            {
                let mut query = url.query_pairs_mut();
                query.append_pair("limit", &PAGE.to_string());
                for (name, value) in [("labelSelector", labels), ("continue", rest.as_deref())] {
                    if let Some(value) = value {
                        query.append_pair(name, value);
                    }
                }
            }
            let mut page = self.page(url, kind).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            rest = next.filter(|next| !next.is_empty()).map(str::to_owned);
            if rest.is_none() {
                return Ok(all);
            }
            if all.len() > OBJECTS_MAX {
                let why = format!("there are more than {OBJECTS_MAX} {kind}");
                let next = "set `namespace` or `labels` of [context.kubernetes]";
                return Err(Problem::new(WHAT, why, next).at_url(self.base.as_str()));
            }
        }
    }

    async fn page(&self, url: Url, kind: &str) -> Result<Value, Problem> {
        let place = self.base.join(kind).map_or_else(|_| String::new(), |url| url.to_string());
        let problem = |why: String, next| Problem::new(WHAT, why, next).at_url(&place);
        let request = self.client.get(url).bearer_auth(&self.token);
        let request = request.header(header::ACCEPT, "application/json");
        let mut response = request.send().await.map_err(|error| {
            let next = "see that this machine reaches the API server";
            problem(format!("no answer: {}", fetch::bare(&error)), next)
        })?;
        let status = response.status().as_u16();
        let body = fetch::body(&mut response, PAGE_BYTES_MAX).await;
        let body = body.map_err(|why| problem(why, "set `namespace` of [context.kubernetes]"))?;
        if status != 200 {
            let next = match status {
                401 => "see `token_file`: the server does not know the token",
                403 => "let the service account get and list deployments and replicasets of `apps`",
                404 => "see `url`: it is the address of the API server alone",
                410 => "the list has changed while it was read; it is read anew",
                _ => "see the API server",
            };
            return Err(problem(format!("it answered {status}: {}", fetch::shown(&body)), next));
        }
        serde_json::from_slice(&body)
            .map_err(|error| problem(format!("not JSON: {error}"), "see `url`"))
    }
}
