//! What events are joined with.
//!
//! Owns: which sources of context there are, and that `/ready` tells of them. Never: what a source
//! does.

use std::path::Path;

use enrich::{ContextCell, DocumentPull, EnrichMetrics, ScimPull, Watch};
use schemas::Deploy;
use serde_json::json;

use super::Shared;
use crate::config::ContextConfig;
use crate::fault::Fault;

/// Starts the sources. `deploys` were stored before this start; relative paths begin at `base`.
pub(super) fn start(
    config: &ContextConfig,
    base: &Path,
    deploys: Vec<Deploy>,
    shared: &Shared,
) -> Result<(ContextCell, EnrichMetrics), Fault> {
    let metrics = EnrichMetrics::new(&shared.metrics);
    let context = ContextCell::default();
    context.add_deploys(deploys, None);
    let clock = || shared.clock.clone();
    let stop = || shared.tasks.shutdown().token();
    if let Some(folder) = &config.folder {
        let folder = base.join(folder);
        let mut watch = Watch::new(&folder, context.clone(), clock(), metrics.clone());
        watch.poll();
        shared.tasks.spawn("context", watch.run(stop()));
    }
    if let Some(scim) = &config.scim {
        let pull = ScimPull::new(scim.clone(), context.clone(), clock(), metrics.clone());
        let pull = pull.map_err(|error| Fault::of(&error))?;
        let ready = shared.ready.condition("scim", "the directory is being read");
        shared.tasks.spawn("scim", pull.run(ready, stop()));
    }
    if !config.openapi.is_empty() {
        let pulls = DocumentPull::all(&config.openapi, &context, &shared.clock, &metrics);
        let asked = shared.ready.condition("openapi", "the services' documents are being fetched");
        for pull in pulls.map_err(|error| Fault::of(&error))? {
            let name = format!("openapi {}", pull.service());
            shared.tasks.spawn(&name, pull.run(asked.clone(), stop()));
        }
    }
    let (told, clock) = (context.clone(), clock());
    shared.ready.detail("context", move || {
        let (context, now_ms) = (told.load(), clock.unix_ms());
        json!({ "tables": context.report(now_ms), "documents": context.report_documents(now_ms) })
    });
    Ok((context, metrics))
}
