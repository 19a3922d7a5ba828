//! `tidegate rules bench`: what each rule costs over a sample.
//!
//! Owns: measuring, and the table. Never: a verdict on a rule; the figures are the machine's.

use std::sync::Arc;

use arrow::array::RecordBatch;
use comfy_table::CellAlignment;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use engine::plan::{self, CompiledRule, State};
use engine::rule::Rule;
use engine::ruleset::Ruleset;
use engine::run::{RunSettings, Runner};
use schemas::{Mode, VerdictKind};
use serde_json::json;
use tokio::time::Instant;

use super::sample::Sample;
use crate::fault::Fault;
use crate::pack::{Pack, counted};
use crate::terminal;

/// What one rule costs.
#[derive(Debug)]
struct Cost {
    rule: String,
    state: &'static str,
    ns_per_event: f64,
    /// Events that pass its WHERE.
    matches: usize,
    /// Bytes of state at most, after any batch.
    state_bytes: usize,
    opened: usize,
}

/// What all cost.
#[derive(Debug)]
pub(super) struct Costs {
    rules: Vec<Cost>,
    /// Without a rule: watermarks, and frames with nothing in them.
    nothing_ns_per_event: f64,
    /// All rules at once.
    together_ns_per_event: f64,
}

struct Run {
    ns_per_event: f64,
    state_bytes: usize,
    opened: usize,
}

/// Measures every rule of the pack alone, none, and all together.
pub(super) fn of(pack: &Pack, sample: &Sample, runs: u32) -> Result<Costs, Fault> {
    let nothing = median(&ruleset(Vec::new())?, sample, runs)?.ns_per_event;
    let compiled = |rules: &[Rule]| plan::compile(rules, &pack.lists).0;
    let mut rules = Vec::new();
    for rule in pack.rules.iter().filter(|rule| rule.mode != Mode::Off) {
        let alone = compiled(std::slice::from_ref(rule));
        let Some(one) = alone.first() else { continue };
        let (state, matches) = (state(one), matches(one, &sample.batches)?);
        let run = median(&ruleset(alone)?, sample, runs)?;
        rules.push(Cost {
            rule: rule.id.clone(),
            state,
            ns_per_event: (run.ns_per_event - nothing).max(0.0),
            matches,
            state_bytes: run.state_bytes,
            opened: run.opened,
        });
    }
    let together = median(&ruleset(compiled(&pack.rules))?, sample, runs)?;
    rules.sort_by(|a, b| b.ns_per_event.total_cmp(&a.ns_per_event));
    Ok(Costs { rules, nothing_ns_per_event: nothing, together_ns_per_event: together.ns_per_event })
}

fn ruleset(rules: Vec<CompiledRule>) -> Result<Arc<Ruleset>, Fault> {
    Ruleset::new(rules).map(Arc::new).map_err(|error| Fault::bug(&error))
}

fn state(rule: &CompiledRule) -> &'static str {
    match rule.state {
        State::None => "none",
        State::Panes => "panes",
        State::Rows => "rows",
    }
}

/// Rules over `drops` see no event.
fn matches(rule: &CompiledRule, batches: &[RecordBatch]) -> Result<usize, Fault> {
    if rule.table != plan::Table::Events {
        return Ok(0);
    }
    let mut matches = 0;
    for batch in batches {
        matches += rule.matching(batch).map_err(|error| Fault::bug(&error))?.len();
    }
    Ok(matches)
}

fn median(ruleset: &Arc<Ruleset>, sample: &Sample, runs: u32) -> Result<Run, Fault> {
    let mut all: Vec<Run> =
        (0..runs.max(1)).map(|_run| once(ruleset, sample)).collect::<Result<_, _>>()?;
    all.sort_by(|a, b| a.ns_per_event.total_cmp(&b.ns_per_event));
    Ok(all.swap_remove(all.len() / 2))
}

