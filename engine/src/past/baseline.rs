//! What is usual for a key.
//!
//! Owns: what one rule has learned of its keys, and the most that is usual for one in a window.
//! Never: which windows fire, what an aggregate comes to.
//!
//! Time is cut into *periods* of an hour, or of a window where that is longer. What a key came to
//! in the windows that lie end to end in a period, and at most in one of them, is one observation
//! of the *season* that the period is of: its hour of the day, on weekdays or at weekends, in UTC.
//! A period in which the rule fired for the key teaches nothing. Of each season a mean and a
//! variance are kept in which the past fades (T. Finch, "Incremental calculation of weighted mean
//! and variance", 2009, section 9), and
//!
//! usual = mean + k · √(variance + mean)
//!
//! where the mean stands for the variance that mere counting has (that of a Poisson process).
//!
//! A window of period *p* is compared with what periods up to *p* − 2 taught: all of these are
//! over when the first window of *p* closes, whatever order events come in, and mostly before its
//! first event. So what is usual is a property of events and not of how they came.

use std::collections::BTreeMap;

use schemas::EventTime;

use crate::plan::Call;
use crate::rows::store::Shed;
use crate::window::Windows;
use crate::wire::{Reader, Wire, WireError, Writer, wire_struct};

/// A period at least.
pub(crate) const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// Periods before a window's own that do not teach it.
const APART: i64 = 2;
/// Observations of a season before it says anything.
const SEEN_MIN: u8 = 3;
/// The weight of an observation is at least this.
const WEIGHT_MIN: f64 = 0.125;
/// In a week neither a mean nor a deviation rises above so many times what it was, and this much:
/// who goes slowly does not get far.
const GROWTH: f64 = 2.0;
const GROWTH_MIN: f64 = 10.0;
/// What did not come for so long is forgotten.
const FORGET_MS: i64 = 8 * WEEK_MS;

/// Bytes that are counted of a key, of each of its seasons and of each period that is not taught.
const KEY_BYTES: usize = 112;
const SEASON_BYTES: usize = 24;
const RECENT_BYTES: usize = 24;

/// What one rule has learned.
#[derive(Debug)]
pub(crate) struct Baseline {
    windows: Windows,
    period_ms: i64,
    bytes_max: usize,
    /// When learning ends, where that is told.
    learned_at: Option<EventTime>,
    keys: BTreeMap<u128, Learned>,
    bytes: usize,
    /// All windows that end by then have closed.
    closed: EventTime,
    /// The day up to which forgotten keys are gone.
    swept: i64,
    /// Up to this period a key may be unknown because there was no room for it.
    lossy_until: i64,
}

/// What was learned of a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Learned {
    /// By season, ascending.
    seasons: Vec<Season>,
    /// Periods that have not taught, ascending.
    recent: Vec<Recent>,
    /// The last period in which it had rows.
    last: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Season {
    of: u8,
    /// Observations, 255 at most.
    seen: u8,
    mean: f32,
    deviation: f32,
    /// The week of the last observation, and what there was before it.
    week: i32,
    mean_before: f32,
    deviation_before: f32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Recent {
    period: i64,
    most: i64,
    /// Whether the rule fired.
    fired: bool,
}

wire_struct!(Recent { period, most, fired });

impl Wire for Season {
    fn write(&self, out: &mut Writer) {
        out.put(&self.of);
        out.put(&self.seen);
        out.put(&self.mean.to_bits());
        out.put(&self.deviation.to_bits());
        out.put(&self.week);
        out.put(&self.mean_before.to_bits());
        out.put(&self.deviation_before.to_bits());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            of: from.get()?,
            seen: from.get()?,
            mean: f32::from_bits(from.get()?),
            deviation: f32::from_bits(from.get()?),
            week: from.get()?,
            mean_before: f32::from_bits(from.get()?),
            deviation_before: f32::from_bits(from.get()?),
        })
    }
}

wire_struct!(Learned { seasons, recent, last });

