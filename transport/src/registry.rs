//! A schema registry that speaks Confluent's REST interface (Confluent, Karapace, Apicurio,
//! Redpanda).
//!
//! Owns: registering schemas, asking for them by id, what is remembered of the answers.
//! Never: what a schema says; that is the business of `schemas`.
//!
//! Source: Confluent, "Schema Registry API Reference": `POST /subjects/{subject}/versions`,
//! `GET /schemas/ids/{id}`, `GET /subjects/{subject}/versions/latest`,
//! `POST /compatibility/subjects/{subject}/versions/latest`.
//!
//! The tests answer as that page says. All of our schemas were registered, read and refused once by
//! hand with Apicurio Registry 3.3.3 as well, whose check says no reasons but whose refusal does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Url, header};
use runtime::CancellationToken;
use runtime::retry::{Ended, Policy, retry};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

mod error;
mod schemas;

pub use error::RegistryError;
pub use schemas::Schemas;

/// What the interface calls its JSON.
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";
/// Bytes kept of an answer: a schema of ours has 40 KiB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Ids remembered, known and unknown alike. Records name few; damaged ones may name any.
const IDS_MAX: usize = 1024;
/// How long an id that the registry did not know is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// How to reach a registry.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Its address, with the path where it has one: `http://127.0.0.1:8081`,
    /// `http://127.0.0.1:8080/apis/ccompat/v7`.
    pub url: String,
    /// Who asks, where the registry wants to know.
    pub login: Option<Login>,
    /// How long one request may take.
    pub timeout: Duration,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.login.as_ref().map(|login| &login.user);
        f.debug_struct("RegistryConfig")
            .field("url", &self.url)
            .field("user", &user)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A name and its secret, sent by HTTP basic authentication.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A schema as a subject has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SubjectVersion {
    /// Its id, which records carry.
    pub id: u32,
    /// Its number under the subject, from 1.
    pub version: u32,
    /// The schema.
    pub schema: String,
}

/// Whether a schema may follow the latest one of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compatibility {
    /// It may; also where the subject has none yet.
    Compatible,
    /// It may not, for these reasons as far as the registry tells them.
    Incompatible(Vec<String>),
}

/// A client of one registry. Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    login: Option<Login>,
    known: Mutex<BTreeMap<u32, Known>>,
}

/// What the registry said of an id. What an id names never changes.
#[derive(Clone)]
enum Known {
    Schema(Arc<str>),
    Nothing { asked: Instant },
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.0.base.as_str()).finish()
    }
}

/// The subject of a topic's values, by the default strategy of Kafka's serialisers.
#[must_use]
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

