//! The settings of the clients.
//!
//! Owns: which properties a user may set, and those that the delivery rules fix.
//! Never: reading configuration; the caller has it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use runtime::clock::Clock;

use crate::error::LogError;

/// How to reach a cluster.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// What the brokers' logs call us.
    pub client_id: String,
    /// Further properties of librdkafka: TLS, SASL, timeouts, sizes. Those that the delivery rules
    /// fix are refused.
    pub properties: BTreeMap<String, String>,
    /// Gives the time of the ends of partitions.
    pub clock: Clock,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

/// What a client is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role<'a> {
    /// Metadata, bounds, last records.
    Control,
    /// Reading partitions.
    Fetch,
    /// Membership of a group.
    Member(&'a str),
    /// Commits of a group that nobody is a member of.
    Cursor(&'a str),
    /// Writing.
    Producer,
}

/// The largest record that librdkafka takes unless told otherwise, in bytes.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// Room for what librdkafka adds to a record.
const OVERHEAD_BYTES: usize = 512;

/// Families of properties that say how to connect.
const FAMILIES: [&str; 6] =
    ["security.", "sasl.", "ssl.", "socket.", "broker.address.", "oauthbearer."];
/// Further properties that may be set.
const ALLOWED: [&str; 20] = [
    "client.rack",
    "client.dns.lookup",
    "compression.type",
    "compression.level",
    "linger.ms",
    "batch.size",
    "message.max.bytes",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.protocol",
    "group.remote.assignor",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "metadata.max.age.ms",
    "topic.metadata.refresh.interval.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "connections.max.idle.ms",
];

/// Checked settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    config: KafkaConfig,
    pub(super) record_bytes_max: usize,
}

impl Settings {
    pub(super) fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let wrong = |reason| LogError::Config { topic: Arc::from(config.brokers.as_str()), reason };
        if config.brokers.trim().is_empty() {
            return Err(wrong("no broker is named; set `brokers` to `host:port`".to_owned()));
        }
        for name in config.properties.keys() {
            let family = FAMILIES.iter().any(|family| name.starts_with(family));
            if !family && !ALLOWED.contains(&name.as_str()) {
                return Err(wrong(refusal(name)));
            }
        }
        check_encryption(&config).map_err(wrong)?;
        let max = match config.properties.get("message.max.bytes") {
            None => MESSAGE_BYTES_MAX,
            Some(max) => max.parse().map_err(|_not_a_number| {
                wrong(format!("`message.max.bytes` is `{max}`; it must be a number of bytes"))
            })?,
        };
        Ok(Self { config, record_bytes_max: max.saturating_sub(OVERHEAD_BYTES) })
    }

    pub(super) fn brokers(&self) -> &str {
        &self.config.brokers
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.config.clock
    }

    /// The configuration of a client.
    pub(super) fn client(&self, role: Role<'_>) -> ClientConfig {
        let mut client = ClientConfig::new();
        // A broker that comes back is noticed within two seconds.
        client.set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &self.config.properties {
            if concerns(name, role) {
                client.set(name, value);
            }
        }
        client.set("bootstrap.servers", &self.config.brokers);
        client.set("client.id", &self.config.client_id);
        client.set_log_level(RDKafkaLogLevel::Info);
        match role {
            Role::Producer => {
                produce(&mut client);
                show_topic_ids(&mut client);
            }
            Role::Control | Role::Fetch => {
                // The name of a group that nobody joins; a client without one cannot be assigned.
                consume(&mut client, "tidegate-reader");
                client.set("enable.partition.eof", "true");
                show_topic_ids(&mut client);
                if matches!(role, Role::Control) {
                    // A question waits behind the fetch that looked for more of a last record.
                    client.set("fetch.wait.max.ms", "5");
                }
            }
            Role::Cursor(group) => consume(&mut client, group),
            Role::Member(group) => {
                consume(&mut client, group);
                if client.get("group.protocol") != Some("consumer") {
                    client.set("partition.assignment.strategy", "cooperative-sticky");
                }
            }
        }
        client
    }
}

/// No call shows them; see `context`.
fn show_topic_ids(client: &mut ClientConfig) {
    client.set("debug", "topic").set_log_level(RDKafkaLogLevel::Debug);
}

/// Delivery rule 5: nothing expires, nothing is skipped, nothing is reordered.
fn produce(client: &mut ClientConfig) {
    if client.get("compression.type").is_none() {
        client.set("compression.type", "lz4");
    }
    if client.get("batch.size").is_none() {
        client.set("batch.size", "131072");
    }
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("enable.gapless.guarantee", "true")
        .set("max.in.flight.requests.per.connection", "5")
        // 64 MiB: at 100 MB/s, two thirds of a second until a full queue makes the sender wait.
        .set("queue.buffering.max.kbytes", "65536")
        .set("queue.buffering.max.messages", "100000");
}

