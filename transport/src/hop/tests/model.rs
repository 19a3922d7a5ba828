//! Two hops in a row under adversarial schedules, one schedule a seed: crashes, pauses that make
//! zombies, sends that land late or never, sends that land twice, stale reads of the last record.
//!
//! The hop is the real one; logs, sessions and processes are simulated, so that every interleaving
//! can happen.

use std::collections::{BTreeSet, VecDeque};

use runtime::clock::Clock;

use crate::hop::{End, Hop, HopInput, Produced, Standing};
use crate::log::{Bounds, Log};
use crate::memory::MemoryLog;
use crate::origin::{Admission, OriginGate};
use crate::record::{NewRecord, NextOffset, Offset, Partition, Record};

/// Events may be this much older than the moment at which they are appended.
const LATENESS_MS: i64 = 12;
const P0: Partition = Partition(0);
const STAGES: usize = 2;

/// Which rule to break, to see that the check notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breach {
    None,
    /// Output is sent before the dead letters are acknowledged (rule 2).
    DeadLettersNotAwaited,
    /// One record in the middle expires, later ones are sent (rule 5).
    Expiry,
    /// Resuming from the committed offset rather than from the output (rule 4).
    CommittedOffset,
    /// The final reader has no gate (rule 3).
    NoGate,
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

#[derive(Debug, Clone)]
enum Send {
    Output(NewRecord),
    Dead(String),
}

/// A producer session: what it still has to send, and what landed without being acknowledged.
#[derive(Default)]
struct Session {
    stage: usize,
    is_dead: bool,
    waiting: VecDeque<Send>,
    unacked: VecDeque<Send>,
    dead_waiting: usize,
}

/// A process that believes it owns a stage.
struct Owner {
    session: usize,
    hop: Option<Hop>,
    /// Written but not sent before the dead letters are acknowledged.
    held: Vec<NewRecord>,
    paused: usize,
}

struct Sim {
    rng: Rng,
    breach: Breach,
    now_ms: i64,
    topics: Vec<Log>,
    /// Raw, events, enriched.
    logs: [Vec<Record>; STAGES + 1],
    /// When each raw record was appended.
    dead_letters: BTreeSet<String>,
    sessions: Vec<Session>,
    owners: Vec<Vec<Owner>>,
    committed: [i64; STAGES],
    tries: u64,
    violations: Vec<String>,
}

impl Sim {
    fn new(seed: u64, breach: Breach) -> Self {
        let clock = Clock::manual(0).clock();
        let topic = |name| Log::Memory(MemoryLog::new(name, 1, clock.clone()));
        let mut sim = Self {
            rng: Rng(seed),
            breach,
            now_ms: 100,
            topics: vec![topic("raw"), topic("events"), topic("enriched")],
            logs: Default::default(),
            dead_letters: BTreeSet::new(),
            sessions: Vec::new(),
            owners: vec![Vec::new(), Vec::new()],
            committed: [0; STAGES],
            tries: 0,
            violations: Vec::new(),
        };
        for stage in 0..STAGES {
            sim.take_over(stage);
        }
        sim
    }

    fn take_over(&mut self, stage: usize) {
        self.sessions.push(Session { stage, ..Session::default() });
        let session = self.sessions.len() - 1;
        self.owners[stage].push(Owner { session, hop: None, held: Vec::new(), paused: 0 });
    }

    /// Raw records say how many records they give, and the event time of each.
    fn append_raw(&mut self) {
        let count = [1, 1, 1, 2, 3, 0][self.rng.below(6)];
        let now_ms = self.now_ms;
        let lateness = usize::try_from(LATENESS_MS).unwrap();
        let times: Vec<String> = (0..count)
            .map(|_| (now_ms - i64::try_from(self.rng.below(lateness)).unwrap()).to_string())
            .collect();
        self.land(0, NewRecord::new(times.join(",")));
    }

    fn land(&mut self, log: usize, record: NewRecord) {
        let offset = Offset(i64::try_from(self.logs[log].len()).unwrap());
        self.logs[log].push(record.at(P0, offset));
    }

    fn bounds(&self, log: usize) -> Bounds {
        let end = NextOffset(i64::try_from(self.logs[log].len()).unwrap());
        Bounds { start: NextOffset::ZERO, end }
    }

    fn resume(&mut self, stage: usize, calm: bool) -> Hop {
        let mut seen = self.logs[stage + 1].len();
        if !calm && seen > 0 && self.rng.percent(15) {
            seen -= self.rng.below(seen.min(3));
        }
        let last = match self.breach {
            Breach::CommittedOffset => None,
            _ => self.logs[stage + 1][..seen].last(),
        };
        let committed = Some(NextOffset(self.committed[stage]));
        let committed = committed.filter(|_| self.breach == Breach::CommittedOffset);
        let standing = Standing { last, committed, bounds: self.bounds(stage) };
        let kind = if stage == 0 { HopInput::Raw } else { HopInput::Stamped };
        let input = End { log: &self.topics[stage], partition: P0 };
        let output = End { log: &self.topics[stage + 1], partition: P0 };
        Hop::resume(input, kind, output, standing).unwrap()
    }

