use std::convert::Infallible;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::Tasks;
use crate::error::{Class, Classified};
use crate::shutdown::{DRAIN_MAX, Shutdown};

#[derive(Debug, thiserror::Error)]
#[error("broker `{0}` is away")]
struct Away(&'static str);

impl Classified for Away {
    fn class(&self) -> Class {
        Class::Dependency
    }
}

/// Runs what `start` starts until the end.
fn check(start: impl FnOnce(&Tasks), expected: &Expect) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        let tasks = Tasks::new(Shutdown::new());
        start(&tasks);
        tasks.join_all(DRAIN_MAX).await
    });
    let told = match ended {
        Ok(()) => "done".to_owned(),
        Err(stop) => format!("{stop} (exit {})", stop.exit().code()),
    };
    expected.assert_eq(&told);
}

async fn until_cancelled(tasks: Tasks) -> Result<(), Infallible> {
    tasks.shutdown().token().cancelled().await;
    Ok(())
}

#[test]
fn all_done_is_the_end() {
    check(
        |tasks| {
            tasks.spawn("short", async { Ok::<_, Infallible>(()) });
            tasks.thread("thread", || Ok::<_, Infallible>(())).unwrap();
        },
        &expect!["done"],
    );
}

#[test]
fn a_panic_in_a_task_ends_all_and_is_told_with_its_name() {
    check(
        |tasks| {
            tasks.spawn("steady", until_cancelled(tasks.clone()));
            tasks.spawn("detect.map/0", async {
                assert_eq!(1 + 1, 3, "panes overlap");
                Ok::<_, Infallible>(())
            });
        },
        &expect![[r"
            `detect.map/0` panicked: assertion `left == right` failed: panes overlap
              left: 2
             right: 3 (exit 70)"]],
    );
}

#[test]
fn a_panic_in_a_thread_is_told_too() {
    check(
        |tasks| {
            tasks.spawn("steady", until_cancelled(tasks.clone()));
            tasks
                .thread("kafka-poll", || -> Result<(), Infallible> {
                    panic!("poll thread is lost")
                })
                .unwrap();
        },
        &expect!["`kafka-poll` panicked: poll thread is lost (exit 70)"],
    );
}

#[test]
fn an_error_ends_all_with_the_exit_of_its_class() {
    check(
        |tasks| {
            tasks.spawn("steady", until_cancelled(tasks.clone()));
            tasks.spawn("sink", async { Err(Away("kafka-1")) });
        },
        &expect!["`sink` failed: broker `kafka-1` is away (exit 75)"],
    );
}

#[tokio::test(start_paused = true)]
async fn what_does_not_drain_is_aborted_at_the_deadline_and_named() {
    let tasks = Tasks::new(Shutdown::new());
    tasks.spawn("stuck", std::future::pending::<Result<(), Infallible>>());
    let start = tokio::time::Instant::now();
    tasks.shutdown().request("received SIGTERM");
    let stop = tasks.join_all(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 5);
    expect!["ended before all was done; still running at the deadline: `stuck`"]
        .assert_eq(&stop.to_string());
    assert_eq!(tasks.running(), [""; 0]);
}

#[test]
fn a_second_signal_does_not_wait_for_the_deadline() {
    check(
        |tasks| {
            tasks.spawn("stuck", std::future::pending::<Result<(), Infallible>>());
            tasks.shutdown().request_at_once("received SIGTERM again");
        },
        &expect!["ended before all was done; still running at the deadline: `stuck` (exit 75)"],
    );
}

#[test]
fn a_task_may_start_others() {
    check(
        |tasks| {
            let inner = tasks.clone();
            tasks.spawn("parent", async move {
                inner.spawn("child", async { Err(Away("kafka-2")) });
                Ok::<_, Infallible>(())
            });
        },
        &expect!["`child` failed: broker `kafka-2` is away (exit 75)"],
    );
}