impl Baseline {
    pub(crate) fn new(windows: Windows, learned_at: Option<EventTime>, bytes_max: usize) -> Self {
        Self {
            windows,
            period_ms: HOUR_MS.max(windows.size_ms()),
            bytes_max,
            learned_at,
            keys: BTreeMap::new(),
            bytes: 0,
            closed: EventTime::MIN,
            swept: i64::MIN,
            lossy_until: i64::MIN,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn period(&self, at: i64) -> i64 {
        at.div_euclid(self.period_ms)
    }

    /// The period that window `k` is compared as: that of its start.
    fn period_of(&self, k: i64) -> i64 {
        self.period(self.windows.start(k))
    }

    /// Whether window `k` may be compared otherwise than the one before it.
    pub(crate) fn turns(&self, k: i64) -> bool {
        self.period_of(k) != self.period_of(k.saturating_sub(1))
    }

    /// Whether all that window `k` is compared with has been learned.
    pub(crate) fn knows(&self, k: i64) -> bool {
        let begins = (self.period_of(k) - APART + 1).saturating_mul(self.period_ms);
        // The last window that begins before ends so late.
        let over =
            begins.saturating_add(self.windows.size_ms()).saturating_sub(self.windows.slide_ms());
        self.closed.millis() >= over
    }

    /// The most that is usual for a key in window `k`.
    pub(crate) fn usual(&self, key: u128, k: i64, call: Call) -> f64 {
        if self.learned_at.is_some_and(|learned_at| self.windows.start(k) < learned_at.millis()) {
            return f64::INFINITY;
        }
        let period = self.period_of(k);
        let learned = self.keys.get(&key).filter(|learned| !self.is_forgotten(learned, period));
        let Some(learned) = learned else { return call.unknown };
        let season = self.season(period);
        let seen_min = if self.learned_at.is_some() { 1 } else { SEEN_MIN };
        let known = |seasons: &[Season]| {
            let known = || seasons.iter().filter(|season| season.seen >= seen_min);
            let usual = |season: &Season| season.usual(call.deviations);
            // At an hour at which it never came, what is usual at its busiest.
            let own = known().find(|known| known.of == season).map(usual);
            own.or_else(|| known().map(usual).max_by(f64::total_cmp)).unwrap_or(call.unknown)
        };
        if learned.recent.first().is_none_or(|first| first.period > period - APART) {
            return known(&learned.seasons);
        }
        let mut learned = learned.clone();
        self.teach(&mut learned, period);
        known(&learned.seasons)
    }

    /// Whether a key that is not known in window `k` may have been forgotten for want of room.
    pub(crate) fn is_lossy(&self, key: u128, k: i64) -> bool {
        self.period_of(k) <= self.lossy_until && !self.keys.contains_key(&key)
    }

    /// Whether window `k` is one of those that lie end to end.
    pub(crate) fn observes(&self, k: i64) -> bool {
        k.rem_euclid(self.windows.panes()) == 0
    }

    /// Window `k` has closed: what keys came to in it, where it is one that is observed, and for
    /// whom the rule fired.
    pub(crate) fn see(
        &mut self,
        k: i64,
        came_to: impl Iterator<Item = (u128, i64)>,
        fired: impl Iterator<Item = u128>,
    ) -> Shed {
        let period = self.period_of(k);
        for (key, most) in came_to {
            let mut learned = self.keys.remove(&key).unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(learned.bytes());
            if self.is_forgotten(&learned, period) {
                learned = Learned::default();
            }
            self.teach(&mut learned, period);
            learned.change(period, |recent| recent.most = recent.most.max(most));
            learned.last = learned.last.max(period);
            self.put(key, learned);
        }
        let last = self.period(self.windows.end(k).saturating_sub(1));
        for key in fired {
            let mut learned = self.keys.remove(&key).unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(learned.bytes());
            for period in [period, last] {
                learned.change(period, |recent| recent.fired = true);
            }
            learned.last = learned.last.max(last);
            self.put(key, learned);
        }
        self.sweep(k);
        self.make_room(period)
    }

    /// All windows that end by the watermark have closed.
    pub(crate) fn settle(&mut self, watermark: EventTime) {
        self.closed = self.closed.max(watermark);
    }

    fn put(&mut self, key: u128, learned: Learned) {
        self.bytes += learned.bytes();
        self.keys.insert(key, learned);
    }

    /// What periods taught that are far enough before one.
    fn teach(&self, learned: &mut Learned, period: i64) {
        let over = learned.recent.partition_point(|recent| recent.period <= period - APART);
        for recent in learned.recent.drain(..over) {
            if recent.fired {
                continue;
            }
            let of = self.season(recent.period);
            let start = recent.period.saturating_mul(self.period_ms);
            let week = i32::try_from(start.div_euclid(WEEK_MS)).unwrap_or(i32::MAX);
            match learned.seasons.binary_search_by_key(&of, |season| season.of) {
                Ok(at) => {
                    if let Some(season) = learned.seasons.get_mut(at) {
                        season.take(recent.most, week);
                    }
                }
                Err(at) => learned.seasons.insert(at, Season::new(of, recent.most, week)),
            }
        }
    }

    /// The hour of the day, on weekdays or at weekends.
    fn season(&self, period: i64) -> u8 {
        let start = period.saturating_mul(self.period_ms);
        // The epoch was a Thursday; 0 is Monday.
        let day = (start.div_euclid(DAY_MS) + 3).rem_euclid(7);
        let hour = start.rem_euclid(DAY_MS) / HOUR_MS;
        let weekend = if day >= 5 { 24 } else { 0 };
        u8::try_from(hour + weekend).unwrap_or(0)
    }

    /// Whether a key did not come for so long before a period that it is unknown there.
    fn is_forgotten(&self, learned: &Learned, period: i64) -> bool {
        learned.last < period.saturating_sub(FORGET_MS / self.period_ms)
    }

    /// Once a day, keys go that are forgotten from window `k` on.
    fn sweep(&mut self, k: i64) {
        let (period, day) = (self.period_of(k), self.windows.start(k).div_euclid(DAY_MS));
        if day <= self.swept {
            return;
        }
        self.swept = day;
        let mut keys = std::mem::take(&mut self.keys);
        keys.retain(|_, learned| !self.is_forgotten(learned, period));
        self.keys = keys;
        self.count();
    }

    /// Of too many keys a quarter goes: those first that taught the least, and of these those that
    /// came the longest ago.
    fn make_room(&mut self, now: i64) -> Shed {
        let mut shed = Shed::default();
        if self.bytes <= self.bytes_max {
            return shed;
        }
        let mut order: Vec<(u64, i64, u128)> = Vec::with_capacity(self.keys.len());
        order.extend(self.keys.iter().map(|(key, of)| (of.seen(), of.last, *key)));
        order.sort_unstable();
        let wanted = self.bytes_max / 4 * 3;
        for (_, _, key) in order {
            if self.bytes <= wanted {
                break;
            }
            let gone = self.keys.remove(&key).map_or(0, |learned| learned.bytes());
            self.bytes = self.bytes.saturating_sub(gone);
            shed.rows += 1;
            shed.bytes += u64::try_from(gone).unwrap_or(u64::MAX);
        }
        self.lossy_until = now.saturating_add(FORGET_MS / self.period_ms);
        shed
    }

    fn count(&mut self) {
        self.bytes = self.keys.values().map(Learned::bytes).sum();
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.closed);
        out.put(&self.swept);
        out.put(&self.lossy_until);
        out.len(self.keys.len());
        for (key, learned) in &self.keys {
            out.put(key);
            out.put(learned);
        }
    }

    /// Reads what [`Baseline::write`] wrote into one that has learned nothing.
    pub(crate) fn read(&mut self, from: &mut Reader<'_>) -> Result<(), WireError> {
        self.closed = from.get()?;
        self.swept = from.get()?;
        self.lossy_until = from.get()?;
        for _key in 0..from.count("keys with a past")? {
            let (key, learned): (u128, Learned) = (from.get()?, from.get()?);
            let in_order = learned.seasons.is_sorted_by(|a, b| a.of < b.of)
                && learned.recent.is_sorted_by(|a, b| a.period < b.period);
            if !in_order {
                return Err(WireError::Malformed { what: "the past of a key" });
            }
            self.keys.insert(key, learned);
        }
        self.count();
        Ok(())
    }
}

impl Learned {
    fn bytes(&self) -> usize {
        KEY_BYTES + self.seasons.len() * SEASON_BYTES + self.recent.len() * RECENT_BYTES
    }

