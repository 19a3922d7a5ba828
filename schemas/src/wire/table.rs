//! The fields of verdicts, orders, outcomes and dead letters, once.
//!
//! Owns: their names, types and meaning, and the Avro schema that follows. Never: values.
//!
//! Words with few values are plain strings: a reader of an older version then still reads the
//! record in which a new word stands.

use serde_json::{Value, json};

/// Namespace of every record.
const NAMESPACE: &str = "dev.tidegate";
/// Record that carries a JSON value which has no type in Avro.
pub(super) const JSON_RECORD: &str = "Json";

/// How a field is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// UTF-8.
    Text,
    /// A whole number, 64 bits.
    Whole,
    /// Yes or no.
    Flag,
    /// Milliseconds since the Unix epoch, UTC.
    Time,
    /// A list of texts.
    Texts,
    /// Any JSON value by name.
    Values,
    /// One record.
    One(&'static Table),
    /// A list of records.
    Many(&'static Table),
}

/// What stands for a field that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is always there.
    Never,
    /// Null.
    Null,
    /// An empty list or map, or `false`.
    Empty,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) absent: Absent,
    pub(super) doc: &'static str,
    pub(super) otel: &'static str,
    pub(super) ecs: &'static str,
    pub(super) ocsf: &'static str,
    pub(super) personal: bool,
}

impl Column {
    const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self { name, shape, absent: Never, doc, otel: "", ecs: "", ocsf: "", personal: false }
    }

    const fn or_null(self) -> Self {
        Self { absent: Absent::Null, ..self }
    }

    const fn or_empty(self) -> Self {
        Self { absent: Absent::Empty, ..self }
    }

    const fn otel(self, otel: &'static str) -> Self {
        Self { otel, ..self }
    }

    const fn ecs(self, ecs: &'static str) -> Self {
        Self { ecs, ..self }
    }

    const fn ocsf(self, ocsf: &'static str) -> Self {
        Self { ocsf, ..self }
    }

    const fn personal(self) -> Self {
        Self { personal: true, ..self }
    }
}

/// One record.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) columns: &'static [Column],
}

use Absent::Never;
use Shape::{Flag, Many, One, Text, Texts, Time, Values, Whole};

static WINDOW: Table = Table {
    name: "Window",
    doc: "The first window that fired.",
    columns: &[
        Column::new("start", Time, "First moment inside."),
        Column::new("end", Time, "First moment after it."),
        Column::new("size_ms", Whole, "Length of one window in milliseconds."),
    ],
};

static DEPLOY: Table = Table {
    name: "VerdictDeploy",
    doc: "The deploy that the events of an episode agree on.",
    columns: &[
        Column::new("id", Text, "Deploy id.").otel("deployment.id"),
        Column::new("commit", Text, "Commit.").or_null().otel("vcs.ref.head.revision"),
        Column::new("change", Text, "Change request.").or_null().otel("vcs.change.id"),
        Column::new("owner", Text, "Team that owns the service.").or_null().ocsf("api.group.name"),
        Column::new("age_s", Whole, "Seconds from the deploy to the first event.").or_null(),
    ],
};

static EXEMPLAR: Table = Table {
    name: "Exemplar",
    doc: "An event that shows what the rule saw.",
    columns: &[
        Column::new("event_id", Text, "Event id.").otel("log.record.uid").ecs("event.id"),
        Column::new("event_time", Time, "When it happened.").ecs("@timestamp").ocsf("time"),
        Column::new("line", Text, "The raw line after redaction.")
            .or_null()
            .otel("log.record.original")
            .ecs("event.original")
            .ocsf("raw_data")
            .personal(),
    ],
};

static ORIGIN: Table = Table {
    name: "Origin",
    doc: "A place in a log.",
    columns: &[
        Column::new("topic", Text, "Topic, file or input.").otel("messaging.destination.name"),
        Column::new("partition", Whole, "Partition of it.")
            .otel("messaging.destination.partition.id"),
        Column::new("offset", Whole, "Offset in the partition.").otel("messaging.kafka.offset"),
        Column::new("index", Whole, "Which event of the record, from 0."),
    ],
};

static SUBJECT: Table = Table {
    name: "Subject",
    doc: "What an order acts on.",
    columns: &[
        Column::new(
            "kind",
            Text,
            "ip, network, principal, token, account, ja4, route, deploy or key.",
        ),
        Column::new("value", Text, "Which one.").personal(),
    ],
};

static GUARD_NOTE: Table = Table {
    name: "GuardNote",
    doc: "Why a guardrail changed or held an order.",
    columns: &[
        Column::new("guard", Text, "Which guardrail."),
        Column::new("reason", Text, "What it found, in words."),
    ],
};

