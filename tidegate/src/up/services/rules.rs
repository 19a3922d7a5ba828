//! The topic of rules: what is to run, in the order in which it was asked for.
//!
//! Owns: reading it and asking by it. Never: when rules switch; owners of source partitions do that.

use std::sync::Arc;

use bytes::Bytes;
use detect::exchange::{Numbered, Rules};
use tracing::{error, info};
use transport::{Log, LogError, NewRecord, Partition, ReadLimits, Record};

use super::super::rules::{Ask, InForce, RulesMetrics, of_log};
use crate::fault::Fault;
use crate::pack::Texts;

/// A switch is a record of the topic.
#[derive(Debug, Clone)]
pub(super) struct ByTopic(pub(super) Log);

impl Ask for ByTopic {
    async fn ask(&self, texts: &Texts) -> Result<(), LogError> {
        self.0.append(Partition(0), vec![record(texts)]).await.map(drop)
    }
}

/// Its key is its own, so that compaction removes none: a number must stay what it was.
fn record(texts: &Texts) -> NewRecord {
    let key = Some(Bytes::from(uuid::Uuid::new_v4().to_string()));
    NewRecord { key, ..NewRecord::new(Bytes::from(texts.encode())) }
}

/// What this process was told by the topic.
pub(super) struct Told {
    pub(super) rules: Rules,
    in_force: InForce,
    metrics: RulesMetrics,
}

/// Reads what is there; asks for the folder's rules where nothing is.
pub(super) async fn begin(
    log: &Log,
    folder: &Texts,
    in_force: InForce,
    metrics: RulesMetrics,
) -> Result<Told, Fault> {
    let fault = |error: LogError| Fault::of(&error);
    let mut records = read(log).await.map_err(fault)?;
    let runs = |record: &Record| of_log(&record.value).ok();
    if !records.iter().any(|record| runs(record).is_some()) {
        ByTopic(log.clone()).ask(folder).await.map_err(fault)?;
        records = read(log).await.map_err(fault)?;
    }
    let last = records.iter().rev().find_map(|record| Some((record.offset.0, runs(record)?)));
    let Some((number, (texts, ruleset))) = last else {
        return Err(Fault::Dependency("the topic of rules does not hold what it took".to_owned()));
    };
    let make = |bytes: &[u8]| of_log(bytes).map(|(_texts, ruleset)| ruleset);
    in_force.switched(texts.hash(), &ruleset);
    let rules = Rules::new(Numbered { number, ruleset }, Arc::new(make));
    for record in records.iter().filter(|record| record.offset.0 < number) {
        rules.remember(record.offset.0, record.value.clone());
    }
    Ok(Told { rules, in_force, metrics })
}

async fn read(log: &Log) -> Result<Vec<Record>, LogError> {
    let bounds = log.bounds(Partition(0)).await?;
    let mut reader = log.apart().reader(Partition(0), bounds.start).await?;
    let mut records = Vec::new();
    while reader.next_offset() < bounds.end {
        records.extend(reader.next(ReadLimits::default()).await?.records);
    }
    Ok(records)
}

impl Told {
    /// Takes further records.
    pub(super) fn take(&self, records: &[Record]) {
        for record in records {
            let number = record.offset.0;
            if number <= self.rules.latest().number {
                continue;
            }
            match of_log(&record.value) {
                Ok((texts, ruleset)) => {
                    info!(ruleset = texts.hash(), number, rules = ruleset.len(), "other rules");
                    self.in_force.switched(texts.hash(), &ruleset);
                    self.metrics.switched();
                    self.rules.publish(Numbered { number, ruleset });
                }
                Err(why) => {
                    // Whoever wrote them could run them: another build.
                    error!(number, why, "rules of the topic cannot run here; those before go on");
                }
            }
        }
    }
}
