//! One `[[input]]` table.
//!
//! Owns: the keys that an input has. Never: defaults that differ by place; they are all here.

use std::net::SocketAddr;

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
    /// Lines posted over HTTP.
    Http,
    /// A Kafka topic that a shipper writes to; needs `[kafka]`.
    Kafka,
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
    /// `file`, `kafka`: whether it is written now. Otherwise it is a recording: time passes with its
    /// lines, not with the clock.
    #[serde(default = "yes")]
    pub live: bool,
    /// `kafka`: the topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// `http`: address to listen on.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// `http`: bearer token that senders must show.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Log format, or `auto`.
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
            InputType::Http => {
                self.listen.map_or_else(|| "http".to_owned(), |at| format!("http:{at}"))
            }
        }
    }

    /// What is wrong with the keys taken together, as (key, why); the first that shows.
    #[must_use]
    pub fn check(&self) -> Option<(&'static str, &'static str)> {
        match self.r#type {
            InputType::File if self.path.is_none() => Some((
                "path",
                "an input of type `file` needs `path`, such as \"/var/log/nginx/access.log\"",
            )),
            InputType::Kafka if self.topic.is_none() => {
                Some(("topic", "an input of type `kafka` needs `topic`, such as \"access.raw\""))
            }
            InputType::Http if self.listen.is_none() => Some((
                "listen",
                "an input of type `http` needs `listen`, such as \"127.0.0.1:7071\"",
            )),
            InputType::Http => {
                let open = self.listen.is_some_and(|at| !at.ip().is_loopback());
                (open && self.token.is_none()).then_some((
                    "token",
                    "an input that listens beyond this machine needs a `token`",
                ))
            }
            InputType::File | InputType::Stdin | InputType::Kafka => None,
        }
    }
}