    /// How much it taught.
    fn seen(&self) -> u64 {
        let taught = self.seasons.iter().map(|season| u64::from(season.seen));
        taught.sum::<u64>() + u64::try_from(self.recent.len()).unwrap_or(u64::MAX)
    }

    /// Changes what is known of a period that has not taught.
    fn change(&mut self, period: i64, change: impl FnOnce(&mut Recent)) {
        let at = self.recent.partition_point(|recent| recent.period < period);
        if self.recent.get(at).is_none_or(|recent| recent.period != period) {
            self.recent.insert(at, Recent { period, most: 0, fired: false });
        }
        if let Some(recent) = self.recent.get_mut(at) {
            change(recent);
        }
    }
}

impl Season {
    fn new(of: u8, first: i64, week: i32) -> Self {
        let (mean_before, deviation_before) = (f32::INFINITY, f32::INFINITY);
        let mean = narrow(fraction(first));
        Self { of, seen: 1, mean, deviation: 0.0, week, mean_before, deviation_before }
    }

    fn take(&mut self, most: i64, week: i32) {
        if week != self.week {
            self.week = week;
            (self.mean_before, self.deviation_before) = (self.mean, self.deviation);
        }
        self.seen = self.seen.saturating_add(1);
        let weight = (1.0 / f64::from(self.seen)).max(WEIGHT_MIN);
        let (mean, deviation) = (f64::from(self.mean), f64::from(self.deviation));
        let apart = fraction(most) - mean;
        let step = weight * apart;
        let variance = (1.0 - weight) * (deviation * deviation + step * apart);
        let grown =
            |now: f64, before: f32| narrow(now.min(f64::from(before) * GROWTH + GROWTH_MIN));
        self.mean = grown(mean + step, self.mean_before);
        self.deviation = grown(variance.max(0.0).sqrt(), self.deviation_before);
    }

    fn usual(&self, deviations: f64) -> f64 {
        let (mean, deviation) = (f64::from(self.mean), f64::from(self.deviation));
        mean + deviations * (deviation * deviation + mean).max(0.0).sqrt()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits are enough of what is usual")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "as HAVING compares it")]
fn fraction(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
