//! The hop against the model of its protocol, and the loop around it.

mod model;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::{any, prop_assert_eq, proptest};
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::metrics::Metrics;
use tokio::sync::watch;

use super::{HopError, HopInput, HopMetrics, HopTask, Produced};
use crate::log::{Log, ReadLimits};
use crate::memory::MemoryLog;
use crate::origin::{Admission, OriginGate};
use crate::record::{NewRecord, NextOffset, Partition, Record};

const P0: Partition = Partition(0);

fn log(topic: &str) -> Log {
    Log::Memory(MemoryLog::new(topic, 1, Clock::manual(1_000).clock()))
}

/// An input `abc` gives the records `a`, `b`, `c`; an empty one gives a dead letter.
fn letters(batch: &[Record]) -> Vec<Produced> {
    batch
        .iter()
        .map(|record| {
            let value = &record.value;
            if value.is_empty() {
                return Produced::dead("empty", vec![NewRecord::new(record.offset.to_string())]);
            }
            let records = (0..value.len()).map(|at| NewRecord::new(value.slice(at..=at)));
            Produced { records: records.collect(), ..Produced::default() }
        })
        .collect()
}

fn same(batch: &[Record]) -> Vec<Produced> {
    batch.iter().map(|record| Produced::one(NewRecord::new(record.value.clone()))).collect()
}

fn task(input: &Log, output: &Log, dead: &Log, kind: HopInput) -> HopTask {
    HopTask {
        input: input.clone(),
        partition: P0,
        kind,
        output: output.clone(),
        output_partition: P0,
        session: output.output().unwrap(),
        dead_letters: dead.output().unwrap(),
        committed: None,
        limits: ReadLimits {
            records_max: 3,
            wait: Duration::from_millis(1),
            ..ReadLimits::default()
        },
        metrics: HopMetrics::new(&Metrics::new()),
    }
}

/// Gives up on a future after so many polls: a crash at an arbitrary point.
struct Crash<F> {
    running: Pin<Box<F>>,
    polls_left: u32,
}

impl<F: Future> Future for Crash<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.running.as_mut().poll(cx).map(Some)
    }
}

/// Runs a hop until `until` inputs are used, through a crash after each of `crashes` polls.
async fn run(
    make: impl Fn() -> HopTask,
    apply: fn(&[Record]) -> Vec<Produced>,
    crashes: &[u32],
    until: NextOffset,
) {
    for polls in crashes.iter().copied().chain([u32::MAX]) {
        let stop = CancellationToken::new();
        let (progress, mut seen) = watch::channel(NextOffset::ZERO);
        let mut transform = apply;
        let running = make().run(&mut transform, progress, &stop);
        let crash = Crash { running: Box::pin(running), polls_left: polls };
        let stopping = async {
            // A crash drops the sender; that ends the waiting as well.
            drop(seen.wait_for(|next| *next >= until).await);
            stop.cancel();
        };
        if until == NextOffset::ZERO {
            stop.cancel();
        }
        let (ended, ()) = tokio::join!(crash, stopping);
        if let Some(result) = ended {
            result.unwrap();
            return;
        }
    }
}

