//! Running the tests of rules, four ways each, through each state that a rule can have.
//!
//! Owns: what goes into a test (parsed and enriched as live) and the report of a failure.
//! Never: the four ways and the comparison; they are `engine`'s.

mod runs;

use std::fmt::Write;
use std::sync::Arc;

use engine::plan::{self, CompiledRule, State};
use engine::rule::test_case::{BASE, Comparison, TestInput, compare, outcome, timeline};
use engine::rule::{Rule, TestCase};
use engine::ruleset::Ruleset;
use engine::run::RunSettings;
use engine::run::four_ways::{Step, four_ways};
use engine::watermark::Guard;
use enrich::{
    Context, ContextCell, Deploys, EnrichMetrics, Identities, Identity, JoinOptions, Joiner,
};
use ingest::{Keys, Parser, Place, Settings};
use runtime::metrics::Metrics;
use schemas::{BatchBuilder, DeadLetter, Event, EventTime, event_at};

use crate::fault::Fault;
use crate::pack::Pack;
use crate::reading::REPLAY_KEY;
use runs::Run;

/// Decides how the shuffled way is shuffled: the same each time.
const SEED: u64 = 7;

/// What became of one test.
pub(crate) struct TestResult {
    pub(crate) rule: String,
    pub(crate) test: String,
    /// Nothing, or what differed: once where all ways agree.
    pub(crate) failures: Vec<String>,
}

/// Runs the tests of all rules whose id contains the filter.
pub(crate) fn run(pack: &Pack, filter: Option<&str>) -> Result<Vec<TestResult>, Fault> {
    let mut results = Vec::new();
    let chosen = |rule: &&Rule| filter.is_none_or(|part| rule.id.contains(part));
    for rule in pack.rules.iter().filter(chosen) {
        let mut alone = rule.clone();
        alone.mode = schemas::Mode::Live;
        let states = states(alone, pack)?;
        if states.is_empty() {
            continue;
        }
        for test in &rule.tests {
            let mut runs = Vec::new();
            let mut failures = Vec::new();
            for (state, ruleset) in &states {
                match one(ruleset, state, &rule.id, test)? {
                    Ok(ways) => runs.extend(ways),
                    Err(why) => failures = vec![format!("  {why}\n")],
                }
            }
            failures.extend(runs::failures(&runs));
            let (rule, test) = (rule.id.clone(), test.name.clone());
            results.push(TestResult { rule, test, failures });
        }
    }
    Ok(results)
}

/// The rule as it runs, and the same in rows, which are the definition; what is usual is learned in
/// panes only.
fn states(rule: Rule, pack: &Pack) -> Result<Vec<(&'static str, Arc<Ruleset>)>, Fault> {
    let (compiled, _said_already) = plan::compile(std::slice::from_ref(&rule), &pack.lists);
    let Some(compiled) = compiled.into_iter().next() else { return Ok(Vec::new()) };
    let ruleset = |rule: CompiledRule| {
        Ruleset::new(vec![rule]).map(Arc::new).map_err(|error| Fault::bug(&error))
    };
    if compiled.state != State::Panes {
        let state = if compiled.state == State::Rows { "rows" } else { "nothing" };
        return Ok(vec![(state, ruleset(compiled)?)]);
    }
    let (again, _said_already) = plan::compile(&[rule], &pack.lists);
    let mut states = vec![("panes", ruleset(compiled)?)];
    for rule in again.into_iter().filter(|rule| !rule.learns()) {
        states.push(("rows", ruleset(rule.into_rows())?));
    }
    Ok(states)
}

