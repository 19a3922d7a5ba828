//! Webhook: a signed request to a program of the user's.
//!
//! Owns: the body, the signature, the idempotency key.
//! Never: waits and tries again, which is the worker's.
//!
//! `X-Tidegate-Signature: t=<unix seconds>,v1=<hex>`, where v1 is HMAC-SHA256 under the secret over
//! `<t>.<body>`. The receiver compares in constant time, refuses a `t` that is minutes away from its
//! clock, and does a second request with the same `Idempotency-Key` no second time.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url, header};
use runtime::clock::Clock;
use runtime::config::Secret;
use schemas::Action;
use serde::Serialize;
use sha2::Sha256;

use super::{TargetParts, Told, Trouble, http};
use crate::ask::ACTIONS;
use crate::config::{SettingsError, WebhookConfig};
use crate::guard::NeverBlock;
use crate::hex::hex;
use crate::ledger::{Message, MessageKind};

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-tidegate-signature";

#[derive(Debug)]
pub(crate) struct Webhook {
    client: Client,
    url: Url,
    secret: Secret,
    actions: Vec<Action>,
    never_block: NeverBlock,
    clock: Clock,
}

/// The body of a request.
#[derive(Debug, Serialize)]
struct Body<'a> {
    /// `order` or `end`.
    kind: &'static str,
    order: &'a schemas::Order,
    /// Of an end: `released` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<schemas::OutcomeState>,
    /// Of an end: other orders that still stand on the subject.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    still_standing: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a schemas::Verdict>,
}

/// The value of the signature header.
#[must_use]
pub fn signature(secret: &[u8], unix_seconds: i64, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={unix_seconds},v1={}", hex(mac.finalize().into_bytes()))
}

impl Webhook {
    pub(super) fn new(
        config: &WebhookConfig,
        parts: &TargetParts<'_>,
    ) -> Result<Self, SettingsError> {
        if config.secret.expose().len() < 16 {
            let message =
                "a key of less than 16 bytes can be guessed; `openssl rand -hex 32` makes one";
            return Err(SettingsError::value("target.secret", message));
        }
        let actions = config.actions.iter().map(|name| action(name)).collect::<Result<_, _>>()?;
        Ok(Self {
            client: http::client(config.timeout)?,
            url: http::url("target.url", &config.url)?,
            secret: config.secret.clone(),
            actions,
            never_block: parts.never_block.clone(),
            clock: parts.clock.clone(),
        })
    }

    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub(super) async fn tell(&self, message: &Message) -> Result<Told, Trouble> {
        let order = &message.entry.order;
        let (kind, state, key) = match &message.kind {
            MessageKind::Apply => ("order", None, order.id.clone()),
            MessageKind::End(ending) => ("end", Some(ending.state), format!("{}:end", order.id)),
        };
        if kind == "order"
            && let Some(reason) =
                order.subject.as_ref().and_then(|subject| self.never_block.protects(subject))
        {
            return Err(Trouble::Park { detail: reason });
        }
        let body = Body {
            kind,
            order,
            state,
            still_standing: &message.still,
            verdict: message.verdict.as_deref(),
        };
        let body = serde_json::to_vec(&body)
            .map_err(|error| Trouble::Park { detail: format!("cannot be written: {error}") })?;
        let now = self.clock.unix_ms().div_euclid(1_000);
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .header(SIGNATURE_HEADER, signature(self.secret.expose().as_bytes(), now, &body))
            .body(body);
        let answer = http::send(request).await?.success()?;
        Ok(Told { remote_id: None, detail: Some(format!("answered {}", answer.status)) })
    }
}

fn action(name: &str) -> Result<Action, SettingsError> {
    let known = ACTIONS.into_iter().filter(|(_, action)| *action != Action::Observe);
    match known.clone().find(|(known, _)| *known == name) {
        Some((_, action)) => Ok(action),
        None => {
            let names: Vec<&str> = known.map(|(name, _)| name).collect();
            let hint = crate::nearest::hint(name, names.iter().copied());
            let message = format!("`{name}` is no action{hint}; actions are {}", names.join(", "));
            Err(SettingsError::value("target.actions", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{action, signature};

    #[test]
    fn a_signature_covers_time_and_body() {
        // openssl: printf '1700000000.{}' | openssl dgst -sha256 -hmac 'key'
        let signed = signature(b"key", 1_700_000_000, b"{}");
        assert!(signed.starts_with("t=1700000000,v1=") && signed.len() == 16 + 64, "{signed}");
        assert_ne!(signed, signature(b"key", 1_700_000_001, b"{}"));
        assert_ne!(signed, signature(b"key", 1_700_000_000, b"{ }"));
        assert_ne!(signed, signature(b"kez", 1_700_000_000, b"{}"));
    }

    #[test]
    fn a_misspelt_action_is_told_with_the_nearest() {
        let told = action("notfy").unwrap_err().to_string();
        assert!(told.contains("did you mean `notify`?"), "{told}");
    }
}
