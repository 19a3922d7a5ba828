//! `cargo xtask eval`: how well we read and detect on data that others labelled.
//!
//! Owns: where the corpora are, what must be reached, `docs/eval.md`. Never: the corpora, which
//! keep their own licences and are not part of this repository.

mod beats;
mod crowdsec;
mod crs;
mod report;
mod tidegate;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::args::Args;
use crate::place;
use crate::process::succeeds;
use crate::trouble::Trouble;

use report::Report;
use tidegate::Tidegate;

/// What came of an evaluation.
#[derive(Debug)]
pub(crate) enum Score {
    /// Everything was reached.
    Reached,
    /// These were not.
    Short(Vec<String>),
    /// There are no corpora to score; the text says where they would be.
    NoCorpora(String),
}

/// Runs `eval`.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let corpora = args.option("--corpora")?.map(PathBuf::from);
    let write = args.flag("--write");
    args.finish()?;
    if !succeeds(&mut place::build())? {
        return Err(Trouble::no("the build failed; the errors stand above"));
    }
    let page = write.then(|| place::root().join("docs/eval.md"));
    let binary = place::target().join("debug/tidegate");
    match score(&binary, corpora, page.as_deref())? {
        Score::Reached => Ok(()),
        Score::Short(what) => Err(Trouble::no(format!("not reached: {}", what.join("; ")))),
        Score::NoCorpora(why) => Err(Trouble::dependency(why)),
    }
}

/// Scores the corpora with a built binary, prints the table, and writes it to `page`.
pub(crate) fn score(
    binary: &Path,
    corpora: Option<PathBuf>,
    page: Option<&Path>,
) -> Result<Score, Trouble> {
    let from_environment = || place::variable("TIDEGATE_CORPORA").map(PathBuf::from);
    let beside = || place::root().join("../shared/corpora");
    let corpora = corpora.or_else(from_environment).unwrap_or_else(beside);
    if !corpora.join("crowdsec-hub.jsonl").exists() {
        return Ok(Score::NoCorpora(format!(
            "not run: there are no corpora in {} (name another folder by TIDEGATE_CORPORA or \
             --corpora)",
            corpora.display()
        )));
    }
    let scratch = place::folder(&place::target().join("eval"))?;
    let tidegate = Tidegate::new(binary, &place::root().join("rules"), &scratch);
    let mut report = Report::new();
    crowdsec::score(&tidegate, &cases(&corpora, "crowdsec-hub.jsonl")?, &mut report)?;
    beats::score(&tidegate, &cases(&corpora, "beats-access.jsonl")?, &mut report)?;
    crs::score(&tidegate, &cases(&corpora, "crs-lines.jsonl")?, &mut report)?;
    place::remove_folder(&scratch)?;
    let text = report.text();
    println!("{text}");
    if let Some(page) = page {
        place::write(page, &text)?;
    }
    let short = report.short();
    Ok(if short.is_empty() { Score::Reached } else { Score::Short(short) })
}

/// The cases of a corpus: one JSON object a line.
fn cases(corpora: &Path, name: &str) -> Result<Vec<Value>, Trouble> {
    let path = corpora.join(name);
    let text = place::read(&path)?;
    let mut cases = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let case = serde_json::from_str(line).map_err(|e| {
            Trouble::dependency(format!("{}:{number}: not JSON: {e}", path.display()))
        })?;
        cases.push(case);
    }
    Ok(cases)
}

/// A text field of a case; empty where there is none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list; none where there is no list.
fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
