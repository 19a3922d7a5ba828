#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use expect_test::{Expect, expect};
use schemas::{Action, EventTime, Order, Outcome, OutcomeState, Subject};

use super::State;
use crate::fixture::verdict;
use crate::ledger::{Asker, Record, Taken};

const START: EventTime = EventTime(1_000_000);

/// One block of ten seconds by target `t` (and, on revision 1, a ticket).
fn taken(id: &str, value: &str, decided_at: EventTime) -> Record {
    let block = Order {
        id: format!("{id}-block"),
        verdict_id: id.into(),
        revision: 1,
        rule: "auth/x".into(),
        action: Action::Block,
        subject: Some(Subject { kind: "ip".into(), value: value.into() }),
        target: "t".into(),
        decided_at,
        expires_at: Some(decided_at.plus(10_000)),
        dry_run: false,
        needs_approval: false,
        notes: Vec::new(),
    };
    let ticket = Order {
        id: format!("{id}-ticket"),
        action: Action::Ticket,
        subject: None,
        target: "tracker".into(),
        expires_at: None,
        ..block.clone()
    };
    Record::Taken(Box::new(Taken {
        at: decided_at,
        verdict: verdict(id, 1),
        orders: vec![block, ticket],
        outcomes: Vec::new(),
        notes: Vec::new(),
    }))
}

fn outcome(order: &str, state: OutcomeState) -> Record {
    Record::Outcome(Outcome {
        order_id: order.into(),
        target: "t".into(),
        state,
        at: START,
        attempt: 1,
        remote_id: (order.ends_with("ticket")).then(|| "17".to_owned()),
        detail: None,
        more: serde_json::Map::new(),
    })
}

fn asked(order: &str) -> Record {
    let by = Asker { by: "ann".into(), reason: "test".into() };
    Record::ReleaseAsked { orders: vec![order.into()], at: START, by }
}

fn state(records: Vec<Record>) -> State {
    let mut state = State::default();
    for record in records {
        state.apply(record);
    }
    state
}

/// Phases of all orders, then what is to be done at `after` milliseconds.
#[track_caller]
fn check(records: Vec<Record>, after: i64, expected: Expect) {
    let state = state(records);
    let now = START.plus(after);
    let mut told: Vec<String> = state
        .entries
        .values()
        .map(|entry| format!("{} {}", entry.order.id, entry.phase.name()))
        .collect();
    let enforcement = state.enforcement("t", now);
    let desired: Vec<&String> = enforcement.desired.keys().map(|subject| &subject.value).collect();
    told.push(format!("hold {desired:?}, starting {:?}", enforcement.starting));
    for ending in enforcement.ending {
        told.push(format!("ending {} {:?}", ending.order_id, ending.state));
    }
    for message in state.messages("tracker", now).due {
        told.push(format!("tell {} of {:?}", message.entry.order.id, message.remote_id));
    }
    expected.assert_eq(&told.join("\n"));
}

