//! The suite against a real broker, named by `TIDEGATE_KAFKA_BROKERS`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::error::{Class, Classified};
use runtime::metrics::Metrics;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use transport::hop::{HopError, HopInput, HopMetrics, HopStage, HopTask, Produced};
use transport::kafka::{Kafka, KafkaConfig, TopicSpec};
use transport::{
    Admission, Group, GroupEvent, Log, LogError, NewRecord, NextOffset, OriginGate, Output,
    Partition, ReadLimits, Record, Stamp, TopicId,
};

const P0: Partition = Partition(0);
const MINUTE: Duration = Duration::from_mins(1);

/// The brokers to test with. Without them a test says that it was skipped, and fails in CI.
fn brokers(test: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests are told of the broker here")]
    let (brokers, ci) = (std::env::var("TIDEGATE_KAFKA_BROKERS"), std::env::var("CI"));
    let Ok(brokers) = brokers else {
        assert!(ci.is_err(), "TIDEGATE_KAFKA_BROKERS is not set, and CI skips nothing");
        let line = format!("skipped {test}: TIDEGATE_KAFKA_BROKERS is not set\n");
        // Not captured, so that it is seen.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    Some(brokers)
}

fn cluster(brokers: &str, properties: &[(&str, &str)]) -> Kafka {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let config = KafkaConfig {
        brokers: brokers.to_owned(),
        client_id: "tidegate-test".to_owned(),
        properties: properties.iter().map(owned).collect(),
        clock: Clock::system(),
    };
    Kafka::new(config).unwrap()
}

/// A name that no other run uses.
fn fresh(name: &str) -> String {
    format!("test.{name}.{}", TopicId::random())
}

async fn create(kafka: &Kafka, name: &str, partitions: u32) -> Log {
    kafka.ensure(&TopicSpec::new(&fresh(name), partitions)).await.unwrap()
}

fn numbered(numbers: std::ops::Range<i64>) -> Vec<NewRecord> {
    numbers.map(|number| NewRecord::new(number.to_string())).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.to_vec()).unwrap()
}

/// Reads from `from` until `until`.
async fn read(log: &Log, partition: Partition, from: NextOffset, until: NextOffset) -> Vec<Record> {
    let mut reader = log.reader(partition, from).await.unwrap();
    let mut records = Vec::new();
    let deadline = Instant::now() + MINUTE;
    while reader.next_offset() < until {
        assert!(Instant::now() < deadline, "stuck at {} of {until}", reader.next_offset());
        records.extend(reader.next(ReadLimits::default()).await.unwrap().records);
    }
    records
}

#[tokio::test]
async fn a_topic_keeps_what_was_appended_with_all_its_parts() {
    let Some(brokers) = brokers("append and read") else { return };
    let kafka = cluster(&brokers, &[]);
    let log = create(&kafka, "append", 2).await;
    assert_eq!(log.partitions(), 2);
    assert!(log.bounds(P0).await.unwrap().is_empty());
    assert_eq!(log.last(P0).await.unwrap(), None);
    let record = NewRecord {
        timestamp_ms: Some(1_700_000_000_123),
        key: Some("k".into()),
        value: "v".into(),
        headers: vec![("h".into(), "1".into()), ("h".into(), "2".into())],
    };
    let range = log.append(P0, vec![record.clone(), NewRecord::new("")]).await.unwrap();
    assert_eq!((range.start, range.end), (NextOffset(0), NextOffset(2)));
    log.append(P0, numbered(2..5_000)).await.unwrap();

    let all = read(&log, P0, NextOffset::ZERO, NextOffset(5_000)).await;
    assert_eq!(all[0].timestamp_ms, record.timestamp_ms);
    assert_eq!((&all[0].key, &all[0].headers), (&record.key, &record.headers));
    assert!(all[1].value.is_empty());
    let offsets: Vec<i64> = all.iter().map(|record| record.offset.0).collect();
    assert_eq!(offsets, (0..5_000).collect::<Vec<_>>());
    assert!(all.iter().skip(2).all(|record| text(record) == record.offset.to_string()));
    assert_eq!(log.last(P0).await.unwrap().as_ref(), all.last());
    assert_eq!(read(&log, P0, NextOffset(4_990), NextOffset(5_000)).await.len(), 10);
    assert!(log.bounds(Partition(1)).await.unwrap().is_empty());

    let since = async |time| log.first_since(P0, time).await.unwrap();
    assert_eq!(since(0).await, NextOffset(0));
    assert_eq!(since(1_700_000_000_124).await, NextOffset(1), "the others are of now");
    assert_eq!(since(i64::MAX).await, NextOffset(5_000));
    log.set_cursor("reader", P0, NextOffset(77)).await.unwrap();
    assert_eq!(log.cursor("reader", P0).await.unwrap(), Some(NextOffset(77)));
    assert_eq!(log.cursor("reader", Partition(1)).await.unwrap(), None);
    log.trim_before(P0, NextOffset(4_000)).await.unwrap();
    assert_eq!(log.bounds(P0).await.unwrap().start, NextOffset(4_000));
    let gone = log.reader(P0, NextOffset(3_999)).await.unwrap_err();
    assert!(matches!(gone, LogError::OutOfRange { .. }), "{gone}");
}

