//! What makes a rule the same rule for its state.
//!
//! Owns: the parts that state and episodes hang on, and what an edit of them means. Never: moving
//! state; `reduce` does, by the same parts.

use serde::{Deserialize, Serialize};

use super::{CompiledRule, Program, State, Table};
use crate::rule::duration;

/// A rule as far as its state is concerned. Serialisable, so that a running process can say what
/// it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Rule id.
    pub rule: String,
    /// Hash of the whole text.
    pub rule_version: String,
    /// Hash of filter, keys, window, slide and re-arm gap.
    pub episode_version: String,
    /// `events` or `drops`.
    pub table: String,
    /// The condition on a row, as SQL; absent where all count.
    #[serde(default)]
    pub filter: Option<String>,
    /// What it asks of the past, as SQL.
    #[serde(default)]
    pub past: Option<String>,
    /// The key.
    pub key: Vec<String>,
    /// Window in milliseconds; 0 where there is none.
    pub window_ms: i64,
    /// Slide in milliseconds; 0 where there is none.
    pub slide_ms: i64,
    /// Re-arm gap in milliseconds.
    pub rearm_ms: i64,
    /// `none`, `panes` or `rows`.
    pub state: String,
    /// What is kept: folds, or columns with their types.
    pub keeps: String,
    /// `off` rules keep nothing.
    pub mode: String,
}

/// What becomes of a rule's state and open episodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The same text.
    Unchanged,
    /// Kept: text, severity, response or threshold changed.
    Kept,
    /// Begins anew, since these changed.
    Anew(Vec<String>),
    /// Did not run before.
    New,
    /// Does not run any more.
    Gone,
}

impl Identity {
    /// Of a compiled rule.
    #[must_use]
    pub fn of(rule: &CompiledRule) -> Self {
        let window = rule.window.map_or((0, 0), |window| (window.size_ms, window.slide_ms));
        Self {
            rule: rule.id().to_owned(),
            rule_version: rule.rule_version().to_owned(),
            episode_version: rule.episode_version.clone(),
            table: table(rule.table).to_owned(),
            filter: rule.filter_sql.clone(),
            past: rule.past.as_ref().map(|past| past.text.clone()),
            key: rule.keys.clone(),
            window_ms: window.0,
            slide_ms: window.1,
            rearm_ms: rule.rearm_ms,
            state: match rule.state {
                State::None => "none",
                State::Panes => "panes",
                State::Rows => "rows",
            }
            .to_owned(),
            keeps: keeps(rule),
            mode: format!("{:?}", rule.rule.mode).to_lowercase(),
        }
    }

    fn runs(&self) -> bool {
        self.mode != "off"
    }

    /// What becomes of the state of `before` where this rule takes its place.
    #[must_use]
    pub fn fate(&self, before: Option<&Self>) -> Fate {
        let Some(before) = before.filter(|before| before.runs()) else {
            return if self.runs() { Fate::New } else { Fate::Unchanged };
        };
        if !self.runs() {
            return Fate::Gone;
        }
        if self.episode_version == before.episode_version && self.keeps == before.keeps {
            let same = self.rule_version == before.rule_version;
            return if same { Fate::Unchanged } else { Fate::Kept };
        }
        Fate::Anew(self.differences(before))
    }

    fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: &str, was: &str, is: &str| {
            if was != is {
                found.push(format!("{what} {was} → {is}"));
            }
        };
        let every = "(every row)".to_owned();
        differ("table", &before.table, &self.table);
        differ(
            "filter",
            before.filter.as_ref().unwrap_or(&every),
            self.filter.as_ref().unwrap_or(&every),
        );
        let nothing = "nothing".to_owned();
        differ(
            "what is asked of the past",
            before.past.as_ref().unwrap_or(&nothing),
            self.past.as_ref().unwrap_or(&nothing),
        );
        differ("key", &before.key.join(", "), &self.key.join(", "));
        let spans = [
            ("window", before.window_ms, self.window_ms),
            ("slide", before.slide_ms, self.slide_ms),
            ("re-arm", before.rearm_ms, self.rearm_ms),
        ];
        for (what, was, is) in spans {
            differ(what, &duration::format(was), &duration::format(is));
        }
        differ("state", &before.state, &self.state);
        if found.is_empty() {
            found.push("what is kept: other aggregates or columns".to_owned());
        } else if self.shares_panes(before) {
            found.push("its episodes end, its panes go on".to_owned());
        }
        found
    }

    /// Whether both read the same panes, whatever the window that they make of them.
    fn shares_panes(&self, before: &Self) -> bool {
        let panes = |of: &Self| {
            let Self { table, filter, key, slide_ms, state, keeps, .. } = of.clone();
            (state == "panes").then_some((table, filter, key, slide_ms, keeps))
        };
        panes(self).is_some_and(|ours| panes(before) == Some(ours))
    }
}

fn table(table: Table) -> &'static str {
    match table {
        Table::Events => "events",
        Table::Drops => "drops",
    }
}

fn keeps(rule: &CompiledRule) -> String {
    match &rule.program {
        Program::Panes(panes, _) => panes.shape(),
        Program::None(_) | Program::Rows(_) => {
            // Without a window, rows of frames and those that wait are of the answer.
            let schema = match &rule.program {
                Program::None(_) => &rule.output,
                _ => &rule.input,
            };
            let columns = schema.fields().iter();
            columns.map(|field| format!("{}:{} ", field.name(), field.data_type())).collect()
        }
    }
}

