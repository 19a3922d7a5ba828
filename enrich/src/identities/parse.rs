//! Lines of `identities.jsonl` and `api_keys.jsonl`.
//!
//! Owns: what to say about mistakes in them. Never: what they mean together.

use super::{ApiKey, Identity};
use crate::problem::{Problem, json_reason};

const WHAT: &str = "the line is left out";

/// One line of `identities.jsonl`.
pub(crate) fn identity_line(line: &str) -> Result<Identity, Problem> {
    const NEXT: &str = "write {\"principal\": …} with any of `kind` (human, service), `tenant`, \
                        `roles`, `scopes`, `active`, `from`, `until`";
    let identity: Identity = read(line, NEXT)?;
    if identity.principal.is_empty() {
        return Err(Problem::new(WHAT, "`principal` is empty", NEXT));
    }
    check_span(identity.from, identity.until, ["from", "until"])?;
    Ok(identity)
}

/// One line of `api_keys.jsonl`.
pub(crate) fn api_key_line(line: &str) -> Result<ApiKey, Problem> {
    const NEXT: &str = "write {\"key_hash\": …, \"owner\": …} with any of `tenant`, `plan`, \
                        `created`, `expires`; the hash is what `token_id` shows";
    let key: ApiKey = read(line, NEXT)?;
    if key.key_hash.is_empty() || key.owner.is_empty() {
        return Err(Problem::new(WHAT, "`key_hash` or `owner` is empty", NEXT));
    }
    check_span(key.created, key.expires, ["created", "expires"])?;
    Ok(key)
}

fn read<'l, T: serde::Deserialize<'l>>(line: &'l str, next: &str) -> Result<T, Problem> {
    serde_json::from_str(line).map_err(|error| {
        let column = Some(error.column()).filter(|column| *column > 0);
        Problem::new(WHAT, json_reason(&error), next).at(error.line(), column)
    })
}

fn check_span(
    from: Option<schemas::EventTime>,
    until: Option<schemas::EventTime>,
    names: [&str; 2],
) -> Result<(), Problem> {
    match (from, until) {
        (Some(from), Some(until)) if until <= from => {
            let [first, last] = names;
            let why = format!("`{last}` ({until}) is not after `{first}` ({from})");
            Err(Problem::new(WHAT, why, "exchange the two, or leave one out"))
        }
        _ => Ok(()),
    }
}
