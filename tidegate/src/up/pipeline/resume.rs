//! What the pipeline begins with: state, place and rules.
//!
//! Owns: reading the marker, and what is begun with where it is of no use. Never: reading the log.

use bytes::Bytes;
use detect::{Learning, Local, LocalSettings};
use engine::rule::Problem;
use tracing::{info, warn};
use transport::NextOffset;

use super::super::marker::Marker;
use super::super::rules::{self, InForce};
use super::{PipelineError, Wiring};
use crate::pack::Texts;

/// What the pipeline begins with.
pub(super) struct Resumed {
    pub(super) local: Local,
    pub(super) from: NextOffset,
    pub(super) rules: Bytes,
    pub(super) in_force: InForce,
    /// Whether the log says which rules ran from `from` on.
    pub(super) is_logged: bool,
}

/// State, place and rules of the last marker; the log's beginning, which is `start`, and the rules
/// of the folder where there is none that fits.
pub(super) fn resumed(
    wiring: &Wiring,
    (names, start): (&[String], NextOffset),
    texts: &Texts,
    settings: &LocalSettings,
) -> Result<Resumed, PipelineError> {
    let path = wiring.marker.display().to_string();
    let marker = Marker::read(&wiring.marker)
        .map_err(|source| PipelineError::Marker { path: path.clone(), source })?;
    let ran = marker.as_ref().filter(|marker| !marker.rules.is_empty());
    let ran = ran.and_then(|marker| match rules::of_log(&marker.rules, wiring.hash_key) {
        Ok(ran) => Some(ran),
        Err(why) => {
            warn!(path, why, "the rules that ran cannot run in this build");
            None
        }
    });
    let is_logged = ran.is_some();
    let (texts, ruleset) = match ran {
        Some(ran) => ran,
        None => (texts.clone(), texts.ruleset(wiring.hash_key).map_err(refused)?),
    };
    let resumed = |local, from| Resumed {
        local,
        from,
        rules: Bytes::from(texts.encode()),
        in_force: InForce::new(texts.hash(), &ruleset),
        is_logged,
    };
    if let Some(marker) = marker {
        if marker.key != wiring.hash_key.check() {
            warn!(
                path,
                "the marker was made under another key, or by an earlier build; the whole raw log \
                 is read again"
            );
        } else if marker.inputs == names {
            match Local::restore(&ruleset, settings, &marker.state) {
                Ok((mut local, fresh)) => {
                    local.learn(marker.learning);
                    if !fresh.is_empty() {
                        info!(rules = fresh.join(", "), "rules begin without state");
                    }
                    return Ok(resumed(local, NextOffset(marker.next)));
                }
                Err(failure) => {
                    let failure = runtime::error::chain(&failure);
                    warn!(
                        path,
                        failure, "the marker cannot be used; the whole raw log is read again"
                    );
                }
            }
        } else {
            info!("the inputs have changed; the whole raw log is read again");
        }
    }
    let mut local = Local::new(&ruleset, settings)?;
    if start > NextOffset::ZERO {
        // What the log has forgotten, nobody knows.
        local.learn(Learning::anew(&ruleset, |_| true));
    }
    Ok(resumed(local, start))
}

fn refused(problems: Vec<Problem>) -> PipelineError {
    let shown: Vec<String> = problems.into_iter().map(|problem| problem.render(false)).collect();
    PipelineError::Rules(shown.join("\n"))
}