/// `Verdict`, on `verdicts`.
pub(super) static VERDICT: Table = Table {
    name: "Verdict",
    doc: "What a rule found. `id` names the episode and is equal for all its kinds; `revision` \
          counts up.",
    columns: &[
        Column::new("id", Text, "Episode id; with `revision` the idempotency key.")
            .ocsf("finding_info.uid"),
        Column::new("revision", Whole, "1 for `opened`, then upwards."),
        Column::new("kind", Text, "opened, updated, merged or closed.").ocsf("activity_name"),
        Column::new("rule", Text, "Rule id.").ecs("rule.id").ocsf("finding_info.analytic.uid"),
        Column::new("rule_version", Text, "Hash of the whole rule text.")
            .ecs("rule.version")
            .ocsf("finding_info.analytic.version"),
        Column::new("title", Text, "The rule's title.").ecs("rule.name").ocsf("finding_info.title"),
        Column::new("severity", Text, "info, low, medium, high or critical.").ocsf("severity"),
        Column::new("mode", Text, "shadow, canary or live."),
        Column::new("key", Values, "Key columns and their values.").personal(),
        Column::new("subject", Values, "What a response acts on: subject kind by value.")
            .or_empty()
            .personal(),
        Column::new(
            "values",
            Values,
            "The other columns of the query's row; at `closed`, the totals.",
        )
        .personal(),
        Column::new("window", One(&WINDOW), "The first firing window; none for rules without one.")
            .or_null(),
        Column::new("first_event", Time, "Event time of the first event.")
            .ecs("event.start")
            .ocsf("finding_info.first_seen_time"),
        Column::new("last_event", Time, "Event time of the last event so far.")
            .ecs("event.end")
            .ocsf("finding_info.last_seen_time"),
        Column::new("fired_at", Time, "Event time at which the rule fired.")
            .ecs("@timestamp")
            .ocsf("time"),
        Column::new("early", Flag, "Whether it fired before its window closed."),
        Column::new("degraded", Flag, "Whether state was shed, so that the values are estimates."),
        Column::new("into", Text, "The episode that this one merged into.").or_null(),
        Column::new("service", Texts, "Services concerned.")
            .or_empty()
            .otel("service.name")
            .ecs("service.name")
            .ocsf("api.service.name"),
        Column::new("route", Texts, "`METHOD template` of the routes concerned.")
            .or_empty()
            .otel("http.route")
            .ocsf("api.operation"),
        Column::new("deploy", One(&DEPLOY), "The deploy, where the events agree on one.").or_null(),
        Column::new("deploys", Values, "Events by deploy, where they do not agree.").or_empty(),
        Column::new("context_missing", Texts, "What could not be joined.").or_empty(),
        Column::new("events", Many(&EXEMPLAR), "Up to five events.").or_empty(),
        Column::new(
            "origin",
            One(&ORIGIN),
            "Where the frame stood that made it fire; none in `replay`.",
        )
        .or_null(),
        Column::new(
            "respond",
            Texts,
            "The most that the rule asks for, such as `block 30m`, `ticket`.",
        )
        .or_empty(),
        Column::new("why", Text, "Why the rule exists.").or_null().ocsf("finding_info.desc"),
        Column::new("now_what", Text, "What to do now.").or_null().ocsf("remediation.desc"),
        Column::new(
            "canary_percent",
            Whole,
            "Share of keys in percent that orders are made for, where `mode` is `canary`.",
        )
        .or_null(),
    ],
};

/// `Order`, on `orders`.
pub(super) static ORDER: Table = Table {
    name: "Order",
    doc: "What respond decided. A repeated verdict gives the same `id`.",
    columns: &[
        Column::new("id", Text, "Identity; the idempotency key at targets."),
        Column::new("verdict_id", Text, "The episode that it answers.").ocsf("finding_info.uid"),
        Column::new("revision", Whole, "The revision that it answers."),
        Column::new("rule", Text, "Rule id.").ecs("rule.id").ocsf("finding_info.analytic.uid"),
        Column::new(
            "action",
            Text,
            "observe, ticket, notify, throttle, step_up, block, page or release.",
        ),
        Column::new("subject", One(&SUBJECT), "On whom; none for tickets and pages.").or_null(),
        Column::new("target", Text, "Name of the target that carries it out."),
        Column::new("decided_at", Time, "When it was decided.").ecs("@timestamp").ocsf("time"),
        Column::new("expires_at", Time, "When a block ends by itself.").or_null(),
        Column::new("dry_run", Flag, "Whether the last call is left out."),
        Column::new("needs_approval", Flag, "Whether it waits for a person.").or_empty(),
        Column::new("notes", Many(&GUARD_NOTE), "What the guardrails said.").or_empty(),
    ],
};

