//! Why a rule runs the way it does, for people.
//!
//! Owns: the words of `rules explain`. Never: decides anything.

use std::fmt::{self, Display, Formatter};

use super::{CompiledRule, Possible, Program, State, Table};
use crate::rule::duration;

/// What a key that comes once takes, about (`cargo xtask bench engine`).
const KEY_BYTES: usize = 150;

/// What `rules explain` says about a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Rule id.
    pub rule: String,
    /// What it keeps, and why.
    pub state: String,
    /// When it fires, and why not earlier.
    pub firing: String,
    /// Whether its state is kept in panes, and what stands in the way.
    pub panes: String,
    /// Key columns, each with the column of the table that it is.
    pub key: Vec<String>,
    /// The other columns of a verdict.
    pub values: Vec<String>,
    /// What it remembers beyond its window.
    pub past: Option<String>,
    /// Columns of the table that are retained.
    pub columns: Vec<String>,
    /// The table that it reads.
    pub table: Table,
    /// What an event must pass to be looked at, with the added `IS NOT NULL`.
    pub filter: Option<String>,
    /// Length of the window, slide and panes.
    pub window: Option<String>,
    /// When a new firing is the same episode.
    pub rearm: String,
    /// Equal for rules that take the same of events.
    pub unit: String,
    /// Changes where episode ids fork.
    pub episode_version: String,
}

/// Explains a compiled rule.
#[must_use]
pub fn explain(rule: &CompiledRule) -> Explanation {
    let traced = |place: usize| rule.key_columns.as_ref().and_then(|fields| fields.get(place));
    let key = rule.keys.iter().enumerate().map(|(place, name)| match traced(place) {
        Some(field) if field.name() != name => format!("{name} (= {})", field.name()),
        _ => name.clone(),
    });
    Explanation {
        rule: rule.id().to_owned(),
        state: state(rule),
        firing: firing(rule),
        panes: match &rule.panes {
            None => "not needed".to_owned(),
            Some(Possible::Yes) if rule.state == State::Panes => "used".to_owned(),
            Some(Possible::Yes) => "possible".to_owned(),
            Some(Possible::No { clause, why }) => {
                format!("not possible because of `{clause}`: {why}")
            }
        },
        key: key.collect(),
        values: rule.values.clone(),
        past: past(rule),
        columns: rule.input.fields().iter().map(|field| field.name().clone()).collect(),
        table: rule.table,
        filter: rule.filter_sql.clone(),
        window: rule.window.map(|window| {
            let (size, slide) =
                (duration::format(window.size_ms), duration::format(window.slide_ms));
            let panes = window.size_ms / window.slide_ms;
            format!("{size}, moved by {slide} ({panes} panes)")
        }),
        rearm: duration::format(rule.rearm_ms),
        unit: rule.unit.clone(),
        episode_version: rule.episode_version.clone(),
    }
}

fn past(rule: &CompiledRule) -> Option<String> {
    match (&rule.past, &rule.program) {
        (Some(past), _) => Some(past.explained()),
        (None, Program::Panes(panes, _)) => panes.baselines.explained(),
        (None, Program::None(_) | Program::Rows(_)) => None,
    }
}

fn state(rule: &CompiledRule) -> String {
    match rule.state {
        State::None if rule.past.is_some() => {
            "none but the past: each event is compared with what was seen before it".to_owned()
        }
        State::None => "none: each event is judged alone".to_owned(),
        State::Panes => {
            // The other half is for what is usual.
            let part = if rule.learns() { 2 } else { 1 };
            let bytes = rule.rule.memory_bytes_max / part;
            format!(
                "panes: aggregates by key and pane are kept, up to {} MiB: some {} keys in a \
                 window; beyond that, how many events those with the fewest had",
                bytes >> 20,
                keys(bytes)
            )
        }
        State::Rows => format!("rows: the rows of the window are kept, up to {}", budget(rule)),
    }
}

/// How many keys a budget holds that come once, to two digits.
fn keys(bytes: usize) -> usize {
    let keys = bytes / KEY_BYTES;
    let power = 10_usize.pow(keys.checked_ilog10().unwrap_or(0).saturating_sub(1));
    keys / power * power
}

fn budget(rule: &CompiledRule) -> String {
    format!("{} MiB", rule.rule.memory_bytes_max >> 20)
}

fn firing(rule: &CompiledRule) -> String {
    match (&rule.early, rule.window) {
        (None, _) | (_, None) if rule.past.is_some() => {
            "once the watermark has passed the event: until then an earlier one may come".to_owned()
        }
        (None, _) | (_, None) => "at the event".to_owned(),
        (Some(Possible::Yes), Some(_)) if rule.state == State::Panes => {
            "at the event that crosses: HAVING stays true once it is".to_owned()
        }
        (Some(Possible::Yes), Some(window)) => format!(
            "when a window closes, every {}; HAVING stays true once it is, so in panes it would \
             fire at the event that crosses",
            duration::format(window.slide_ms)
        ),
        (Some(Possible::No { clause, why }), Some(window)) => format!(
            "when a window closes, every {}; not earlier because of `{clause}`: {why}",
            duration::format(window.slide_ms)
        ),
    }
}

impl Display for Explanation {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: &str| writeln!(out, "  {name:<9}{text}");
        let text = |names: &[String]| match names {
            [] => "(none)".to_owned(),
            names => names.join(", "),
        };
        line("state", &self.state)?;
        line("fires", &self.firing)?;
        line("panes", &self.panes)?;
        if let Some(past) = &self.past {
            line("past", past)?;
        }
        line("window", self.window.as_deref().unwrap_or("(none)"))?;
        line("re-arm", &self.rearm)?;
        line("key", &text(&self.key))?;
        line("values", &text(&self.values))?;
        line("reads", &format!("{}: {}", self.table.name(), text(&self.columns)))?;
        line("filter", self.filter.as_deref().unwrap_or("(every row)"))?;
        line("unit", &self.unit)?;
        line("episodes", &self.episode_version)
    }
}
