//! One `[[input]]` table.
//!
//! Owns: the keys that an input has. Never: defaults that differ by place; they are all here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use runtime::config::{Secret, Span};
use serde::Deserialize;

/// Where lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// Files that match a path or a glob, followed.
    File,
    /// Standard input, until its end.
    Stdin,
    /// Lines posted over HTTP, in whatever way a shipper does it.
    Http,
    /// As `http`; for shippers that write to Elasticsearch.
    Elasticsearch,
    /// As `http`; for shippers that write to Loki.
    Loki,
    /// As `http`; for OTLP over HTTP and gRPC.
    Otlp,
    /// Syslog over UDP, TCP or TLS.
    Syslog,
    /// A Kafka topic that a shipper writes to; needs `[kafka]`. Lines of the other types go to
    /// topics of their own there, called `raw.` and the input's name.
    Kafka,
}

/// How syslog is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogProtocol {
    /// UDP and TCP at the same port.
    #[default]
    Both,
    /// UDP only.
    Udp,
    /// TCP only; TLS with a certificate.
    Tcp,
}

/// An input as configured. Keys that a type does not use are refused by [`InputConfig::check`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Where lines come from.
    pub r#type: InputType,
    /// Name in metrics, verdicts and `sensor`; default: the path, `stdin`, or the address.
    #[serde(default)]
    pub name: Option<String>,
    /// `file`: path or glob (`*` and `?` in the last part).
    #[serde(default)]
    pub path: Option<String>,
    /// `file`: whether to begin at the end of files that are there at the very first start.
    #[serde(default)]
    pub from_end: bool,
    /// Whether it is written now. Otherwise it is a recording: time passes with its
    /// lines, not with the clock.
    #[serde(default = "yes")]
    pub live: bool,
    /// `kafka`: the topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// `http`, `elasticsearch`, `loki`, `otlp`, `syslog`: address to listen on.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// `http`, `elasticsearch`, `loki`, `otlp`: bearer token that senders must show.
    #[serde(default)]
    pub token: Option<Secret>,
    /// `syslog`: `udp`, `tcp` or `both`.
    #[serde(default)]
    pub protocol: SyslogProtocol,
    /// Inputs that listen: PEM file with the certificate and its chain; with it only TLS is taken.
    #[serde(default)]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the certificate's key.
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// Names in the log, nested ones joined by dots, to names of columns: `{ kunde = "principal" }`.
    #[serde(default)]
    pub mapping: BTreeMap<String, String>,
    /// Log format, `auto`, or a template in the language of nginx, Envoy, Apache or HAProxy.
    #[serde(default = "auto")]
    pub format: String,
    /// The customer's API that the lines are about.
    #[serde(default)]
    pub service: Option<String>,
    /// Deployment environment.
    #[serde(default)]
    pub environment: Option<String>,
    /// How much disorder the watermark allows for.
    #[serde(default = "lateness")]
    pub lateness: Span,
    /// Zone of times that name none.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Networks whose X-Forwarded-For is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether events keep their redacted line.
    #[serde(default = "yes")]
    pub keep_line: bool,
}

/// Types that listen, for messages.
const LISTENING: &str = "http, elasticsearch, loki, otlp or syslog";
/// Types that lines are posted to, for messages.
const POSTED: &str = "http, elasticsearch, loki or otlp";

fn auto() -> String {
    "auto".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}

fn lateness() -> Span {
    Span::from_ms(10_000)
}

fn yes() -> bool {
    true
}