    fn work(&mut self, stage: usize, who: usize, calm: bool) {
        if self.owners[stage][who].paused > 0 {
            self.owners[stage][who].paused -= 1;
            return;
        }
        let session = self.owners[stage][who].session;
        if self.sessions[session].dead_waiting > 0 && self.breach != Breach::DeadLettersNotAwaited {
            return;
        }
        let held = std::mem::take(&mut self.owners[stage][who].held);
        if !held.is_empty() {
            self.sessions[session].waiting.extend(held.into_iter().map(Send::Output));
            return;
        }
        let Some(mut hop) = self.owners[stage][who].hop.take() else {
            let hop = self.resume(stage, calm);
            self.owners[stage][who].hop = Some(hop);
            return;
        };
        let from = usize::try_from(hop.next_offset().0).unwrap();
        let upto = (from + 1 + self.rng.below(3)).min(self.logs[stage].len());
        let batch = self.logs[stage].get(from..upto).unwrap_or_default().to_vec();
        let mut records = Vec::new();
        if batch.is_empty() {
            if stage == 0 && self.rng.percent(30) {
                records.push(hop.mark(self.now_ms));
            }
        } else {
            self.tries += 1;
            let tries = self.tries;
            let mut transform =
                |batch: &[Record]| batch.iter().map(|r| split(stage, r, tries)).collect();
            let written = hop.step(batch, &mut transform).unwrap();
            records = written.records;
            for dead in written.dead_letters {
                let name = String::from_utf8(dead.value.to_vec()).unwrap();
                self.sessions[session].dead_waiting += 1;
                self.sessions[session].waiting.push_back(Send::Dead(name));
            }
        }
        if self.sessions[session].unacked.is_empty() && self.sessions[session].waiting.is_empty() {
            self.committed[stage] = hop.next_offset().0;
        }
        self.owners[stage][who].held = records;
        self.owners[stage][who].hop = Some(hop);
    }

    /// Something that a session sent lands. Dead letters go to another topic, so that they may
    /// land before what was sent earlier; the output keeps its order.
    fn deliver(&mut self, session: usize) {
        let picked = {
            let rng = &mut self.rng;
            let waiting = &mut self.sessions[session].waiting;
            let dead_first = rng.percent(50);
            let at = waiting.iter().position(|send| matches!(send, Send::Dead(_)) == dead_first);
            at.or(if waiting.is_empty() { None } else { Some(0) }).and_then(|at| waiting.remove(at))
        };
        let Some(send) = picked else { return };
        let stage = self.sessions[session].stage;
        match &send {
            Send::Dead(name) => drop(self.dead_letters.insert(name.clone())),
            Send::Output(record) => {
                if self.breach == Breach::Expiry && self.rng.percent(5) {
                    return;
                }
                self.check_void(stage, record);
                self.land(stage + 1, record.clone());
            }
        }
        if !self.sessions[session].is_dead {
            self.sessions[session].unacked.push_back(send);
        }
    }

    fn acknowledge(&mut self, session: usize) {
        let session = &mut self.sessions[session];
        if let Some(Send::Dead(_)) = session.unacked.pop_front() {
            session.dead_waiting -= 1;
        }
    }

    /// Under a new epoch a session sends again what landed without an acknowledgement.
    fn retry(&mut self, session: usize) {
        let session = &mut self.sessions[session];
        while let Some(send) = session.unacked.pop_back() {
            session.waiting.push_front(send);
        }
    }

    /// Rule 2: a void of the first hop stands only where its dead letter is.
    fn check_void(&mut self, stage: usize, record: &NewRecord) {
        let record = record.clone().at(P0, Offset(0));
        if let (0, Ok(Admission::Void(origin, _))) = (stage, OriginGate::new().admit(&record))
            && !self.dead_letters.contains(&origin.offset.to_string())
        {
            self.violations.push(format!("void of {} before its dead letter", origin.offset));
        }
    }

    fn crash(&mut self, stage: usize, who: usize) {
        let owner = self.owners[stage].remove(who);
        let session = &mut self.sessions[owner.session];
        session.is_dead = true;
        session.unacked.clear();
    }