/// What every internal consumer needs: it stops where an offset is gone, rather than jump, and
/// commits nothing by itself.
fn consume(client: &mut ClientConfig, group: &str) {
    client
        .set("group.id", group)
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true")
        // 16 MiB ahead for each partition that is read: 64 partitions hold 1 GiB at most.
        .set("queued.max.messages.kbytes", "16384")
        // A queue that was full is filled again at once.
        .set("fetch.queue.backoff.ms", "10");
}

/// Whether a property is for this kind of client. The library warns of others.
fn concerns(name: &str, role: Role<'_>) -> bool {
    let of = |families: &[&str]| families.iter().any(|family| name.starts_with(family));
    if of(&["group.", "session.", "heartbeat."]) {
        return matches!(role, Role::Member(_));
    }
    if of(&["fetch."]) {
        return !matches!(role, Role::Producer);
    }
    !of(&["compression.", "linger.", "batch."]) || matches!(role, Role::Producer)
}

fn refusal(name: &str) -> String {
    let mut fixed = ClientConfig::new();
    produce(&mut fixed);
    consume(&mut fixed, "");
    match fixed.get(name) {
        Some(value) if !value.is_empty() => format!(
            "`{name}` is fixed to `{value}`, because records could be lost or doubled otherwise; \
             remove it"
        ),
        _ => format!(
            "`{name}` cannot be set; known are {}, and {}*",
            ALLOWED.join(", "),
            FAMILIES.join("*, ")
        ),
    }
}

fn check_encryption(config: &KafkaConfig) -> Result<(), String> {
    if cfg!(feature = "tls") {
        return Ok(());
    }
    let property = |name: &str| config.properties.get(name).map(|value| value.to_ascii_lowercase());
    let protocol = property("security.protocol").unwrap_or_default();
    let mechanism = ["sasl.mechanism", "sasl.mechanisms"].iter().find_map(|name| property(name));
    let scram = mechanism.is_some_and(|mechanism| mechanism.starts_with("scram"));
    if protocol.ends_with("ssl") || scram {
        return Err(
            "TLS and SCRAM are not part of this build; build with `--features tls`, which \
                    compiles OpenSSL along"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::{Expect, expect};
    use runtime::clock::Clock;

    use super::{KafkaConfig, Role, Settings};

    fn settings(properties: &[(&str, &str)]) -> Result<Settings, crate::LogError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::new(KafkaConfig {
            brokers: "127.0.0.1:9092".to_owned(),
            client_id: "test".to_owned(),
            properties: properties.iter().map(owned).collect::<BTreeMap<_, _>>(),
            clock: Clock::system(),
        })
    }

    #[track_caller]
    fn check_refused(name: &str, value: &str, expected: &Expect) {
        expected.assert_eq(&settings(&[(name, value)]).unwrap_err().to_string());
    }

    #[test]
    fn what_delivery_needs_cannot_be_changed() {
        check_refused(
            "acks",
            "1",
            &expect![
                "configuration for `127.0.0.1:9092`: `acks` is fixed to `all`, because records could be lost or doubled otherwise; remove it"
            ],
        );
        check_refused(
            "auto.offset.reset",
            "latest",
            &expect![
                "configuration for `127.0.0.1:9092`: `auto.offset.reset` is fixed to `error`, because records could be lost or doubled otherwise; remove it"
            ],
        );
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_without_the_feature_says_how_to_get_it() {
        check_refused(
            "security.protocol",
            "SASL_SSL",
            &expect![
                "configuration for `127.0.0.1:9092`: TLS and SCRAM are not part of this build; build with `--features tls`, which compiles OpenSSL along"
            ],
        );
    }

    #[test]
    fn a_misspelt_property_is_refused_with_those_that_are_known() {
        let refused = settings(&[("linger.msec", "5")]).unwrap_err().to_string();
        assert!(refused.contains("`linger.msec` cannot be set") && refused.contains("linger.ms,"));
    }

    #[test]
    fn every_client_can_be_made_of_its_settings() {
        let settings = settings(&[("session.timeout.ms", "6000"), ("linger.ms", "1")]).unwrap();
        let roles =
            [Role::Control, Role::Fetch, Role::Member("g"), Role::Cursor("g"), Role::Producer];
        for role in roles {
            let made = settings.client(role).create_native_config();
            assert!(made.is_ok(), "{role:?}: {:?}", made.err());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = settings(&[("sasl.password", "hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
