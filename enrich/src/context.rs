//! What is known when an event is joined.
//!
//! Owns: one immutable snapshot of all tables, and its replacement as a whole. Never: reads files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use schemas::{Deploy, Event, EventTime};
use serde::Serialize;

use crate::blocks::Blocks;
use crate::deploys::{Added, Deploys};
use crate::facts::Facts;
use crate::identities::{ApiKey, Identities, Identity};
use crate::network::Network;
use crate::problem::Problem;
use crate::routes::{Document, Routes};

/// All tables. A change makes another snapshot, which shares what did not change.
#[derive(Debug, Clone, Default)]
pub struct Context {
    deploys: Arc<Deploys>,
    identities: Arc<Identities>,
    routes: Arc<Routes>,
    network: Arc<Network>,
    blocks: Arc<Blocks>,
    tables: Arc<Vec<TableState>>,
    /// What the identities were made of.
    callers: Callers,
    /// How the tables from elsewhere stand, by name.
    pulled: Arc<BTreeMap<&'static str, TableState>>,
    /// What the routes were made of.
    documents: Documents,
    /// A table with one row, the service, where all tables speak of one alone.
    sole_service: Option<Arc<Facts>>,
}

/// Lines about callers, by where they came from.
#[derive(Debug, Clone, Default)]
struct Callers {
    people: Arc<Vec<Identity>>,
    keys: Arc<Vec<ApiKey>>,
    pulled: Arc<Vec<Identity>>,
}

impl Callers {
    /// What is written in files counts above what a directory says.
    fn identities(&self) -> Identities {
        let people: Vec<Identity> = self.pulled.iter().chain(&*self.people).cloned().collect();
        Identities::new(&people, &self.keys)
    }
}

/// OpenAPI documents, by where they came from.
#[derive(Debug, Clone, Default)]
struct Documents {
    filed: Arc<Vec<Arc<Document>>>,
    /// By what [`FetchedDocuments::place`] says.
    fetched: Arc<BTreeMap<usize, FetchedDocuments>>,
}

impl Documents {
    /// What is written in files counts above what services tell.
    fn routes(&self) -> (Routes, Vec<Problem>) {
        let fetched = self.fetched.values().flat_map(|of| &of.documents);
        Routes::new(self.filed.iter().chain(fetched).map(AsRef::as_ref))
    }
}

/// What an address has told of a service's routes, and how it stands.
#[derive(Debug, Clone)]
pub(crate) struct FetchedDocuments {
    /// Its place in the configuration.
    pub(crate) place: usize,
    pub(crate) service: String,
    pub(crate) url: String,
    /// The latest, and earlier ones of other versions.
    pub(crate) documents: Vec<Arc<Document>>,
    /// Mistakes in the latest.
    pub(crate) mistakes: usize,
    /// Why it could not be had at the last try.
    pub(crate) error: Option<String>,
    /// When it could, last.
    pub(crate) read_at_ms: Option<i64>,
}

/// How a document that is fetched stands now, for `/ready`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DocumentReport {
    /// The service.
    pub service: String,
    /// The address.
    pub url: String,
    /// The version of the latest, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Operations of the latest.
    pub operations: usize,
    /// Mistakes in the latest.
    pub problems: usize,
    /// Seconds since it was had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
    /// Why it could not be had at the last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a table of the context folder stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// `deploys`, `identities`, `api_keys`, `routes`, `lists`, `networks` of the folder; `scim`,
    /// `openapi`.
    pub table: &'static str,
    /// Its rows.
    pub rows: usize,
    /// Mistakes when it was read last.
    pub problems: usize,
    /// When it was read last without keeping an older state, by the machine's clock in
    /// milliseconds since 1970; absent where nobody said.
    pub read_at_ms: Option<i64>,
}

/// How a table stands now, for `/ready` and the metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// See [`TableState::table`].
    pub table: &'static str,
    /// Its rows.
    pub rows: usize,
    /// Mistakes when it was read last.
    pub problems: usize,
    /// Seconds since it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
}

impl Context {
    /// The deploys.
    #[must_use]
    pub fn deploys(&self) -> &Deploys {
        &self.deploys
    }

