//! From frames to verdicts.
//!
//! Owns: the state of every rule for one exchange partition, and when windows and episodes close.
//! Never: raw events, lateness (`map` has settled that), clocks.
//!
//! A function of its log: the same opens and frames in the same order give the same verdicts, byte
//! for byte. A window closes once the minimum watermark over *all* source partitions has passed
//! its end, in ascending order; its query runs over its retained rows, once, and only if these are
//! other rows than the window before it held. A window without a row that passes the rule's filter
//! is not asked.

mod folded;
mod marker;
mod past;
mod state;
mod step;
mod switch;

use std::sync::Arc;

use arrow::error::ArrowError;
use schemas::{EventTime, Verdict};

pub use marker::{RestoreError, Restored};
pub use switch::{SwitchError, Switched};

use crate::accept::{AcceptError, Acceptance, Sources};
use crate::frame::{Block, Frame, Open, Seen, Straggler, UnitName};
use crate::hits::Hits;
use crate::panes::{Ahead, Answered, Groups, Register};
use crate::past::Mark;
use crate::pressure::Pressure;
use crate::rows::Rows;
use crate::ruleset::Ruleset;
use folded::{Closing, Folding};
pub(crate) use state::failed;
use state::{Kept, RuleState};
use step::Step;

/// Open episodes of one rule at most: at 1 to 2 KiB each about 32 MiB.
pub const EPISODES_OPEN_MAX: usize = 16 * 1024;

/// What a reducer is told when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReduceSettings {
    /// All source partitions. None leaves the watermark, and one not yet open holds it.
    pub partitions: Vec<u32>,
    /// Which exchange partition this is.
    pub exchange_partition: u32,
    /// How many there are.
    pub exchange_partitions: u32,
    /// Open episodes of one rule at most.
    pub episodes_open_max: usize,
    /// Where it is told: events before this only teach, and from here on learning has ended.
    pub learned_at: Option<EventTime>,
}

impl ReduceSettings {
    /// For the only exchange partition over `partitions` source partitions.
    #[must_use]
    pub fn alone(partitions: u32) -> Self {
        Self {
            partitions: (0..partitions).collect(),
            exchange_partition: 0,
            exchange_partitions: 1,
            episodes_open_max: EPISODES_OPEN_MAX,
            learned_at: None,
        }
    }
}

/// Why reduce must stop.
#[derive(Debug, thiserror::Error)]
pub enum ReduceError {
    /// A frame that leaves a hole or comes from nowhere.
    #[error("exchange partition {exchange_partition} refuses a frame")]
    Accept {
        /// Which one.
        exchange_partition: u32,
        /// Why.
        source: AcceptError,
    },
    /// The owner counts other exchange partitions than this reducer.
    #[error(
        "an owner of source partition {partition} maps to {theirs} exchange partitions, here are {ours}; another number is another exchange topic"
    )]
    Exchange {
        /// Source partition.
        partition: u32,
        /// Its owner's number.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// A row from before the watermark, which map must not let through.
    #[error(
        "rule `{rule}`: a row of {at} from before the watermark {watermark}; map and reduce disagree"
    )]
    Behind {
        /// Rule id.
        rule: String,
        /// The row's moment.
        at: EventTime,
        /// The minimum watermark.
        watermark: EventTime,
    },
    /// Arrow refused to move rows.
    #[error("rows of rule `{rule}`")]
    Rows {
        /// Rule id.
        rule: String,
        /// Why.
        source: ArrowError,
    },
}

/// A rule that could not judge what it was given. It goes on with the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Rule id.
    pub rule: String,
    /// First moment of the window, or absent for single events.
    pub window: Option<EventTime>,
    /// How many windows or events it could not judge.
    pub count: u64,
    /// What went wrong, the last time.
    pub detail: String,
}

