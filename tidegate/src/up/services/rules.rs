//! The topic of rules: what is to run, in the order in which it was asked for.
//!
//! Owns: reading it and asking by it, and that all processes hash keys of rules under one key. Never:
//! when rules switch; owners of source partitions do that.
//!
//! A record has the check of its writer's key in a header. The first that has one says which key this
//! exchange is of: what others would write to it would be lost on those who read it, so they do not
//! begin, and records of theirs are passed over. Records of earlier builds have none.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use detect::exchange::{Numbered, Rules};
use engine::key::HashKey;
use engine::ruleset::Ruleset;
use tracing::{error, info, warn};
use transport::{Log, LogError, NewRecord, Partition, ReadLimits, Record};

use super::super::rules::{Ask, InForce, RulesMetrics, of_log};
use crate::fault::Fault;
use crate::pack::Texts;

/// The header with the check of the writer's key.
const KEY_HEADER: &str = "tidegate-key";

/// A switch is a record of the topic.
#[derive(Debug, Clone)]
pub(super) struct ByTopic {
    pub(super) log: Log,
    pub(super) hash_key: HashKey,
}

impl Ask for ByTopic {
    async fn ask(&self, texts: &Texts) -> Result<(), LogError> {
        self.log.append(Partition(0), vec![record(texts, self.hash_key)]).await.map(drop)
    }
}

/// Its key is its own, so that compaction removes none: a number must stay what it was.
fn record(texts: &Texts, hash_key: HashKey) -> NewRecord {
    let key = Some(Bytes::from(uuid::Uuid::new_v4().to_string()));
    let headers = vec![(KEY_HEADER.to_owned(), Bytes::from(hash_key.check()))];
    NewRecord { key, headers, ..NewRecord::new(Bytes::from(texts.encode())) }
}

/// Whether whoever wrote it hashes under this key, as far as it says.
fn is_ours(record: &Record, hash_key: HashKey) -> bool {
    record.header(KEY_HEADER).is_none_or(|check| *check == hash_key.check())
}

/// What this process was told by the topic.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) rules: Rules,
    hash_key: HashKey,
    in_force: InForce,
    metrics: RulesMetrics,
}

/// Reads what is there; asks for the folder's rules where nothing is, or nobody has said under which
/// key. Refuses to begin with another key than others have.
pub(super) async fn begin(
    log: &Log,
    folder: &Texts,
    hash_key: HashKey,
    (in_force, metrics): (InForce, RulesMetrics),
) -> Result<Told, Fault> {
    let fault = |error: LogError| Fault::of(&error);
    let mut held = Held::read(log, hash_key).await.map_err(fault)?;
    if held.first_key.is_none() || held.last(hash_key).is_none() {
        ByTopic { log: log.clone(), hash_key }.ask(folder).await.map_err(fault)?;
        // Another process may have been faster.
        held = Held::read(log, hash_key).await.map_err(fault)?;
    }
    if held.first_key.as_ref().is_some_and(|check| *check != hash_key.check()) {
        return Err(other_key(log));
    }
    let Some((number, (texts, ruleset))) = held.last(hash_key) else {
        return Err(Fault::Dependency("the topic of rules does not hold what it took".to_owned()));
    };
    let make = move |bytes: &[u8]| of_log(bytes, hash_key).map(|(_texts, ruleset)| ruleset);
    in_force.switched(texts.hash(), &ruleset);
    let rules = Rules::new(log.clone(), Numbered { number, ruleset }, Arc::new(make));
    held.numbers.into_iter().for_each(|number| rules.remember(number));
    Ok(Told { rules, hash_key, in_force, metrics })
}

fn other_key(log: &Log) -> Fault {
    Fault::Usage(format!(
        "the `key` file in `storage.folder` is another than that of the processes that share `{}`: \
         rules would count under other hashes than theirs; copy the file from one of them, and start \
         again. Where the key is lost, or is to be another: stop every `detect` and `up` of this \
         installation, delete the topics `detect.rules`, `detect.exchange`, `detect.markers` and \
         `detect.state`, and start; what rules have counted and remembered begins anew",
        log.topic()
    ))
}

/// Records whose texts are held while the last that can run is looked for.
const HELD_MAX: usize = 64;

/// What the topic holds for processes with this key.
#[derive(Default)]
struct Held {
    /// The first check of a key.
    first_key: Option<Bytes>,
    numbers: Vec<i64>,
    /// The last records.
    records: VecDeque<Record>,
}

impl Held {
    async fn read(log: &Log, hash_key: HashKey) -> Result<Self, LogError> {
        let bounds = log.bounds(Partition(0)).await?;
        let mut reader = log.apart().reader(Partition(0), bounds.start).await?;
        let mut held = Self::default();
        while reader.next_offset() < bounds.end {
            for record in reader.next(ReadLimits::default()).await?.records {
                held.take(record, hash_key);
            }
        }
        Ok(held)
    }

