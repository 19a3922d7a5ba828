//! Rulesets by their numbers, as a topic gives them.
//!
//! Owns: which are known, waiting for one, and reading one again. Never: following the topic; making
//! a ruleset of a text, which whoever sets this up knows.
//!
//! A number is an offset of that topic, so that a greater one is a later one. An owner maps by one
//! ruleset as long as it lives and says by which when it opens; other rules take a new owner. A
//! reducer takes the greatest that an owner has opened with, at that open. So a switch stands in
//! the exchange, and whoever folds it switches at the same place, also one that folds it much later:
//! numbers are known for ever, and what is not kept is read from the topic.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::ruleset::Ruleset;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;
use transport::{Log, NextOffset, Partition, ReadLimits};

use super::ExchangeError;

/// Makes a ruleset of its record, or says why it cannot.
pub type MakeRuleset = dyn Fn(&[u8]) -> Result<Arc<Ruleset>, String> + Send + Sync;

/// Rulesets that are kept ready to run. Older ones are needed only for frames from before as many
/// changes, and are made again then.
const MADE_MAX: usize = 64;
/// Between two words of what is waited for.
const WAIT_TOLD: Duration = Duration::from_secs(10);

/// A ruleset with its number.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Its number.
    pub number: i64,
    /// The ruleset.
    pub ruleset: Arc<Ruleset>,
}

/// The rulesets that are known. Clones are one.
#[derive(Clone)]
pub struct Rules {
    log: Log,
    make: Arc<MakeRuleset>,
    known: watch::Sender<Known>,
    /// The latest that runs here.
    latest: watch::Sender<Numbered>,
}

/// By number: the ruleset, where it is kept.
type Known = BTreeMap<i64, Option<Arc<Ruleset>>>;

/// A ruleset that an owner maps by cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rules number {number} of `{topic}`: {why}")]
pub struct RulesError {
    /// The topic of rules.
    pub topic: Arc<str>,
    /// Its number.
    pub number: i64,
    /// Why.
    pub why: String,
}

impl fmt::Debug for Rules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rules").field("latest", &self.latest.borrow().number).finish()
    }
}

/// Keeps a ruleset, and no more than there is room for.
fn keep(known: &mut Known, of: Numbered) {
    known.insert(of.number, Some(of.ruleset));
    let made = known.values_mut().filter(|ruleset| ruleset.is_some());
    let too_many = made.count().saturating_sub(MADE_MAX);
    let made = known.values_mut().filter(|ruleset| ruleset.is_some());
    made.take(too_many).for_each(|ruleset| *ruleset = None);
}

impl Rules {
    /// Those of this topic; this one is the latest.
    #[must_use]
    pub fn new(log: Log, latest: Numbered, make: Arc<MakeRuleset>) -> Self {
        let known = BTreeMap::from([(latest.number, Some(Arc::clone(&latest.ruleset)))]);
        Self { log, make, known: watch::Sender::new(known), latest: watch::Sender::new(latest) }
    }

    /// One that is not to run from now on: it is from before the latest, or cannot run here. It is
    /// read and made when it is asked for.
    pub fn remember(&self, number: i64) {
        self.known.send_modify(|known| {
            known.entry(number).or_default();
        });
    }

    /// Another that is to run from now on. Not one that is older than the latest.
    pub fn publish(&self, next: Numbered) {
        self.known.send_modify(|known| keep(known, next.clone()));
        self.latest.send_if_modified(|latest| {
            let later = next.number > latest.number;
            if later {
                *latest = next;
            }
            later
        });
    }

    /// The latest.
    #[must_use]
    pub fn latest(&self) -> Numbered {
        self.latest.borrow().clone()
    }

    /// The one of this number, once the topic has brought it.
    pub(super) async fn get(&self, number: i64) -> Result<Numbered, ExchangeError> {
        match self.reached(number).await {
            Some(Some(ruleset)) => Ok(Numbered { number, ruleset }),
            Some(None) => {
                let record = self.read(number).await?;
                let made = (self.make)(&record).map_err(|why| {
                    self.error(
                        number,
                        &format!(
                            "they cannot run in this build: {why}; another build asked for them: \
                             run that one here as well"
                        ),
                    )
                })?;
                let of = Numbered { number, ruleset: made };
                self.known.send_modify(|known| keep(known, of.clone()));
                Ok(of)
            }
            None => Err(self.gone(number)),
        }
    }

