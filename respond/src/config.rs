//! The settings of this crate in `tidegate.toml`: `[respond]` and every `[[target]]`.
//!
//! Owns: the keys, their defaults, and what each needs to make sense.
//! Never: the policy, which has a file of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use runtime::config::{Secret, Span};
use runtime::error::{Class, Classified};
use serde::{Deserialize, Serialize};

use crate::address;
use crate::guard::NeverBlockLists;
use crate::ledger::Options;
use crate::policy::{Policy, PolicyError};

/// `[respond]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RespondConfig {
    /// The policy file, beside the configuration file; without it the built-in policy holds.
    pub policy: Option<PathBuf>,
    /// Nothing that changes what callers get is carried out. Tickets and notifications are.
    pub dry_run: bool,
    /// Addresses and networks of gateways, load balancers and trusted proxies: never acted on.
    pub gateways: Vec<String>,
    /// How long finished orders are remembered.
    pub history: Span,
}

impl Default for RespondConfig {
    fn default() -> Self {
        Self {
            policy: None,
            dry_run: true,
            gateways: Vec::new(),
            history: Span::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// A `[[target]]`; `type` chooses.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetConfig {
    /// `nginx`: a deny file that nginx includes.
    Nginx(NginxConfig),
    /// `authz`: the decision service that gateways ask.
    Authz(AuthzConfig),
    /// `webhook`: signed requests to your own program.
    Webhook(WebhookConfig),
    /// `redmine`: tickets in Redmine.
    Redmine(RedmineConfig),
    /// `file`: every verdict, order and outcome as JSON lines.
    File(FileConfig),
    /// `tickets`: every ticket as a Markdown file.
    Tickets(TicketsConfig),
}

/// `type = "nginx"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NginxConfig {
    /// What the ledger and the policy call it.
    #[serde(default = "nginx_name")]
    pub name: String,
    /// Addresses and networks, to be included in a `geo` block.
    pub ip_map: PathBuf,
    /// Principals, to be included in a `map` block. nginx compares them without regard to case.
    #[serde(default)]
    pub principal_map: Option<PathBuf>,
    /// The command that tests the configuration of nginx, program first.
    #[serde(default = "nginx_test")]
    pub test: Vec<String>,
    /// The command that makes nginx read it.
    #[serde(default = "nginx_reload")]
    pub reload: Vec<String>,
    /// The file with the process id of nginx: it is sent HUP in place of `reload`.
    #[serde(default)]
    pub pid_file: Option<PathBuf>,
    /// How long each command may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

/// `type = "authz"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthzConfig {
    /// What the ledger and the policy call it.
    #[serde(default = "authz_name")]
    pub name: String,
    /// Where gateways ask.
    #[serde(default = "authz_listen")]
    pub listen: SocketAddr,
    /// Who may say, in X-Real-IP and X-Forwarded-For, on whose behalf it asks. Loopback may.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// The header in which callers send their API key.
    #[serde(default = "key_header")]
    pub key_header: String,
    /// The header in which the gateway puts the principal, where it does.
    #[serde(default)]
    pub principal_header: Option<String>,
}

/// `type = "webhook"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// What the ledger and the policy call it.
    #[serde(default = "webhook_name")]
    pub name: String,
    /// Where to send.
    pub url: String,
    /// The key of the signature; the receiver knows it too.
    pub secret: Secret,
    /// Which actions are sent: `block`, `throttle`, `step_up`, `notify`, `page`, `ticket`.
    #[serde(default = "webhook_actions")]
    pub actions: Vec<String>,
    /// How long one request may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

/// `type = "redmine"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedmineConfig {
    /// What the ledger and the policy call it.
    #[serde(default = "redmine_name")]
    pub name: String,
    /// The address of Redmine, with its path where it has one.
    pub url: String,
    /// The API key of the user who writes the tickets.
    pub key: Secret,
    /// The identifier of the project.
    pub project: String,
    /// The tracker's number.
    pub tracker_id: u64,
    /// The number of the custom field (text, filterable, searchable) that takes our key.
    pub key_field_id: u64,
    /// The priority's number; without it Redmine's default.
    #[serde(default)]
    pub priority_id: Option<u64>,
    /// The status that a ticket gets when its episode closes; without it a note only.
    #[serde(default)]
    pub closed_status_id: Option<u64>,
    /// The text formatting that Redmine is set to.
    #[serde(default)]
    pub markup: Markup,
    /// How long one request may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

/// How a ticket's text is marked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Markup {
    /// Redmine's first and long-time default.
    #[default]
    Textile,
    /// Markdown and CommonMark.
    Markdown,
}

/// `type = "file"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// What the ledger and the policy call it.
    #[serde(default = "file_name")]
    pub name: String,
    /// The file to append to.
    pub path: PathBuf,
}

/// `type = "tickets"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketsConfig {
    /// What the ledger and the policy call it.
    #[serde(default = "tickets_name")]
    pub name: String,
    /// The folder, made if it is not there.
    pub folder: PathBuf,
}

fn nginx_name() -> String {
    "nginx".to_owned()
}

fn authz_name() -> String {
    "authz".to_owned()
}

fn webhook_name() -> String {
    "webhook".to_owned()
}

fn redmine_name() -> String {
    "redmine".to_owned()
}

fn file_name() -> String {
    "file".to_owned()
}

fn tickets_name() -> String {
    "tickets".to_owned()
}

fn nginx_test() -> Vec<String> {
    vec!["nginx".to_owned(), "-t".to_owned()]
}

fn nginx_reload() -> Vec<String> {
    vec!["nginx".to_owned(), "-s".to_owned(), "reload".to_owned()]
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

fn authz_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7072))
}

