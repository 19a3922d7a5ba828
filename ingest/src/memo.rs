//! What was found in texts that come again and again: User-Agents.
//!
//! Owns: a bounded memory. Never: decides what to remember.

use crate::mask::{self, Clear};
use crate::payload::{self, Classes};
use crate::secret;

/// Places. A busy API sees some hundreds of agents; 1 Ki places of at most 512 B hold 512 KiB.
const PLACES: usize = 1024;
/// Longer agents are looked at anew each time: whoever sends them sends no two alike.
const KEY_BYTES_MAX: usize = 512;

/// What is known of a User-Agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) classes: Classes,
    /// The text without secrets, where it held some.
    pub(crate) masked: Option<Box<str>>,
    /// What masking of the whole line need not look for in it.
    pub(crate) clear: Clear,
}

#[derive(Debug, Default)]
struct Place {
    agent: Box<str>,
    known: Known,
}

/// The agents seen last, one a place: what falls on the same place goes.
#[derive(Debug)]
pub(crate) struct Agents {
    places: Vec<Place>,
    /// For what is not kept.
    passing: Known,
}

impl Default for Agents {
    fn default() -> Self {
        let places = std::iter::repeat_with(Place::default).take(PLACES).collect();
        Self { places, passing: Known::default() }
    }
}

impl Agents {
    /// What is known of an agent.
    pub(crate) fn look_at(&mut self, agent: &str) -> &Known {
        if agent.len() > KEY_BYTES_MAX {
            self.passing = known(agent);
            return &self.passing;
        }
        let Some(place) = self.places.get_mut(place_of(agent)) else { return &self.passing };
        if *place.agent != *agent {
            *place = Place { agent: agent.into(), known: known(agent) };
        }
        &place.known
    }
}

fn known(agent: &str) -> Known {
    let masked = mask::value(agent);
    let hidden = secret::is_value(&masked);
    let masked = if hidden { Some("*".into()) } else { (masked != agent).then(|| masked.into()) };
    let clear = mask::clear(b'"', agent, b'"');
    Known { classes: payload::in_agent(agent), masked, clear }
}

/// A place by length, beginning, middle and end. An attacker who finds texts for one place makes
/// them be looked at again, which is what would happen without a memory.
fn place_of(agent: &str) -> usize {
    let bytes = agent.as_bytes();
    let word = |at: usize| match bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        Some(Ok(word)) => u64::from_le_bytes(word),
        _ => bytes.get(at).copied().map_or(0, u64::from),
    };
    let len = bytes.len();
    let mut sum = u64::try_from(len).unwrap_or(0);
    for at in [0, len / 4, len / 2, len / 2 + len / 4, len.saturating_sub(8)] {
        sum = (sum ^ word(at)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    usize::try_from(sum >> 40).unwrap_or(0) % PLACES
}

#[cfg(test)]
mod tests {
    use super::Agents;

    #[test]
    fn what_is_remembered_is_what_a_new_look_finds() {
        let mut agents = Agents::default();
        for _ in 0..2 {
            for number in 0..5_000 {
                let agent =
                    format!("agent/{number} {}", if number % 7 == 0 { "sqlmap" } else { "" });
                assert_eq!(!agents.look_at(&agent).classes.is_empty(), number % 7 == 0, "{agent}");
            }
        }
    }

    #[test]
    fn secrets_in_an_agent_are_masked_long_or_short() {
        let mut agents = Agents::default();
        for padding in [0, 600] {
            let agent = format!("{}x Bearer abcdef", "y".repeat(padding));
            let masked = agents.look_at(&agent).masked.clone().unwrap();
            assert!(!masked.contains("abcdef"), "{masked}");
        }
    }
}
