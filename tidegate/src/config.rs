//! `tidegate.toml`: all tables together.
//!
//! Owns: which tables there are, and their defaults. Never: the keys of a stage's own table; each
//! stage declares them.

mod start;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use enrich::{KubernetesConfig, OpenApiConfig, ScimConfig, WebhooksConfig};
use ingest::input::{InputConfig, InputType};
use respond::guard::NeverBlockLists;
use respond::{
    Fingerprint, RespondConfig, Settings, SettingsError, TargetConfig, TargetParts, Targets,
};
use runtime::clock::Clock;
use runtime::config::{ByteSize, InForce, Layers, Loaded, Problems, Secret, Span};
use serde::Deserialize;

use crate::cli::Configured;
use crate::fault::Fault;
use crate::pack::counted;
use crate::parse::stdout;
use crate::terminal;
use crate::up::{KafkaTable, own_topic, parser_settings};
pub(crate) use start::NO_INPUT;

/// The lowest layer: every table that has a default.
const DEFAULTS: &str = include_str!("config/defaults.toml");

/// Everything that can be configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Inputs, in the order of the file.
    #[serde(default)]
    pub(crate) input: Vec<InputConfig>,
    pub(crate) context: ContextConfig,
    pub(crate) rules: RulesConfig,
    pub(crate) respond: RespondConfig,
    /// Targets, in the order of the file.
    #[serde(default)]
    pub(crate) target: Vec<TargetConfig>,
    pub(crate) storage: StorageConfig,
    pub(crate) admin: AdminConfig,
    /// Present: edges between stages are topics.
    #[serde(default)]
    pub(crate) kafka: Option<KafkaTable>,
}

impl Config {
    /// What decides on orders, and what carries them out. Relative paths start at `base`.
    ///
    /// # Errors
    /// When the policy cannot be read, or a target cannot be made or is not there.
    pub(crate) fn responding(
        &self,
        base: &Path,
        fingerprint: Option<Fingerprint>,
        clock: Clock,
    ) -> Result<(Settings, Targets), SettingsError> {
        let mut settings = self.respond.settings(base)?;
        let trusted = self.input.iter().flat_map(|input| &input.trusted_proxies);
        let networks = trusted.map(ToString::to_string).collect();
        let proxies = NeverBlockLists { networks, ..NeverBlockLists::default() };
        settings.policy = settings.policy.protecting(proxies);
        let never_block = settings.policy.never_block.clone();
        let parts = TargetParts { base, never_block, fingerprint, clock };
        let targets = Targets::build(&self.target, &parts)?;
        targets.check(&settings)?;
        Ok((settings, targets))
    }
}

/// `[context]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextConfig {
    /// Deploys, identities, OpenAPI documents, lists, network databases.
    #[serde(default)]
    pub(crate) folder: Option<PathBuf>,
    /// The field of the log that says whose object was answered.
    pub(crate) object_tenant: String,
    /// How long an event that names a version waits at most for news of its deploy.
    pub(crate) deploy_grace: Span,
    /// Deploys as other systems tell of them.
    #[serde(default)]
    pub(crate) webhooks: WebhooksConfig,
    /// Deploys as a cluster shows them.
    #[serde(default)]
    pub(crate) kubernetes: Option<KubernetesConfig>,
    /// A topic of others that tells of deploys.
    #[serde(default)]
    pub(crate) deploys_topic: Option<String>,
    /// Identities from a directory.
    #[serde(default)]
    pub(crate) scim: Option<ScimConfig>,
    /// Routes that services tell of themselves.
    #[serde(default)]
    pub(crate) openapi: Vec<OpenApiConfig>,
}

/// `[rules]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesConfig {
    /// Rule files; absent: the pack that comes with the binary.
    #[serde(default)]
    pub(crate) folder: Option<PathBuf>,
}

/// `[storage]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StorageConfig {
    /// Embedded log, state, ledger.
    pub(crate) folder: PathBuf,
    /// Inputs are refused while less than this is free on the disk.
    pub(crate) free_min: ByteSize,
    /// How long raw lines are kept; at least the longest window and its lateness.
    pub(crate) retention: Span,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminConfig {
    /// Where the admin endpoint listens.
    pub(crate) listen: SocketAddr,
    /// Token that callers must show; needed beyond this machine.
    #[serde(default)]
    pub(crate) token: Option<Secret>,
}