/// What becomes of every rule, in order of id.
#[must_use]
pub fn fates(before: &[Identity], after: &[Identity]) -> Vec<(String, Fate)> {
    let find = |of: &[Identity], rule: &str| of.iter().find(|known| known.rule == rule).cloned();
    let mut rules: Vec<&str> =
        before.iter().chain(after).map(|identity| identity.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let fate = |rule: &str| match (find(after, rule), find(before, rule)) {
        (Some(after), before) => after.fate(before.as_ref()),
        (None, Some(before)) if before.runs() => Fate::Gone,
        (None, _) => Fate::Unchanged,
    };
    rules.into_iter().map(|rule| (rule.to_owned(), fate(rule))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Fate, Identity, fates};
    use crate::reduce::{ReduceSettings, Reducer};
    use crate::trial::{COUNT, Text, compiled, ruleset};

    fn with(head: &'static str, sql: &'static str) -> Text {
        ("count", head, sql)
    }

    const HEAD: &str = COUNT.1;
    const SQL: &str = COUNT.2;

    fn edits() -> [Text; 6] {
        [
            with(
                HEAD,
                "SELECT client_ip, count(*) AS n FROM events WHERE status >= 400 \
                 GROUP BY client_ip HAVING count(*) >= 9",
            ),
            with(
                HEAD,
                "SELECT client_ip, count(*) AS n FROM events WHERE status >= 500 \
                 GROUP BY client_ip HAVING count(*) >= 3",
            ),
            with(
                HEAD,
                "SELECT account, count(*) AS n FROM events WHERE status >= 400 \
                 GROUP BY account HAVING count(*) >= 3",
            ),
            with("window: 120s\nslide: 10s\nrearm: 20s", SQL),
            with("window: 60s\nslide: 20s\nrearm: 20s", SQL),
            with(
                HEAD,
                "SELECT client_ip, count(*) AS n, max(path) AS p FROM events \
                 WHERE status >= 400 GROUP BY client_ip HAVING count(*) >= 3",
            ),
        ]
    }

    fn identities(rules: &[Text]) -> Vec<Identity> {
        compiled(rules).iter().map(Identity::of).collect()
    }

    #[test]
    fn what_is_foretold_of_an_edit_is_what_a_marker_does() {
        let before = identities(&[COUNT]);
        let marker = Reducer::new(ruleset(&[COUNT]), ReduceSettings::alone(1)).snapshot().unwrap();
        let mut kept = 0;
        for edit in edits() {
            let after = identities(&[edit]);
            let foretold = after[0].fate(Some(&before[0]));
            let settings = ReduceSettings::alone(1);
            let restored = Reducer::restore(ruleset(&[edit]), settings, &marker).unwrap();
            let anew = matches!(foretold, Fate::Anew(_));
            assert_eq!(anew, !restored.fresh.is_empty(), "{edit:?}: {foretold:?}");
            kept += usize::from(!anew);
        }
        assert!(kept >= 1, "a threshold keeps its state");
    }

    #[test]
    fn a_rule_without_a_window_keeps_nothing_under_other_names() {
        let rule = |sql: &'static str| ("none", "key: client_ip\nrearm: 15s", sql);
        let before = rule("SELECT client_ip, path AS p FROM events WHERE status = 500");
        let after = rule("SELECT client_ip, path AS target FROM events WHERE status = 500");
        let foretold = identities(&[after])[0].fate(Some(&identities(&[before])[0]));
        assert!(matches!(foretold, Fate::Anew(_)), "{foretold:?}");
        let marker = Reducer::new(ruleset(&[before]), ReduceSettings::alone(1)).snapshot().unwrap();
        let settings = ReduceSettings::alone(1);
        let restored = Reducer::restore(ruleset(&[after]), settings, &marker).unwrap();
        assert_eq!(restored.fresh, ["x/none"]);
    }

    #[test]
    fn another_span_of_the_past_is_named() {
        let rule = |sql: &'static str| ("first", "key: client_ip", sql);
        let month = rule("SELECT client_ip FROM events WHERE first_seen('30d', client_ip)");
        let week = rule("SELECT client_ip FROM events WHERE first_seen('7d', client_ip)");
        let fate = identities(&[week])[0].fate(Some(&identities(&[month])[0]));
        let word =
            "what is asked of the past first_seen('30d', client_ip) → first_seen('7d', client_ip)";
        assert_eq!(fate, Fate::Anew(vec![word.to_owned()]));
    }

    #[test]
    fn every_rule_has_one_fate() {
        let (old, new) = (identities(&[COUNT]), identities(&edits()[3..4]));
        assert_eq!(fates(&old, &old), [("x/count".to_owned(), Fate::Unchanged)]);
        let words = ["window 1m → 2m", "its episodes end, its panes go on"];
        let anew = Fate::Anew(words.map(str::to_owned).to_vec());
        assert_eq!(fates(&old, &new), [("x/count".to_owned(), anew)]);
        assert_eq!(fates(&old, &[]), [("x/count".to_owned(), Fate::Gone)]);
        assert_eq!(fates(&[], &new), [("x/count".to_owned(), Fate::New)]);
        let off = Identity { mode: "off".to_owned(), ..old[0].clone() };
        assert_eq!(off.fate(Some(&old[0])), Fate::Gone);
        let names: BTreeSet<String> = fates(&old, &new).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(names.len(), 1);
    }
}
