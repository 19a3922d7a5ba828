use std::cell::Cell;
use std::time::Duration;

use expect_test::expect;
use tokio_util::sync::CancellationToken;

use super::{Backoff, Ended, Policy, retry};
use crate::error::{Class, Classified};
use crate::ready::Ready;

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Trouble {
    what: &'static str,
    class: Class,
    hint: Option<Duration>,
}

impl Classified for Trouble {
    fn class(&self) -> Class {
        self.class
    }

    fn retry_after(&self) -> Option<Duration> {
        self.hint
    }
}

const AWAY: Trouble = Trouble { what: "broker is away", class: Class::Dependency, hint: None };

fn policy() -> Policy {
    let backoff = Backoff::seeded(Duration::from_millis(100), Duration::from_secs(2), 7);
    Policy { backoff, ..Policy::network("connect to the broker") }
}

#[test]
fn a_seed_gives_the_waits() {
    let mut backoff = Backoff::seeded(Duration::from_millis(100), Duration::from_secs(2), 7);
    let waits: Vec<u128> = (0..8).map(|_| backoff.next_wait(None).as_millis()).collect();
    expect!["[69, 101, 380, 633, 1161, 1249, 1467, 1328]"].assert_eq(&format!("{waits:?}"));
    backoff.reset();
    assert!(backoff.next_wait(None) <= Duration::from_millis(100));
}

#[test]
fn every_wait_lies_between_half_and_whole() {
    for seed in 0..500 {
        let mut backoff = Backoff::seeded(Duration::from_secs(1), Duration::from_secs(8), seed);
        for whole in [1, 2, 4, 8, 8] {
            let wait = backoff.next_wait(None);
            let whole = Duration::from_secs(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}, seed {seed}");
        }
    }
}

#[test]
fn a_hint_lengthens_the_wait_but_not_for_ever() {
    let hinted = |seconds| {
        let mut backoff = Backoff::seeded(Duration::from_secs(1), Duration::from_secs(1), 1);
        backoff.next_wait(Some(Duration::from_secs(seconds)))
    };
    assert_eq!(hinted(40), Duration::from_secs(40));
    assert_eq!(hinted(1_000_000), Duration::from_mins(15));
    assert!(hinted(0) >= Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_dependency_is_tried_until_it_is_back_and_the_condition_tells() {
    let ready = Ready::new();
    let tries = Cell::new(0);
    let policy = Policy { condition: Some(ready.condition("kafka", "connecting")), ..policy() };
    let reports = std::cell::RefCell::new(Vec::new());
    let result = retry(policy, &CancellationToken::new(), || {
        tries.set(tries.get() + 1);
        let reasons = ready.report().waiting_for.into_iter().map(|waiting| waiting.reason);
        reports.borrow_mut().extend(reasons);
        let worked = tries.get() == 3;
        async move { if worked { Ok("connected") } else { Err(AWAY) } }
    })
    .await;
    assert_eq!(result.unwrap(), "connected");
    assert_eq!(*reports.borrow(), ["connecting", "broker is away", "broker is away"]);
    assert!(ready.report().ready);
}

#[tokio::test(start_paused = true)]
async fn a_bug_is_not_tried_again() {
    let tries = Cell::new(0);
    let result: Result<(), _> = retry(policy(), &CancellationToken::new(), || {
        tries.set(tries.get() + 1);
        async { Err(Trouble { class: Class::Bug, ..AWAY }) }
    })
    .await;
    assert!(matches!(result, Err(Ended::Failed(Trouble { class: Class::Bug, .. }))));
    assert_eq!(tries.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn tries_end_where_the_policy_says() {
    let tries = Cell::new(0);
    let policy = Policy { tries_max: Some(4), ..policy() };
    let result: Result<(), _> = retry(policy, &CancellationToken::new(), || {
        tries.set(tries.get() + 1);
        async { Err(AWAY) }
    })
    .await;
    assert_eq!((result.unwrap_err().to_string().as_str(), tries.get()), ("broker is away", 4));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_wait() {
    let shutdown = CancellationToken::new();
    let waiting = retry(policy(), &shutdown, || async { Err::<(), _>(AWAY) });
    let (result, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        shutdown.cancel();
    });
    assert!(matches!(result, Err(Ended::Shutdown)));
}