    /// The identities and API keys.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The declared routes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Networks.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Our own blocks that are in force.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(crate) fn sole_service(&self) -> Option<&Facts> {
        self.sole_service.as_deref()
    }

    /// The same with other deploys.
    #[must_use]
    pub fn with_deploys(mut self, deploys: Deploys) -> Self {
        self.deploys = Arc::new(deploys);
        self.name_sole_service()
    }

    /// The same with other identities.
    #[must_use]
    pub fn with_identities(mut self, identities: Identities) -> Self {
        self.identities = Arc::new(identities);
        self
    }

    /// The same with other lines of the context folder about callers; those from a directory stay.
    pub(crate) fn with_filed_callers(mut self, people: Vec<Identity>, keys: Vec<ApiKey>) -> Self {
        self.callers.people = Arc::new(people);
        self.callers.keys = Arc::new(keys);
        self.identities = Arc::new(self.callers.identities());
        self
    }

    /// The same with other lines from a directory; those of the context folder stay.
    fn with_pulled_identities(mut self, pulled: Vec<Identity>) -> Self {
        self.callers.pulled = Arc::new(pulled);
        self.identities = Arc::new(self.callers.identities());
        self
    }

    /// The same with other routes.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = Arc::new(routes);
        self.name_sole_service()
    }

    /// The same with other documents of the context folder; those that are fetched stay. And the
    /// mistakes that show only when documents are seen together.
    pub(crate) fn with_filed_documents(
        mut self,
        filed: Vec<Arc<Document>>,
    ) -> (Self, Vec<Problem>) {
        self.documents.filed = Arc::new(filed);
        self.with_documents()
    }

    fn with_documents(self) -> (Self, Vec<Problem>) {
        let (routes, problems) = self.documents.routes();
        (self.with_routes(routes), problems)
    }

    /// The same with other networks.
    #[must_use]
    pub fn with_network(mut self, network: Network) -> Self {
        self.network = Arc::new(network);
        self
    }

    /// The same with other blocks.
    #[must_use]
    pub fn with_blocks(mut self, blocks: Blocks) -> Self {
        self.blocks = Arc::new(blocks);
        self
    }

    pub(crate) fn with_tables(mut self, tables: Vec<TableState>) -> Self {
        self.tables = Arc::new(tables);
        self
    }

    /// How the tables of the context folder stand.
    #[must_use]
    pub fn tables(&self) -> &[TableState] {
        &self.tables
    }

    /// How they stand at this moment of the machine's clock.
    #[must_use]
    pub fn report(&self, now_ms: i64) -> Vec<TableReport> {
        let report = |state: &TableState| TableReport {
            table: state.table,
            rows: state.rows,
            problems: state.problems,
            age_s: state.read_at_ms.map(|read_at_ms| seconds(now_ms.saturating_sub(read_at_ms))),
        };
        let fetched = self.fetched_table();
        let pulled = self.pulled.values().chain(&fetched);
        self.tables.iter().chain(pulled).map(report).collect()
    }

    /// How the documents that are fetched stand at this moment of the machine's clock.
    #[must_use]
    pub fn report_documents(&self, now_ms: i64) -> Vec<DocumentReport> {
        let report = |of: &FetchedDocuments| {
            let latest = of.documents.first();
            DocumentReport {
                service: of.service.clone(),
                url: of.url.clone(),
                version: latest.and_then(|latest| latest.version.clone()),
                operations: latest.map_or(0, |latest| latest.operations.len()),
                problems: of.mistakes,
                age_s: of.read_at_ms.map(|read_at_ms| seconds(now_ms.saturating_sub(read_at_ms))),
                error: of.error.clone(),
            }
        };
        self.documents.fetched.values().map(report).collect()
    }

    /// All documents that are fetched as one table, which is as old as its oldest part.
    fn fetched_table(&self) -> Option<TableState> {
        let all = || self.documents.fetched.values();
        all().next()?;
        let rows = |of: &FetchedDocuments| of.documents.first().map_or(0, |d| d.operations.len());
        Some(TableState {
            table: "openapi",
            rows: all().map(rows).sum(),
            problems: all().map(|of| of.mistakes + usize::from(of.error.is_some())).sum(),
            read_at_ms: all().map(|of| of.read_at_ms).min().flatten(),
        })
    }

    /// Where deploys and documents speak of a single service, an event that names none is its.
    fn name_sole_service(mut self) -> Self {
        let services: BTreeSet<String> =
            self.deploys.services().chain(self.routes.services()).map(str::to_owned).collect();
        let mut services = services.into_iter();
        self.sole_service = match (services.next(), services.next()) {
            (Some(service), None) => {
                let row = Event { service: Some(service.into()), ..Event::default() };
                Some(Arc::new(Facts::new([row])))
            }
            _ => None,
        };
        self
    }
}