    /// What is known of this number; waits until the topic has brought it, or a later one.
    async fn reached(&self, number: i64) -> Option<Option<Arc<Ruleset>>> {
        let mut known = self.known.subscribe();
        let is_there =
            |known: &Known| known.last_key_value().is_some_and(|(last, _)| *last >= number);
        loop {
            match timeout(WAIT_TOLD, known.wait_for(is_there)).await {
                // The sender lives in `self`.
                Ok(known) => return known.ok()?.get(&number).cloned(),
                Err(_elapsed) => {
                    let (topic, latest) = (self.log.topic(), self.latest().number);
                    warn!(
                        number,
                        latest,
                        %topic,
                        "waiting for rules that another process maps by: the topic has not brought \
                         them yet"
                    );
                }
            }
        }
    }

    async fn read(&self, number: i64) -> Result<Bytes, ExchangeError> {
        let bounds = self.log.bounds(Partition(0)).await?;
        if number < bounds.start.0 || number >= bounds.end.0 {
            return Err(self.gone(number));
        }
        let mut reader = self.log.apart().reader(Partition(0), NextOffset(number)).await?;
        loop {
            let fetched =
                reader.next(ReadLimits { records_max: 1, ..ReadLimits::default() }).await?;
            match fetched.records.into_iter().next() {
                Some(record) if record.offset.0 == number => return Ok(record.value),
                None if fetched.end_at_ms.is_none() => {}
                _ => return Err(self.gone(number)),
            }
        }
    }

    fn gone(&self, number: i64) -> ExchangeError {
        let why = "it does not hold them, or they are of a process with another `key` file; start \
                   over with an empty exchange topic, and let nobody remove records of this one";
        self.error(number, why)
    }

    fn error(&self, number: i64, why: &str) -> ExchangeError {
        let (topic, why) = (Arc::clone(self.log.topic()), why.to_owned());
        RulesError { topic, number, why }.into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use engine::ruleset::Ruleset;
    use runtime::clock::Clock;
    use tokio::time::timeout;
    use transport::memory::MemoryLog;
    use transport::{Log, NewRecord, Partition};

    use super::{MADE_MAX, Numbered, Rules};

    /// A topic of a hundred records, of which the 50th cannot run here.
    async fn topic() -> Log {
        let log = Log::Memory(MemoryLog::new("detect.rules", 1, Clock::system()));
        let text = |number| if number == 50 { "of the future" } else { "good" };
        let records = (0..100).map(|number| NewRecord::new(text(number))).collect();
        log.append(Partition(0), records).await.unwrap();
        log
    }

    fn make(bytes: &[u8]) -> Result<Arc<Ruleset>, String> {
        if bytes != b"good" {
            return Err("line 3: an unknown function".to_owned());
        }
        Ok(Arc::new(Ruleset::new(Vec::new()).unwrap()))
    }

    fn numbered(number: i64) -> Numbered {
        Numbered { number, ruleset: make(b"good").unwrap() }
    }

    #[tokio::test]
    async fn however_many_came_since_those_of_an_old_open_can_be_had() {
        let rules = Rules::new(topic().await, numbered(0), Arc::new(make));
        (1..100).filter(|number| *number != 50).for_each(|number| rules.publish(numbered(number)));
        let made = |rules: &Rules| rules.known.borrow().values().flatten().count();
        assert_eq!(made(&rules), MADE_MAX);
        for number in [0, 3, 99] {
            assert_eq!(rules.get(number).await.unwrap().number, number);
            assert_eq!(made(&rules), MADE_MAX);
        }
        assert_eq!(rules.latest().number, 99);
    }

    #[tokio::test]
    async fn what_cannot_run_here_says_so_with_what_to_do() {
        let rules = Rules::new(topic().await, numbered(49), Arc::new(make));
        rules.remember(50);
        let error = rules.get(50).await.unwrap_err().to_string();
        assert!(error.contains("unknown function") && error.contains("run that one"), "{error}");
        let error = rules.get(7).await.unwrap_err().to_string();
        assert!(error.starts_with("rules number 7 of `detect.rules`: it does not hold"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_still_to_come_are_waited_for() {
        let rules = Rules::new(topic().await, numbered(10), Arc::new(make));
        let waiting = rules.get(20);
        tokio::pin!(waiting);
        assert!(timeout(Duration::from_mins(1), &mut waiting).await.is_err());
        rules.remember(20);
        assert_eq!(waiting.await.unwrap().number, 20);
        assert_eq!(rules.latest().number, 10);
    }
}
