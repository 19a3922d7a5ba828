//! The facts of one operation.
//!
//! Owns: security, scopes, words, parameters. Never: paths and servers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::words;
use super::document::{Around, Reading};

/// How deep a body's schema is searched for a password.
const SCHEMA_DEPTH_MAX: usize = 5;

/// Parts of a schema that are looked at for one operation; wide schemas refer to each other.
const SCHEMA_PARTS_MAX: usize = 2_000;

/// Names of properties that hold a password.
const PASSWORDS: [&str; 6] =
    ["password", "passwd", "pwd", "passphrase", "passcode", "user_password"];

/// What a document says of an operation.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) auth_required: bool,
    pub(super) scopes: Vec<String>,
    /// `x-privileged`.
    pub(super) privileged: Option<bool>,
    /// A tag or a scope speaks of administration.
    pub(super) admin: bool,
    /// `x-login`.
    pub(super) login: Option<bool>,
    /// The body has a password.
    pub(super) password: bool,
    pub(super) deprecated: bool,
    pub(super) query: Vec<String>,
}

pub(super) fn read<'d>(reading: &Reading<'d>, around: &Around<'d>) -> Result<Facts, String> {
    let flag = |name: &str| {
        let said = around.operation.get(name).or_else(|| around.item.get(name));
        said.and_then(Value::as_bool)
    };
    let security = around.operation.get("security").or_else(|| reading.root.get("security"));
    let alternatives: Vec<&Value> =
        security.and_then(Value::as_array).map(|all| all.iter().collect()).unwrap_or_default();
    let scopes = scopes(&alternatives);
    let tags = around.operation.get("tags").and_then(Value::as_array);
    let mut tags = tags.into_iter().flatten().filter_map(Value::as_str);
    Ok(Facts {
        auth_required: !alternatives.is_empty() && alternatives.iter().all(|one| !is_empty(one)),
        admin: tags.any(words::is_admin) || scopes.iter().any(|scope| words::is_admin(scope)),
        privileged: flag("x-privileged"),
        login: flag("x-login"),
        password: around.is_post() && has_password(reading, around.operation)?,
        deprecated: flag("deprecated").unwrap_or(false),
        query: query(reading, around, &alternatives)?,
        scopes: scopes.into_iter().collect(),
    })
}

/// Whether an alternative asks for nothing.
fn is_empty(alternative: &Value) -> bool {
    alternative.as_object().is_none_or(serde_json::Map::is_empty)
}

/// The scopes that every alternative asks for.
fn scopes(alternatives: &[&Value]) -> BTreeSet<String> {
    let of = |alternative: &&Value| -> BTreeSet<String> {
        let schemes = alternative.as_object().into_iter().flat_map(|schemes| schemes.values());
        let lists = schemes.filter_map(Value::as_array).flatten();
        lists.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut sets = alternatives.iter().map(of);
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |common, set| common.intersection(&set).cloned().collect())
}

fn query<'d>(
    reading: &Reading<'d>,
    around: &Around<'d>,
    alternatives: &[&Value],
) -> Result<Vec<String>, String> {
    let mut names = BTreeSet::new();
    for of in [around.item, around.operation] {
        for parameter in of.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let parameter = reading.resolve(parameter)?;
            let Some(name) = parameter.get("name").and_then(Value::as_str) else { continue };
            if parameter.get("in").and_then(Value::as_str) != Some("query") {
                continue;
            }
            names.insert(name.to_owned());
            let schema = parameter.get("schema").map(|schema| reading.resolve(schema));
            let properties = match schema {
                Some(schema) => schema?.get("properties").and_then(Value::as_object),
                None => None,
            };
            names.extend(properties.into_iter().flat_map(|all| all.keys().cloned()));
        }
    }
    let schemes = alternatives.iter().filter_map(|one| one.as_object()).flat_map(|one| one.keys());
    for scheme in schemes {
        let known = reading.root.pointer("/components/securitySchemes");
        let Some(scheme) = known.and_then(|known| known.get(scheme)) else { continue };
        let scheme = reading.resolve(scheme)?;
        if scheme.get("in").and_then(Value::as_str) == Some("query") {
            names.extend(scheme.get("name").and_then(Value::as_str).map(str::to_owned));
        }
    }
    Ok(names.into_iter().collect())
}

fn has_password<'d>(reading: &Reading<'d>, operation: &'d Value) -> Result<bool, String> {
    let Some(body) = operation.get("requestBody") else { return Ok(false) };
    let content = reading.resolve(body)?.get("content").and_then(Value::as_object);
    let mut parts = 0;
    let schemas = content.into_iter().flat_map(|types| types.values());
    for schema in schemas.filter_map(|of_type| of_type.get("schema")) {
        if takes_password(reading, schema, 0, &mut parts) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A schema that cannot be resolved has no password that we know of.
fn takes_password<'d>(
    reading: &Reading<'d>,
    schema: &'d Value,
    depth: usize,
    parts: &mut usize,
) -> bool {
    *parts += 1;
    if depth > SCHEMA_DEPTH_MAX || *parts > SCHEMA_PARTS_MAX {
        return false;
    }
    let Ok(schema) = reading.resolve(schema) else { return false };
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let is_text = property.get("format").and_then(Value::as_str) == Some("password");
        if is_text || PASSWORDS.contains(&name.to_ascii_lowercase().as_str()) {
            return true;
        }
        if takes_password(reading, property, depth + 1, parts) {
            return true;
        }
    }
    let nested = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array());
    nested.flatten().any(|part| takes_password(reading, part, depth + 1, parts))
}
