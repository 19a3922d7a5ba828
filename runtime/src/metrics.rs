//! Counts and sizes for Prometheus.
//!
//! Owns: the registry of a process, the names, units and labels of its metrics, their text.
//! Never: a global; a component gets its [`Metrics`] handed down, with its prefix on it.
//!
//! Each component declares all its metrics in one place, when it is built:
//!
//! ```
//! use runtime::metrics::{Metrics, Unit};
//!
//! let metrics = Metrics::new();
//! let ingest = metrics.component("ingest");
//! let dropped = ingest.counters("dropped", Unit::Lines, "Lines that gave no event", ["reason"]);
//! dropped.with(["too_long"]).inc_by(2);
//! assert!(metrics.encode().contains("tidegate_ingest_dropped_lines_total{reason=\"too_long\"} 2"));
//! ```

mod family;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::registry::{Metric, Registry, Unit as ClientUnit};
use tracing::error;

pub use family::Family;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};

/// A gauge for fractions, such as seconds.
pub type GaugeF64 = Gauge<f64, AtomicU64>;

/// A counter for each set of values of `N` labels.
pub type Counters<const N: usize> = Family<Counter, N>;

/// A gauge for each set of values of `N` labels.
pub type Gauges<const N: usize> = Family<Gauge, N>;

/// A gauge for fractions for each set of values of `N` labels.
pub type GaugesF64<const N: usize> = Family<GaugeF64, N>;

/// A histogram for each set of values of `N` labels.
pub type Histograms<const N: usize> = Family<Histogram, N>;

/// The first part of every metric's name.
const PREFIX: &str = "tidegate";

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From 1 ms to 32 s, doubling: for latencies.
#[must_use]
pub fn latency_buckets_seconds() -> Vec<f64> {
    exponential_buckets(0.001, 2.0, 16).collect()
}

/// What a metric counts or measures; the last part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "a unit says itself what it is")]
pub enum Unit {
    Seconds,
    Bytes,
    Ratio,
    Lines,
    Events,
    Records,
    Batches,
    Requests,
    Connections,
    Rows,
    /// Any other, in the plural: `episodes`.
    Of(&'static str),
}

impl Unit {
    /// As it stands in a metric's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Lines => "lines",
            Self::Events => "events",
            Self::Records => "records",
            Self::Batches => "batches",
            Self::Requests => "requests",
            Self::Connections => "connections",
            Self::Rows => "rows",
            Self::Of(name) => name,
        }
    }
}

/// What a metric is, for the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The full name, as Prometheus shows it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts or measures.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// What it means.
    pub help: String,
}

/// The metrics of a process, or the part of them that belongs to a component. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    book: Arc<Mutex<Book>>,
    prefix: String,
}

/// What is registered, by full name.
struct Book {
    registry: Registry,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    description: Description,
    /// A clone of what is in the registry.
    metric: Box<dyn Any + Send>,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The name, unit and meaning that every metric has.
struct Head<'a> {
    name: &'a str,
    unit: Unit,
    help: &'a str,
}

impl Metrics {
    /// An empty registry. All names begin with `tidegate_`.
    #[must_use]
    pub fn new() -> Self {
        let book = Book { registry: Registry::default(), entries: BTreeMap::new() };
        Self { book: Arc::new(Mutex::new(book)), prefix: PREFIX.to_owned() }
    }

    /// The part of a component: the same registry, with `name` added to the prefix.
    #[must_use]
    pub fn component(&self, name: &str) -> Self {
        Self { book: Arc::clone(&self.book), prefix: format!("{}_{name}", self.prefix) }
    }

    /// A number that only grows. Its name gets the unit and `_total` at the end.
    #[must_use]
    pub fn counter(&self, name: &str, unit: Unit, help: &str) -> Counter {
        self.register("counter", &Head { name, unit, help }, Vec::new(), Counter::default())
    }

    /// A whole number that goes up and down.
    #[must_use]
    pub fn gauge(&self, name: &str, unit: Unit, help: &str) -> Gauge {
        self.register("gauge", &Head { name, unit, help }, Vec::new(), Gauge::default())
    }