/// What a reader accepts of a log.
async fn accepted(log: &Log) -> Vec<String> {
    let mut gate = OriginGate::new();
    let bounds = log.bounds(P0).await.unwrap();
    let mut reader = log.reader(P0, bounds.start).await.unwrap();
    let mut values = Vec::new();
    while reader.next_offset() < bounds.end {
        for record in reader.next(ReadLimits::default()).await.unwrap().records {
            if let Admission::Payload(_) = gate.admit(&record).unwrap() {
                values.push(String::from_utf8(record.value.to_vec()).unwrap());
            }
        }
    }
    values
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn every_record_arrives_once_and_in_order_through_two_hops_that_crash(
        inputs in proptest::collection::vec("[a-z]{0,3}", 0..12),
        crashes in proptest::collection::vec(1..12_u32, 0..6),
        pending in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (raw, events, enriched) = (log("raw"), log("events"), log("enriched"));
            let dead = log("dead");
            for input in &inputs {
                raw.append(P0, vec![NewRecord::new(input.clone())]).await.unwrap();
            }
            let until = raw.bounds(P0).await.unwrap().end;
            if pending && !inputs.is_empty() {
                // Something is there already that was written by an owner who is gone.
                let first = || task(&raw, &events, &dead, HopInput::Raw);
                run(first, letters, &[2], NextOffset(1)).await;
            }
            run(|| task(&raw, &events, &dead, HopInput::Raw), letters, &crashes, until).await;
            let until = events.bounds(P0).await.unwrap().end;
            let next = || task(&events, &enriched, &dead, HopInput::Stamped);
            run(next, same, &crashes, until).await;

            let expected: Vec<String> =
                inputs.iter().flat_map(|input| input.chars()).map(String::from).collect();
            prop_assert_eq!(accepted(&events).await, expected.clone());
            prop_assert_eq!(accepted(&enriched).await, expected);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_quiet_partition_gives_time_marks_that_the_next_hop_passes_on() {
    let hand = Clock::manual(5_000);
    let raw = Log::Memory(MemoryLog::new("raw", 1, hand.clock()));
    let (events, enriched, dead) = (log("events"), log("enriched"), log("dead"));
    let first = || task(&raw, &events, &dead, HopInput::Raw);
    let stop = CancellationToken::new();
    let mut ends = match &events {
        Log::Memory(log) => log.clone(),
        _ => panic!("it is in memory"),
    };
    let (progress, _seen) = watch::channel(NextOffset::ZERO);
    let mut transform = letters;
    let (result, ()) = tokio::join!(first().run(&mut transform, progress, &stop), async {
        while ends.bounds(P0).unwrap().end == NextOffset::ZERO {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ends = ends.clone();
        stop.cancel();
    });
    result.unwrap();
    let until = events.bounds(P0).await.unwrap().end;
    run(|| task(&events, &enriched, &dead, HopInput::Stamped), same, &[], until).await;

    let last = enriched.last(P0).await.unwrap().unwrap();
    assert_eq!(OriginGate::new().admit(&last), Ok(Admission::Mark(5_000)));
    // And the raw partition is still to be read from its beginning.
    let hop = task(&raw, &events, &dead, HopInput::Raw).resume().await.unwrap();
    assert_eq!(hop.next_offset(), NextOffset::ZERO);
}

#[tokio::test]
async fn a_recreated_input_stops_the_hop_with_the_reason() {
    let (raw, events, dead) = (log("raw"), log("events"), log("dead"));
    raw.append(P0, vec![NewRecord::new("a")]).await.unwrap();
    run(|| task(&raw, &events, &dead, HopInput::Raw), letters, &[], NextOffset(1)).await;
    let recreated = log("raw");
    let refused = task(&recreated, &events, &dead, HopInput::Raw).resume().await.unwrap_err();
    assert!(matches!(refused, HopError::Recreated { .. }), "{refused}");
    assert!(refused.to_string().contains("was recreated"), "{refused}");
}

#[tokio::test]
async fn a_truncated_or_trimmed_input_stops_the_hop_with_the_reason() {
    let (raw, events, dead) = (log("raw"), log("events"), log("dead"));
    let inputs = || vec![NewRecord::new("a"), NewRecord::new("b"), NewRecord::new("c")];
    raw.append(P0, inputs()).await.unwrap();
    run(|| task(&raw, &events, &dead, HopInput::Raw), letters, &[], NextOffset(2)).await;
    raw.append(P0, inputs()).await.unwrap();
    raw.trim_before(P0, NextOffset(5)).await.unwrap();
    let refused = task(&raw, &events, &dead, HopInput::Raw).resume().await.unwrap_err();
    assert!(refused.to_string().contains("records are lost"), "{refused}");
}

#[tokio::test]
async fn the_committed_offset_counts_only_when_the_output_is_empty() {
    let (raw, events, dead) = (log("raw"), log("events"), log("dead"));
    raw.append(P0, vec![NewRecord::new("a"), NewRecord::new("b")]).await.unwrap();
    let committed =
        || HopTask { committed: Some(NextOffset(1)), ..task(&raw, &events, &dead, HopInput::Raw) };
    run(committed, letters, &[], NextOffset(2)).await;
    assert_eq!(accepted(&events).await, ["b"]);
    let hop = HopTask { committed: Some(NextOffset(0)), ..committed() }.resume().await.unwrap();
    assert_eq!(hop.next_offset(), NextOffset(2));
}

#[tokio::test]
async fn a_record_that_no_hop_wrote_becomes_a_void_with_the_reason() {
    let (events, enriched, dead) = (log("events"), log("enriched"), log("dead"));
    events.append(P0, vec![NewRecord::new("intruder")]).await.unwrap();
    let metrics = Metrics::new();
    let counted = HopMetrics::new(&metrics);
    let next = || HopTask {
        metrics: counted.clone(),
        ..task(&events, &enriched, &dead, HopInput::Stamped)
    };
    run(next, same, &[], NextOffset(1)).await;
    let count = "tidegate_hop_voids_records_total{reason=\"foreign-record\"} 1";
    assert!(metrics.encode().contains(count), "{}", metrics.encode());
    let last = enriched.last(P0).await.unwrap().unwrap();
    let admitted = OriginGate::new().admit(&last).unwrap();
    assert!(matches!(admitted, Admission::Void(_, reason) if reason == "foreign-record"));
}
