//! Policy, guardrails and ledger; blocks and tickets.
//!
//! Owns: the way of a verdict: its orders by policy and guardrails ([`Policy`], [`guard`]), their
//! place in the ledger ([`Ledger`]), the targets that carry them out, what came of them, and their
//! end.
//! Never: why a rule fired; what a gateway logs; the command line.

mod address;
mod api;
mod ask;
mod config;
mod decide;
pub mod guard;
mod hex;
mod hidden;
mod known_good;
mod ledger;
mod metrics;
mod nearest;
mod pattern;
mod policy;
mod responder;
mod target;

pub use ask::{Ask, AskError};
pub use config::{
    AuthzConfig, FileConfig, Markup, NginxConfig, RedmineConfig, RespondConfig, Settings,
    SettingsError, TargetConfig, TicketsConfig, WebhookConfig,
};
pub use hidden::{Hidden, HiddenCallers};
pub use known_good::{KnownGood, Success};
pub use ledger::{
    Asker, Entry, Episode, LEDGER_FILE, Ledger, LedgerError, Options, Phase, Record, State, Taken,
};
pub use pattern::{Pattern, PatternError};
pub use policy::{DEFAULT_POLICY, Line, Policy, PolicyError, Then, When};
pub use responder::{Parts, Responder, Shown, StartError, Took, Which};
pub use target::{Fingerprint, SIGNATURE_HEADER, TargetParts, Targets, signature};

/// Declares the metrics of this crate without anything that counts, for the documentation.
pub fn declare_metrics(registry: &runtime::metrics::Metrics) {
    drop(metrics::RespondMetrics::new(registry));
}

#[cfg(test)]
mod fixture;