/// Reads the layers: defaults, file, environment.
pub(crate) fn load(configured: &Configured) -> Result<Loaded<Config>, Problems> {
    let layers =
        Layers::new(DEFAULTS).file(&configured.config).environment(runtime::config::environment());
    checked(layers.load()?)
}

/// What no single key shows.
fn checked(loaded: Loaded<Config>) -> Result<Loaded<Config>, Problems> {
    let Config { input, kafka, .. } = &loaded.settings;
    let refuse = |in_force: &InForce, setting: &str, why: &str| Err(in_force.refuse(setting, why));
    let (mut names, mut topics) = (BTreeSet::new(), BTreeSet::new());
    for (place, input) in input.iter().enumerate() {
        if let Some((key, why)) = input.check() {
            return refuse(&loaded.in_force, &format!("input.{place}.{key}"), &why);
        }
        if let Err((key, why)) = parser_settings(input) {
            return refuse(&loaded.in_force, &format!("input.{place}.{key}"), &why);
        }
        if input.r#type == InputType::Kafka && kafka.is_none() {
            let why = "an input of type `kafka` needs a table [kafka] with `brokers`";
            return refuse(&loaded.in_force, &format!("input.{place}.type"), why);
        }
        let is_own = input.r#type != InputType::Kafka && kafka.is_some();
        if is_own && !topics.insert(own_topic(input)) {
            let why = "the lines of two inputs would go to one topic; give each a `name` whose \
                       letters, digits, `.`, `_` and `-` differ";
            return refuse(&loaded.in_force, &format!("input.{place}"), why);
        }
        if !names.insert(input.sensor()) {
            let why = "two inputs have this name; give each a `name` of its own";
            return refuse(&loaded.in_force, &format!("input.{place}"), why);
        }
    }
    let Config { context, admin, .. } = &loaded.settings;
    if context.deploy_grace > Span::from_secs(60) {
        let why = "everything behind the event waits too; more than a minute is an outage, write \
                   `2s`";
        return refuse(&loaded.in_force, "context.deploy_grace", why);
    }
    if let Some((key, why)) = context.webhooks.check() {
        return refuse(&loaded.in_force, &format!("context.webhooks.{key}"), why);
    }
    if let Some((key, why)) = context.scim.as_ref().and_then(ScimConfig::check) {
        return refuse(&loaded.in_force, &format!("context.scim.{key}"), &why);
    }
    if let Some((key, why)) = context.kubernetes.as_ref().and_then(KubernetesConfig::check) {
        return refuse(&loaded.in_force, &format!("context.kubernetes.{key}"), &why);
    }
    if context.deploys_topic.is_some() && kafka.is_none() {
        let why = "a topic needs a table [kafka] with `brokers`";
        return refuse(&loaded.in_force, "context.deploys_topic", why);
    }
    for (place, openapi) in context.openapi.iter().enumerate() {
        if let Some((key, why)) = openapi.check() {
            return refuse(&loaded.in_force, &format!("context.openapi.{place}.{key}"), &why);
        }
    }
    if context.webhooks.any() && context.webhooks.listen.is_none() && admin.token.is_some() {
        let why = "the admin endpoint asks for `admin.token`, which GitHub, GitLab and Flux cannot \
                   show; give the webhooks an address of their own, such as \
                   `listen = \"0.0.0.0:7073\"`";
        return refuse(&loaded.in_force, "context.webhooks", why);
    }
    Ok(loaded)
}

/// `tidegate config check`
pub(crate) fn check(configured: &Configured) -> Result<(), Fault> {
    match load(configured) {
        Ok(loaded) => {
            let base = configured.config.parent().unwrap_or_else(|| Path::new(""));
            let file = configured.config.display();
            let refusals = start::refusals(&loaded.settings, base);
            for said in start::remarks(&loaded.settings, base).iter().chain(&refusals) {
                terminal::say(&format!("{file}: {said}"));
            }
            if !refusals.is_empty() {
                return Err(Fault::No);
            }
            let inputs = loaded.settings.input.len();
            terminal::say(&format!(
                "{}: good; {}, {}",
                configured.config.display(),
                counted(inputs, "input"),
                counted(loaded.settings.target.len(), "target")
            ));
            Ok(())
        }
        Err(problems) => {
            terminal::say(&problems.render(terminal::colour()));
            Err(Fault::No)
        }
    }
}

/// `tidegate config show`
pub(crate) fn show(configured: &Configured) -> Result<(), Fault> {
    let loaded = load(configured).map_err(|problems| Fault::Usage(problems.render(false)))?;
    let text = loaded.in_force.show();
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(|error| stdout(&error))
}
