//! What `replay` prints.
//!
//! Owns: verdicts on standard output, as lines for people or as JSON, and the summary.
//! Never: which verdicts there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use engine::reduce::Failure;
use schemas::{EventTime, Reason, Severity, Verdict, VerdictKind};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::cli::{Output, Replay};
use crate::fault::Fault;
use crate::pack::counted;
use crate::parse::stdout;

/// Prints verdicts of the kinds asked for.
pub(crate) struct Printer {
    out: BufWriter<Stdout>,
    json: bool,
    kinds: BTreeSet<&'static str>,
}

impl Printer {
    pub(crate) fn new(command: &Replay) -> Result<Self, Fault> {
        let all =
            [VerdictKind::Opened, VerdictKind::Updated, VerdictKind::Merged, VerdictKind::Closed];
        let mut kinds = BTreeSet::new();
        for asked in &command.kinds {
            let known = all.iter().map(|kind| kind.name()).find(|name| name == asked);
            kinds.insert(known.ok_or_else(|| {
                Fault::Usage(format!("--kinds {asked}: use opened, updated, merged, closed"))
            })?);
        }
        if kinds.is_empty() {
            kinds = all.iter().map(|kind| kind.name()).collect();
        }
        Ok(Self { out: BufWriter::new(io::stdout()), json: command.output == Output::Json, kinds })
    }

    pub(crate) fn print(&mut self, verdict: &Verdict) -> Result<(), Fault> {
        if !self.kinds.contains(verdict.kind.name()) {
            return Ok(());
        }
        let text = if self.json {
            serde_json::to_string(verdict).map_err(|error| Fault::bug(&error))?
        } else {
            line(verdict)
        };
        writeln!(self.out, "{text}").map_err(|error| stdout(&error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        self.out.flush().map_err(|error| stdout(&error))
    }
}

/// The moment that a verdict tells of: an episode opens when the rule fired, and goes on and ends
/// with its last event, or with the window in which that lies.
fn moment(verdict: &Verdict) -> EventTime {
    match verdict.kind {
        VerdictKind::Opened => verdict.fired_at,
        _ => verdict.fired_at.max(verdict.last_event),
    }
}

/// Verdicts by the moments that they tell of, but those of an episode as they came: it ends with its
/// last event, and what it came to by then may be known only when a window closes.
pub(crate) fn in_order(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut said: HashMap<String, EventTime> = HashMap::new();
    let mut timed: Vec<(EventTime, Verdict)> = Vec::with_capacity(verdicts.len());
    for verdict in verdicts {
        let last = said.entry(verdict.id.clone()).or_insert(EventTime::MIN);
        *last = moment(&verdict).max(*last);
        timed.push((*last, verdict));
    }
    timed.sort_by_key(|(at, _)| *at);
    timed.into_iter().map(|(_, verdict)| verdict).collect()
}

/// A verdict on one line.
pub(crate) fn line(verdict: &Verdict) -> String {
    let mut text = format!(
        "{}  {:<7} {:<8} {:<34} {}",
        moment(verdict),
        verdict.kind.name(),
        severity(verdict.severity),
        verdict.rule,
        pairs(&verdict.key)
    );
    if !verdict.values.is_empty() {
        text.push_str("  ");
        text.push_str(&pairs(&verdict.values));
    }
    if let Some(deploy) = &verdict.deploy {
        text.push_str(&format!("  deploy={}", deploy.id));
    }
    text
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn pairs(map: &Map<String, Value>) -> String {
    let shown = map.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// What the summary says.
pub(crate) struct Counts {
    pub(crate) started: Instant,
    pub(crate) lines: usize,
    pub(crate) events: usize,
    pub(crate) directives: usize,
    pub(crate) future: u64,
    pub(crate) seconds: f64,
    pub(crate) parse: Duration,
    pub(crate) enrich: Duration,
    pub(crate) detect: Duration,
    dead: BTreeMap<&'static str, usize>,
    episodes: BTreeMap<String, usize>,
    failures: BTreeMap<String, (u64, String)>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            lines: 0,
            events: 0,
            directives: 0,
            future: 0,
            seconds: 0.0,
            parse: Duration::ZERO,
            enrich: Duration::ZERO,
            detect: Duration::ZERO,
            dead: BTreeMap::new(),
            episodes: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl Counts {
    pub(crate) fn dropped(&mut self, reason: Reason) {
        *self.dead.entry(reason.name()).or_default() += 1;
    }

    pub(crate) fn judged(&mut self, verdict: &Verdict) {
        if verdict.kind == VerdictKind::Opened {
            *self.episodes.entry(verdict.rule.clone()).or_default() += 1;
        }
    }

    pub(crate) fn failed(&mut self, failure: &Failure) {
        let entry = self.failures.entry(failure.rule.clone()).or_default();
        *entry = (entry.0 + failure.count, failure.detail.clone());
    }

    /// The summary, for people.
    pub(crate) fn summary(&self, timing: bool) -> String {
        let dead: usize = self.dead.values().sum();
        let episodes: usize = self.episodes.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.lines as f64 / self.seconds.max(0.001);
        let mut text = format!(
            "{}, {}, {}, {} in {:.2} s ({rate:.0} lines/s)",
            counted(self.lines, "line"),
            counted(self.events, "event"),
            counted(dead, "dead letter"),
            counted(episodes, "episode"),
            self.seconds
        );
        for (reason, count) in &self.dead {
            text.push_str(&format!("\n  {}: {reason}", counted(*count, "dead letter")));
        }
        if self.events == 0 && dead > 0 {
            text.push_str(
                "\n  no line could be read as one of an access log: `tidegate formats detect FILE` \
                 shows why, `--format` names the format",
            );
        }
        for (rule, count) in &self.episodes {
            text.push_str(&format!("\n  {}: {rule}", counted(*count, "episode")));
        }
        if self.future > 0 {
            text.push_str(&format!("\n  {} with a time in the future", self.future));
        }
        for (rule, (count, detail)) in &self.failures {
            text.push_str(&format!("\n  rule {rule} could not judge {count} times: {detail}"));
        }
        if timing {
            let share = |part: Duration| part.as_secs_f64();
            text.push_str(&format!(
                "\n  parse {:.3} s, enrich {:.3} s, detect {:.3} s",
                share(self.parse),
                share(self.enrich),
                share(self.detect)
            ));
        }
        text
    }
}
