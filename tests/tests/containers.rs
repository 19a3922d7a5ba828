//! What `transport` promises of Kafka, over a broker in a container.
//!
//! Runs where `TIDEGATE_KAFKA_IMAGE` names an image, which `cargo xtask test` builds where a
//! container engine answers. Elsewhere it says that it was skipped, in CI too: the same suite runs
//! there over a broker without a container.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use tokio::process::Command;

/// The suite of `transport`, built beside this one; the last one where there are several.
fn suite() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside =
        std::fs::read_dir(own.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("kafka-") && !name.contains('.')
    };
    let built = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    beside.filter(is_it).max_by_key(built).unwrap()
}

#[tokio::test]
async fn the_kafka_suite_passes_over_a_broker_in_a_container() {
    let Some(image) = std::env::var_os("TIDEGATE_KAFKA_IMAGE") else {
        let line = "skipped the Kafka suite over a container: TIDEGATE_KAFKA_IMAGE is not set\n";
        // Not captured, so that it is seen.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let image = image.into_string().unwrap();
    let (name, tag) = image.split_once(':').unwrap();
    // Clients are told it before the container is there.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let brokers = format!("127.0.0.1:{port}");
    let container = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
        .with_mapped_port(port, 9092.tcp())
        .with_env_var("ADVERTISED", &brokers)
        .with_startup_timeout(Duration::from_secs(120))
        .start()
        .await
        .unwrap();
    let mut tests = Command::new(suite());
    tests.env("TIDEGATE_KAFKA_BROKERS", &brokers).env("CI", "true").stdin(Stdio::null());
    let ran = tests.output().await.unwrap();
    container.rm().await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
}