fn key_header() -> String {
    "x-api-key".to_owned()
}

fn webhook_actions() -> Vec<String> {
    ["block", "throttle", "step_up", "notify", "page"].map(str::to_owned).to_vec()
}

/// What the settings come to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The policy, with the gateways on its never-block list.
    pub policy: Policy,
    /// Whether nothing that changes what callers get is carried out.
    pub dry_run: bool,
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// In the policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// In the configuration file.
    #[error("`{key}`: {message}")]
    Value {
        /// The setting.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl Classified for SettingsError {
    fn class(&self) -> Class {
        Class::Input
    }
}

impl SettingsError {
    pub(crate) fn value(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value { key: key.into(), message: message.into() }
    }
}

impl RespondConfig {
    /// How the ledger is kept.
    #[must_use]
    pub fn ledger(&self) -> Options {
        Options { history: self.history, ..Options::default() }
    }

    /// Reads the policy and checks the rest. Relative paths start at `base`, the folder of the
    /// configuration file.
    ///
    /// # Errors
    /// When the policy cannot be read or a gateway is no address.
    pub fn settings(&self, base: &Path) -> Result<Settings, SettingsError> {
        let policy = match &self.policy {
            Some(path) => Policy::read(&base.join(path))?,
            None => Policy::built_in()?,
        };
        check_networks("respond.gateways", &self.gateways)?;
        let lists = NeverBlockLists { networks: self.gateways.clone(), ..Default::default() };
        Ok(Settings { policy: policy.protecting(lists), dry_run: self.dry_run })
    }
}

pub(crate) fn check_networks(key: &str, texts: &[String]) -> Result<(), SettingsError> {
    match texts.iter().find(|text| address::network(text).is_none()) {
        Some(text) => {
            let message = format!(
                "`{text}` is neither an address nor a network; write 10.0.0.0/8 or 192.0.2.7"
            );
            Err(SettingsError::value(key, message))
        }
        None => Ok(()),
    }
}

impl TargetConfig {
    /// What the ledger and the policy call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Nginx(config) => &config.name,
            Self::Authz(config) => &config.name,
            Self::Webhook(config) => &config.name,
            Self::Redmine(config) => &config.name,
            Self::File(config) => &config.name,
            Self::Tickets(config) => &config.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use runtime::clock::Clock;
    use runtime::config::Layers;
    use serde::Deserialize;

    use super::{Markup, RespondConfig, TargetConfig};
    use crate::target::{TargetParts, Targets};

    #[derive(Debug, Deserialize)]
    struct File {
        respond: RespondConfig,
        target: Vec<TargetConfig>,
    }

    const ALL: &str = r#"
[respond]
gateways = ["198.51.100.0/24"]

[[target]]
type = "nginx"
ip_map = "deny/ip.map"

[[target]]
type = "authz"
trusted_proxies = ["10.0.0.0/8"]

[[target]]
type = "webhook"
url = "http://127.0.0.1:9/hook"
secret = "0123456789abcdef"

[[target]]
type = "redmine"
url = "http://127.0.0.1:9/redmine"
key = "k"
project = "apisec"
tracker_id = 1
key_field_id = 1
markup = "markdown"
timeout = "3s"

[[target]]
type = "file"
path = "out.jsonl"

[[target]]
type = "tickets"
folder = "tickets"
"#;

    fn load(text: &str) -> File {
        Layers::new(text).load::<File>().unwrap().settings
    }

    fn build(configs: &[TargetConfig]) -> Result<Targets, String> {
        let settings = RespondConfig::default().settings(Path::new(".")).unwrap();
        let parts = TargetParts {
            base: Path::new("."),
            never_block: settings.policy.never_block,
            fingerprint: None,
            clock: Clock::manual(0).clock(),
        };
        Targets::build(configs, &parts).map_err(|error| error.to_string())
    }

    #[test]
    fn every_target_is_read_from_a_configuration_file() {
        let File { respond, target } = load(ALL);
        let names: Vec<&str> = target.iter().map(TargetConfig::name).collect();
        assert_eq!(names, ["nginx", "authz", "webhook", "redmine", "file", "tickets"]);
        let TargetConfig::Redmine(redmine) = &target[3] else { panic!("not redmine") };
        assert_eq!((redmine.markup, redmine.timeout.as_ms()), (Markup::Markdown, 3_000));
        assert!(build(&target).is_ok());
        assert!(respond.dry_run, "the shipped default blocks nobody");
        let settings = respond.settings(Path::new(".")).unwrap();
        let gateway: IpAddr = "198.51.100.7".parse().unwrap();
        assert!(settings.policy.never_block.protects_address(gateway));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_told_with_what_to_do() {
        let wrong = |from: &str, to: &str| {
            build(&load(&ALL.replace(from, to)).target).map(drop).unwrap_err()
        };
        let told = wrong("http://127.0.0.1:9/hook", "ftp://host");
        assert!(told.starts_with("`target.url`: `ftp://host` is no web address"), "{told}");
        let told = wrong("0123456789abcdef", "short");
        assert!(told.contains("less than 16 bytes"), "{told}");
        let told = wrong("10.0.0.0/8", "10.0.0/8");
        assert!(told.contains("neither an address nor a network"), "{told}");
        let told = wrong("type = \"authz\"", "type = \"authz\"\nname = \"nginx\"");
        assert!(told.contains("two targets `nginx`"), "{told}");
    }

    #[test]
    fn a_gateway_that_is_no_address_is_refused() {
        let config = RespondConfig { gateways: vec!["lb".into()], ..RespondConfig::default() };
        let told = config.settings(Path::new(".")).unwrap_err().to_string();
        assert!(told.starts_with("`respond.gateways`: `lb` is neither"), "{told}");
    }
}
