//! OpenAPI documents that services tell of themselves.
//!
//! Owns: asking again and again, and keeping what was told last while a service is away; earlier
//! documents of other versions. Never: what a document means, which `routes` has.
//!
//! A document counts as a whole or not at all: one that cannot be had or read changes nothing. The
//! version of a document is that of the configuration, else its own `info.version`. When another
//! version comes, the one before stays for the instances that still answer with it.

mod get;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Url;
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::config::{ByteSize, Secret, Span};
use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use serde::Deserialize;
use tracing::{info, warn};

use crate::context::{ContextCell, FetchedDocuments};
use crate::fetch;
use crate::metrics::EnrichMetrics;
use crate::problem::Problem;
use crate::routes::{self, Document};
use get::{Answer, Get};

/// Versions of a service's document that are kept beside the latest: two deploys back and forth
/// have two.
const EARLIER_MAX: usize = 4;

/// Mistakes of a document that are logged one by one.
const SHOWN_MAX: usize = 20;

const WHAT: &str = "what the service told before stays in force";

/// `[[context.openapi]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenApiConfig {
    /// The service, as the logs name it.
    pub service: String,
    /// Where it tells its document, such as `http://shop.internal:8080/openapi.json`.
    pub url: String,
    /// The bearer token, read when the process starts.
    #[serde(default)]
    pub token: Option<Secret>,
    /// The only version of the service that answers there; absent: what the document says.
    #[serde(default)]
    pub version: Option<String>,
    /// Between two looks.
    #[serde(default = "five_minutes")]
    pub every: Span,
    /// How long an answer may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// How large the document may be, with what it refers to.
    #[serde(default = "sixteen_mebibytes")]
    pub bytes_max: ByteSize,
}

