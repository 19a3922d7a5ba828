//! What was caught, what was missed, who was wrongly flagged.
//!
//! Owns: matching verdicts with labels. Never: where verdicts come from.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::paint::{Ink, Paint};
use super::traffic::Label;

/// What a verdict says it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    /// The rule.
    pub(super) rule: String,
    /// Columns of the key and of the subject, by name.
    about: Vec<(String, String)>,
}

impl Finding {
    /// Reads a verdict; `None` where the value is not one.
    pub(super) fn read(verdict: &Value) -> Option<Self> {
        verdict.get("kind")?.as_str()?;
        let rule = verdict.get("rule")?.as_str()?.to_owned();
        let key = verdict.get("key")?.as_object()?;
        let none = Map::new();
        let subject = verdict.get("subject").and_then(Value::as_object).unwrap_or(&none);
        let mut about: Vec<(String, String)> =
            key.iter().chain(subject).map(|(name, value)| (name.clone(), plain(value))).collect();
        about.sort();
        about.dedup();
        Some(Self { rule, about })
    }

    fn has(&self, columns: &[&str], fits: impl Fn(&str) -> bool) -> bool {
        self.about.iter().any(|(name, value)| columns.contains(&name.as_str()) && fits(value))
    }

    /// Whether the verdict is about what the label names. One about a caller fits only a label of
    /// that caller, even when it says by which deploy the caller was served.
    fn fits(&self, label: &Label) -> bool {
        const ADDRESS: &[&str] = &["client_ip", "ip"];
        const PRINCIPAL: &[&str] = &["principal", "account"];
        let names_caller = self.has(ADDRESS, |_| true) || self.has(PRINCIPAL, |_| true);
        if names_caller {
            let by_address = label.address.as_deref();
            let by_name = label.principal.as_deref();
            return by_address.is_some_and(|own| self.has(ADDRESS, |value| value == own))
                || by_name.is_some_and(|own| self.has(PRINCIPAL, |value| value == own));
        }
        label.deploy.is_some_and(|own| self.has(&["deploy_id", "deploy"], |value| value == own))
            || label.path.is_some_and(|own| self.has(&["route", "path"], |v| v.ends_with(own)))
    }

    /// `rule (client_ip 203.0.113.9)`.
    pub(super) fn describe(&self) -> String {
        let about: Vec<String> =
            self.about.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{} ({})", self.rule, about.join(", "))
    }
}

/// The outcome of a scene.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Score {
    /// Attacks with the rules that found them.
    pub(super) caught: Vec<(Label, Vec<String>)>,
    /// Attacks that nothing found.
    pub(super) missed: Vec<Label>,
    /// Findings about somebody else.
    pub(super) wrong: Vec<Finding>,
}

impl Score {
    /// Compares findings with labels.
    pub(super) fn of(labels: &[Label], findings: &BTreeSet<Finding>) -> Self {
        let mut score = Self { caught: Vec::new(), missed: Vec::new(), wrong: Vec::new() };
        for label in labels {
            let hits = findings.iter().filter(|finding| finding.fits(label));
            let rules: BTreeSet<String> = hits.map(|finding| finding.rule.clone()).collect();
            if rules.is_empty() {
                score.missed.push(label.clone());
            } else {
                score.caught.push((label.clone(), rules.into_iter().collect()));
            }
        }
        let wrong = |finding: &&Finding| labels.iter().all(|label| !finding.fits(label));
        score.wrong.extend(findings.iter().filter(wrong).cloned());
        score
    }

    /// Whether everything was caught and nobody else.
    pub(super) fn is_perfect(&self) -> bool {
        self.missed.is_empty() && self.wrong.is_empty()
    }

    /// The summary for a person.
    pub(super) fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        for (label, rules) in &self.caught {
            let word = paint.on(Ink::Green, "caught");
            lines.push(format!("{word}  {:<20} {}", label.attack, rules.join(", ")));
        }
        for label in &self.missed {
            let word = paint.on(Ink::Red, "MISSED");
            lines.push(format!("{word}  {:<20} {}", label.attack, label.about));
        }
        for finding in &self.wrong {
            lines.push(format!("{}   {}", paint.on(Ink::Red, "WRONG"), finding.describe()));
        }
        let (caught, missed, wrong) = (self.caught.len(), self.missed.len(), self.wrong.len());
        lines.push(format!("\n{caught} caught, {missed} missed, {wrong} wrongly flagged"));
        lines
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{Finding, Score};
    use crate::demo::traffic::Traffic;

    fn verdict(rule: &str, key: &Value) -> Value {
        json!({"id": "x", "kind": "opened", "rule": rule, "key": key, "subject": {}})
    }

    #[track_caller]
    fn check(verdicts: &[Value], caught: &[&str], wrong: usize) {
        let labels = Traffic::make(7).labels;
        let findings: BTreeSet<Finding> = verdicts.iter().filter_map(Finding::read).collect();
        let score = Score::of(&labels, &findings);
        let names: Vec<&str> = score.caught.iter().map(|(label, _)| label.attack).collect();
        assert_eq!(names, caught);
        assert_eq!(score.wrong.len(), wrong, "{:?}", score.wrong);
        assert_eq!(score.missed.len() + score.caught.len(), labels.len());
    }

    #[test]
    fn a_verdict_on_the_address_catches_its_attack() {
        check(&[verdict("recon/scan", &json!({"client_ip": "192.0.2.66"}))], &["scan"], 0);
    }

    #[test]
    fn a_walk_is_caught_by_address_or_by_name() {
        check(&[verdict("r", &json!({"principal": "mallory", "route": "x"}))], &["id-walk"], 0);
        check(&[verdict("r", &json!({"client_ip": "198.51.100.23"}))], &["id-walk"], 0);
    }

    #[test]
    fn a_change_is_caught_by_deploy_and_route_but_not_by_a_caller_of_it() {
        let drift = &["permission-drift"];
        check(&[verdict("r", &json!({"deploy_id": "d2", "role": "customer"}))], drift, 0);
        check(&[verdict("r", &json!({"route": "GET /v1/admin/users"}))], drift, 0);
        check(&[verdict("r", &json!({"deploy_id": "d2", "principal": "cust001"}))], &[], 1);
    }

    #[test]
    fn a_well_behaved_caller_is_wrongly_flagged_once_however_often() {
        let same = verdict("r", &json!({"client_ip": "198.18.200.1"}));
        check(&[same.clone(), same], &[], 1);
    }

    #[test]
    fn orders_are_not_verdicts() {
        assert_eq!(Finding::read(&json!({"action": "block", "subject": {"ip": "x"}})), None);
    }
}
