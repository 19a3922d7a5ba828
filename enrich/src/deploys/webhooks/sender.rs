//! Who sends, and what is peculiar to each.
//!
//! Owns: routes, names of settings, hints. Never: the meaning of a body.

use std::fmt;

use runtime::config::Secret;
use runtime::http::axum::http::HeaderMap;
use schemas::EventTime;

use super::proof::Doubt;
use super::{Told, flux, github, gitlab};
use crate::deploys::parse::Item;
use crate::problem::Problem;

/// A system that tells of deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    GitHub,
    GitLab,
    Flux,
}

impl fmt::Display for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Flux => "Flux",
        })
    }
}

impl Sender {
    pub(super) const ALL: [Self; 3] = [Self::GitHub, Self::GitLab, Self::Flux];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::GitHub => "/v1/deploys/github",
            Self::GitLab => "/v1/deploys/gitlab",
            Self::Flux => "/v1/deploys/flux",
        }
    }

    /// The setting that holds the secret.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::GitHub => "github_secret",
            Self::GitLab => "gitlab_secret",
            Self::Flux => "flux_secret",
        }
    }

    pub(super) fn how_to_configure(self) -> &'static str {
        match self {
            Self::GitHub => "set `context.webhooks.github_secret` to the secret of the webhook",
            Self::GitLab => "set `context.webhooks.gitlab_secret` to the token of the webhook",
            Self::Flux => "set `context.webhooks.flux_secret` to the `token` of the provider",
        }
    }

    pub(super) fn how_to_sign(self) -> &'static str {
        match self {
            Self::GitHub => {
                "give the webhook at GitHub the secret of `context.webhooks.github_secret`"
            }
            Self::GitLab => {
                "give the webhook at GitLab the secret token, or the signing token, of \
                 `context.webhooks.gitlab_secret`"
            }
            Self::Flux => {
                "use a provider of type `generic-hmac` whose secret has the `token` of \
                 `context.webhooks.flux_secret`"
            }
        }
    }

    /// Whether the holder of the secret made this body.
    pub(super) fn prove(
        self,
        secret: &Secret,
        headers: &HeaderMap,
        body: &[u8],
        now: EventTime,
    ) -> Result<(), Doubt> {
        match self {
            Self::GitHub => github::prove(secret, headers, body),
            Self::GitLab => gitlab::prove(secret, headers, body, now),
            Self::Flux => flux::prove(secret, headers, body),
        }
    }

    /// What the sender calls this delivery. Not part of what is signed.
    pub(super) fn delivery(self, headers: &HeaderMap) -> Option<&str> {
        let names: &[&str] = match self {
            Self::GitHub => &["x-github-delivery"],
            Self::GitLab => &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"],
            Self::Flux => &[],
        };
        names.iter().find_map(|name| headers.get(*name)?.to_str().ok())
    }

    pub(super) fn read(self, told: Told<'_>) -> Result<Item, Problem> {
        match self {
            Self::GitHub => github::read(told),
            Self::GitLab => gitlab::read(told),
            Self::Flux => flux::read(told),
        }
    }
}