/// `Outcome`, on `outcomes`.
pub(super) static OUTCOME: Table = Table {
    name: "Outcome",
    doc: "What came of an order.",
    columns: &[
        Column::new("order_id", Text, "The order."),
        Column::new("target", Text, "The target."),
        Column::new(
            "state",
            Text,
            "done, dry_run, retrying, parked, released, expired, refused or waiting.",
        )
        .ecs("event.outcome")
        .ocsf("status"),
        Column::new("at", Time, "When.").ecs("@timestamp").ocsf("time"),
        Column::new("attempt", Whole, "Tries so far."),
        Column::new("remote_id", Text, "The target's own name for it, such as a ticket's number.")
            .or_null(),
        Column::new("detail", Text, "The error, or what a person should know.")
            .or_null()
            .ecs("error.message")
            .ocsf("status_detail"),
        Column::new("more", Values, "Anything else that the target said.").or_empty(),
    ],
};

/// `DeadLetter`, on `dead-letter`.
pub(super) static DEAD_LETTER: Table = Table {
    name: "DeadLetter",
    doc: "What could not be used, and why. The key of the record is the origin.",
    columns: &[
        Column::new("reason", Text, "One word of a closed list, such as `malformed` or `late`.")
            .ecs("event.reason"),
        Column::new("detail", Text, "What exactly, and what would help.").ecs("error.message"),
        Column::new("origin", One(&ORIGIN), "Where it came from.").or_null(),
        Column::new("sensor", Text, "Input that brought it.").or_null().ecs("observer.name"),
        Column::new("client_ip", Text, "The client's address where it could be found.")
            .or_null()
            .otel("client.address")
            .ecs("client.ip")
            .ocsf("src_endpoint.ip")
            .personal(),
        Column::new("event_time", Time, "Its time where it could be found, else when it was seen.")
            .or_null()
            .ecs("@timestamp")
            .ocsf("time"),
        Column::new(
            "line",
            Text,
            "The masked bytes, invalid UTF-8 replaced, at most 2 KiB; empty where there are none.",
        )
        .otel("log.record.original")
        .ecs("event.original")
        .ocsf("raw_data")
        .personal(),
    ],
};

fn full_name(name: &str) -> String {
    format!("{NAMESPACE}.{name}")
}

impl Table {
    /// The Avro schema, as JSON text.
    pub(super) fn schema_text(&self) -> String {
        let schema = self.schema(&mut Vec::new());
        format!("{schema:#}\n")
    }

    /// The schema; a record that `named` holds already is referred to by its name. Every name
    /// is a full one: implementations differ in the fingerprint of inherited namespaces.
    fn schema(&self, named: &mut Vec<&'static str>) -> Value {
        let name = full_name(self.name);
        if named.contains(&self.name) {
            return Value::from(name);
        }
        named.push(self.name);
        let fields: Vec<Value> = self.columns.iter().map(|column| column.schema(named)).collect();
        json!({"type": "record", "name": name, "doc": self.doc, "fields": fields})
    }
}

impl Column {
    fn schema(&self, named: &mut Vec<&'static str>) -> Value {
        let shape = self.shape.schema(named);
        let mut field = json!({
            "name": self.name, "doc": self.doc, "personal": self.personal,
            "otel": self.otel, "ecs": self.ecs, "ocsf": self.ocsf,
        });
        let Some(entries) = field.as_object_mut() else { return field };
        let (shape, default) = match self.absent {
            Never => (shape, None),
            Absent::Null => (json!(["null", shape]), Some(Value::Null)),
            Absent::Empty => (shape, Some(self.shape.empty())),
        };
        entries.insert("type".to_owned(), shape);
        if let Some(default) = default {
            entries.insert("default".to_owned(), default);
        }
        field
    }
}

impl Shape {
    fn schema(self, named: &mut Vec<&'static str>) -> Value {
        match self {
            Text => json!("string"),
            Whole => json!("long"),
            Flag => json!("boolean"),
            Time => json!({"type": "long", "logicalType": "timestamp-millis"}),
            Texts => json!({"type": "array", "items": "string"}),
            Values => json!({"type": "map", "values": any_value(named)}),
            One(table) => table.schema(named),
            Many(table) => json!({"type": "array", "items": table.schema(named)}),
        }
    }

    fn empty(self) -> Value {
        match self {
            Flag => json!(false),
            Values => json!({}),
            Texts | Many(_) => json!([]),
            Text | Whole | Time | One(_) => Value::Null,
        }
    }
}

/// A JSON value: the types that both know, else its JSON text in a record of its own.
fn any_value(named: &mut Vec<&'static str>) -> Value {
    let name = full_name(JSON_RECORD);
    let rest = if named.contains(&JSON_RECORD) {
        json!(name)
    } else {
        named.push(JSON_RECORD);
        json!({
            "type": "record", "name": name,
            "doc": "A value that is neither text, number, truth value nor a list of texts.",
            "fields": [{"name": "json", "type": "string", "doc": "The value as JSON text."}],
        })
    };
    json!(["null", "boolean", "long", "double", "string", {"type": "array", "items": "string"}, rest])
}