#[test]
fn a_block_starts_stands_and_expires_and_its_ticket_waits_for_it() {
    let records = vec![taken("a", "203.0.113.9", START)];
    check(
        records.clone(),
        0,
        expect![[r#"
        a-block pending
        a-ticket pending
        hold ["203.0.113.9"], starting ["a-block"]"#]],
    );
    check(
        records.clone(),
        2_000,
        expect![[r#"
        a-block pending
        a-ticket pending
        hold ["203.0.113.9"], starting ["a-block"]
        tell a-ticket of None"#]],
    );
    let standing = [records, vec![outcome("a-block", OutcomeState::Done)]].concat();
    check(
        standing.clone(),
        0,
        expect![[r#"
        a-block standing
        a-ticket pending
        hold ["203.0.113.9"], starting []
        tell a-ticket of None"#]],
    );
    check(
        standing.clone(),
        10_000,
        expect![[r#"
        a-block standing
        a-ticket pending
        hold [], starting []
        ending a-block Expired
        tell a-ticket of None"#]],
    );
    let expired = [standing, vec![outcome("a-block", OutcomeState::Expired)]].concat();
    check(
        expired,
        10_000,
        expect![[r#"
        a-block expired
        a-ticket pending
        hold [], starting []
        tell a-ticket of None"#]],
    );
}

#[test]
fn a_release_ends_a_block_whatever_its_phase() {
    let pending = vec![taken("a", "203.0.113.9", START), asked("a-block")];
    check(
        pending,
        0,
        expect![[r#"
        a-block releasing
        a-ticket pending
        hold [], starting []
        ending a-block Released
        tell a-ticket of None"#]],
    );
    let standing = vec![
        taken("a", "203.0.113.9", START),
        outcome("a-block", OutcomeState::Done),
        asked("a-block"),
    ];
    check(
        standing,
        0,
        expect![[r#"
        a-block releasing
        a-ticket pending
        hold [], starting []
        ending a-block Released
        tell a-ticket of None"#]],
    );
}

#[test]
fn a_release_that_was_asked_for_while_the_block_was_being_applied_is_not_lost() {
    let records = vec![
        taken("a", "203.0.113.9", START),
        asked("a-block"),
        outcome("a-block", OutcomeState::Done),
    ];
    let state = state(records);
    assert_eq!(state.entry("a-block").unwrap().phase.name(), "releasing");
    assert_eq!(state.enforcement("t", START).ending.len(), 1);
}

#[test]
fn a_subject_is_held_as_long_as_one_order_stands_on_it() {
    let both = vec![
        taken("a", "203.0.113.9", START),
        taken("b", "203.0.113.9", START.plus(5_000)),
        outcome("a-block", OutcomeState::Done),
        outcome("b-block", OutcomeState::Done),
    ];
    check(
        both,
        11_000,
        expect![[r#"
        a-block standing
        a-ticket pending
        b-block standing
        b-ticket pending
        hold ["203.0.113.9"], starting []
        ending a-block Expired
        tell a-ticket of None
        tell b-ticket of None"#]],
    );
}

#[test]
fn a_ticket_is_written_once_and_continued_under_its_number() {
    let records = vec![
        taken("a", "203.0.113.9", START),
        outcome("a-block", OutcomeState::Done),
        outcome("a-ticket", OutcomeState::Done),
    ];
    let state = state(records);
    assert_eq!(state.episode("a").unwrap().remotes["tracker"], "17");
    assert_eq!(state.messages("tracker", START).due.len(), 0);
}

#[test]
fn a_parked_order_is_tried_again_only_when_asked() {
    let by = Asker { by: "ann".into(), reason: String::new() };
    let parked = vec![taken("a", "203.0.113.9", START), outcome("a-block", OutcomeState::Parked)];
    check(
        parked.clone(),
        0,
        expect![[r#"
        a-block parked
        a-ticket pending
        hold [], starting []
        tell a-ticket of None"#]],
    );
    let retry = Record::RetryAsked { order_id: "a-block".into(), at: START, by };
    check(
        [parked, vec![retry]].concat(),
        0,
        expect![[r#"
        a-block pending
        a-ticket pending
        hold ["203.0.113.9"], starting ["a-block"]
        tell a-ticket of None"#]],
    );
}

#[test]
fn a_snapshot_gives_the_same_state() {
    let state = state(vec![
        taken("a", "203.0.113.9", START),
        taken("b", "203.0.113.10", START),
        outcome("a-block", OutcomeState::Done),
        outcome("a-ticket", OutcomeState::Done),
        asked("b-block"),
    ]);
    let mut again = State::default();
    for record in state.snapshot() {
        again.apply(record);
    }
    assert_eq!((again.episodes, again.entries), (state.episodes, state.entries));
    assert_eq!((again.open, again.by_subject), (state.open, state.by_subject));
}

#[test]
fn who_was_blocked_is_known_for_the_time_of_the_block() {
    let network = taken("n", "198.51.100.0/24", START);
    let Record::Taken(mut taken_network) = network else { panic!("not taken") };
    taken_network.orders[0].subject =
        Some(Subject { kind: "network".into(), value: "198.51.100.0/24".into() });
    let state = state(vec![
        taken("a", "203.0.113.9", START),
        outcome("a-block", OutcomeState::Done),
        Record::Taken(taken_network),
        outcome("n-block", OutcomeState::Done),
    ]);
    let blocked = |ip: &str, after: i64| {
        let subject = Subject { kind: "ip".into(), value: ip.into() };
        state.blocked_by(&subject, START.plus(after)).map(str::to_owned)
    };
    assert_eq!(blocked("203.0.113.9", 0).as_deref(), Some("a-block"));
    assert_eq!(blocked("203.0.113.9", -1), None);
    assert_eq!(blocked("203.0.113.9", 10_000), None);
    assert_eq!(blocked("198.51.100.77", 5).as_deref(), Some("n-block"));
    assert_eq!(blocked("203.0.113.10", 5), None);
}

#[test]
fn forgetting_keeps_what_is_open_and_what_is_new() {
    let mut state = state(vec![
        taken("a", "203.0.113.9", START),
        outcome("a-ticket", OutcomeState::Done),
        taken("b", "203.0.113.10", START.plus(5_000)),
        outcome("b-ticket", OutcomeState::Done),
    ]);
    assert_eq!(state.forget(START.plus(1), 100), 1);
    let left: Vec<&String> = state.entries.keys().collect();
    assert_eq!(left, ["a-block", "b-block", "b-ticket"]);
    assert!(state.episode("a").is_some(), "its block is still open");
    assert_eq!(state.forget(START, 2), 1, "above the bound finished orders go earlier");
    assert_eq!(state.entries().count(), 2);
}
