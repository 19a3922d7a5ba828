//! What `transport` promises of Kafka, over a broker in a container.
//!
//! `cargo xtask test` runs it where a container engine answers: it builds the image that
//! `TIDEGATE_KAFKA_IMAGE` names, and gives the path of the suite in `TIDEGATE_KAFKA_SUITE`. Where
//! none answers, the same suite runs over a broker without a container.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use tokio::process::Command;

#[tokio::test]
async fn the_kafka_suite_passes_over_a_broker_in_a_container() {
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (image, suite) = (given("TIDEGATE_KAFKA_IMAGE"), given("TIDEGATE_KAFKA_SUITE"));
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
    let mut tests = Command::new(suite);
    tests.env("TIDEGATE_KAFKA_BROKERS", &brokers).env("CI", "true").stdin(Stdio::null());
    let ran = tests.output().await.unwrap();
    container.rm().await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
}
