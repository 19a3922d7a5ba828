//! Deploys as GitHub, GitLab and Flux tell of them.
//!
//! Owns: who may tell (a signature or a token, over the raw body), how old it may be, that a repeat
//! is told from a new delivery. Never: storing; the endpoint beside it does. What the fields of each
//! sender mean stands in `github`, `gitlab` and `flux`.
//!
//! Nothing of a body is looked at before its proof holds. A delivery is remembered once it has been
//! taken, and a repeat of it is answered well and does nothing. What is forgotten, or comes again
//! under another delivery id, changes nothing either, since a deploy is told from others by its own
//! id; and what is older than [`AGE_MAX_MS`] is refused, long before
//! [`HISTORY_MS`](super::HISTORY_MS) forgets the deploy. So nobody who saw a delivery pass can make
//! an old deploy current again.

mod flux;
mod github;
mod gitlab;
mod proof;
mod repeats;
mod sender;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use runtime::config::Secret;
use runtime::http::axum::Router;
use runtime::http::axum::body::Body;
use runtime::http::axum::extract::State;
use runtime::http::axum::http::{HeaderMap, StatusCode};
use runtime::http::axum::response::Response;
use runtime::http::axum::routing::post;
use schemas::EventTime;
use serde::Deserialize;
use serde_json::Value;

use super::endpoint::DeploysEndpoint;
use super::parse::{Ignored, Item, Understood, checked};
use crate::problem::{Problem, json_reason};
use repeats::{Delivery, Repeats};
use sender::Sender;

/// The oldest news that is believed. GitHub can send again for three days what did not arrive.
const AGE_MAX_MS: i64 = 3 * 24 * 3600 * 1000;

/// How far the sender's clock may be ahead.
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;

/// Bytes of a secret; 16 random bytes in hex are 32.
const SECRET_BYTES_MIN: usize = 16;

/// `[context.webhooks]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksConfig {
    /// An address for these routes alone, where a signature is all that is asked for. Absent: the
    /// admin endpoint has them, for this machine.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The secret of the webhook at GitHub.
    #[serde(default)]
    pub github_secret: Option<Secret>,
    /// The secret token of the webhook at GitLab, or its signing token (`whsec_…`).
    #[serde(default)]
    pub gitlab_secret: Option<Secret>,
    /// The `token` of the provider `generic-hmac` of Flux.
    #[serde(default)]
    pub flux_secret: Option<Secret>,
    /// The service that a repository, a project or an object deploys, where it is not its name.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
}

impl WebhooksConfig {
    /// The key that cannot be as it is, and why.
    #[must_use]
    pub fn check(&self) -> Option<(String, &'static str)> {
        let short = |secret: &Secret| secret.expose().len() < SECRET_BYTES_MIN;
        for sender in Sender::ALL {
            let Some(secret) = self.secret(sender) else { continue };
            if short(secret) {
                let why = "a secret of less than 16 bytes can be guessed; \
                           `openssl rand -hex 32` makes a good one";
                return Some((sender.key().to_owned(), why));
            }
            if sender == Sender::GitLab && gitlab::signing_key(secret).is_some_and(|k| k.is_err()) {
                let why = "`whsec_` is followed by base64 in a signing token of GitLab; \
                           copy it again, with all of its characters";
                return Some((sender.key().to_owned(), why));
            }
        }
        let none = Sender::ALL.iter().all(|sender| self.secret(*sender).is_none());
        if none && self.listen.is_some() {
            let why = "nothing could be taken there; set `github_secret`, `gitlab_secret` or \
                       `flux_secret`, best as `{ file = \"…\" }`";
            return Some(("listen".to_owned(), why));
        }
        let empty = self.services.iter().find(|(_, service)| service.trim().is_empty());
        empty.map(|(name, _)| (format!("services.{name}"), "the name of a service is not empty"))
    }

    /// Whether any sender is configured.
    #[must_use]
    pub fn any(&self) -> bool {
        Sender::ALL.iter().any(|sender| self.secret(*sender).is_some())
    }

    fn secret(&self, sender: Sender) -> Option<&Secret> {
        match sender {
            Sender::GitHub => self.github_secret.as_ref(),
            Sender::GitLab => self.gitlab_secret.as_ref(),
            Sender::Flux => self.flux_secret.as_ref(),
        }
    }
}

/// One sender's route.
#[derive(Debug, Clone)]
struct Hook {
    sender: Sender,
    secret: Option<Secret>,
    services: Arc<BTreeMap<String, String>>,
    endpoint: DeploysEndpoint,
    repeats: Arc<Mutex<Repeats>>,
}