    fn step(&mut self) {
        let stage = self.rng.below(STAGES);
        let who = self.rng.below(self.owners[stage].len().max(1));
        let there = who < self.owners[stage].len();
        let session = self.rng.below(self.sessions.len());
        match self.rng.below(100) {
            0..8 if self.logs[0].len() < 15 => self.append_raw(),
            8..14 => self.now_ms += 1 + i64::try_from(self.rng.below(4)).unwrap(),
            14..50 if there => self.work(stage, who, false),
            50..75 => self.deliver(session),
            75..90 => self.acknowledge(session),
            90..92 if there => self.crash(stage, who),
            92..94 if there => self.owners[stage][who].paused = 5 + self.rng.below(40),
            // Taken over while the old owner still believes, or after it crashed.
            94..97 if self.owners[stage].len() < 3 => self.take_over(stage),
            97 if self.sessions[session].is_dead => self.sessions[session].waiting.clear(),
            98 => self.retry(session),
            _ => {}
        }
    }

    /// No more faults: zombies end, one owner for each stage, everything lands.
    fn heal(&mut self) {
        for stage in 0..STAGES {
            while !self.owners[stage].is_empty() {
                self.crash(stage, 0);
            }
            self.take_over(stage);
        }
        for round in 0..400 {
            self.now_ms += 1;
            for session in 0..self.sessions.len() {
                if self.sessions[session].is_dead && round > 20 {
                    self.sessions[session].waiting.clear();
                }
                self.deliver(session);
                self.acknowledge(session);
            }
            for stage in 0..STAGES {
                self.work(stage, 0, true);
            }
        }
    }

    fn check(mut self) -> Vec<String> {
        let mut expected = Vec::new();
        for (offset, record) in self.logs[0].iter().enumerate() {
            let times = std::str::from_utf8(&record.value).unwrap();
            let count = times.split(',').filter(|time| !time.is_empty()).count();
            expected.extend((0..count).map(|index| format!("{offset}.{index}")));
            if count == 0 && !self.dead_letters.contains(&offset.to_string()) {
                self.violations.push(format!("no dead letter for {offset}"));
            }
        }
        for log in 1..=STAGES {
            let mut gate = OriginGate::new();
            let (mut seen, mut mark_ms) = (Vec::new(), i64::MIN);
            for record in &self.logs[log] {
                if self.breach == Breach::NoGate {
                    gate = OriginGate::new();
                }
                match gate.admit(record).unwrap() {
                    Admission::Mark(time_ms) => mark_ms = mark_ms.max(time_ms),
                    Admission::Payload(_) => {
                        let value = std::str::from_utf8(&record.value).unwrap();
                        let (name, time) = value.split_once('@').unwrap();
                        seen.push(name.to_owned());
                        let time_ms: i64 = time.split('#').next().unwrap().parse().unwrap();
                        if time_ms < mark_ms.saturating_sub(LATENESS_MS) {
                            self.violations
                                .push(format!("{name} is late: {time_ms} after {mark_ms}"));
                        }
                    }
                    Admission::Void(..) | Admission::Repeat => {}
                }
            }
            if seen != expected {
                self.violations.push(format!("log {log} has {seen:?}, not {expected:?}"));
            }
        }
        self.violations
    }
}

/// Raw `t0,t1` gives `offset.0@t0#try`, `offset.1@t1#try`; a stamped record is copied with another
/// try, as enrichment may change the content but not the number.
fn split(stage: usize, record: &Record, tries: u64) -> Produced {
    let value = std::str::from_utf8(&record.value).unwrap();
    if stage > 0 {
        let name = value.split('#').next().unwrap();
        return Produced::one(NewRecord::new(format!("{name}#{tries}")));
    }
    let times = value.split(',').filter(|time| !time.is_empty()).enumerate();
    let new = |(index, time)| NewRecord::new(format!("{}.{index}@{time}#{tries}", record.offset));
    let records: Vec<NewRecord> = times.map(new).collect();
    if records.is_empty() {
        return Produced::dead("empty", vec![NewRecord::new(record.offset.to_string())]);
    }
    Produced { records, ..Produced::default() }
}

fn run(seed: u64, breach: Breach) -> Vec<String> {
    let mut sim = Sim::new(seed, breach);
    for _ in 0..300 + sim.rng.below(900) {
        sim.step();
    }
    sim.heal();
    sim.check()
}

#[test]
fn no_schedule_of_crashes_zombies_and_repeats_loses_or_doubles_a_record() {
    for seed in 0..3_000 {
        let violations = run(seed, Breach::None);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[track_caller]
fn check_breach_is_noticed(breach: Breach) {
    let noticed = (0..1_000).filter(|seed| !run(*seed, breach).is_empty()).count();
    assert!(noticed > 10, "only {noticed} of 1,000 schedules notice {breach:?}");
}

#[test]
fn sending_before_the_dead_letter_is_acknowledged_is_noticed() {
    check_breach_is_noticed(Breach::DeadLettersNotAwaited);
}

#[test]
fn an_expired_record_is_noticed() {
    check_breach_is_noticed(Breach::Expiry);
}

#[test]
fn resuming_from_the_committed_offset_is_noticed() {
    check_breach_is_noticed(Breach::CommittedOffset);
}

#[test]
fn reading_without_the_gate_is_noticed() {
    check_breach_is_noticed(Breach::NoGate);
}