#[tokio::test]
async fn a_reader_at_the_end_says_so_and_gets_what_comes() {
    let Some(brokers) = brokers("ends of partitions") else { return };
    let hand = Clock::manual(10_000);
    let config = KafkaConfig {
        brokers,
        client_id: "tidegate-test".to_owned(),
        properties: BTreeMap::new(),
        clock: hand.clock(),
    };
    let kafka = Kafka::new(config).unwrap();
    let log = create(&kafka, "end", 1).await;
    let mut reader = log.reader(P0, NextOffset::ZERO).await.unwrap();
    let mut ends = BTreeSet::new();
    let deadline = Instant::now() + MINUTE;
    while !ends.contains(&20_000) && Instant::now() < deadline {
        let fetched = reader.next(ReadLimits::default()).await.unwrap();
        ends.extend(fetched.end_at_ms);
        if !ends.is_empty() {
            hand.set_ms(20_000);
        }
    }
    assert_eq!(ends, BTreeSet::from([10_000, 20_000]));
    log.append(P0, numbered(0..1)).await.unwrap();
    let mut records = Vec::new();
    while records.is_empty() && Instant::now() < deadline {
        records = reader.next(ReadLimits::default()).await.unwrap().records;
    }
    assert_eq!(records.len(), 1);
    let second = log.reader(P0, NextOffset::ZERO).await.unwrap_err();
    assert!(second.to_string().contains("has a reader already"), "{second}");
}

