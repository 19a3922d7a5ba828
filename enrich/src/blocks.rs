//! Requests that our own blocks answered.
//!
//! Owns: which refused request was refused by which order. Never: makes or ends blocks.
//!
//! A ban must not feed the rule that made it. A gateway that refuses on our word writes a plain
//! 403, so the line alone does not say who refused: here it is told from the subject, the time and
//! the fact that no application answered.

use std::collections::HashMap;
use std::net::IpAddr;

use arrow::array::StringBuilder;
use arrow::error::ArrowError;
use ipnet::IpNet;
use schemas::{Action, EventTime, Field, Order, Subject};

use crate::columns::{Building, Columns, Seen};

/// What a gateway answers on our word.
const REFUSED: i32 = 403;

/// A block of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whom it holds off: an `ip`, `network`, `principal`, `token` or `ja4`.
    pub subject: Subject,
    /// The order that made it.
    pub order_id: String,
    /// When it began.
    pub from: EventTime,
    /// When it ends or ended; absent where only a release ends it.
    pub until: Option<EventTime>,
}

impl Block {
    /// The block that an order made; none for other orders, and for those that only say what they
    /// would do or wait for a person. A release ends a block earlier; whoever hears of it sets
    /// `until`.
    #[must_use]
    pub fn of(order: &Order) -> Option<Self> {
        if order.action != Action::Block || order.dry_run || order.needs_approval {
            return None;
        }
        Some(Self {
            subject: order.subject.clone()?,
            order_id: order.id.clone(),
            from: order.decided_at,
            until: order.expires_at,
        })
    }
}

/// All blocks that may have answered an event.
#[derive(Debug, Default)]
pub struct Blocks {
    ips: HashMap<Box<str>, Vec<Answer>>,
    principals: HashMap<Box<str>, Vec<Answer>>,
    tokens: HashMap<Box<str>, Vec<Answer>>,
    fingerprints: HashMap<Box<str>, Vec<Answer>>,
    networks: Vec<(IpNet, Answer)>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Answer {
    from: EventTime,
    until: EventTime,
    /// What `blocked_by` says.
    text: Box<str>,
}

impl Answer {
    fn covers(&self, moment: EventTime) -> bool {
        self.from <= moment && moment < self.until
    }
}

impl Blocks {
    /// Of these. A subject of another kind cannot be told from a line and is left out; the number
    /// of those is returned.
    #[must_use]
    pub fn new(blocks: impl IntoIterator<Item = Block>) -> (Self, usize) {
        let mut all = Self::default();
        let mut left_out = 0;
        for Block { subject, order_id, from, until } in blocks {
            let text = format!("tidegate:{order_id}").into();
            let answer = Answer { from, until: until.unwrap_or(EventTime::MAX), text };
            if all.add(&subject, answer) {
                all.len += 1;
            } else {
                left_out += 1;
            }
        }
        (all, left_out)
    }

    fn add(&mut self, subject: &Subject, answer: Answer) -> bool {
        let of = match subject.kind.as_str() {
            "ip" => &mut self.ips,
            "principal" => &mut self.principals,
            "token" => &mut self.tokens,
            "ja4" => &mut self.fingerprints,
            "network" => {
                let Ok(network) = subject.value.parse::<IpNet>() else { return false };
                self.networks.push((network, answer));
                return true;
            }
            _ => return false,
        };
        of.entry(subject.value.as_str().into()).or_default().push(answer);
        true
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `blocked_by` of events that a block answered.
    pub(crate) fn join(&self, seen: &Seen, columns: &mut Columns) -> Result<(), ArrowError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut blocked_by: Building<StringBuilder> = Building::default();
        for row in 0..seen.rows {
            let ours = seen.status.get(row) == Some(REFUSED)
                && seen.upstream_status.get(row).is_none()
                && seen.blocked_by.get(row).is_none();
            if !ours {
                continue;
            }
            if let Some(answer) = self.answer(seen, row) {
                blocked_by.put(row, &answer.text);
            }
        }
        blocked_by.fill(Field::BlockedBy, columns)
    }

    fn answer(&self, seen: &Seen, row: usize) -> Option<&Answer> {
        let moment = seen.event_time.get(row)?;
        let listed = [
            (&self.ips, seen.client_ip.get(row)),
            (&self.principals, seen.principal.get(row)),
            (&self.tokens, seen.token_id.get(row)),
            (&self.fingerprints, seen.ja4.get(row)),
        ];
        for (of, subject) in listed {
            let answers = subject.and_then(|subject| of.get(subject)).into_iter().flatten();
            if let Some(answer) = answers.into_iter().find(|answer| answer.covers(moment)) {
                return Some(answer);
            }
        }
        if self.networks.is_empty() {
            return None;
        }
        let address: IpAddr = seen.client_ip.get(row)?.parse().ok()?;
        let inside =
            |(net, answer): &&(IpNet, Answer)| net.contains(&address) && answer.covers(moment);
        self.networks.iter().find(inside).map(|(_, answer)| answer)
    }
}
