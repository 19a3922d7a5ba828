//! One metric for each set of label values.
//!
//! Owns: the bound on the number of sets.
//! Never: label names that vary; they are fixed where the metric is declared.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::family::{Family as ClientFamily, MetricConstructor};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Sets of label values in one family. Each costs about 300 bytes here and a series in Prometheus;
/// 1,000 of them are 300 KiB and what a dashboard can still show.
const SETS_MAX: usize = 1_000;

/// The value of all labels past [`SETS_MAX`], so that the sum stays right.
const OTHER: &str = "other";

type Labels<const N: usize> = [(&'static str, String); N];

/// A metric of type `M` for each set of values of `N` labels. Cheap to clone; clones are one.
pub struct Family<M, const N: usize> {
    labels: [&'static str; N],
    inner: ClientFamily<Labels<N>, M, Constructor<M>>,
    /// About the sets in `inner`; two threads that meet a new set at once count it twice.
    sets: Arc<AtomicUsize>,
}

struct Constructor<M>(Arc<dyn Fn() -> M + Send + Sync>);

impl<M> Clone for Constructor<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> MetricConstructor<M> for Constructor<M> {
    fn new_metric(&self) -> M {
        (self.0)()
    }
}

impl<M, const N: usize> Clone for Family<M, N> {
    fn clone(&self) -> Self {
        let sets = Arc::clone(&self.sets);
        Self { labels: self.labels, inner: self.inner.clone(), sets }
    }
}

impl<M: fmt::Debug, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl<M: Clone, const N: usize> Family<M, N> {
    pub(super) fn new(
        labels: [&'static str; N],
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Self {
        let inner = ClientFamily::new_with_constructor(Constructor(Arc::new(make)));
        Self { labels, inner, sets: Arc::default() }
    }

    /// The metric of these label values, in the order of the declared labels. Keep it where it is
    /// used often: finding it takes a lock and the copies of the values.
    ///
    /// Past 1,000 sets of values a new one counts as `other`.
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> M {
        let labels = self.labelled(values);
        if let Some(known) = self.inner.get(&labels) {
            return known.clone();
        }
        if self.sets.load(Ordering::Relaxed) >= SETS_MAX {
            return self.inner.get_or_create_owned(&self.labelled([OTHER; N]));
        }
        self.sets.fetch_add(1, Ordering::Relaxed);
        self.inner.get_or_create_owned(&labels)
    }

    /// Takes the metric of these label values out, for instance of a partition that is no longer
    /// ours. Whether it was there.
    pub fn remove(&self, values: [&str; N]) -> bool {
        let removed = self.inner.remove(&self.labelled(values));
        if removed && self.sets.load(Ordering::Relaxed) > 0 {
            self.sets.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    fn labelled(&self, values: [&str; N]) -> Labels<N> {
        let mut names = self.labels.iter();
        values.map(|value| (names.next().copied().unwrap_or(""), value.to_owned()))
    }
}

impl<M, const N: usize> EncodeMetric for Family<M, N>
where
    M: EncodeMetric + TypedMetric,
{
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.inner.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
