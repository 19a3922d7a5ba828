//! `tidegate blocks …`: the blocks in force, their end by hand, and those that wait for a person.
//!
//! Owns: asking the process that runs. Never: the ledger's file, which that process holds open.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde_json::{Value, json};

use crate::cli::{BlocksDecision, BlocksList, BlocksRelease, Configured, Output};
use crate::config::{self, AdminConfig};
use crate::fault::Fault;
use crate::parse::stdout;
use crate::terminal;

/// Releases are confirmed at the target before they are answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Lists the blocks in force, those that are about to be, dry runs, and what waits for a person.
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
        let none = "no blocks: none in force, none in a dry run, and none waits for a person";
        return writeln!(out, "{none}").map_err(|error| stdout(&error));
    }
    writeln!(out, "{}", table(&blocks)).map_err(|error| stdout(&error))?;
    if blocks.iter().any(|block| text_at(block, "/state") == "waiting") {
        terminal::say(
            "what is waiting is not in force: `tidegate blocks approve ORDER` or `tidegate blocks \
             refuse ORDER`",
        );
    }
    Ok(())
}

fn text_at(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn table(blocks: &[Value]) -> Table {
    let mut table = terminal::table(UTF8_BORDERS_ONLY);
    table.set_header(["subject", "state", "target", "until", "rule", "order"]);
    terminal::keep_whole(&mut table, &[0, 5]);
    for block in blocks {
        let text = |path: &str| text_at(block, path);
        let state = text("/state").replace('_', " ");
        // The time of what waits runs from when a person agrees.
        let until = if state == "waiting" { String::new() } else { text("/order/expires_at") };
        table.add_row([
            format!("{}:{}", text("/order/subject/kind"), text("/order/subject/value")),
            state,
            text("/order/target"),
            until,
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
    for list in ["released", "pending"] {
        for order in answer.get(list).and_then(Value::as_array).into_iter().flatten() {
            any = true;
            writeln!(out, "{}", ended(order)).map_err(|error| stdout(&error))?;
        }
    }
    if any {
        return Ok(());
    }
    terminal::say("nothing to release; `tidegate blocks list` shows what is in force");
    Err(Fault::No)
}

/// What a release did to an order.
fn ended(order: &Value) -> String {
    let whom = line(order);
    let is_dry = order.pointer("/order/dry_run").and_then(Value::as_bool).unwrap_or(false);
    match text_at(order, "/state").as_str() {
        "refused" => format!("refused, nothing had been blocked: {whom}"),
        "released" | "expired" if is_dry => {
            format!("ended a dry run, nothing had been blocked: {whom}")
        }
        "released" => format!("released {whom}"),
        "expired" => format!("its time was over: {whom}"),
        _ => format!("not confirmed yet: {whom}"),
    }
}

/// Agrees to a block that waits for a person.
pub(crate) fn approve(command: &BlocksDecision) -> Result<(), Fault> {
    let order = decide(command, "approve")?;
    let until = text_at(&order, "/order/expires_at");
    let told = format!("approved, until {until}: {}", line(&order));
    writeln!(io::stdout().lock(), "{told}").map_err(|error| stdout(&error))
}

/// Refuses a block that waits for a person.
pub(crate) fn refuse(command: &BlocksDecision) -> Result<(), Fault> {
    let order = decide(command, "refuse")?;
    writeln!(io::stdout().lock(), "{}", ended(&order)).map_err(|error| stdout(&error))
}

/// The order as it stands after the answer.
fn decide(command: &BlocksDecision, answer: &str) -> Result<Value, Fault> {
    let BlocksDecision { configured, order, reason } = command;
    if !order.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Fault::Usage(format!(
            "`{order}` is no id of an order; tickets and `tidegate blocks list` name them"
        )));
    }
    let body = json!({ "by": "command line", "reason": reason });
    ask(configured, &format!("v1/orders/{order}/{answer}"), Some(&body))
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
        let told = serde_json::from_str::<Value>(&text).ok();
        let told = told.as_ref().and_then(|told| told.get("error")?.as_str());
        if let (Some(told), 404 | 409) = (told, status.as_u16()) {
            terminal::say(told);
            return Err(Fault::No);
        }
        return Err(Fault::Usage(format!("the admin endpoint answered {status}: {text}")));
    }
    serde_json::from_str(&text).map_err(|error| {
        Fault::Dependency(format!("the admin endpoint did not answer JSON: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ended, line, subject_of, table};

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

    fn shown(state: &str, dry_run: bool) -> Value {
        json!({"state": state, "order": {
            "id": "0a1b", "rule": "auth/x", "target": "nginx", "dry_run": dry_run,
            "expires_at": "2027-01-15T08:30:00.000Z",
            "subject": {"kind": "ip", "value": "203.0.113.9"},
        }})
    }

    #[test]
    fn a_release_says_whether_anything_was_blocked() {
        let told = |state, dry_run| {
            let text = ended(&shown(state, dry_run));
            text.split("ip:").next().unwrap_or_default().to_owned()
        };
        assert_eq!(told("released", false), "released ");
        assert_eq!(told("expired", false), "its time was over: ");
        assert_eq!(told("releasing", false), "not confirmed yet: ");
        assert_eq!(told("refused", false), "refused, nothing had been blocked: ");
        assert_eq!(told("released", true), "ended a dry run, nothing had been blocked: ");
    }

    #[test]
    fn a_dry_run_and_what_waits_are_told_from_what_is_in_force() {
        let blocks = [shown("standing", false), shown("dry_run", true), shown("waiting", false)];
        let text = table(&blocks).to_string();
        let cells = |row: &str| -> Vec<String> {
            let cells = row.trim_matches('│').split("  ").map(str::trim);
            cells.filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let rows: Vec<Vec<String>> =
            text.lines().filter(|row| row.contains("203.0.113.9")).map(cells).collect();
        let until = "2027-01-15T08:30:00.000Z";
        let row = |state: &str, until: &str| -> Vec<String> {
            let cells = ["ip:203.0.113.9", state, "nginx", until, "auth/x", "0a1b"];
            cells.iter().filter(|cell| !cell.is_empty()).map(ToString::to_string).collect()
        };
        assert_eq!(rows, [row("standing", until), row("dry run", until), row("waiting", "")]);
    }
}