    /// A number with a fraction that goes up and down.
    #[must_use]
    pub fn gauge_f64(&self, name: &str, unit: Unit, help: &str) -> GaugeF64 {
        self.register("gauge", &Head { name, unit, help }, Vec::new(), GaugeF64::default())
    }

    /// A distribution. `buckets` are the upper bounds, rising; the last, infinity, is added.
    #[must_use]
    pub fn histogram(&self, name: &str, unit: Unit, help: &str, buckets: &[f64]) -> Histogram {
        let metric = Histogram::new(buckets.iter().copied());
        self.register("histogram", &Head { name, unit, help }, Vec::new(), metric)
    }

    /// Counters by label.
    #[must_use]
    pub fn counters<const N: usize>(
        &self,
        name: &str,
        unit: Unit,
        help: &str,
        labels: [&'static str; N],
    ) -> Counters<N> {
        let family = Family::new(labels, Counter::default);
        self.register("counter", &Head { name, unit, help }, labels.to_vec(), family)
    }

    /// Gauges by label.
    #[must_use]
    pub fn gauges<const N: usize>(
        &self,
        name: &str,
        unit: Unit,
        help: &str,
        labels: [&'static str; N],
    ) -> Gauges<N> {
        let family = Family::new(labels, Gauge::default);
        self.register("gauge", &Head { name, unit, help }, labels.to_vec(), family)
    }

    /// Gauges with a fraction by label.
    #[must_use]
    pub fn gauges_f64<const N: usize>(
        &self,
        name: &str,
        unit: Unit,
        help: &str,
        labels: [&'static str; N],
    ) -> GaugesF64<N> {
        let family = Family::new(labels, GaugeF64::default);
        self.register("gauge", &Head { name, unit, help }, labels.to_vec(), family)
    }

    /// Distributions of seconds by label, in the [`latency_buckets_seconds`].
    #[must_use]
    pub fn latencies<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Histograms<N> {
        let family = Family::new(labels, || Histogram::new(latency_buckets_seconds()));
        let head = Head { name, unit: Unit::Seconds, help };
        self.register("histogram", &head, labels.to_vec(), family)
    }

    /// The metrics of the whole process as OpenMetrics text, of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        if let Err(error) = text::encode(&mut encoded, &self.book().registry) {
            // A `String` takes all that is written, so only a broken metric comes here.
            error!(%error, "metrics could not be written");
        }
        encoded
    }

    /// All metrics of the process, by name.
    #[must_use]
    pub fn describe(&self) -> Vec<Description> {
        self.book().entries.values().map(|entry| entry.description.clone()).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers under a new name. A name that is there already gives the same metric, so that
    /// several instances of a component count together.
    fn register<M: Metric + Clone>(
        &self,
        kind: &'static str,
        head: &Head<'_>,
        labels: Vec<&'static str>,
        metric: M,
    ) -> M {
        let stem = format!("{}_{}", self.prefix, head.name);
        let unit = head.unit.as_str();
        let total = if kind == "counter" { "_total" } else { "" };
        let name = format!("{stem}_{unit}{total}");
        let help = head.help.trim_end_matches('.').to_owned();
        let description = Description { name: name.clone(), kind, unit: head.unit, labels, help };
        let mut book = self.book();
        if let Some(entry) = book.entries.get(&name) {
            if let Some(same) = entry.metric.downcast_ref::<M>()
                && entry.description.labels == description.labels
            {
                return same.clone();
            }
            error!(name, "two different metrics have one name; the second is not shown");
            return metric;
        }
        let client_unit = ClientUnit::Other(unit.to_owned());
        let help = description.help.clone();
        book.registry.register_with_unit(stem, help, client_unit, metric.clone());
        let entry = Entry { description, metric: Box::new(metric.clone()) };
        book.entries.insert(name, entry);
        metric
    }
}

#[cfg(test)]
mod tests;