/// A delivery whose proof held.
#[derive(Debug, Clone, Copy)]
struct Told<'t> {
    headers: &'t HeaderMap,
    body: &'t Value,
    services: &'t BTreeMap<String, String>,
}

/// The routes of all senders.
pub(super) fn router(endpoint: &DeploysEndpoint, config: &WebhooksConfig) -> Router {
    let services = Arc::new(config.services.clone());
    let mut router = Router::new();
    for sender in Sender::ALL {
        let hook = Hook {
            sender,
            secret: config.secret(sender).cloned(),
            services: Arc::clone(&services),
            endpoint: endpoint.clone(),
            repeats: Arc::default(),
        };
        router = router.route(sender.path(), post(take).with_state(hook));
    }
    router
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: Body) -> Response {
    let Hook { sender, endpoint, .. } = &hook;
    let Some(secret) = &hook.secret else {
        let why = format!("no deploys are taken from {sender} here: it has no secret");
        return endpoint.refused(StatusCode::NOT_FOUND, why, sender.how_to_configure());
    };
    let bytes = match endpoint.whole(body).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    let now = endpoint.now();
    if let Err(doubt) = sender.prove(secret, &headers, &bytes, now) {
        let why = format!("{sender} did not send this: {doubt}");
        return endpoint.refused(StatusCode::UNAUTHORIZED, why, sender.how_to_sign());
    }
    let delivery = Delivery::of(sender.delivery(&headers), &bytes);
    if hook.repeats().knows(&delivery) {
        let why = "this delivery was taken before".to_owned();
        let ignored = vec![Ignored { what: format!("{sender} delivery"), why }];
        return endpoint.accept(Understood { deploys: Vec::new(), ignored }).await;
    }
    let understood = match hook.understand(&headers, &bytes, now) {
        Ok(understood) => understood,
        Err(problem) => return endpoint.mistaken(StatusCode::BAD_REQUEST, &[*problem]),
    };
    let answer = endpoint.accept(understood).await;
    if answer.status().is_success() {
        hook.repeats().note(delivery);
    }
    answer
}

impl Hook {
    fn repeats(&self) -> std::sync::MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn understand(
        &self,
        headers: &HeaderMap,
        bytes: &[u8],
        now: EventTime,
    ) -> Result<Understood, Box<Problem>> {
        let sender = self.sender;
        let body: Value = serde_json::from_slice(bytes).map_err(|error| {
            let why = format!("not JSON: {}", json_reason(&error));
            Problem::new(WHAT, why, "let the webhook send `application/json`")
        })?;
        let told = Told { headers, body: &body, services: &self.services };
        let mut understood = Understood::default();
        match checked(sender.read(told)?)? {
            Item::Ignored(ignored) => understood.ignored.push(ignored),
            Item::Deploy(deploy) => {
                check_age(deploy.deployed_at, now)?;
                understood.deploys.push(*deploy);
            }
        }
        Ok(understood)
    }
}

const WHAT: &str = "the deploy is not taken";

fn check_age(deployed_at: EventTime, now: EventTime) -> Result<(), Problem> {
    let age_ms = now.millis().saturating_sub(deployed_at.millis());
    if age_ms > AGE_MAX_MS {
        let why = format!("it is of {deployed_at}, more than three days ago: it may be a replay");
        let next = "where it did happen then, post it to /v1/deploys of the admin endpoint";
        return Err(Problem::new(WHAT, why, next));
    }
    if age_ms < -AHEAD_MAX_MS {
        let why = format!("it is of {deployed_at}, which is to come; here it is {now}");
        return Err(Problem::new(WHAT, why, "set the clocks of both machines"));
    }
    Ok(())
}

/// A field that the body cannot do without.
fn lacking(sender: Sender, field: &str) -> Problem {
    let why = format!("the body of {sender} has no `{field}`");
    Problem::new(WHAT, why, "see docs/deploys.md for what the webhook is to send")
}

impl<'t> Told<'t> {
    /// A text at a place, where it says anything.
    fn text(&self, place: &str) -> Option<&'t str> {
        let text = self.body.pointer(place)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn owned(&self, place: &str) -> Option<String> {
        self.text(place).map(str::to_owned)
    }

    /// A number or a text, as text.
    fn id(&self, place: &str) -> Option<String> {
        match self.body.pointer(place)? {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<&'t str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The service that a source deploys: as configured, else the last part of its name.
    fn service(&self, source: &str) -> String {
        let configured = self.services.get(source).cloned();
        configured.unwrap_or_else(|| source.rsplit('/').next().unwrap_or(source).to_owned())
    }
}

fn ignored(what: String, why: &str) -> Item {
    Item::Ignored(Ignored { what, why: why.to_owned() })
}

#[cfg(test)]
mod tests;