/// What a frame led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduced {
    /// Whether the frame counted.
    pub acceptance: Acceptance,
    /// Verdicts: of single events in order of arrival, then of windows and episodes that closed,
    /// in order of the moment at which they did.
    pub verdicts: Vec<Verdict>,
    /// Rules that failed.
    pub failures: Vec<Failure>,
    /// The owner's word that its partition fell too far behind: an alarm.
    pub straggler: Option<Straggler>,
    /// Blocks of rules that do not run here.
    pub foreign_blocks: usize,
}

/// What a rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleLoad {
    /// Rule id.
    pub rule: Arc<str>,
    /// Bytes of its rows, or its part of its unit's panes.
    pub bytes: usize,
    /// Bytes that it may hold.
    pub bytes_max: usize,
    /// Open episodes.
    pub episodes: usize,
}

/// The state of one exchange partition.
#[derive(Debug)]
pub struct Reducer {
    ruleset: Arc<Ruleset>,
    settings: ReduceSettings,
    sources: Sources,
    watermark: EventTime,
    /// The watermark at which a rule has something to do next.
    due: i64,
    /// Whether a unit may remember keys that it gave up.
    remembers: bool,
    rules: Vec<RuleState>,
    /// By unit of the ruleset.
    units: Vec<Groups>,
    register: Register,
    pressure: Pressure,
}

/// Something said at a moment.
type Said = (i64, Verdict);

impl Reducer {
    /// Before the first frame.
    #[must_use]
    pub fn new(ruleset: Arc<Ruleset>, settings: ReduceSettings) -> Self {
        let state = |rule| RuleState::new(rule, &settings, ruleset.hash_key());
        let rules: Vec<RuleState> = ruleset.prepared().iter().map(state).collect();
        let units = ruleset.index().units.iter();
        let units = units.map(Groups::new).collect();
        let (pressure, register) = (Pressure::new(rules.len()), Register::default());
        let sources = Sources::new(settings.partitions.iter().copied());
        Self {
            ruleset,
            settings,
            sources,
            watermark: EventTime::MIN,
            due: i64::MIN,
            remembers: true,
            rules,
            units,
            register,
            pressure,
        }
    }

