//! `tidegate deploys …`: which deploys are known, and what became of them.
//!
//! Owns: where they are asked for, and how they are shown. Never: what the history means; `enrich`
//! says.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use enrich::{DeployRecord, DeployState, load_folder};
use runtime::clock::Clock;
use schemas::EventTime;
use serde_json::Value;

use crate::blocks::ask;
use crate::cli::{DeploysList, Output};
use crate::fault::Fault;
use crate::parse::stdout;
use crate::terminal;

/// The first digits of a commit; people compare no more.
const COMMIT_SHOWN: usize = 12;

/// Lists the deploys of a context folder, or those that the running process knows.
pub(crate) fn list(command: &DeploysList) -> Result<(), Fault> {
    let at = command.at.as_deref().map(moment).transpose()?;
    let all = match &command.context {
        Some(folder) => of_folder(folder, at)?,
        None => of_process(command, at)?,
    };
    let mut shown = all.clone();
    if let Some(service) = &command.service {
        shown.retain(|record| record.deploy.service == *service);
    }
    if let Some(environment) = &command.environment {
        shown.retain(|record| {
            let of = record.deploy.environment.as_deref();
            of.is_none_or(|of| of == environment)
        });
    }
    let mut out = io::stdout().lock();
    if command.output == Output::Json {
        for record in &shown {
            let line = serde_json::to_string(record).map_err(|error| Fault::bug(&error))?;
            writeln!(out, "{line}").map_err(|error| stdout(&error))?;
        }
    }
    if shown.is_empty() {
        terminal::say(&empty(command, &all));
        return Ok(());
    }
    if command.output == Output::Json {
        return Ok(());
    }
    writeln!(out, "{}", table(&shown)).map_err(|error| stdout(&error))
}

fn moment(text: &str) -> Result<EventTime, Fault> {
    text.parse().map_err(|error| {
        Fault::Usage(format!("--at {text}: {error}; write it as 2026-11-20T08:00:00Z"))
    })
}

fn of_folder(folder: &Path, at: Option<EventTime>) -> Result<Vec<DeployRecord>, Fault> {
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Fault::Usage(format!(
            "{folder} is no folder; name the one with deploys.jsonl"
        )));
    }
    let (context, problems) = load_folder(folder);
    for problem in problems {
        terminal::say(&format!("context: {problem}"));
    }
    let at = at.unwrap_or_else(|| EventTime(Clock::system().unix_ms()));
    Ok(context.deploys().history(at))
}

fn of_process(command: &DeploysList, at: Option<EventTime>) -> Result<Vec<DeployRecord>, Fault> {
    let path = match at {
        // The text of a time has nothing in it that a query would have to escape.
        Some(at) => format!("v1/deploys?at={at}"),
        None => "v1/deploys".to_owned(),
    };
    let mut answer = ask(&command.configured, &path, None)?;
    let records = answer.get_mut("deploys").map(Value::take).unwrap_or_default();
    serde_json::from_value(records).map_err(|error| {
        Fault::Dependency(format!(
            "the admin endpoint tells of deploys in another form: {error}; is it of this version?"
        ))
    })
}

/// What to say where there is nothing to show.
fn empty(command: &DeploysList, all: &[DeployRecord]) -> String {
    let services: std::collections::BTreeSet<&str> =
        all.iter().map(|record| record.deploy.service.as_str()).collect();
    if !services.is_empty() {
        let services: Vec<&str> = services.into_iter().collect();
        return format!("no deploy is of these; deploys are known of {}", services.join(", "));
    }
    match &command.context {
        Some(folder) => format!(
            "no deploys in {}; write one a line into {}, such as\n\
             {{\"service\": \"shop\", \"deploy_id\": \"d1\", \"deployed_at\": \"2026-11-20T08:00:00Z\"}}",
            folder.display(),
            folder.join("deploys.jsonl").display()
        ),
        None => "no deploys are known; tell of each as it happens, such as\n\
                 curl -d 'service=shop deploy_id=d1 version=1.4.2' http://127.0.0.1:7070/v1/deploys\n\
                 or let GitHub, GitLab, Flux or Argo CD tell: see docs/deploys.md"
            .to_owned(),
    }
}

fn table(records: &[DeployRecord]) -> Table {
    let mut table = terminal::table(UTF8_BORDERS_ONLY);
    table.set_header([
        "service",
        "environment",
        "deploy",
        "version",
        "commit",
        "owner",
        "deployed at",
        "state",
    ]);
    terminal::keep_whole(&mut table, &[2]);
    for record in records {
        let deploy = &record.deploy;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let commit: String = text(&deploy.commit).chars().take(COMMIT_SHOWN).collect();
        table.add_row([
            deploy.service.clone(),
            deploy.environment.clone().unwrap_or_else(|| "any".to_owned()),
            deploy.deploy_id.clone(),
            text(&deploy.version),
            commit,
            text(&deploy.owner),
            deploy.deployed_at.to_string(),
            state(record),
        ]);
    }
    table
}

/// `rolled back 2026-11-20T09:00:00.000Z by d1`
fn state(record: &DeployRecord) -> String {
    let mut text = record.state.name().to_owned();
    if record.state == DeployState::Serving {
        return text;
    }
    if let Some(until) = record.until {
        text.push_str(&format!(" {until}"));
    }
    if let Some(by) = &record.by {
        text.push_str(&format!(" by {by}"));
    }
    text
}
