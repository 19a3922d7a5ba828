//! Services with a real schema registry.

use std::collections::BTreeSet;
use std::time::Duration;

use schemas::{
    Order, Outcome, RecordCodec, RecordForm, Verdict, VerdictCodec, WireKind, WireRecord,
    confluent_schema_id,
};
use serde_json::{Value, json};
use transport::registry::{Registry, RegistryConfig, value_subject};
use transport::{NewRecord, Partition};

use crate::cluster::{Cluster, brokers, registry};
use crate::running::{ask, free_port, until};
use crate::{ATTACKER, OTHER, later, names, traffic};

/// A client of the test's own.
struct Asking {
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

impl Asking {
    fn new(url: &str) -> Self {
        let config =
            RegistryConfig { url: url.to_owned(), login: None, timeout: Duration::from_secs(20) };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { registry: Registry::new(config).unwrap(), runtime }
    }

    fn register(&self, subject: &str, schema: &str) -> u32 {
        self.runtime.block_on(self.registry.register(subject, schema)).unwrap()
    }

    /// All values are of the schema that stands under the topic's subject.
    #[track_caller]
    fn check(&self, cluster: &Cluster, topic: &str) -> Vec<Vec<u8>> {
        let subject = value_subject(&cluster.topic(topic));
        let latest = self.runtime.block_on(self.registry.latest(&subject)).unwrap();
        let mut values = cluster.values(topic);
        // A void and a mark of time have no value.
        values.retain(|value| !value.is_empty());
        let ids: BTreeSet<Option<u32>> =
            values.iter().map(|value| confluent_schema_id(value)).collect();
        assert_eq!(ids, BTreeSet::from([Some(latest.id)]), "{topic}");
        values
    }

    fn read<R: WireRecord>(&self, value: &[u8]) -> R {
        let id = confluent_schema_id(value).unwrap();
        let schema = self.runtime.block_on(self.registry.schema(id)).unwrap();
        let mut codec = RecordCodec::new(RecordForm::Json).unwrap();
        codec.learn_id(id, &schema).unwrap();
        codec.decode(value).unwrap()
    }
}

fn configured(url: &str) -> String {
    format!("\n[kafka.registry]\nurl = \"{url}\"\n")
}

fn with_avro(cluster: &Cluster, url: &str) {
    let path = cluster.path("tidegate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("[kafka]\n", "[kafka]\nrecords = \"avro\"\n", 1)).unwrap();
    cluster.configure(&configured(url));
}

/// What a later version of us would register: one more field.
fn one_field_more() -> String {
    let mut schema: Value = serde_json::from_str(WireKind::Verdict.avro_schema()).unwrap();
    let field = json!({"name": "mood", "type": ["null", "string"], "default": null});
    schema["fields"].as_array_mut().unwrap().push(field);
    schema.to_string()
}

#[test]
fn services_register_what_they_write_and_find_the_schemas_of_what_they_read() {
    let Some(brokers) = brokers("registered schemas") else { return };
    let Some(url) = registry("registered schemas") else { return };
    let mut cluster = Cluster::prepare(&brokers, 2, 1);
    with_avro(&cluster, &url);
    // Each in a process of its own, so that none knows what another one has registered.
    cluster.start(&["ingest", "enrich", "detect", "respond"]);
    cluster.ship(&traffic(0..90));
    until("403 for the attacker", || (cluster.nginx(ATTACKER) == 403).then_some(()));
    assert_eq!(cluster.nginx(OTHER), 200);
    cluster.ship_everywhere(&later());
    assert_eq!(cluster.verdict("closed")["values"]["failures"], 90);
    let asking = Asking::new(&url);
    for topic in ["access.events", "access.enriched", "dead-letter", "outcomes"] {
        assert!(!asking.check(&cluster, topic).is_empty(), "{topic}");
    }
    let order: Order = asking.read(&asking.check(&cluster, "orders")[0]);
    assert_eq!(order.rule, "rule");
    let outcome: Outcome = asking.read(&asking.check(&cluster, "outcomes")[0]);
    assert!(!outcome.order_id.is_empty());
    let mut verdict: Verdict = asking.read(&asking.check(&cluster, "verdicts")[0]);
    // Another version of us writes to the topic: one field more, absent here.
    let id = asking.register(&value_subject(&cluster.topic("verdicts")), &one_field_more());
    let codec = VerdictCodec::new(RecordForm::Avro(schemas::Framing::Confluent(id))).unwrap();
    verdict.id = "of-a-later-version".to_owned();
    let mut value = codec.encode(&verdict).unwrap();
    value.push(0);
    let (kafka, topic) = (cluster.kafka(), cluster.topic("verdicts"));
    asking.runtime.block_on(async move {
        let log = kafka.topic(&topic).await.unwrap();
        log.append(Partition(0), vec![NewRecord::new(value)]).await.unwrap();
    });
    until("the verdict of another writer", || {
        let ids = names(&cluster, "verdict", |verdict| verdict["id"].to_string());
        ids.contains(&"\"of-a-later-version\"".to_owned()).then_some(())
    });
    cluster.stop();
}

#[test]
fn a_registry_that_is_away_is_waited_for_and_named() {
    let Some(brokers) = brokers("a registry that is away") else { return };
    let mut cluster = Cluster::prepare(&brokers, 1, 1);
    cluster.configure(&configured(&format!("http://127.0.0.1:{}", free_port())));
    let said = cluster.waiting("ingest", "is away");
    assert!(said.contains("schema registry") && said.contains("\"ready\":false"), "{said}");
    assert!(said.contains("check its address"), "{said}");
    cluster.stop();
}

#[test]
fn a_schema_that_does_not_match_stops_the_start_with_subject_difference_and_next_step() {
    let Some(brokers) = brokers("an incompatible schema") else { return };
    let Some(url) = registry("an incompatible schema") else { return };
    let mut cluster = Cluster::prepare(&brokers, 1, 1);
    cluster.configure(&configured(&url));
    let subject = value_subject(&cluster.topic("access.events"));
    let other = json!({
        "type": "record", "name": "AccessEvent", "namespace": "dev.tidegate",
        "fields": [{"name": "event_time", "type": "bytes"}],
    });
    Asking::new(&url).register(&subject, &other.to_string());
    let (port, path) = url.strip_prefix("http://127.0.0.1:").unwrap().split_once('/').unwrap();
    let json = "Content-Type: application/json\r\n";
    let rule = r#"{"compatibility": "BACKWARD"}"#;
    let path = format!("/{path}/config/{subject}");
    let (status, said) = ask(port.parse().unwrap(), "PUT", &path, json, rule).unwrap();
    assert_eq!(status, 200, "{said}");
    let (code, said) = cluster.refused("ingest");
    assert_eq!(code, Some(2), "{said}");
    let last = said.lines().rfind(|line| line.starts_with("tidegate:")).unwrap();
    assert!(last.contains(&subject), "{said}");
    assert!(last.contains("union lacking writer type: BYTES at /fields/"), "{said}");
    assert!(last.contains("another topic"), "{said}");
}
