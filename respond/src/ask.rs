//! What a rule or a policy line asks for: `block 30m`, `ticket`.
//!
//! Owns: the text of an ask, and which ask is weaker than which.
//! Never: whether it is granted; that is [`crate::decide`].

use std::fmt;
use std::str::FromStr;

use runtime::config::Span;
use schemas::Action;

/// Every action that can be asked for, weakest first; `page` stands apart.
pub(crate) const ACTIONS: [(&str, Action); 7] = [
    ("observe", Action::Observe),
    ("ticket", Action::Ticket),
    ("notify", Action::Notify),
    ("throttle", Action::Throttle),
    ("step_up", Action::StepUp),
    ("block", Action::Block),
    ("page", Action::Page),
];

/// One thing asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub action: Action,
    /// For how long, for what acts on a subject.
    pub ttl: Option<Span>,
}

/// A text that asks for nothing we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No such action.
    #[error("`{action}` is no action{}; actions are {}", nearest(action), names())]
    UnknownAction {
        /// What was written.
        action: String,
    },
    /// The time after the action is none.
    #[error("`{text}`: {reason}; write for instance `block 30m`")]
    Ttl {
        /// What was written.
        text: String,
        /// Why it is no time.
        reason: String,
    },
    /// A time was given to something that does not end.
    #[error("`{text}`: `{action}` takes no time; only throttle, step_up and block do")]
    NeedsNoTtl {
        /// What was written.
        text: String,
        /// The action.
        action: &'static str,
    },
}

fn names() -> String {
    ACTIONS.map(|(name, _)| name).join(", ")
}

fn nearest(found: &str) -> String {
    crate::nearest::hint(found, ACTIONS.map(|(name, _)| name))
}

/// The name of an action in asks, messages and metrics.
#[must_use]
pub(crate) fn action_name(action: Action) -> &'static str {
    ACTIONS.iter().find(|(_, known)| *known == action).map_or("release", |(name, _)| name)
}

/// Whether an action acts on a subject, and so ends by itself.
#[must_use]
pub(crate) fn enforces(action: Action) -> bool {
    matches!(action, Action::Throttle | Action::StepUp | Action::Block)
}

impl Ask {
    /// Whether somebody who asked for this has allowed `action` too: the same or a weaker one.
    /// Only a page allows a page.
    #[must_use]
    pub fn allows(self, action: Action) -> bool {
        match (self.action, action) {
            (_, Action::Observe) => true,
            (Action::Page, Action::Page | Action::Ticket | Action::Notify) => true,
            (Action::Page, _) | (_, Action::Page | Action::Release) => false,
            (asked, action) => action <= asked,
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(action_name(self.action))?;
        match self.ttl {
            Some(ttl) => write!(out, " {ttl}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Ask {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let Some((name, action)) = ACTIONS.into_iter().find(|(known, _)| *known == name) else {
            return Err(AskError::UnknownAction { action: name.to_owned() });
        };
        let rest: String = words.collect();
        if rest.is_empty() {
            return Ok(Self { action, ttl: None });
        }
        if !enforces(action) {
            return Err(AskError::NeedsNoTtl { text: text.to_owned(), action: name });
        }
        let bad = |reason: String| AskError::Ttl { text: text.to_owned(), reason };
        let ttl: Span = rest.parse().map_err(|error| bad(format!("{error}")))?;
        if ttl.is_zero() {
            return Err(bad("a time of nothing does nothing".to_owned()));
        }
        Ok(Self { action, ttl: Some(ttl) })
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "values are made in place")]
mod tests {
    use expect_test::{Expect, expect};
    use schemas::Action;

    use super::{ACTIONS, Ask};

    #[track_caller]
    fn check(texts: &[&str], expected: Expect) {
        let told: Vec<String> = texts
            .iter()
            .map(|text| match text.parse::<Ask>() {
                Ok(ask) => ask.to_string(),
                Err(error) => error.to_string(),
            })
            .collect();
        expected.assert_eq(&told.join("\n"));
    }

    #[test]
    fn asks_are_read_and_mistakes_are_told() {
        check(
            &["block 30m", "ticket", "blok 30m", "block soon", "ticket 3h", "block 0s", ""],
            expect![[r#"
                block 30m
                ticket
                `blok` is no action (did you mean `block`?); actions are observe, ticket, notify, throttle, step_up, block, page
                `block soon`: `soon` has no number before the unit; write `10s`, `250ms` or `1h30m`; write for instance `block 30m`
                `ticket 3h`: `ticket` takes no time; only throttle, step_up and block do
                `block 0s`: a time of nothing does nothing; write for instance `block 30m`
                `` is no action; actions are observe, ticket, notify, throttle, step_up, block, page"#]],
        );
    }

    #[test]
    fn an_ask_allows_itself_and_what_is_weaker() {
        let table: Vec<String> = ACTIONS
            .iter()
            .map(|(name, asked)| {
                let ask = Ask { action: *asked, ttl: None };
                let allowed: Vec<&str> = ACTIONS
                    .iter()
                    .filter(|(_, action)| ask.allows(*action))
                    .map(|(name, _)| *name)
                    .collect();
                format!("{name}: {}", allowed.join(" "))
            })
            .collect();
        expect![[r"
            observe: observe
            ticket: observe ticket
            notify: observe ticket notify
            throttle: observe ticket notify throttle
            step_up: observe ticket notify throttle step_up
            block: observe ticket notify throttle step_up block
            page: observe ticket notify page"]]
        .assert_eq(&table.join("\n"));
        assert!(!Ask { action: Action::Block, ttl: None }.allows(Action::Release));
    }
}