#[tokio::test]
async fn what_is_trimmed_under_a_reader_is_an_error_and_not_a_jump() {
    let Some(brokers) = brokers("trimming under a reader") else { return };
    // So small that the reader cannot have read all ahead.
    let kafka = cluster(
        &brokers,
        &[
            ("fetch.message.max.bytes", "20000"),
            ("fetch.max.bytes", "20000"),
            ("message.max.bytes", "20000"),
        ],
    );
    let log = create(&kafka, "trim", 1).await;
    let large = || (0..500).map(|_| NewRecord::new(vec![b'x'; 10_000])).collect::<Vec<_>>();
    for _ in 0..10 {
        log.append(P0, large()).await.unwrap();
    }
    let mut reader = log.reader(P0, NextOffset::ZERO).await.unwrap();
    let few = ReadLimits { records_max: 10, ..ReadLimits::default() };
    while reader.next(few).await.unwrap().records.is_empty() {}
    log.trim_before(P0, NextOffset(4_990)).await.unwrap();
    let mut next = reader.next_offset();
    let error = loop {
        match timeout(MINUTE, reader.next(few)).await.expect("neither records nor an error") {
            Ok(fetched) => {
                for record in fetched.records {
                    assert_eq!(record.offset.0, next.0, "the reader jumped");
                    next = record.next();
                }
                assert!(next < NextOffset(5_000), "everything was read ahead");
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::OutOfRange { .. }), "{error}");
    assert_eq!(error.class(), Class::Bug);
}

#[tokio::test]
async fn missing_topics_wrong_counts_large_records_and_absent_brokers_are_told_apart() {
    let Some(brokers) = brokers("errors") else { return };
    let kafka = cluster(&brokers, &[]);
    let none = kafka.topic(&fresh("none")).await.unwrap_err();
    assert!(matches!(none, LogError::NoTopic { .. }), "{none}");

    let log = create(&kafka, "counts", 2).await;
    let other = kafka.ensure(&TopicSpec::new(log.topic(), 3)).await.unwrap_err();
    assert!(other.to_string().contains("has 2 partitions where 3 are needed"), "{other}");
    let missing = log.append(Partition(2), numbered(0..1)).await.unwrap_err();
    assert!(matches!(missing, LogError::NoPartition { .. }), "{missing}");

    let session = log.output().unwrap();
    let large = NewRecord::new(vec![0; 1_100_000]);
    let refused = session.append(P0, vec![NewRecord::new("fits"), large]).await.unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { index: 1, .. }), "{refused}");
    assert_eq!(refused.class(), Class::Input);
    session.append(P0, numbered(0..1)).await.unwrap();
    assert_eq!(log.bounds(P0).await.unwrap().end, NextOffset(1));

    let away = cluster("127.0.0.1:1", &[]).topic("access.raw").await.unwrap_err();
    assert!(matches!(away, LogError::Away { .. }), "{away}");
    assert_eq!(away.class(), Class::Dependency);

    let concerns = kafka.concerns(&log, true).await.unwrap();
    let policy = concerns.iter().map(ToString::to_string).find(|line| line.contains("policy"));
    assert!(policy.unwrap().contains("cleanup.policy=delete, which should be compact"));
}

async fn delete(brokers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    deleted.into_iter().for_each(|one| drop(one.unwrap()));
}

