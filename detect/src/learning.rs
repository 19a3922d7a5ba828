//! Rules that have forgotten the past and learn it anew.
//!
//! Owns: which, and until when each only learns. Never: learning; that is the engine's.

use engine::frame::Frame;
use engine::plan::{CompiledRule, FirstSeen};
use engine::ruleset::Ruleset;
use schemas::EventTime;

/// What learns otherwise than `first_seen` is `baseline_max`: it has to see an hour on three days.
const DAYS_MS: i64 = 3 * 86_400_000;

/// Rules that fire nothing for some time, because what they remembered is gone: neither a state
/// nor a log of events holds it any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learning(Vec<Learner>);

/// A rule, how long it only learns, whether that counts from its first event on rather than from now,
/// and since when it learns, where that is known yet.
type Learner = (String, i64, bool, Option<i64>);

impl Learning {
    /// Of these rules those that remember more than their window, as far as it `was_here`.
    #[must_use]
    pub fn anew(ruleset: &Ruleset, was_here: impl Fn(&CompiledRule) -> bool) -> Self {
        let asks = |rule: &&CompiledRule| rule.asks_the_past() && was_here(rule);
        let learner = |rule: &CompiledRule| {
            let learns_ms = rule.past.as_ref().map(FirstSeen::learns_ms);
            let (counts, learns_ms) = (learns_ms.is_some(), learns_ms.unwrap_or(DAYS_MS));
            (rule.id().to_owned(), learns_ms, counts, None)
        };
        Self(ruleset.rules().filter(asks).map(learner).collect())
    }

    /// Sees what rules are about to see. Their first event is as old as the frame's watermark, but
    /// for the lateness and the length of the frame.
    pub(crate) fn see(&mut self, frame: &Frame) {
        if self.0.is_empty() {
            return;
        }
        for block in frame.blocks.iter().filter(|block| block.rows() > 0) {
            let of_rule = |(rule, ..): &&mut Learner| rule == block.name();
            if let Some((_, _, _, since)) = self.0.iter_mut().find(of_rule) {
                since.get_or_insert(frame.watermark.millis());
            }
        }
    }

    /// Lets time come to this moment.
    pub(crate) fn pass(&mut self, watermark: EventTime) {
        let now = watermark.millis();
        if self.0.is_empty() || watermark == EventTime::MIN {
            return;
        }
        for (_, _, counts, since) in &mut self.0 {
            if !*counts {
                since.get_or_insert(now);
            }
        }
        self.0.retain(|learner| until(learner).is_none_or(|until| now < until));
    }

    /// What to tell of it; none where nothing was forgotten, or all is learned again.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let one = |learner: &Learner| match until(learner) {
            Some(until) => format!("`{}` until {}", learner.0, EventTime(until)),
            None => format!("`{}`, which has seen no event yet", learner.0),
        };
        let all: Vec<String> = self.0.iter().map(one).collect();
        (!all.is_empty()).then(|| {
            format!(
                "what these rules knew of the past is gone, and each only learns and fires \
                 nothing: {}",
                all.join(", ")
            )
        })
    }

    /// As a line of a file.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Neither texts nor numbers can make it fail.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Reads what [`Self::to_line`] wrote.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().map(Self)
    }
}

fn until((_, learns_ms, _, since): &Learner) -> Option<i64> {
    since.map(|since| since.saturating_add(*learns_ms))
}

#[cfg(test)]
mod tests {
    use schemas::EventTime;

    use super::Learning;

    #[test]
    fn each_rule_is_named_until_it_has_learned() {
        let learner = |rule: &str, counts, since| (rule.to_owned(), 1_000, counts, since);
        let learners = [("a/b", false, None), ("c/d", true, Some(14_000)), ("e/f", true, None)];
        let learners = learners.map(|(rule, counts, since)| learner(rule, counts, since));
        let mut learning = Learning(learners.to_vec());
        learning.pass(EventTime::MIN);
        learning.pass(EventTime(10_000));
        let told = learning.told().unwrap();
        let rules = "`a/b` until 1970-01-01T00:00:11.000Z, `c/d` until 1970-01-01T00:00:15.000Z, \
                     `e/f`, which has seen no event yet";
        assert!(told.ends_with(rules), "{told}");
        assert_eq!(Learning::of_line(&learning.to_line()), Some(learning.clone()));
        learning.pass(EventTime(10_999));
        assert_eq!(learning.told().unwrap(), told);
        learning.pass(EventTime(15_000));
        assert!(learning.told().unwrap().ends_with("nothing: `e/f`, which has seen no event yet"));
        assert_eq!(Learning::default().told(), None);
    }
}
