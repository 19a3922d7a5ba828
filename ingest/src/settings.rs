//! How one input is read.
//!
//! Owns: the settings of a parser. Never: reads configuration.

use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::format::{Format, FormatError, Mapping, Template};

/// Which format an input has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// Whatever its lines show.
    #[default]
    Auto,
    /// This one, and what a server writes in its place for broken requests.
    Named(Format),
    /// One of the user's own.
    Template(Arc<Template>),
}

impl FromStr for Choice {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        if name == "auto" {
            Ok(Self::Auto)
        } else if name.contains(['$', '%']) {
            Ok(Self::Template(Arc::new(name.parse::<Template>()?)))
        } else {
            name.parse().map(Self::Named)
        }
    }
}

/// The zone of times that name none.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    pub(crate) fn tz(&self) -> TimeZone {
        self.0.clone()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

/// A name that is no time zone's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no time zone; write an IANA name, such as Europe/Berlin, or UTC")]
pub struct ZoneError {
    /// What was given.
    pub name: String,
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Self, ZoneError> {
        TimeZone::get(name).map(Self).map_err(|_unknown| ZoneError { name: name.to_owned() })
    }
}

/// How one input is read. Every value is valid.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The input's name: column `sensor`.
    pub sensor: String,
    /// Its format.
    pub format: Choice,
    /// The service where a line names none; without it the host is the service.
    pub service: Option<String>,
    /// The environment where a line names none.
    pub environment: Option<String>,
    /// The zone of times that name none.
    pub time_zone: Zone,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the redacted line is kept.
    pub keep_line: bool,
    /// Names of this input's JSON beside the well-known ones.
    pub mapping: Mapping,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sensor: "input".to_owned(),
            format: Choice::Auto,
            service: None,
            environment: None,
            time_zone: Zone::default(),
            trusted_proxies: Vec::new(),
            keep_line: true,
            mapping: Mapping::default(),
        }
    }
}