#[tokio::test]
async fn a_recreated_topic_stops_its_reader_and_the_hop_over_it() {
    let Some(brokers) = brokers("recreation") else { return };
    let kafka = cluster(&brokers, &[("topic.metadata.refresh.interval.ms", "500")]);
    let (raw, events) = (create(&kafka, "raw", 1).await, create(&kafka, "events", 1).await);
    let dead = create(&kafka, "dead", 1).await;
    assert_ne!(raw.topic_id(), TopicId([0; 16]), "the id of a topic is read from the client's log");
    assert_ne!(raw.topic_id(), events.topic_id());
    assert_eq!(cluster(&brokers, &[]).topic(raw.topic()).await.unwrap().topic_id(), raw.topic_id());
    raw.append(P0, numbered(0..3)).await.unwrap();
    hop_until(&task(&raw, &events, &dead), NextOffset(3)).await;
    let mut reader = raw.reader(P0, NextOffset(3)).await.unwrap();
    reader.next(ReadLimits::default()).await.unwrap();
    let session = raw.output().unwrap();
    session.append(P0, numbered(3..4)).await.unwrap();

    delete(&brokers, raw.topic()).await;
    let deadline = Instant::now() + MINUTE;
    let recreated = loop {
        match kafka.ensure(&TopicSpec::new(raw.topic(), 1)).await {
            Ok(log) if log.topic_id() != raw.topic_id() => break log,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        sleep(Duration::from_millis(200)).await;
    };
    // More records than the old topic had: an offset alone would not tell.
    recreated.append(P0, numbered(100..200)).await.unwrap();

    let error = loop {
        match timeout(MINUTE, reader.next(ReadLimits::default())).await.expect("no error") {
            Ok(fetched) => assert_eq!(fetched.records, [], "records of another topic"),
            Err(error) => break error,
        }
    };
    let told = matches!(error, LogError::Recreated { .. } | LogError::NoTopic { .. });
    assert!(told, "{error}");
    let ended = loop {
        match timeout(MINUTE, session.append(P0, numbered(4..5))).await.expect("no answer") {
            Ok(_) => assert!(Instant::now() < deadline + MINUTE, "the session goes on"),
            Err(error) => break error,
        }
    };
    let told = matches!(ended, LogError::Recreated { .. } | LogError::Ended { .. });
    assert!(told, "{ended}");
    let again = raw.reader(P0, NextOffset(3)).await.unwrap_err();
    assert!(matches!(again, LogError::Recreated { .. }), "{again}");

    let stop = CancellationToken::new();
    let mut transform = split;
    let (progress, _seen) = watch::channel(NextOffset::ZERO);
    let running = task(&recreated, &events, &dead)().run(&mut transform, progress, &stop);
    let refused = timeout(MINUTE, running).await.unwrap().unwrap_err();
    assert!(matches!(refused, HopError::Recreated { .. }), "{refused}");
}

/// An input `n` gives `n % 4` records, none with a dead letter.
fn split(batch: &[Record]) -> Vec<Produced> {
    let one = |record: &Record| {
        let number: i64 = text(record).parse().unwrap();
        let records: Vec<NewRecord> =
            (0..number % 4).map(|index| NewRecord::new(format!("{number}.{index}"))).collect();
        if records.is_empty() {
            let dead = NewRecord { key: Some(text(record).into()), ..NewRecord::new("dead") };
            return Produced::dead("nothing in it", vec![dead]);
        }
        Produced { records, ..Produced::default() }
    };
    batch.iter().map(one).collect()
}

fn same(batch: &[Record]) -> Vec<Produced> {
    batch.iter().map(|record| Produced::one(NewRecord::new(record.value.clone()))).collect()
}

fn task<'a>(input: &'a Log, output: &'a Log, dead: &'a Log) -> impl Fn() -> HopTask + 'a {
    move || HopTask {
        input: input.clone(),
        partition: P0,
        kind: HopInput::Raw,
        output: output.clone(),
        output_partition: P0,
        session: output.output().unwrap(),
        dead_letters: dead.output().unwrap(),
        committed: None,
        limits: ReadLimits::default(),
        metrics: HopMetrics::new(&Metrics::new()),
    }
}

async fn hop_until(make: &impl Fn() -> HopTask, until: NextOffset) {
    let stop = CancellationToken::new();
    let (progress, mut seen) = watch::channel(NextOffset::ZERO);
    let mut transform = split;
    let (result, seen) = tokio::join!(make().run(&mut transform, progress, &stop), async {
        let seen = timeout(MINUTE, seen.wait_for(|next| *next >= until)).await.map(drop);
        stop.cancel();
        seen
    });
    result.unwrap();
    seen.expect("the hop makes progress");
}

/// What a reader accepts of a partition, and how many records it dropped as repeats.
async fn accepted(log: &Log, partition: Partition) -> (Vec<String>, usize) {
    let end = log.bounds(partition).await.unwrap().end;
    let mut gate = OriginGate::new();
    let (mut values, mut repeats) = (Vec::new(), 0);
    for record in read(log, partition, NextOffset::ZERO, end).await {
        match gate.admit(&record).unwrap() {
            Admission::Payload(_) => values.push(text(&record)),
            Admission::Repeat => repeats += 1,
            Admission::Void(..) | Admission::Mark(_) => {}
        }
    }
    (values, repeats)
}

/// What the inputs `0..count` give.
fn expected(count: i64) -> Vec<String> {
    let records = |number| (0..number % 4).map(move |index| format!("{number}.{index}"));
    (0..count).flat_map(records).collect()
}

