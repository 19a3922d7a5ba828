//! Orders and outcomes: what respond decided, and what came of it.
//!
//! Owns: their public shape. Never: how they are decided or carried out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::EventTime;

/// What an order tells a target to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Only write it down.
    Observe,
    /// Open or continue a ticket.
    Ticket,
    /// Tell people.
    Notify,
    /// Slow the subject down.
    Throttle,
    /// Ask the subject for more proof.
    StepUp,
    /// Refuse the subject's requests until the order expires.
    Block,
    /// Wake somebody.
    Page,
    /// Undo an earlier order.
    Release,
}

/// What an order acts on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// ip, network, principal, token, account, ja4, route, deploy, key.
    pub kind: String,
    /// Which one.
    pub value: String,
}

/// Why a guardrail changed or held an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardNote {
    /// Which guardrail: `never_block`, `known_good`, `blast_radius`, `budget`, `dry_run`, `ttl`,
    /// `canary`, `policy`; or `subject`, `repeat`, `target` where nothing could be ordered.
    pub guard: String,
    /// What it found, in words.
    pub reason: String,
}

/// An order. `id` is a function of (verdict id, revision, action, target, subject), so a repeated
/// verdict gives the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Identity; the idempotency key at targets.
    pub id: String,
    /// The episode that it answers.
    pub verdict_id: String,
    /// The revision that it answers.
    pub revision: u32,
    /// Rule id.
    pub rule: String,
    /// What to do.
    pub action: Action,
    /// On whom; absent for tickets and pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Name of the target that carries it out.
    pub target: String,
    /// When it was decided.
    pub decided_at: EventTime,
    /// When a block ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<EventTime>,
    /// Whether the last call is left out.
    pub dry_run: bool,
    /// Whether it waits for a person.
    #[serde(default)]
    pub needs_approval: bool,
    /// What the guardrails said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<GuardNote>,
}

/// How carrying out an order went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeState {
    /// Carried out and, where the target can tell, read back.
    Done,
    /// Would have been, but for dry run.
    DryRun,
    /// Failed for now; it is tried again.
    Retrying,
    /// Failed for good; a person is shown the answer.
    Parked,
    /// Undone and confirmed.
    Released,
    /// Ended by its time.
    Expired,
    /// A guardrail refused it.
    Refused,
    /// Waits for a person.
    Waiting,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The order.
    pub order_id: String,
    /// The target.
    pub target: String,
    /// How it went.
    pub state: OutcomeState,
    /// When.
    pub at: EventTime,
    /// Tries so far.
    pub attempt: u32,
    /// The target's own name for it, such as a ticket's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The error, or what a person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Anything else that the target said.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}