fn five_minutes() -> Span {
    Span::from_secs(300)
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

fn sixteen_mebibytes() -> ByteSize {
    ByteSize::from_bytes(16 * 1024 * 1024)
}

impl OpenApiConfig {
    /// The key that cannot be as it is, and why.
    #[must_use]
    pub fn check(&self) -> Option<(&'static str, String)> {
        if self.service.trim().is_empty() {
            return Some(("service", "the name of a service is not empty".to_owned()));
        }
        let example = "http://shop.internal:8080/openapi.json";
        if let Some(why) = fetch::check_url(&self.url, self.token.is_some(), example) {
            return Some(("url", why));
        }
        let shortest = Span::from_secs(1);
        if self.every < shortest {
            return Some(("every", "less than a second would be a flood; write `5m`".to_owned()));
        }
        if self.timeout.is_zero() {
            return Some(("timeout", "no answer takes no time; write `10s`".to_owned()));
        }
        None
    }
}

/// Why a document was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(pub Box<Problem>);

impl Classified for DocumentError {
    fn class(&self) -> Class {
        Class::Dependency
    }
}

/// Keeps the routes of one service in step with what it tells.
#[derive(Debug)]
pub struct DocumentPull {
    config: OpenApiConfig,
    place: usize,
    get: Get,
    context: ContextCell,
    clock: Clock,
    metrics: EnrichMetrics,
    /// The latest first.
    known: Vec<Arc<Document>>,
    mistakes: usize,
    read_at_ms: Option<i64>,
    /// How many of all have never been asked.
    unasked: Arc<AtomicUsize>,
}

impl DocumentPull {
    /// One for each address.
    ///
    /// # Errors
    /// Where an address is none.
    pub fn all(
        configs: &[OpenApiConfig],
        context: &ContextCell,
        clock: &Clock,
        metrics: &EnrichMetrics,
    ) -> Result<Vec<Self>, DocumentError> {
        let unasked = Arc::new(AtomicUsize::new(configs.len()));
        let one = |(place, config): (usize, &OpenApiConfig)| {
            let setting = |why: String| {
                let next = "correct `url` of this [[context.openapi]]";
                let problem = Problem::new("routes cannot be fetched", why, next);
                DocumentError(Box::new(problem.at_url(&config.url)))
            };
            let url = Url::parse(&config.url).map_err(|error| setting(error.to_string()))?;
            let get = Get::new(url, config).map_err(setting)?;
            Ok(Self {
                config: config.clone(),
                place,
                get,
                context: context.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                known: Vec::new(),
                mistakes: 0,
                read_at_ms: None,
                unasked: Arc::clone(&unasked),
            })
        };
        configs.iter().enumerate().map(one).collect()
    }

    /// The service whose routes these are.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.config.service
    }

    /// Asks once, and puts in force what is told. How many operations there are then.
    ///
    /// # Errors
    /// Where the service is away or tells what cannot be used; what it told before stays in force.
    pub async fn pull(&mut self) -> Result<usize, DocumentError> {
        let now_ms = self.clock.unix_ms();
        let outcome = self.asked().await;
        let (mut problems, error) = match outcome {
            Ok(problems) => {
                self.read_at_ms = Some(now_ms);
                (problems, None)
            }
            Err(problem) => (Vec::new(), Some(problem)),
        };
        let fetched = FetchedDocuments {
            place: self.place,
            service: self.config.service.clone(),
            url: self.config.url.clone(),
            documents: self.known.clone(),
            mistakes: self.mistakes,
            error: error.as_ref().map(ToString::to_string),
            read_at_ms: self.read_at_ms,
        };
        problems.extend(self.context.set_fetched(fetched));
        for problem in problems.iter().take(SHOWN_MAX) {
            warn!(%problem, "mistake in the context");
        }
        for table in self.context.load().report(now_ms) {
            self.metrics.table(&table);
        }
        match error {
            None => Ok(self.known.first().map_or(0, |document| document.operations.len())),
            Some(problem) => Err(DocumentError(Box::new(problem))),
        }
    }

    /// The mistakes in what is new; nothing is new where it is what was told before.
    async fn asked(&mut self) -> Result<Vec<Problem>, Problem> {
        let told = match self.get.document().await? {
            Answer::Same => return Ok(Vec::new()),
            Answer::Told(told) => told,
        };
        let (service, url) = (self.config.service.clone(), self.get.url().clone());
        let read = tokio::task::spawn_blocking(move || {
            let (document, mut problems) =
                routes::document_of(&service, &told.whole, &told.text, Some(&url));
            problems.extend(told.problems);
            (document, problems, told.mark)
        });
        let (document, problems, mark) = read.await.map_err(|error| {
            self.refused(error.to_string(), "report this; it is a mistake of ours")
        })?;
        if let (true, Some(problem)) = (document.operations.is_empty(), problems.first()) {
            let why = format!("no operation of it can be used; the first mistake: {problem}");
            return Err(self.refused(why, "correct the document"));
        }
        self.mistakes = problems.len();
        self.take(document);
        self.get.keep(mark);
        Ok(problems.into_iter().map(|problem| problem.at_url(&self.config.url)).collect())
    }

    /// Makes a document the latest, and keeps the one before if it is of another version.
    fn take(&mut self, document: Document) {
        let pinned = self.config.version.clone();
        let latest = Document {
            for_any: pinned.is_none(),
            version: pinned.or_else(|| document.stated_version.clone()),
            url: Some(self.config.url.as_str().into()),
            ..document
        };
        let version = latest.version.clone();
        let earlier = std::mem::take(&mut self.known);
        let other = |known: &Arc<Document>| known.version.is_some() && known.version != version;
        let earlier = earlier.into_iter().filter(other).take(EARLIER_MAX);
        let earlier = earlier.map(|known| match known.for_any {
            true => Arc::new(Document { for_any: false, ..(*known).clone() }),
            false => known,
        });
        self.known = std::iter::once(Arc::new(latest)).chain(earlier).collect();
    }

    fn refused(&self, why: impl Into<Box<str>>, next: &str) -> Problem {
        Problem::new(WHAT, why, next).at_url(&self.config.url)
    }

    /// Asks again and again until told to stop. `asked` is met once all addresses have been asked
    /// for the first time, whatever the answers: a service that is away holds up nobody.
    ///
    /// # Errors
    /// Never; a service that is away is asked again.
    pub async fn run(
        mut self,
        asked: Condition,
        stop: CancellationToken,
    ) -> Result<(), DocumentError> {
        let every = self.config.every.as_duration();
        let mut backoff = Backoff::new(Duration::from_secs(1).min(every), every);
        let mut first = true;
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                outcome = self.pull() => outcome,
            };
            if std::mem::take(&mut first) && self.unasked.fetch_sub(1, Ordering::AcqRel) == 1 {
                asked.ready();
            }
            let wait = match outcome {
                Ok(operations) => {
                    let service = &self.config.service;
                    info!(service, operations, "read the routes that the service tells");
                    backoff.reset();
                    every
                }
                Err(error) => {
                    warn!(%error, "cannot read the routes that a service tells");
                    backoff.next_wait(None)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