/// Owns one partition of a stage until it has used its input up to `upto`, and everything is
/// acknowledged, or it is killed.
async fn own(
    task: HopTask,
    transform: fn(&[Record]) -> Vec<Produced>,
    upto: NextOffset,
) -> Result<Option<Partition>, HopError> {
    let stop = CancellationToken::new();
    let partition = task.partition;
    let (progress, mut seen) = watch::channel(NextOffset::ZERO);
    let mut transform = transform;
    let hop = task.run(&mut transform, progress, &stop);
    tokio::select! {
        result = hop => result.map(|()| None),
        _ = seen.wait_for(|next| *next >= upto) => Ok(Some(partition)),
    }
}

/// The inputs that have a dead letter.
async fn dead_letters(dead: &Log) -> BTreeSet<String> {
    let end = dead.bounds(P0).await.unwrap().end;
    let records = read(dead, P0, NextOffset::ZERO, end).await;
    let key = |record: &Record| String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
    records.iter().map(key).collect()
}

/// A small generator; the schedule differs in each round and is the same in each run.
fn jitter(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hops_over_three_partitions_that_crash_give_every_record_once_and_in_order() {
    const PER_PARTITION: i64 = 20_000;
    let Some(brokers) = brokers("hops that crash") else { return };
    let kafka = cluster(&brokers, &[]);
    let (raw, events) = (create(&kafka, "raw", 3).await, create(&kafka, "events", 3).await);
    let (enriched, dead) = (create(&kafka, "enriched", 3).await, create(&kafka, "dead", 1).await);
    for partition in 0..3 {
        raw.append(Partition(partition), numbered(0..PER_PARTITION)).await.unwrap();
    }
    // Sessions of crashed owners live on and land what they still hold.
    let mut zombies: Vec<Output> = Vec::new();
    let mut crashes = 0;
    let (mut sure, mut round) = (BTreeSet::new(), 0);
    while sure.len() < 6 {
        round += 1;
        assert!(round < 200, "no end after {round} rounds");
        let mut running = tokio::task::JoinSet::new();
        for (stage, from, to) in [(0_u32, &raw, &events), (1, &events, &enriched)] {
            for partition in 0..3 {
                let task = HopTask {
                    // A client of its own, as another process has.
                    input: kafka.topic(from.topic()).await.unwrap(),
                    partition: Partition(partition),
                    kind: if stage == 0 { HopInput::Raw } else { HopInput::Stamped },
                    output_partition: Partition(partition),
                    limits: ReadLimits { records_max: 500, ..ReadLimits::default() },
                    ..task(from, to, &dead)()
                };
                zombies.push(task.session.clone());
                let upto =
                    if stage == 0 { NextOffset(PER_PARTITION) } else { NextOffset(i64::MAX) };
                let transform = if stage == 0 { split } else { same };
                running.spawn(async move {
                    let partition = own(task, transform, upto).await?;
                    Ok::<_, HopError>(partition.map(|partition| (stage, partition.0)))
                });
            }
        }
        let life = Duration::from_millis(300 + jitter(round) % 1_200);
        let ends = Instant::now() + life;
        while let Ok(Some(ended)) = tokio::time::timeout_at(ends, running.join_next()).await {
            sure.extend(ended.unwrap().unwrap());
        }
        crashes += running.len();
        running.abort_all();
        if sure.len() >= 3 {
            // The second hop has no number to wait for: look whether the last record is through.
            for partition in 0..3 {
                let (done, _) = accepted(&enriched, Partition(partition)).await;
                if done.last() == Some(&format!("{}.2", PER_PARTITION - 1)) {
                    sure.insert((1, partition));
                }
            }
        }
        zombies.retain(|session| session.failure().is_none());
    }
    assert!(crashes >= 6, "only {crashes} crashes");
    let expected = expected(PER_PARTITION);
    for log in [&events, &enriched] {
        for partition in 0..3 {
            let (values, repeats) = accepted(log, Partition(partition)).await;
            assert_eq!(values.len(), expected.len(), "{} [{partition}]", log.topic());
            assert!(values == expected, "{} [{partition}] is out of order", log.topic());
            assert!(repeats < 200_000, "{repeats} repeats");
        }
    }
    let dead_inputs = (0..PER_PARTITION).filter(|number| number % 4 == 0).count();
    assert_eq!(dead_letters(&dead).await.len(), dead_inputs);
}

/// Takes events until `enough` partitions are owned, acknowledging revocations at once.
async fn settle(group: &mut Group, owned: &mut BTreeSet<Partition>, enough: usize) {
    let settled = async {
        while owned.len() != enough {
            match group.next().await.expect("the group goes on").unwrap() {
                GroupEvent::Assigned(more) => owned.extend(more),
                GroupEvent::Revoked { partitions, ack } => {
                    owned.retain(|partition| !partitions.contains(partition));
                    ack.done();
                }
                GroupEvent::Lost(gone) => owned.retain(|partition| !gone.contains(partition)),
            }
        }
    };
    timeout(MINUTE, settled).await.expect("the group settles");
}

#[tokio::test]
async fn a_partition_is_given_to_another_only_after_the_revocation_is_acknowledged() {
    let Some(brokers) = brokers("revocation") else { return };
    let kafka = cluster(&brokers, &[]);
    let log = create(&kafka, "revoke", 2).await;
    let name = fresh("members");
    let (mut first, mut has) = (log.group(&name).unwrap(), BTreeSet::new());
    settle(&mut first, &mut has, 2).await;
    let other = cluster(&brokers, &[]).topic(log.topic()).await.unwrap();
    let mut second = other.group(&name).unwrap();
    let revoked = timeout(MINUTE, first.next()).await.unwrap().unwrap().unwrap();
    let GroupEvent::Revoked { partitions, ack } = revoked else { panic!("{revoked:?}") };
    assert_eq!(partitions.len(), 1);

    let mut gets = BTreeSet::new();
    let early = timeout(Duration::from_secs(2), settle(&mut second, &mut gets, 1)).await;
    assert!(early.is_err() && gets.is_empty(), "{gets:?} before the acknowledgement");
    ack.done();
    settle(&mut second, &mut gets, 1).await;
    assert_eq!(gets, BTreeSet::from_iter(partitions));
}

async fn check_rebalance(brokers: &str, properties: &[(&str, &str)]) {
    let kafka = cluster(brokers, properties);
    let log = create(&kafka, "group", 3).await;
    let name = fresh("members");
    let (mut first, mut has) = (log.group(&name).unwrap(), BTreeSet::new());
    settle(&mut first, &mut has, 3).await;
    assert_eq!(first.committed(Partition(1)).await.unwrap(), None);
    first.commit(Partition(1), NextOffset(0)).await.unwrap();

    let other = cluster(brokers, properties).topic(log.topic()).await.unwrap();
    let (mut second, mut gets) = (other.group(&name).unwrap(), BTreeSet::new());
    let deadline = Instant::now() + MINUTE;
    while has.len() + gets.len() != 3 || gets.is_empty() {
        assert!(Instant::now() < deadline, "{has:?} and {gets:?}");
        tokio::select! {
            () = settle(&mut second, &mut gets, 1) => {}
            () = settle(&mut first, &mut has, 2) => {}
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
    assert!(has.is_disjoint(&gets), "{has:?} and {gets:?}");

    drop(second);
    settle(&mut first, &mut has, 3).await;
    assert_eq!(first.committed(Partition(1)).await.unwrap(), Some(NextOffset(0)));
}

#[tokio::test]
async fn two_members_share_the_partitions_and_one_takes_over_when_the_other_leaves() {
    let Some(brokers) = brokers("rebalance") else { return };
    check_rebalance(&brokers, &[]).await;
}

#[tokio::test]
async fn two_members_share_the_partitions_by_the_newer_protocol_as_well() {
    let Some(brokers) = brokers("rebalance, KIP-848") else { return };
    check_rebalance(&brokers, &[("group.protocol", "consumer")]).await;
}

/// Waits until the inputs `0..count` are used in all three partitions.
async fn all_through(output: &Log, count: i64) {
    let deadline = Instant::now() + MINUTE * 2;
    loop {
        let mut through = 0;
        for partition in 0..3 {
            let last = output.last(Partition(partition)).await.unwrap();
            let stamp = last.map(|record| Stamp::read(&record).unwrap().0);
            let done = |stamp: Stamp| stamp.last && stamp.origin.offset.0 == count - 1;
            through += usize::from(stamp.is_some_and(done));
        }
        if through == 3 {
            return;
        }
        assert!(Instant::now() < deadline, "{through} partitions are through");
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stages_of_one_group_hand_partitions_over_without_loss() {
    const PER_PARTITION: i64 = 30_000;
    let Some(brokers) = brokers("stages in a group") else { return };
    let kafka = cluster(&brokers, &[]);
    let (raw, events) = (create(&kafka, "raw", 3).await, create(&kafka, "events", 3).await);
    let dead = create(&kafka, "dead", 1).await;
    let group = fresh("ingest");
    let writer = {
        let raw = raw.clone();
        async move {
            for start in (0..PER_PARTITION).step_by(1_000) {
                for partition in 0..3 {
                    raw.append(Partition(partition), numbered(start..start + 1_000)).await.unwrap();
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let stage = || async {
        let kafka = cluster(&brokers, &[]);
        HopStage {
            input: kafka.topic(raw.topic()).await.unwrap(),
            kind: HopInput::Raw,
            output: kafka.topic(events.topic()).await.unwrap(),
            output_base: 0,
            dead_letters: kafka.topic(dead.topic()).await.unwrap(),
            group: group.clone(),
            limits: ReadLimits::default(),
            metrics: HopMetrics::new(&Metrics::new()),
            condition: None,
        }
    };
    let (one, other) = (stage().await, stage().await);
    let (stop_one, stop_other) = (CancellationToken::new(), CancellationToken::new());
    let until_done = async {
        all_through(&events, PER_PARTITION).await;
        stop_other.cancel();
    };
    let leave = async {
        sleep(Duration::from_secs(4)).await;
        stop_one.cancel();
    };
    let run = |stage: HopStage, stop: CancellationToken, wait: u64| async move {
        sleep(Duration::from_millis(wait)).await;
        stage.run(|_| split, &stop).await
    };
    let (a, b, (), (), ()) = tokio::join!(
        run(one, stop_one.clone(), 0),
        run(other, stop_other.clone(), 1_500),
        writer,
        leave,
        until_done,
    );
    a.unwrap();
    b.unwrap();
    let expected = expected(PER_PARTITION);
    for partition in 0..3 {
        let (values, _) = accepted(&events, Partition(partition)).await;
        assert!(values == expected, "partition {partition}: {} values", values.len());
    }
}

#[tokio::test]
async fn a_key_with_nothing_under_it_is_a_tombstone_and_what_has_headers_is_not() {
    let Some(brokers) = brokers("tombstones") else { return };
    let kafka = cluster(&brokers, &[]);
    let spec = TopicSpec::new(&fresh("state"), 1);
    let spec = TopicSpec { compacted: true, cleaned_soon: true, ..spec };
    let log = kafka.ensure(&spec).await.unwrap();
    let key = || Some("key".into());
    let headers = vec![("void".to_owned(), "1".into())];
    let records = vec![
        NewRecord { key: key(), ..NewRecord::new("value") },
        NewRecord { key: key(), headers, ..NewRecord::default() },
        NewRecord { key: key(), ..NewRecord::default() },
    ];
    let end = log.append(P0, records).await.unwrap().end;
    assert!(read(&log, P0, NextOffset(1), end).await.iter().all(|record| record.value.is_empty()));
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", fresh("reader"))
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(log.topic(), 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let payloads: Vec<bool> =
        (0..3).map(|_| consumer.poll(MINUTE).unwrap().unwrap().payload().is_some()).collect();
    assert_eq!(payloads, [true, true, false]);
}