    /// Takes an owner's first word. False where a higher owner has the partition.
    ///
    /// # Errors
    /// Where the partition is unknown or the owner counts other exchange partitions.
    pub fn open(&mut self, open: &Open) -> Result<bool, ReduceError> {
        let (theirs, ours) = (open.exchange_partitions, self.settings.exchange_partitions);
        if theirs != ours {
            return Err(ReduceError::Exchange { partition: open.partition, theirs, ours });
        }
        let exchange_partition = self.settings.exchange_partition;
        let opened = self.sources.open(open);
        opened.map_err(|source| ReduceError::Accept { exchange_partition, source })
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// Where going on would lose or double something. The frame has then not been applied.
    pub fn reduce(&mut self, frame: Frame) -> Result<Reduced, ReduceError> {
        let mut reduced = Reduced {
            acceptance: self.judge(&frame)?,
            verdicts: Vec::new(),
            failures: Vec::new(),
            straggler: None,
            foreign_blocks: 0,
        };
        if reduced.acceptance != Acceptance::Apply {
            return Ok(reduced);
        }
        self.settle(&frame)?;
        reduced.straggler = frame.straggler;
        let (mut steps, mut ahead) = (Vec::new(), Ahead::default());
        let mut blocks = frame.blocks.into_iter();
        while !blocks.as_slice().is_empty() {
            let together = self.read_ahead(blocks.as_slice(), &mut ahead);
            for block in blocks.by_ref().take(together) {
                let known = match block.seen {
                    Seen::Rows { rule, version, rows, marks } => {
                        self.absorb((&rule, &version), (*rows, &marks), &mut reduced)?
                    }
                    Seen::Hits { unit, folds, hits } => {
                        self.fold((&unit, &folds), &hits, &mut steps, &mut reduced)
                    }
                };
                reduced.foreign_blocks += usize::from(!known);
            }
        }
        steps.into_iter().for_each(|step| step.end(&mut self.register.shelf));
        self.advance(&mut reduced);
        Ok(reduced)
    }

    /// Reads what the first of some blocks are about to change, and says of how many.
    fn read_ahead(&self, blocks: &[Block], ahead: &mut Ahead) -> usize {
        let mut keys = 0;
        let few = blocks.iter().take_while(|block| {
            keys += block.keys();
            keys <= Ahead::KEYS_MAX
        });
        let together = few.count();
        let index = self.ruleset.index();
        let some = blocks.iter().take(together).filter_map(|block| match &block.seen {
            Seen::Hits { unit, hits, .. } => Some((index.place_named(unit)?, hits)),
            Seen::Rows { .. } => None,
        });
        let keys = some.flat_map(|(unit, hits)| hits.each_run().map(move |(key, ..)| (unit, key)));
        ahead.read(keys, &self.units);
        // One with more keys than that: its own do not wait for each other.
        together.max(1)
    }

    /// Whether the rule runs here.
    fn absorb(
        &mut self,
        (rule, version): (&Arc<str>, &Arc<str>),
        (rows, marks): (Rows, &[Mark]),
        reduced: &mut Reduced,
    ) -> Result<bool, ReduceError> {
        let place = self.ruleset.find(rule, version);
        let Some(state) = place.and_then(|place| self.rules.get_mut(place)) else {
            return Ok(false);
        };
        if state.rule.folded().is_some() {
            return Ok(false);
        }
        let said = state.admit(rows, marks, &mut self.pressure);
        let rows = |source| ReduceError::Rows { rule: rule.to_string(), source };
        reduced.verdicts.extend(said.map_err(rows)?);
        self.due = self.due.min(state.due());
        Ok(true)
    }

    /// Whether the unit runs here, and whoever made the hits knew all of its folds.
    fn fold(
        &mut self,
        (unit, names): (&UnitName, &Arc<[Arc<str>]>),
        hits: &Hits,
        steps: &mut Vec<Step>,
        reduced: &mut Reduced,
    ) -> bool {
        let ruleset = Arc::clone(&self.ruleset);
        let Some(place) = ruleset.index().place_named(unit) else { return false };
        let unit = ruleset.index().units.get(place).zip(self.units.get_mut(place));
        let Some((unit, groups)) = unit else { return false };
        let Some(step) = Step::of(steps, &hits.events, &mut self.register) else { return false };
        let mut folding = Folding {
            unit,
            groups,
            rules: &mut self.rules,
            register: &mut self.register,
            pressure: &mut self.pressure,
            failures: &mut reduced.failures,
        };
        let said = folding.fold(hits, names, step);
        self.remembers |= groups.remembers();
        if !said.is_empty() {
            // A row opens no window that could be due before, but it may open an episode.
            let rules = unit.rules.iter().filter_map(|rule| self.rules.get(*rule));
            self.due = rules.map(RuleState::due).fold(self.due, i64::min);
            reduced.verdicts.extend(said);
        }
        Arc::ptr_eq(names, &unit.names) || unit.names.iter().all(|name| names.contains(name))
    }

    /// Judges a frame without changing anything.
    fn judge(&self, frame: &Frame) -> Result<Acceptance, ReduceError> {
        let exchange_partition = self.settings.exchange_partition;
        let refused = |source| ReduceError::Accept { exchange_partition, source };
        let acceptance = self.sources.judge(frame).map_err(refused)?;
        if acceptance == Acceptance::Apply {
            for block in &frame.blocks {
                let earliest = block.earliest().map(EventTime);
                if let Some(at) = earliest.filter(|at| *at < self.watermark) {
                    let (rule, watermark) = (block.name().to_owned(), self.watermark);
                    return Err(ReduceError::Behind { rule, at, watermark });
                }
            }
        }
        Ok(acceptance)
    }

    fn settle(&mut self, frame: &Frame) -> Result<(), ReduceError> {
        let exchange_partition = self.settings.exchange_partition;
        let accepted = self.sources.accept(frame);
        accepted
            .map(|_judged_before| ())
            .map_err(|source| ReduceError::Accept { exchange_partition, source })
    }

    /// Closes what the minimum watermark has passed.
    fn advance(&mut self, reduced: &mut Reduced) {
        let watermark = self.sources.watermark();
        if watermark <= self.watermark {
            return;
        }
        self.watermark = watermark;
        let mut said: Vec<Said> = Vec::new();
        // What a unit keeps changes as its rules go on, and what it remembers of keys given up also
        // with the watermark.
        let goes_on = self.due <= watermark.millis();
        if goes_on {
            self.go_on(&mut said, reduced);
        }
        if goes_on || self.remembers {
            self.forget();
            self.remembers = self.units.iter().any(Groups::remembers);
        }
        self.register.sort_out(self.units.iter_mut());
        said.extend(self.pressure.close(watermark));
        // Stable: at one moment rules keep their order, and a rule's windows come before its ends.
        said.sort_by_key(|(moment, _)| *moment);
        reduced.verdicts.extend(said.into_iter().map(|(_, verdict)| verdict));
    }

    /// Lets those rules go on that have something to do at the watermark.
    fn go_on(&mut self, said: &mut Vec<Said>, reduced: &mut Reduced) {
        let (ruleset, watermark) = (Arc::clone(&self.ruleset), self.watermark);
        self.due = i64::MAX;
        // Nothing comes to a unit or goes meanwhile.
        let answered: Vec<Answered> = self.units.iter().map(|_unit| Answered::default()).collect();
        for (place, rule) in self.rules.iter_mut().enumerate() {
            if rule.due() <= watermark.millis() {
                let closing = ruleset.index().unit_of_rule(place).and_then(|(unit, places)| {
                    let groups = self.units.get(unit)?;
                    let shared = ruleset.index().units.get(unit)?.rules.len() > 1;
                    let answered = answered.get(unit).filter(|_answered| shared);
                    Some(Closing { groups, register: &self.register, places, answered })
                });
                let (pressure, failures) = (&mut self.pressure, &mut reduced.failures);
                said.extend(rule.settle(watermark, pressure, failures));
                said.extend(rule.advance(watermark, closing, pressure, failures));
            }
            self.due = self.due.min(rule.due());
        }
    }

    /// Panes that no rule of a unit is to judge again go.
    fn forget(&mut self) {
        for (unit, groups) in self.ruleset.index().units.iter().zip(&mut self.units) {
            let next = unit.rules.iter().filter_map(|rule| match &self.rules.get(*rule)?.kept {
                Kept::Panes(watch) => Some(watch.next()),
                Kept::Nothing | Kept::Rows(_) => None,
            });
            let next = next.min().unwrap_or(i64::MIN);
            if !groups.close(next, self.watermark, &mut self.register.shelf) {
                continue;
            }
            for rule in &unit.rules {
                if let Some(Kept::Panes(watch)) =
                    self.rules.get_mut(*rule).map(|rule| &mut rule.kept)
                {
                    watch.start_over();
                }
            }
        }
    }

    /// The minimum watermark over all source partitions.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// How far each source partition has been applied.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What each rule holds: of groups that several rules share, each an equal part.
    pub fn load(&self) -> impl Iterator<Item = RuleLoad> {
        let index = self.ruleset.index();
        let shares: Vec<usize> = index
            .units
            .iter()
            .zip(&self.units)
            .map(|(unit, groups)| groups.bytes().div_ceil(unit.rules.len().max(1)))
            .collect();
        self.rules.iter().enumerate().map(move |(place, rule)| {
            let mut load = rule.load();
            let share = index.unit_of_rule(place).and_then(|(unit, _)| shares.get(unit));
            load.bytes += share.copied().unwrap_or(0);
            load
        })
    }
}

#[cfg(test)]
impl Reducer {
    /// Bytes of groups as they are counted, and as they stand in memory.
    pub(crate) fn counted_and_held(&self) -> (usize, usize) {
        assert!(self.units.iter().all(Groups::adds_up));
        let counted = self.units.iter().map(Groups::bytes).sum();
        (counted, self.units.iter().map(Groups::heap_bytes).sum())
    }
}

#[cfg(test)]
mod tests;