/// One test through one state, all ways; or why its input cannot be read.
fn one(
    ruleset: &Arc<Ruleset>,
    state: &'static str,
    rule: &str,
    test: &TestCase,
) -> Result<Result<Vec<Run>, String>, Fault> {
    let (mut events, letters, base) = match input(test) {
        Ok(input) => input,
        Err(why) => return Ok(Err(why)),
    };
    let joiner = match joiner(test) {
        Ok(joiner) => joiner,
        Err(why) => return Ok(Err(why)),
    };
    let mut settings = RunSettings::over(1);
    if ruleset.rules().any(CompiledRule::asks_the_past) {
        settings.learned_at = Some(base);
        if !test.before.is_empty() {
            // From a day before to the test is a jump, and not a wrong clock.
            settings.map.guard = Guard::Off;
            let moved = |event: &Event<'static>| Event {
                event_time: event.event_time.map(|at| at.plus(base.millis() - BASE.millis())),
                ..event.clone()
            };
            events.splice(0..0, test.before.iter().map(moved));
        }
    }
    let mut steps = Vec::new();
    for part in events.chunks(schemas::BATCH_ROWS_MAX) {
        let mut builder = BatchBuilder::default();
        part.iter().for_each(|event| builder.push(event));
        let batch = builder.finish().map_err(|error| Fault::bug(&error))?;
        steps.push(Step::Events(joiner.enrich(&batch).map_err(|error| Fault::bug(&error))?));
    }
    if !letters.is_empty() {
        steps.push(Step::Dropped(letters));
    }
    let ran = four_ways(ruleset, &steps, settings, SEED);
    let ways = ran.map_err(|error| Fault::bug(&error))?;
    let judged = ways.each().map(|(way, fed)| {
        let mine: Vec<_> = fed.verdicts.iter().filter(|v| v.rule == rule).cloned().collect();
        let how = Comparison { base, in_order: way == "whole" };
        let mut outcome = outcome(&mine, base);
        let mut differs: Vec<String> =
            compare(&test.episodes, &mine, how).iter().map(ToString::to_string).collect();
        for failure in &fed.failures {
            let text = format!("could not judge {}: {}", failure.count, failure.detail);
            outcome.push(text.clone());
            differs.push(text);
        }
        Run { state, way, outcome, differs, timeline: timeline(&test.episodes, &mine, base) }
    });
    Ok(Ok(judged.collect()))
}

fn line(text: &mut String, part: &str) {
    text.push_str(part);
    text.push('\n');
}

type Read = (Vec<Event<'static>>, Vec<DeadLetter>, EventTime);

fn input(test: &TestCase) -> Result<Read, String> {
    match &test.input {
        TestInput::Events(events) => Ok((events.clone(), Vec::new(), BASE)),
        TestInput::Lines { format, lines } => {
            let mut settings = Settings::default();
            if let Some(format) = format {
                settings.format = format.parse().map_err(|error| format!("format: {error}"))?;
            }
            let mut parser = Parser::new(settings, Keys::new(REPLAY_KEY));
            let bytes: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            parser.learn(&bytes);
            let mut builder = BatchBuilder::default();
            let mut letters = Vec::new();
            for (offset, line) in (0..).zip(bytes) {
                let place = Place { topic: "test", partition: 0, offset };
                match parser.feed(line, place, EventTime(0), &mut builder) {
                    ingest::Fed::DeadLetter(letter) => letters.push(*letter),
                    ingest::Fed::Bundle { letters: more, .. } => letters.extend(more),
                    ingest::Fed::Events(_) | ingest::Fed::Directive(_) => {}
                }
            }
            let batch = builder.finish().map_err(|error| error.to_string())?;
            let events: Vec<Event<'static>> =
                (0..batch.num_rows()).map(|row| event_at(&batch, row).into_owned()).collect();
            let base = events.first().and_then(|event| event.event_time).unwrap_or(BASE);
            Ok((events, letters, base))
        }
    }
}

fn joiner(test: &TestCase) -> Result<Joiner, String> {
    let mut identities = Vec::new();
    for value in &test.identities {
        let identity: Identity = serde_json::from_value(value.clone())
            .map_err(|error| format!("identities: {error}"))?;
        identities.push(identity);
    }
    let context = Context::default()
        .with_deploys(Deploys::new(test.deploys.clone()))
        .with_identities(Identities::new(&identities, &[]));
    let options = JoinOptions { object_key: REPLAY_KEY, learn_routes: true };
    Ok(Joiner::new(ContextCell::new(context), options, EnrichMetrics::new(&Metrics::new())))
}

/// The results as JUnit XML, for CI.
pub(crate) fn junit(results: &[TestResult]) -> String {
    let failed = results.iter().filter(|result| !result.failures.is_empty()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    line(
        &mut xml,
        &format!("<testsuite name=\"rules\" tests=\"{}\" failures=\"{failed}\">", results.len()),
    );
    for result in results {
        let (rule, test) = (escaped(&result.rule), escaped(&result.test));
        let case = format!("  <testcase classname=\"{rule}\" name=\"{test}\"");
        if result.failures.is_empty() {
            line(&mut xml, &format!("{case}/>"));
        } else {
            let text = escaped(&result.failures.join("\n"));
            let failure = format!("<failure message=\"episodes differ\">{text}</failure>");
            line(&mut xml, &format!("{case}>{failure}</testcase>"));
        }
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other if other.is_control() && other != '\n' => {
                let written = write!(safe, "\\u{{{:x}}}", u32::from(other));
                debug_assert!(written.is_ok(), "a String takes everything");
            }
            other => safe.push(other),
        }
    }
    safe
}
