//! A document over HTTP, with what it refers to.
//!
//! Owns: requests, limits, what is the same as before, and what to say about answers. Never: what
//! is done with the document.

use reqwest::{Client, StatusCode, Url, header};
use runtime::config::Secret;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{OpenApiConfig, WHAT};
use crate::fetch;
use crate::problem::Problem;
use crate::routes::{self, Parts};

/// An address that tells a document.
#[derive(Debug)]
pub(super) struct Get {
    client: Client,
    url: Url,
    token: Option<Secret>,
    bytes_max: usize,
    mark: Mark,
}

/// What tells whether a document has changed.
#[derive(Debug, Default)]
pub(super) struct Mark {
    /// The server's own word, where the document is in one piece.
    etag: Option<String>,
    /// Of all texts, in the order in which they were asked for.
    texts: Option<[u8; 32]>,
}

#[derive(Debug)]
pub(super) enum Answer {
    /// As it was when the mark was kept.
    Same,
    Told(Box<Told>),
}

/// A document and what it was made of.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) text: String,
    pub(super) whole: Value,
    /// Of parts that are not there.
    pub(super) problems: Vec<Problem>,
    pub(super) mark: Mark,
}

/// Bytes that one answer or several may still have.
#[derive(Debug)]
struct Room(usize);

impl Get {
    pub(super) fn new(url: Url, config: &OpenApiConfig) -> Result<Self, String> {
        let client = fetch::client(config.timeout.as_duration(), None)?;
        let (token, bytes_max) = (config.token.clone(), config.bytes_max.as_usize());
        Ok(Self { client, url, token, bytes_max, mark: Mark::default() })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The document has been taken; from now on its like is the same.
    pub(super) fn keep(&mut self, mark: Mark) {
        self.mark = mark;
    }

    pub(super) async fn document(&self) -> Result<Answer, Problem> {
        let mut room = Room(self.bytes_max);
        let etag = self.mark.etag.as_deref();
        let got = self.get(&self.url, etag, &mut room).await.map_err(|refusal| refusal.problem)?;
        let Some(Got { text, etag }) = got else { return Ok(Answer::Same) };
        let root = routes::root(&text).map_err(|problem| {
            let what = format!("{}; {WHAT}", problem.what).into();
            Problem { what, ..problem.at_url(self.url.as_str()) }
        })?;
        let mut parts = Parts::new(self.url.clone(), root);
        let mut problems = Vec::new();
        let mut texts = Sha256::new();
        let mut add = |text: &str| {
            texts.update(text.len().to_le_bytes());
            texts.update(text);
        };
        add(&text);
        while let Some(url) = parts.wanted() {
            match self.part(&url, &mut room).await? {
                Ok((text, value)) => {
                    add(&text);
                    parts.put(url, value);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if parts.left_out {
            let why = format!("it refers to more than {} documents", routes::PARTS_MAX);
            problems.push(Problem::new("the rest is left out", why, "bundle the document"));
        }
        let etag = etag.filter(|_| parts.is_whole());
        let mark = Mark { etag, texts: Some(texts.finalize().into()) };
        if mark.texts == self.mark.texts {
            return Ok(Answer::Same);
        }
        Ok(Answer::Told(Box::new(Told { text, whole: parts.whole(), problems, mark })))
    }

    /// A part. The outer error is one that may pass, so that the whole is tried again; the inner one
    /// costs what needs the part.
    async fn part(
        &self,
        url: &Url,
        room: &mut Room,
    ) -> Result<Result<(String, Value), Problem>, Problem> {
        let lacking = |problem: Problem| {
            let what = "what refers to it is left out".into();
            Problem { what, ..problem.at_url(url.as_str()) }
        };
        let text = match self.get(url, None, room).await {
            Ok(Some(Got { text, .. })) => text,
            Ok(None) => String::new(),
            Err(Refusal { problem, lasting: true }) => return Ok(Err(lacking(problem))),
            Err(Refusal { problem, .. }) => return Err(problem),
        };
        Ok(match routes::value(&text) {
            Ok(value) => Ok((text, value)),
            Err(problem) => Err(lacking(problem)),
        })
    }

    /// One answer; none where it is the one with this tag.
    async fn get(
        &self,
        url: &Url,
        etag: Option<&str>,
        room: &mut Room,
    ) -> Result<Option<Got>, Refusal> {
        let refused = |why: String, next: &str| Refusal {
            problem: Problem::new(WHAT, why, next).at_url(url.as_str()),
            lasting: false,
        };
        let kinds = "application/json, application/yaml;q=0.9, */*;q=0.5";
        let mut request = self.client.get(url.clone()).header(header::ACCEPT, kinds);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(|error| {
            let next = "see that the service runs and that this machine reaches it";
            refused(format!("no answer: {}", fetch::bare(&error)), next)
        })?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && etag.is_some() {
            return Ok(None);
        }
        let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let etag = etag.map(str::to_owned);
        let body = fetch::body(&mut response, room.0).await.map_err(|why| {
            refused(why, "raise `bytes_max` of this [[context.openapi]] if it is the document")
        })?;
        if status != StatusCode::OK {
            let shown = fetch::shown(&body);
            let refusal =
                refused(format!("it answered {}: {shown}", status.as_u16()), hint(status));
            return Err(Refusal { lasting: status.is_client_error(), ..refusal });
        }
        room.0 -= body.len();
        let text = String::from_utf8(body)
            .map_err(|_not_text| refused("it is not UTF-8".to_owned(), "serve it in UTF-8"))?;
        Ok(Some(Got { text, etag }))
    }
}

/// No document, and whether asking again would bring none either.
#[derive(Debug)]
struct Refusal {
    problem: Problem,
    lasting: bool,
}

/// An answer.
#[derive(Debug)]
struct Got {
    text: String,
    etag: Option<String>,
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "set `token` of this [[context.openapi]] to one that may read it",
        404 => "set `url` to where the service tells it, such as …/openapi.json or …/v3/api-docs",
        300..=399 => "set `url` to where it redirects, which is not followed",
        _ => "see the service's own log",
    }
}