impl Registry {
    /// A client. Asks nothing yet.
    ///
    /// # Errors
    /// Where the address is none.
    pub fn new(config: RegistryConfig) -> Result<Self, RegistryError> {
        let RegistryConfig { url, login, timeout } = config;
        // what stands before an `@` may be a secret
        let shown = url.rsplit_once('@').map_or(url.clone(), |(_, place)| format!("…@{place}"));
        let wrong = |reason: String| RegistryError::Config { url: shown.clone(), reason };
        let base = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong("it is no web address".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("it holds a login; set user and password apart from it".to_owned()));
        }
        // Only the first call of a process installs it; what is there already does as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(format!("no HTTP client: {error}")))?;
        Ok(Self(Arc::new(Inner { client, base, login, known: Mutex::default() })))
    }

    /// Registers a schema under a subject, which does nothing where it is there already, and gives
    /// its id.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] where the subject's rules forbid it.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        #[derive(Deserialize)]
        struct Registered {
            id: u32,
        }
        let doing = format!("register subject `{subject}`");
        let request = self
            .request(Method::POST, &["subjects", subject, "versions"])
            .body(json!({"schema": schema}).to_string());
        let answer: Result<Registered, _> = self.ask(&doing, request).await;
        match answer {
            Ok(Registered { id }) => {
                self.remember(id, Known::Schema(schema.into()));
                Ok(id)
            }
            Err(RegistryError::Refused { status: 409, message, .. }) => {
                Err(self.incompatible(subject, schema, message).await)
            }
            Err(error) => Err(error),
        }
    }

    /// [`Self::register`], again and again while the registry is away.
    ///
    /// # Errors
    /// What does not go away by waiting, or the end of the process.
    pub async fn register_when_there(
        &self,
        subject: &str,
        schema: &str,
        shutdown: &CancellationToken,
    ) -> Result<u32, Ended<RegistryError>> {
        let policy = Policy::network(&format!("register subject `{subject}`"));
        self.register_by(policy, subject, schema, shutdown).await
    }

    /// [`Self::register_when_there`] by a policy of the caller's.
    ///
    /// # Errors
    /// As there.
    pub async fn register_by(
        &self,
        policy: Policy,
        subject: &str,
        schema: &str,
        shutdown: &CancellationToken,
    ) -> Result<u32, Ended<RegistryError>> {
        retry(policy, shutdown, || self.register(subject, schema)).await
    }

    /// The schema of this id. Asked for once; an unknown one again after half a minute.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] where there is none.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>, RegistryError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Schema {
            schema: String,
            schema_type: Option<String>,
        }
        let doing = format!("get schema {id}");
        match self.remembered(id) {
            Some(Known::Schema(schema)) => return Ok(schema),
            Some(Known::Nothing { .. }) => {
                let message = "asked a moment ago".to_owned();
                return Err(RegistryError::NotFound { doing, message });
            }
            None => {}
        }
        let request = self.request(Method::GET, &["schemas", "ids", &id.to_string()]);
        let answer: Result<Schema, _> = self.ask(&doing, request).await;
        match answer {
            Ok(Schema { schema_type: Some(kind), .. }) if kind != "AVRO" => {
                self.remember(id, Known::Nothing { asked: Instant::now() });
                Err(RegistryError::Answer { doing, reason: format!("it is of type {kind}") })
            }
            Ok(Schema { schema, .. }) => {
                let schema: Arc<str> = schema.into();
                self.remember(id, Known::Schema(Arc::clone(&schema)));
                Ok(schema)
            }
            Err(error) => {
                if matches!(error, RegistryError::NotFound { .. } | RegistryError::Answer { .. }) {
                    self.remember(id, Known::Nothing { asked: Instant::now() });
                }
                Err(error)
            }
        }
    }

    /// The schema of this id, where it was asked for or registered here before; asks nothing.
    #[must_use]
    pub fn known(&self, id: u32) -> Option<Arc<str>> {
        match self.remembered(id)? {
            Known::Schema(schema) => Some(schema),
            Known::Nothing { .. } => None,
        }
    }

    /// The latest schema of a subject.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] where the subject has none.
    pub async fn latest(&self, subject: &str) -> Result<SubjectVersion, RegistryError> {
        let doing = format!("get the latest schema of subject `{subject}`");
        self.ask(&doing, self.request(Method::GET, &["subjects", subject, "versions", "latest"]))
            .await
    }

    /// Whether [`Self::register`] would be allowed; registers nothing.
    ///
    /// # Errors
    /// Where the registry is away or refuses the question.
    pub async fn check(&self, subject: &str, schema: &str) -> Result<Compatibility, RegistryError> {
        #[derive(Deserialize)]
        struct Checked {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
        }
        let doing = format!("check a schema against subject `{subject}`");
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let mut url = self.url(&path);
        // without it the reasons are left out
        url.set_query(Some("verbose=true"));
        let request =
            self.request_to(Method::POST, url).body(json!({"schema": schema}).to_string());
        let answer: Result<Checked, _> = self.ask(&doing, request).await;
        match answer {
            Ok(Checked { is_compatible: true, .. }) => Ok(Compatibility::Compatible),
            Ok(Checked { messages, .. }) => Ok(Compatibility::Incompatible(messages)),
            Err(RegistryError::NotFound { .. }) => Ok(Compatibility::Compatible),
            Err(error) => Err(error),
        }
    }

    /// Why a schema was refused: what the check says, else what the refusal said.
    async fn incompatible(&self, subject: &str, schema: &str, refusal: String) -> RegistryError {
        let reasons = match self.check(subject, schema).await {
            Ok(Compatibility::Incompatible(reasons)) if !reasons.is_empty() => reasons,
            Ok(_) | Err(_) => vec![refusal],
        };
        let reasons = reasons.iter().map(|reason| error::shown(reason)).collect();
        RegistryError::Incompatible { subject: subject.to_owned(), reasons }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.0.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.request_to(method, self.url(path))
    }

    fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self
            .0
            .client
            .request(method, url)
            .header(header::ACCEPT, format!("{CONTENT}, application/json"))
            .header(header::CONTENT_TYPE, CONTENT);
        match &self.0.login {
            Some(login) => request.basic_auth(&login.user, Some(&login.password)),
            None => request,
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        doing: &str,
        request: RequestBuilder,
    ) -> Result<T, RegistryError> {
        let away = |error: &reqwest::Error| RegistryError::away(doing, &self.0.base, error);
        let mut response = request.send().await.map_err(|error| away(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| away(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let reason = format!("it has more than {ANSWER_BYTES_MAX} bytes");
                return Err(RegistryError::Answer { doing: doing.to_owned(), reason });
            }
            body.extend_from_slice(&chunk);
        }
        if !response.status().is_success() {
            return Err(RegistryError::refused(doing, status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| RegistryError::Answer {
            doing: doing.to_owned(),
            reason: format!("{error}: {}", error::shown(&String::from_utf8_lossy(&body))),
        })
    }

    fn remembered(&self, id: u32) -> Option<Known> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |known: &Known| matches!(known, Known::Nothing { asked } if asked.elapsed() >= UNKNOWN_FOR);
        if known.get(&id).is_some_and(stale) {
            known.remove(&id);
        }
        known.get(&id).cloned()
    }

    /// A full memory forgets first what it does not know, then its lowest id.
    fn remember(&self, id: u32, what: Known) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= IDS_MAX {
            known.retain(|_, known| matches!(known, Known::Schema(_)));
        }
        if known.len() >= IDS_MAX {
            known.pop_first();
        }
        known.insert(id, what);
    }
}

#[cfg(test)]
mod tests;