impl InputConfig {
    /// The name that everything behind knows this input by.
    #[must_use]
    pub fn sensor(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        match self.r#type {
            InputType::File => self.path.clone().unwrap_or_else(|| "file".to_owned()),
            InputType::Kafka => self.topic.clone().unwrap_or_else(|| "kafka".to_owned()),
            InputType::Stdin => "stdin".to_owned(),
            other => {
                let kind = other.name();
                self.listen.map_or_else(|| kind.to_owned(), |at| format!("{kind}:{at}"))
            }
        }
    }

    /// What is wrong with the keys taken together, as (key, why); the first that shows.
    #[must_use]
    pub fn check(&self) -> Option<(&'static str, String)> {
        self.unused().or_else(|| self.missing().map(|(key, why)| (key, why.to_owned())))
    }

    /// A key that is set and that this type has no use for: whoever wrote it meant something.
    fn unused(&self) -> Option<(&'static str, String)> {
        use InputType::{File, Kafka, Stdin, Syslog};
        let this = self.r#type;
        let listens = !matches!(this, File | Stdin | Kafka);
        let posted = listens && this != Syslog;
        let uses = [
            ("path", self.path.is_some(), this == File, "file"),
            ("from_end", self.from_end, this == File, "file"),
            ("topic", self.topic.is_some(), this == Kafka, "kafka"),
            ("listen", self.listen.is_some(), listens, LISTENING),
            ("token", self.token.is_some(), posted, POSTED),
            ("protocol", self.protocol != SyslogProtocol::Both, this == Syslog, "syslog"),
            ("tls_certificate", self.tls_certificate.is_some(), listens, LISTENING),
            ("tls_key", self.tls_key.is_some(), listens, LISTENING),
        ];
        let (key, .., of) = uses.into_iter().find(|(_, is_set, is_used, _)| *is_set && !is_used)?;
        let this = this.name();
        let why =
            format!("an input of type `{this}` has no `{key}`; it is for type {of}: remove it");
        Some((key, why))
    }

    fn missing(&self) -> Option<(&'static str, &'static str)> {
        match self.r#type {
            InputType::File if self.path.is_none() => Some((
                "path",
                "an input of type `file` needs `path`, such as \"/var/log/nginx/access.log\"",
            )),
            InputType::Kafka if self.topic.is_none() => {
                Some(("topic", "an input of type `kafka` needs `topic`, such as \"access.raw\""))
            }
            InputType::File | InputType::Stdin | InputType::Kafka => None,
            InputType::Syslog => self.check_syslog(),
            _ if self.listen.is_none() => Some((
                "listen",
                "an input that senders write to needs `listen`, such as \"127.0.0.1:7071\"",
            )),
            _ if self.is_open() && self.token.is_none() => {
                Some(("token", "an input that listens beyond this machine needs a `token`"))
            }
            _ => self.check_tls(),
        }
    }

    fn check_tls(&self) -> Option<(&'static str, &'static str)> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => Some(("tls_key", "a certificate needs its key, `tls_key`")),
            (None, Some(_)) => {
                Some(("tls_certificate", "a key needs its certificate, `tls_certificate`"))
            }
            _ => None,
        }
    }

    fn is_open(&self) -> bool {
        self.listen.is_some_and(|at| !at.ip().is_loopback())
    }

    fn check_syslog(&self) -> Option<(&'static str, &'static str)> {
        if self.listen.is_none() {
            let why = "an input of type `syslog` needs `listen`, such as \"127.0.0.1:5514\"";
            return Some(("listen", why));
        }
        if self.tls_certificate.is_some() && self.protocol == SyslogProtocol::Udp {
            return Some(("protocol", "TLS needs `protocol = \"tcp\"`"));
        }
        self.check_tls()
    }
}

impl InputType {
    /// The word of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdin => "stdin",
            Self::Http => "http",
            Self::Elasticsearch => "elasticsearch",
            Self::Loki => "loki",
            Self::Otlp => "otlp",
            Self::Syslog => "syslog",
            Self::Kafka => "kafka",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InputConfig;

    fn check(input: &str) -> String {
        let input: InputConfig = serde_json::from_str(input).unwrap();
        input.check().map(|(key, why)| format!("{key}: {why}")).unwrap_or_default()
    }

    #[test]
    fn a_key_that_the_type_has_no_use_for_is_refused() {
        assert_eq!(
            check(r#"{"type": "file", "path": "a.log", "listen": "127.0.0.1:7071"}"#),
            "listen: an input of type `file` has no `listen`; it is for type http, elasticsearch, \
             loki, otlp or syslog: remove it"
        );
        for (input, key) in [
            (r#"{"type": "http", "listen": "127.0.0.1:1", "path": "a.log"}"#, "path"),
            (r#"{"type": "http", "listen": "127.0.0.1:1", "protocol": "tcp"}"#, "protocol"),
            (r#"{"type": "syslog", "listen": "127.0.0.1:1", "token": "t"}"#, "token"),
            (r#"{"type": "stdin", "from_end": true}"#, "from_end"),
            (r#"{"type": "kafka", "topic": "t", "tls_key": "k"}"#, "tls_key"),
            (r#"{"type": "stdin", "topic": "t"}"#, "topic"),
        ] {
            assert!(check(input).starts_with(&format!("{key}: an input of type")), "{input}");
        }
    }

    #[test]
    fn keys_of_the_type_and_of_all_types_pass() {
        for input in [
            r#"{"type": "file", "path": "a.log", "from_end": true, "live": false}"#,
            r#"{"type": "syslog", "listen": "127.0.0.1:1", "protocol": "udp", "service": "shop"}"#,
            r#"{"type": "otlp", "listen": "127.0.0.1:1", "token": "t", "live": false}"#,
            r#"{"type": "stdin", "format": "json", "lateness": "1s"}"#,
        ] {
            assert_eq!(check(input), "", "{input}");
        }
    }
}
