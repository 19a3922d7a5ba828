//! `tidegate blocks …`: the blocks in force, and their end by hand.
//!
//! Owns: asking the process that runs. Never: the ledger's file, which that process holds open.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde_json::{Value, json};

use crate::cli::{BlocksList, BlocksRelease, Configured, Output};
use crate::config::{self, AdminConfig};
use crate::fault::Fault;
use crate::parse::stdout;
use crate::terminal;

/// Releases are confirmed at the target before they are answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Lists the blocks in force.
pub(crate) fn list(command: &BlocksList) -> Result<(), Fault> {
    let answer = ask(&command.configured, "v1/blocks", None)?;
    let blocks = answer.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut out = io::stdout().lock();
    if command.output == Output::Json {
        for block in &blocks {
            writeln!(out, "{block}").map_err(|error| stdout(&error))?;
        }
        return Ok(());
    }
    if blocks.is_empty() {
        return writeln!(out, "no blocks in force").map_err(|error| stdout(&error));
    }
    writeln!(out, "{}", table(&blocks)).map_err(|error| stdout(&error))
}

fn table(blocks: &[Value]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    table.set_header(["subject", "state", "target", "until", "rule", "order"]);
    for block in blocks {
        let text = |path: &str| match block.pointer(path) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        table.add_row([
            format!("{}:{}", text("/order/subject/kind"), text("/order/subject/value")),
            text("/state"),
            text("/order/target"),
            text("/order/expires_at"),
            text("/order/rule"),
            text("/order/id"),
        ]);
    }
    table
}

/// Ends blocks, and says whether their end is confirmed.
pub(crate) fn release(command: &BlocksRelease) -> Result<(), Fault> {
    let mut request = json!({ "by": "command line", "reason": command.reason });
    let which = match (&command.subject, &command.order, &command.rule) {
        (Some(subject), ..) => ("subject", subject_of(subject)),
        (None, Some(order), _) => ("order", Value::from(order.as_str())),
        (None, None, Some(rule)) => ("rule", Value::from(rule.as_str())),
        (None, None, None) => ("all", Value::from(true)),
    };
    if let Some(request) = request.as_object_mut() {
        request.insert(which.0.to_owned(), which.1);
    }
    let answer = ask(&command.configured, "v1/blocks/release", Some(&request))?;
    let mut out = io::stdout().lock();
    let mut any = false;
    for (list, word) in [("released", "released"), ("pending", "not confirmed yet:")] {
        for order in answer.get(list).and_then(Value::as_array).into_iter().flatten() {
            any = true;
            writeln!(out, "{word} {}", line(order)).map_err(|error| stdout(&error))?;
        }
    }
    if any {
        return Ok(());
    }
    terminal::say("nothing to release; `tidegate blocks list` shows what is in force");
    Err(Fault::No)
}

/// `ip:203.0.113.9 at nginx (order 0a1b, rule auth/x)`
fn line(order: &Value) -> String {
    let text = |path: &str| order.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!(
        "{}:{} at {} (order {}, rule {})",
        text("/order/subject/kind"),
        text("/order/subject/value"),
        text("/order/target"),
        text("/order/id"),
        text("/order/rule")
    )
}

/// `203.0.113.9` is an address; `principal:ann` says its kind.
fn subject_of(text: &str) -> Value {
    let kinds = ["ip", "network", "principal", "token", "account", "ja4", "route", "deploy"];
    match text.split_once(':') {
        Some((kind, value)) if kinds.contains(&kind) => json!({ "kind": kind, "value": value }),
        _ if text.contains('/') => json!({ "kind": "network", "value": text }),
        _ => json!({ "kind": "ip", "value": text }),
    }
}

/// What the admin endpoint of the running process answers to GET, or to POST with a body.
pub(crate) fn ask(
    configured: &Configured,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Fault> {
    let loaded =
        config::load(configured).map_err(|problems| Fault::Usage(problems.render(false)))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::bug(&error))?;
    let AdminConfig { listen, token, .. } = &loaded.settings.admin;
    let token = token.as_ref().map(|token| token.expose().to_owned());
    runtime.block_on(asked(&format!("http://{listen}"), token, path, body))
}

/// As [`ask`], of the admin endpoint at this address, `http://host:port`.
pub(crate) fn ask_at(address: &str, path: &str) -> Result<Value, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::bug(&error))?;
    runtime.block_on(asked(address.trim_end_matches('/'), None, path, None))
}

async fn asked(
    address: &str,
    token: Option<String>,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Fault> {
    let url = format!("{address}/{path}");
    let away = |error: reqwest::Error| {
        Fault::Dependency(format!(
            "no answer from the admin endpoint at {address}: {error}; is `tidegate up` running with this configuration?"
        ))
    };
    // The client wants a provider even for plain HTTP. One that is installed already is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    // Not through a proxy of the environment: it would be shown the token.
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build();
    let client = client.map_err(away)?;
    let mut request = match body {
        Some(body) => client.post(&url).json(body),
        None => client.get(&url),
    };
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(away)?;
    let status = response.status();
    let text = response.text().await.map_err(away)?;
    if !status.is_success() {
        return Err(Fault::Usage(format!("the admin endpoint answered {status}: {text}")));
    }
    serde_json::from_str(&text).map_err(|error| {
        Fault::Dependency(format!("the admin endpoint did not answer JSON: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{line, subject_of};

    #[test]
    fn a_bare_address_or_network_needs_no_kind() {
        assert_eq!(subject_of("203.0.113.9"), json!({"kind": "ip", "value": "203.0.113.9"}));
        assert_eq!(subject_of("2001:db8::1"), json!({"kind": "ip", "value": "2001:db8::1"}));
        assert_eq!(subject_of("10.0.0.0/8"), json!({"kind": "network", "value": "10.0.0.0/8"}));
        assert_eq!(subject_of("principal:ann"), json!({"kind": "principal", "value": "ann"}));
    }

    #[test]
    fn a_release_says_whom_where_and_by_which_order() {
        let order = json!({"state": "released", "order": {
            "id": "0a1b", "rule": "auth/x", "target": "nginx",
            "subject": {"kind": "ip", "value": "203.0.113.9"},
        }});
        assert_eq!(line(&order), "ip:203.0.113.9 at nginx (order 0a1b, rule auth/x)");
    }
}
