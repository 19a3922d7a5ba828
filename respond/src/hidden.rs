//! Addresses behind which all callers of an input sit: one's own proxy, or a CDN.
//!
//! Owns: what was last told of each input. Never: finds out; who reads the input does, and tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::Subject;
use serde::{Deserialize, Serialize};

use crate::address;

/// What is told of one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// The addresses and networks behind which its callers sit.
    pub networks: Vec<String>,
    /// What is wrong and what to do, for people.
    pub advice: String,
}

/// Inputs whose callers are hidden. Cheap to clone; clones are one.
#[derive(Debug, Clone, Default)]
pub struct HiddenCallers(Arc<Mutex<BTreeMap<String, Hidden>>>);

impl HiddenCallers {
    /// Takes what an input's callers look like now; none: they can be told apart.
    pub fn tell(&self, input: &str, hidden: Option<Hidden>) {
        let mut inputs = self.inputs();
        match hidden {
            Some(hidden) => inputs.insert(input.to_owned(), hidden),
            None => inputs.remove(input),
        };
    }

    /// Why to act on this subject would be to act on all callers of an input; none where it would
    /// not.
    #[must_use]
    pub fn behind(&self, subject: &Subject) -> Option<String> {
        if !matches!(subject.kind.as_str(), "ip" | "network") {
            return None;
        }
        let net = address::network(&subject.value)?;
        let inputs = self.inputs();
        let (input, hidden) = inputs.iter().find(|(_, hidden)| {
            let networks = hidden.networks.iter().filter_map(|text| address::network(text));
            networks.into_iter().any(|known| address::overlap(&known, &net))
        })?;
        Some(format!("input `{input}`: {}", hidden.advice))
    }

    fn inputs(&self) -> MutexGuard<'_, BTreeMap<String, Hidden>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use schemas::Subject;

    use super::{Hidden, HiddenCallers};

    #[track_caller]
    fn check(callers: &HiddenCallers, kind: &str, value: &str, expected: Option<&str>) {
        let subject = Subject { kind: kind.into(), value: value.into() };
        assert_eq!(callers.behind(&subject).as_deref(), expected, "{kind}:{value}");
    }

    #[test]
    fn an_address_and_what_holds_it_is_everybody_until_callers_can_be_told_apart() {
        let callers = HiddenCallers::default();
        let networks = vec!["10.0.0.5".to_owned(), "2606:4700::/32".to_owned()];
        callers.tell("shop", Some(Hidden { networks, advice: "all are one".into() }));
        callers.tell("other", None);
        let told = Some("input `shop`: all are one");
        check(&callers, "ip", "10.0.0.5", told);
        check(&callers, "ip", "::ffff:10.0.0.5", told);
        check(&callers, "network", "10.0.0.0/24", told);
        check(&callers, "ip", "2606:4700::17", told);
        check(&callers, "ip", "10.0.0.6", None);
        check(&callers, "principal", "10.0.0.5", None);
        callers.tell("shop", None);
        check(&callers, "ip", "10.0.0.5", None);
    }
}
