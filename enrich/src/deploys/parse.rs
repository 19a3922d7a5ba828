//! Deploys from text.
//!
//! Owns: the three forms (canonical JSON, CDEvents, `name=value`), one or many, and what to say
//! about mistakes. Never: what the deploys mean together; what `webhooks` translates.
//!
//! The short form is for a shell: `curl -d 'service=shop deploy_id=d2 version=1.4.2' …`, or one
//! `-d` a field; the time is that of receipt.

use schemas::{Deploy, EventTime};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::cdevents;
use crate::problem::{Problem, json_reason, line_and_column};

/// The longest text of a field, in bytes. Ids, versions and links to repositories are shorter.
const TEXT_BYTES_MAX: usize = 512;

/// What stood in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Understood {
    /// The deploys, in order.
    pub deploys: Vec<Deploy>,
    /// What is well formed but no deploy.
    pub ignored: Vec<Ignored>,
}

/// Something that was understood and is not for us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// What it was.
    pub what: String,
    /// Why nothing follows from it.
    pub why: String,
}

/// One thing that stood in a text.
#[derive(Debug)]
pub(super) enum Item {
    Deploy(Box<Deploy>),
    Ignored(Ignored),
}

/// Reads deploys: a JSON object, several (one a line, or in an array), or lines of `name=value`.
/// Each object is canonical or a CDEvent. Deploys without a time get `received_at`.
///
/// # Errors
/// Every mistake, with its place in `body`; then none of the deploys counts.
pub fn parse_deploys(body: &str, received_at: EventTime) -> Result<Understood, Vec<Problem>> {
    let mut understood = Understood::default();
    let mut problems = Vec::new();
    for item in split(body) {
        let read = item.and_then(|(text, offset)| {
            let (line, column) = line_and_column(body, offset);
            parse_item(text, Some(received_at)).map_err(|problem| {
                let on_first = problem.line.unwrap_or(1) == 1;
                let shifted = problem.column.map(|c| if on_first { c + column - 1 } else { c });
                Problem { column: shifted, ..problem.below(line) }
            })
        });
        match read {
            Ok(Item::Deploy(deploy)) => understood.deploys.push(*deploy),
            Ok(Item::Ignored(ignored)) => understood.ignored.push(ignored),
            Err(problem) => problems.push(problem),
        }
    }
    let empty = understood.deploys.is_empty() && understood.ignored.is_empty();
    if problems.is_empty() && empty {
        problems.push(refused("the body is empty"));
    }
    if problems.is_empty() { Ok(understood) } else { Err(problems) }
}

/// One line of `deploys.jsonl`.
pub(crate) fn parse_line(text: &str) -> Result<Option<Deploy>, Problem> {
    match parse_item(text, None)? {
        Item::Deploy(deploy) => Ok(Some(*deploy)),
        Item::Ignored(_) => Ok(None),
    }
}

/// The items of a body, each with its offset.
fn split(body: &str) -> Vec<Result<(&str, usize), Problem>> {
    let start = body.trim_start();
    if start.starts_with('[') {
        return match serde_json::from_str::<Vec<&RawValue>>(body) {
            Ok(items) => items.into_iter().map(|item| Ok(placed(body, item.get()))).collect(),
            Err(error) => vec![Err(malformed(&error))],
        };
    }
    if start.starts_with('{') {
        let stream = serde_json::Deserializer::from_str(body).into_iter::<&RawValue>();
        return stream
            .map(|item| match item {
                Ok(item) => Ok(placed(body, item.get())),
                Err(error) => Err(malformed(&error)),
            })
            .collect();
    }
    body.lines().filter(|line| !line.trim().is_empty()).map(|line| Ok(placed(body, line))).collect()
}

/// A part of a text with its offset.
fn placed<'b>(body: &'b str, part: &'b str) -> (&'b str, usize) {
    (part, part.as_ptr().addr() - body.as_ptr().addr())
}

fn malformed(error: &serde_json::Error) -> Problem {
    let column = Some(error.column()).filter(|column| *column > 0);
    Problem::new(
        WHAT,
        format!("not JSON: {}", json_reason(error)),
        "send one JSON object a line, a JSON array, or `service=… deploy_id=…`",
    )
    .at(error.line(), column)
}