    fn take(&mut self, record: Record, hash_key: HashKey) {
        self.first_key = self.first_key.take().or_else(|| record.header(KEY_HEADER).cloned());
        if !is_ours(&record, hash_key) {
            return;
        }
        self.numbers.push(record.offset.0);
        self.records.push_back(record);
        if self.records.len() > HELD_MAX {
            self.records.pop_front();
        }
    }

    /// The last that can run here.
    fn last(&self, hash_key: HashKey) -> Option<(i64, (Texts, Arc<Ruleset>))> {
        let runs = |record: &Record| of_log(&record.value, hash_key).ok();
        self.records.iter().rev().find_map(|record| Some((record.offset.0, runs(record)?)))
    }
}

impl Told {
    /// Takes further records.
    pub(super) fn take(&self, records: &[Record]) {
        for record in records {
            let number = record.offset.0;
            if number <= self.rules.latest().number {
                continue;
            }
            if !is_ours(record, self.hash_key) {
                warn!(number, "rules of a process with another `key` file are passed over");
                continue;
            }
            match of_log(&record.value, self.hash_key) {
                Ok((texts, ruleset)) => {
                    info!(ruleset = texts.hash(), number, rules = ruleset.len(), "other rules");
                    self.in_force.switched(texts.hash(), &ruleset);
                    self.metrics.switched();
                    self.rules.publish(Numbered { number, ruleset });
                }
                Err(why) => {
                    // Whoever wrote them could run them: another build.
                    error!(
                        number,
                        why,
                        "rules of the topic cannot run in this build; those before go on until \
                         another process maps by these: run the build here that asked for them"
                    );
                    // Whoever waits for them is to hear so.
                    self.rules.remember(number);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::key::HashKey;
    use runtime::clock::Clock;
    use runtime::metrics::Metrics;
    use transport::memory::MemoryLog;
    use transport::{Log, NewRecord, NextOffset, Partition, ReadLimits};

    use super::super::super::rules::{Ask, InForce, RulesMetrics};
    use super::{ByTopic, Told, begin};
    use crate::fault::Fault;
    use crate::pack::Texts;

    const OURS: [u8; 16] = [1; 16];
    const THEIRS: [u8; 16] = [2; 16];

    fn log() -> Log {
        Log::Memory(MemoryLog::new("detect.rules", 1, Clock::system()))
    }

    async fn process(log: &Log, secret: [u8; 16]) -> Result<Told, Fault> {
        let texts = Texts::read(None).unwrap();
        let hash_key = HashKey::derived(secret);
        let in_force = InForce::new(texts.hash(), &texts.ruleset(hash_key).unwrap());
        begin(log, &texts, hash_key, (in_force, RulesMetrics::new(&Metrics::new()))).await
    }

    #[tokio::test]
    async fn a_process_with_another_key_than_the_first_is_refused_with_what_to_do() {
        let log = log();
        let first = process(&log, OURS).await.unwrap();
        assert!(first.rules.latest().ruleset.hash_key() == HashKey::derived(OURS));
        let refused = process(&log, THEIRS).await.unwrap_err().to_string();
        assert!(
            refused.contains("copy the file") && refused.contains("`detect.rules`"),
            "{refused}"
        );
        let again = process(&log, OURS).await.unwrap();
        assert_eq!(again.rules.latest().number, 0, "nothing was asked for twice");
    }

    #[tokio::test]
    async fn where_two_begin_at_once_the_first_record_decides_and_the_others_are_passed_over() {
        let (log, texts) = (log(), Texts::read(None).unwrap());
        let ours = ByTopic { log: log.clone(), hash_key: HashKey::derived(OURS) };
        let theirs = ByTopic { log: log.clone(), hash_key: HashKey::derived(THEIRS) };
        ours.ask(&texts).await.unwrap();
        theirs.ask(&texts).await.unwrap();
        assert_eq!(process(&log, OURS).await.unwrap().rules.latest().number, 0);
        assert!(process(&log, THEIRS).await.is_err());
        let told = process(&log, OURS).await.unwrap();
        theirs.ask(&texts).await.unwrap();
        ours.ask(&texts).await.unwrap();
        let mut reader = log.reader(Partition(0), NextOffset(0)).await.unwrap();
        told.take(&reader.next(ReadLimits::default()).await.unwrap().records);
        assert_eq!(told.rules.latest().number, 3);
    }

    #[tokio::test]
    async fn rules_of_an_earlier_build_run_on_and_the_key_is_said_behind_them() {
        let log = log();
        let texts = Texts::read(None).unwrap();
        log.append(Partition(0), vec![NewRecord::new(texts.encode())]).await.unwrap();
        let told = process(&log, OURS).await.unwrap();
        assert_eq!(told.rules.latest().number, 1);
        assert!(process(&log, THEIRS).await.is_err());
        assert_eq!(process(&log, OURS).await.unwrap().rules.latest().number, 1);
    }
}
