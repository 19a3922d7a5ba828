//! What would keep `up` from starting, although every key is good, and what it would go on without.
//!
//! Owns: asking each part what it refuses, all at once. Never: starting one, opening the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use enrich::load_folder;
use ingest::input::InputType;
use respond::TargetConfig;
use runtime::admin::Access;
use runtime::clock::Clock;
use runtime::error::chain;

use super::Config;
use crate::pack::Pack;

/// No input at all.
pub(crate) const NO_INPUT: &str = "there is no [[input]]: nothing would be read; add one, such \
                                   as\n\n[[input]]\ntype = \"file\"\npath = \
                                   \"/var/log/nginx/access.log*\"";

/// What is wrong, part by part. Relative paths start at `base`.
pub(super) fn refusals(config: &Config, base: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if config.input.is_empty() {
        found.push(NO_INPUT.to_owned());
    }
    let folder = config.rules.folder.as_ref().map(|folder| base.join(folder));
    let rules = Pack::load(folder.as_deref()).and_then(Pack::ruleset);
    found.extend(rules.err().map(|fault| fault.to_string()));
    let responding = config.responding(base, None, Clock::system());
    found.extend(responding.err().map(|error| chain(&error)));
    let access = Access::new(config.admin.listen, config.admin.token.clone());
    found.extend(access.err().map(|error| chain(&error)));
    found.extend(shared_addresses(config));
    found
}

/// What `up` goes on without.
pub(super) fn remarks(config: &Config, base: &Path) -> Vec<String> {
    let Some(folder) = &config.context.folder else { return Vec::new() };
    let folder = base.join(folder);
    if !folder.is_dir() {
        let why = "no such folder: events will lack deploys, identities and routes";
        return vec![format!("context.folder = {}: {why}", folder.display())];
    }
    let (_, problems) = load_folder(&folder);
    problems.iter().map(|problem| format!("context: {problem}")).collect()
}

/// Listeners of one address, of which the second could not start.
fn shared_addresses(config: &Config) -> Vec<String> {
    let mut listeners: Vec<(String, SocketAddr)> =
        vec![("admin.listen".to_owned(), config.admin.listen)];
    let webhooks = config.context.webhooks.listen;
    listeners.extend(webhooks.map(|at| ("context.webhooks.listen".to_owned(), at)));
    for (place, input) in config.input.iter().enumerate() {
        // Syslog may be over UDP, which shares a number with TCP.
        let at = input.listen.filter(|_at| input.r#type != InputType::Syslog);
        listeners.extend(at.map(|at| (format!("input.{place}.listen"), at)));
    }
    for target in &config.target {
        if let TargetConfig::Authz(authz) = target {
            listeners.push((format!("listen of target `{}`", authz.name), authz.listen));
        }
    }
    let mut known: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let mut found = Vec::new();
    for (what, at) in listeners.into_iter().filter(|(_, at)| at.port() != 0) {
        match known.get(&at) {
            Some(other) => found
                .push(format!("{other} and {what} are both {at}; give each an address of its own")),
            None => {
                known.insert(at, what);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use runtime::config::Layers;

    use super::super::{Config, DEFAULTS};
    use super::{Path, refusals, remarks};

    #[track_caller]
    fn said(text: &str, what: fn(&Config, &Path) -> Vec<String>) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        let policy = "lines: [{then: asked, targets: nginx}]\n";
        std::fs::write(folder.path().join("policy.yml"), policy).unwrap();
        let config = Layers::new(DEFAULTS).file(&file).load::<Config>().unwrap();
        what(&config.settings, folder.path())
    }

    const INPUT: &str = "[[input]]\ntype = \"file\"\npath = \"access.log\"\n";

    #[test]
    fn what_up_would_refuse_is_said_before() {
        for (text, expected) in [
            ("", "there is no [[input]]"),
            ("[rules]\nfolder = \"nowhere\"", "nowhere"),
            ("[rules]\nfolder = \"empty\"", "rule files end in `.yml`"),
            ("[respond]\npolicy = \"nowhere.yml\"", "nowhere.yml"),
            ("[respond]\npolicy = \"policy.yml\"", "names the target `nginx`"),
            ("[respond]\ngateways = [\"lb\"]", "respond.gateways"),
            ("[admin]\nlisten = \"0.0.0.0:7070\"", "admin.token"),
            (
                "[[target]]\ntype = \"authz\"\nname = \"a\"\nlisten = \"127.0.0.1:7070\"",
                "admin.listen and listen of target `a` are both 127.0.0.1:7070",
            ),
            (
                "[[target]]\ntype = \"tickets\"\nfolder = \"t\"\n[[target]]\ntype = \
                 \"tickets\"\nfolder = \"u\"",
                "two targets",
            ),
        ] {
            let input = if text.is_empty() { "" } else { INPUT };
            let found = said(&format!("{input}{text}"), refusals);
            assert!(found.iter().any(|one| one.contains(expected)), "{text}\n{found:#?}");
            assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        }
        assert_eq!(said(INPUT, refusals), Vec::<String>::new());
        let missing = format!("{INPUT}[context]\nfolder = \"nowhere\"");
        assert_eq!(said(&missing, refusals), Vec::<String>::new());
        assert!(said(&missing, remarks)[0].contains("no such folder"));
        assert_eq!(said(INPUT, remarks), Vec::<String>::new());
    }
}