const WHAT: &str = "the deploy is not taken";

/// What follows from a cause.
pub(super) fn refused(why: impl Into<Box<str>>) -> Problem {
    let why: Box<str> = why.into();
    let next = if why.starts_with("unknown field") {
        "correct the name of the field, or leave it out"
    } else if why.contains("is not a time") {
        "correct the time, or leave it out where the deploy is posted as it happens"
    } else {
        "name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as \
         2026-11-20T08:00:00Z)"
    };
    Problem::new(WHAT, why, next)
}

/// Which form an object has.
#[derive(serde::Deserialize)]
struct Probe {
    specversion: Option<IgnoredAny>,
    context: Option<IgnoredAny>,
    deployed_at: Option<IgnoredAny>,
}

fn parse_item(text: &str, received_at: Option<EventTime>) -> Result<Item, Problem> {
    let deploy = if text.trim_start().starts_with('{') {
        let probe: Probe = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        if probe.specversion.is_some() || probe.context.is_some() {
            let event: Value = serde_json::from_str(text).map_err(|error| malformed(&error))?;
            return checked(cdevents::read(&event, received_at)?);
        }
        match (probe.deployed_at, received_at) {
            (None, Some(received_at)) => {
                let mut fields: Map<String, Value> =
                    serde_json::from_str(text).map_err(|error| malformed(&error))?;
                fields.insert("deployed_at".to_owned(), received_at.to_string().into());
                from_fields(fields)?
            }
            _ => serde_json::from_str(text).map_err(|error| {
                let column = Some(error.column()).filter(|column| *column > 0);
                refused(json_reason(&error)).at(error.line(), column)
            })?,
        }
    } else {
        short_form(text, received_at)?
    };
    checked(Item::Deploy(Box::new(deploy)))
}

fn from_fields(fields: Map<String, Value>) -> Result<Deploy, Problem> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| refused(json_reason(&error)))
}

/// `service=shop deploy_id=d2 …`, parted by blanks or, as forms are sent, by `&`.
fn short_form(line: &str, received_at: Option<EventTime>) -> Result<Deploy, Problem> {
    let is_form = line.contains('&') || !line.trim().contains(char::is_whitespace);
    let mut fields = Map::new();
    for pair in line.split(|c: char| c == '&' || c.is_whitespace()).filter(|pair| !pair.is_empty())
    {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(refused(format!("`{pair}` is neither JSON nor `name=value`")));
        };
        let value = if is_form { decoded(value) } else { value.to_owned() };
        if fields.insert(name.to_owned(), value.into()).is_some() {
            return Err(refused(format!("`{name}` is there twice")));
        }
    }
    if let (None, Some(received_at)) = (fields.get("deployed_at"), received_at) {
        fields.insert("deployed_at".to_owned(), received_at.to_string().into());
    }
    from_fields(fields)
}

/// Undoes the encoding of forms: `+` is a blank, `%41` a byte. What is not one stays as it is.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        rest = match escaped {
            Some(_) => tail.get(2..).unwrap_or(&[]),
            None => tail,
        };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The same, or what is wrong with the texts in it.
pub(super) fn checked(item: Item) -> Result<Item, Problem> {
    let Item::Deploy(deploy) = &item else { return Ok(item) };
    let fields = [
        ("service", Some(&deploy.service)),
        ("deploy_id", Some(&deploy.deploy_id)),
        ("environment", deploy.environment.as_ref()),
        ("version", deploy.version.as_ref()),
        ("commit", deploy.commit.as_ref()),
        ("change_id", deploy.change_id.as_ref()),
        ("repository", deploy.repository.as_ref()),
        ("pipeline_run", deploy.pipeline_run.as_ref()),
        ("owner", deploy.owner.as_ref()),
    ];
    for (name, text) in fields {
        let Some(text) = text else { continue };
        if text.trim().is_empty() {
            return Err(refused(format!("`{name}` is empty")));
        }
        if text.len() > TEXT_BYTES_MAX {
            let bytes = text.len();
            return Err(refused(format!("`{name}` has {bytes} bytes, more than {TEXT_BYTES_MAX}")));
        }
    }
    Ok(item)
}

#[cfg(test)]
mod tests;