fn once(ruleset: &Arc<Ruleset>, sample: &Sample) -> Result<Run, Fault> {
    let runner = Runner::new(Arc::clone(ruleset), RunSettings::over(1));
    let mut runner = runner.map_err(|error| Fault::bug(&error))?;
    let (mut spent, mut state_bytes, mut opened) = (0.0, 0, 0);
    let mut fed = |runner: &mut Runner, batch: Option<&RecordBatch>| {
        let begun = Instant::now();
        let fed = match batch {
            Some(batch) => runner.feed(0, batch),
            None => runner.end(),
        };
        spent += begun.elapsed().as_secs_f64() * 1e9;
        let fed = fed.map_err(|error| Fault::bug(&error))?;
        opened += fed.verdicts.iter().filter(|said| said.kind == VerdictKind::Opened).count();
        state_bytes = state_bytes.max(runner.load().map(|load| load.bytes).sum());
        Ok::<(), Fault>(())
    };
    for batch in &sample.batches {
        fed(&mut runner, Some(batch))?;
    }
    fed(&mut runner, None)?;
    Ok(Run { ns_per_event: spent / whole(sample.events.max(1)), state_bytes, opened })
}

fn whole(number: usize) -> f64 {
    number as f64
}

impl Costs {
    /// For people, the dearest first.
    pub(super) fn table(&self, sample: &Sample) -> String {
        let mut table = terminal::table(UTF8_BORDERS_ONLY);
        table.set_header(["rule", "state", "ns/event", "matches", "of 1,000", "held", "opened"]);
        terminal::keep_whole(&mut table, &[0]);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for cost in &self.rules {
            let share = 1_000.0 * whole(cost.matches) / whole(sample.events.max(1));
            table.add_row([
                cost.rule.clone(),
                cost.state.to_owned(),
                format!("{:.1}", cost.ns_per_event),
                cost.matches.to_string(),
                format!("{share:.1}"),
                bytes(cost.state_bytes),
                cost.opened.to_string(),
            ]);
        }
        let alone: f64 = self.rules.iter().map(|cost| cost.ns_per_event).sum();
        format!(
            "{table}\n{} of {}; times are this machine's: compare them with each other\nwithout a \
             rule {:.0} ns/event; all together {:.0} ns/event ({:.0} if each ran alone)",
            counted(sample.events, "event"),
            sample.name,
            self.nothing_ns_per_event,
            self.together_ns_per_event,
            alone + self.nothing_ns_per_event,
        )
    }

    /// For programs: one object.
    pub(super) fn json(&self, sample: &Sample) -> String {
        let rules: Vec<_> = self
            .rules
            .iter()
            .map(|cost| {
                json!({
                    "rule": cost.rule,
                    "state": cost.state,
                    "ns_per_event": cost.ns_per_event,
                    "matches": cost.matches,
                    "state_bytes_max": cost.state_bytes,
                    "opened": cost.opened,
                })
            })
            .collect();
        json!({
            "sample": sample.name,
            "events": sample.events,
            "nothing_ns_per_event": self.nothing_ns_per_event,
            "together_ns_per_event": self.together_ns_per_event,
            "rules": rules,
        })
        .to_string()
    }
}

fn bytes(count: usize) -> String {
    match count {
        0 => "–".to_owned(),
        small @ 1..10_240 => format!("{small} B"),
        kib if kib < 10 << 20 => format!("{} KiB", kib >> 10),
        mib => format!("{} MiB", mib >> 20),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{bytes, of};
    use crate::pack::Pack;
    use crate::rules::sample::{made, tests::sampling};

    #[test]
    fn every_rule_that_runs_has_a_cost_and_those_that_find_something_hold_state() {
        let pack = Pack::load(None).unwrap();
        let sample = made(&sampling(6_000)).unwrap();
        let costs = of(&pack, &sample, 1).unwrap();
        let json: Value = serde_json::from_str(&costs.json(&sample)).unwrap();
        let rules = json["rules"].as_array().unwrap();
        let runs = pack.compiled.iter().filter(|rule| rule.rule.mode != schemas::Mode::Off);
        assert_eq!(rules.len(), runs.count());
        let stuffing =
            rules.iter().find(|cost| cost["rule"] == "auth/credential-stuffing").unwrap();
        assert!(stuffing["matches"].as_u64().unwrap() > 100, "{stuffing}");
        assert!(stuffing["state_bytes_max"].as_u64().unwrap() > 0, "{stuffing}");
        let table = costs.table(&sample);
        assert!(table.contains("auth/credential-stuffing"), "{table}");
        assert!(table.contains("6000 events of made-up traffic"), "{table}");
    }

    #[test]
    fn bytes_are_short() {
        assert_eq!([0, 900, 20 << 10, 64 << 20].map(bytes), ["–", "900 B", "20 KiB", "64 MiB"]);
    }
}