/// Milliseconds as seconds; exact to a millisecond for ages below 140,000 years.
fn seconds(ms: i64) -> f64 {
    let ms = ms.max(0);
    let whole = i32::try_from(ms / 1000).unwrap_or(i32::MAX);
    let rest = i32::try_from(ms % 1000).unwrap_or(0);
    f64::from(whole) + f64::from(rest) / 1000.0
}

/// The snapshot in force. Cheap to clone; clones are one.
#[derive(Debug, Clone, Default)]
pub struct ContextCell {
    current: Arc<RwLock<Arc<Context>>>,
    /// Held while the next snapshot is made, so that no change undoes another.
    changing: Arc<Mutex<()>>,
}

impl ContextCell {
    /// With this snapshot in force.
    #[must_use]
    pub fn new(context: Context) -> Self {
        let current = Arc::new(RwLock::new(Arc::new(context)));
        Self { current, changing: Arc::default() }
    }

    /// The snapshot in force; it does not change under the caller.
    #[must_use]
    pub fn load(&self) -> Arc<Context> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the snapshot in force that `change` makes of the present one.
    pub fn update<T>(&self, change: impl FnOnce(&Context) -> (Context, T)) -> T {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, outcome) = change(&self.load());
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        outcome
    }

    /// Adds deploys that did not come from the context folder: posted ones, or those that were
    /// stored earlier. Posted ones from before `forget_before` go, but for the last of a service.
    pub fn add_deploys(&self, deploys: Vec<Deploy>, forget_before: Option<EventTime>) -> Added {
        self.update(|context| {
            let (deploys, added) = context.deploys.with_posted(deploys, forget_before);
            (context.clone().with_deploys(deploys), added)
        })
    }

    /// Replaces the identities from a directory.
    pub(crate) fn set_pulled_identities(&self, pulled: Vec<Identity>) {
        self.update(|context| (context.clone().with_pulled_identities(pulled), ()));
    }

    /// Says how a table from elsewhere stands.
    pub(crate) fn set_pulled_table(&self, state: TableState) {
        self.update(|context| {
            let mut pulled = (*context.pulled).clone();
            pulled.insert(state.table, state);
            (Context { pulled: Arc::new(pulled), ..context.clone() }, ())
        });
    }

    /// Replaces what an address tells of a service's routes; the mistakes that show only when
    /// documents are seen together.
    pub(crate) fn set_fetched(&self, of: FetchedDocuments) -> Vec<Problem> {
        self.update(|context| {
            let mut next = context.clone();
            let mut fetched = (*next.documents.fetched).clone();
            let url = of.url.clone();
            let same = fetched.get(&of.place).map_or(of.documents.is_empty(), |old| {
                old.documents.len() == of.documents.len()
                    && old.documents.iter().zip(&of.documents).all(|(a, b)| Arc::ptr_eq(a, b))
            });
            fetched.insert(of.place, of);
            next.documents.fetched = Arc::new(fetched);
            if same {
                return (next, Vec::new());
            }
            let (next, mut problems) = next.with_documents();
            problems.retain(|problem| problem.url.as_deref() == Some(&url));
            (next, problems)
        })
    }

    /// Replaces our own blocks.
    pub fn set_blocks(&self, blocks: Blocks) {
        self.update(|context| (context.clone().with_blocks(blocks), ()));
    }
}
