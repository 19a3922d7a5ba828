//! A reducer whose exchange partitions move to a process without a checkpoint in its folder, after
//! the beginning of the exchange is gone.

use std::time::Duration;

use runtime::clock::Clock;
use schemas::{BatchBuilder, Event, EventTime, Framing, LazyEncoder, RecordKind};
use transport::memory::MemoryLog;
use transport::{Log, NewRecord, Partition};

use super::{Dice, EXCHANGES, SOURCES, Schedule, Weather, carry, process};

const BEGIN: i64 = 1_767_571_200_000;

/// An answer of 200 for each second and caller.
fn answers(source: Partition, events: &[(i64, &str)]) -> Vec<NewRecord> {
    let mut builder = BatchBuilder::default();
    for (second, caller) in events {
        builder.push(&Event {
            event_id: Some(format!("{source} {second} {caller}").into()),
            event_time: Some(EventTime(BEGIN + second * 1_000)),
            client_ip: Some((*caller).to_owned().into()),
            account: Some("a".into()),
            path: Some("/v1".into()),
            status: Some(200),
            ..Event::default()
        });
    }
    let mut encoder = LazyEncoder::new(RecordKind::Enriched, Framing::SingleObject);
    let records = encoder.encode(&builder.finish().unwrap()).unwrap();
    records.into_iter().map(NewRecord::new).collect()
}

impl Schedule {
    /// Callers come, in every source partition.
    async fn say(&self, events: &[(i64, &str)]) {
        for source in (0..SOURCES).map(Partition) {
            self.raw.append(source, answers(source, events)).await.unwrap();
        }
    }

    /// Ends the reducer, and forgets the exchange up to its end.
    async fn move_away(&mut self) {
        self.reap().await.unwrap();
        self.reduces.drain(..).for_each(|process| process.abort());
        for partition in (0..EXCHANGES).map(Partition) {
            let end = self.exchange.frames.bounds(partition).await.unwrap().end;
            self.exchange.frames.trim_before(partition, end).await.unwrap();
        }
    }

    /// Who was new, by the rule that asks for it.
    async fn firsts(&self) -> Vec<String> {
        let closed = self.closed().await.unwrap().into_keys();
        let of_rule = closed.filter_map(|word| Some(word.strip_prefix("x/first ")?.to_owned()));
        let key = |word: String| Some(word.split('"').nth(3)?.to_owned());
        of_rule.filter_map(key).collect()
    }

    fn remark(&self) -> String {
        let remarks = self.ready.report().remarks.into_iter();
        remarks.map(|remark| remark.reason).collect::<Vec<_>>().join("\n")
    }
}

/// A caller is known for longer than it takes to learn; then the reducer moves. `between` is done
/// while there is none.
async fn moved(between: impl AsyncFnOnce(&mut Schedule)) -> Schedule {
    let mut schedule = Schedule::new(0, None);
    drop(process(carry(schedule.carried.clone(), Dice(0), Weather::Calm)));
    schedule.begin_hop();
    schedule.begin_map();
    schedule.begin_reduce("0");
    let known: Vec<(i64, &str)> = (0..8).map(|at| (at * 5, "192.0.2.1")).collect();
    schedule.say(&known).await;
    pass(&mut schedule).await;
    assert_eq!(schedule.remark(), "", "nothing is forgotten");
    schedule.move_away().await;
    between(&mut schedule).await;
    schedule.begin_reduce("1");
    pass(&mut schedule).await;
    schedule.say(&[(42, "192.0.2.1"), (44, "192.0.2.2"), (58, "192.0.2.1")]).await;
    pass(&mut schedule).await;
    schedule
}

/// Longer than it takes to write checkpoints.
async fn pass(schedule: &mut Schedule) {
    tokio::time::sleep(Duration::from_secs(15)).await;
    schedule.reap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_rules_remember_moves_with_the_partition_when_the_exchange_has_forgotten_it() {
    let mut schedule = moved(async |_| ()).await;
    assert_eq!(schedule.remark(), "");
    schedule.say(&[(200, "192.0.2.9")]).await;
    pass(&mut schedule).await;
    assert_eq!(schedule.firsts().await, ["192.0.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_checkpoint_holds_is_said_by_rule_until_it_is_learned_again() {
    let mut schedule = moved(async |schedule| {
        let empty = MemoryLog::behind_a_network("detect.state", EXCHANGES, Clock::system());
        drop(process(carry(vec![empty.clone()], Dice(0), Weather::Calm)));
        schedule.state = Log::Memory(empty);
    })
    .await;
    let remark = schedule.remark();
    assert_eq!(remark.matches("`x/first` until 2026-01-05T00:01:03.000Z").count(), 1, "{remark}");
    // Another process goes on from the next checkpoint on the topic, in which that stands.
    tokio::time::sleep(Duration::from_mins(6)).await;
    schedule.move_away().await;
    schedule.begin_reduce("2");
    pass(&mut schedule).await;
    assert_eq!(schedule.remark(), remark);
    let after = [(70, "192.0.2.1"), (80, "192.0.2.3"), (110, "192.0.2.1")];
    schedule.say(&after).await;
    pass(&mut schedule).await;
    assert_eq!(schedule.remark(), "");
    schedule.say(&[(300, "192.0.2.9")]).await;
    pass(&mut schedule).await;
    assert_eq!(schedule.firsts().await, ["192.0.2.3"], "the other came while it learned");
}

#[tokio::test(start_paused = true)]
async fn where_the_exchange_begins_anew_its_verdicts_are_not_taken_for_said() {
    let mut schedule = moved(async |_| ()).await;
    schedule.say(&[(200, "192.0.2.1")]).await;
    pass(&mut schedule).await;
    assert_eq!(schedule.firsts().await, ["192.0.2.2"]);
    // Somebody deletes the topics; all that is in the enriched log is mapped again, in few frames.
    schedule.move_away().await;
    schedule.maps.drain(..).for_each(|process| process.abort());
    let empty = |name| MemoryLog::new(name, EXCHANGES, Clock::system());
    schedule.exchange.frames = Log::Memory(empty("detect.exchange"));
    schedule.exchange.markers = Log::Memory(empty("detect.markers"));
    schedule.state = Log::Memory(empty("detect.state"));
    let known: Vec<(i64, &str)> = (40..46).map(|at| (at * 5, "192.0.2.1")).collect();
    schedule.say(&known).await;
    schedule.say(&[(228, "192.0.2.7"), (400, "192.0.2.1")]).await;
    schedule.begin_map();
    schedule.begin_reduce("3");
    pass(&mut schedule).await;
    assert_eq!(schedule.firsts().await, ["192.0.2.2", "192.0.2.7"]);
}
