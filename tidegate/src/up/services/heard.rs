//! Topics that fall silent.
//!
//! Owns: which partitions of a topic this process hears, and when they were last heard. Never: what
//! a record means.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::metrics::Gauges;
use transport::Record;
use transport::hop::{Produced, Transform};

use crate::up::silence::{self, Habit};

/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A raw topic as this process hears it. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    input: Arc<str>,
    clock: Clock,
    silent: Gauges<1>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Partitions that this process reads. Silence of what others read is theirs to tell.
    partitions: u32,
    habit: Habit,
}

/// A transform whose records count as heard.
#[derive(Debug)]
pub(super) struct Listening<T> {
    inner: T,
    heard: Heard,
}

impl Heard {
    pub(super) fn new(input: &str, clock: &Clock, silent: &Gauges<1>) -> Self {
        let (clock, silent) = (clock.clone(), silent.clone());
        Self { input: Arc::from(input), clock, silent, state: Arc::default() }
    }

    /// This process reads one more partition, for as long as the transform lives.
    pub(super) fn listening<T>(&self, inner: T) -> Listening<T> {
        self.state().partitions += 1;
        Listening { inner, heard: self.clone() }
    }

    /// Raises the alarm when it is due.
    pub(super) async fn watch(self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let turn = self.state().habit.quiet(self.clock.unix_ms());
            if let Some(turn) = turn {
                silence::say(turn, &self.input, &self.silent);
            }
        }
    }

    fn records(&self, count: usize) {
        let now = self.clock.unix_ms();
        let mut state = self.state();
        for turn in (0..count).filter_map(|_| state.habit.line(now)) {
            silence::say(turn, &self.input, &self.silent);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Transform> Transform for Listening<T> {
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced> {
        self.heard.records(batch.len());
        self.inner.apply(batch)
    }
}

impl<T> Drop for Listening<T> {
    fn drop(&mut self) {
        let mut state = self.heard.state();
        state.partitions = state.partitions.saturating_sub(1);
        if state.partitions == 0 {
            state.habit = Habit::default();
            self.heard.silent.with([&self.heard.input]).set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::clock::Clock;
    use runtime::metrics::Metrics;
    use transport::Record;
    use transport::hop::{Produced, Transform};

    use super::Heard;
    use crate::up::silence;

    #[test]
    fn who_reads_no_partition_any_more_tells_of_no_silence() {
        let metrics = Metrics::new();
        let heard = Heard::new("access.raw", &Clock::system(), &silence::declare(&metrics));
        let nothing = |_: &[Record]| Vec::<Produced>::new();
        let (one, other) = (heard.listening(nothing), heard.listening(nothing));
        heard.records(200);
        let later = heard.clock.unix_ms() + 1_000_000;
        drop(one);
        assert!(heard.state().habit.quiet(later).is_some());
        drop(other);
        assert!(heard.state().habit.quiet(later).is_none());
        let mut again = heard.listening(nothing);
        assert!(again.apply(&[]).is_empty());
    }
}
