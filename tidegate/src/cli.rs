//! The command line: what can be asked, and the words for it.
//!
//! Owns: names, arguments and help. Never: what a command does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Reads API access logs, runs SQL rules over them, and turns verdicts into blocks and tickets.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Try it on a log you have:  tidegate replay /var/log/nginx/access.log
Run it:                    tidegate init && tidegate up
Exit codes: 0 done; 1 the answer is no; 2 wrong usage or configuration; 70 a bug; \
75 a dependency stayed away.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a first configuration for what is found on this machine
    Init(Init),
    /// Run everything in this process: inputs, detection, responses
    Up(Configured),
    /// Read raw topics and write access events: one stage, over Kafka
    Ingest(Configured),
    /// Join deploys, identities and routes to access events: one stage, over Kafka
    Enrich(Configured),
    /// Run the rules over enriched events and write verdicts: one stage, over Kafka
    Detect(Configured),
    /// Turn verdicts into blocks and tickets: one stage, over Kafka
    Respond(Configured),
    /// Read log files and print the verdicts that the rules would have given
    Replay(Replay),
    /// Read log lines and print each as an event or a dead letter
    Parse(Parse),
    /// List log formats, or tell which one a file has
    #[command(subcommand)]
    Formats(FormatsCommand),
    /// Check, test, explain and list rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List, release, approve or refuse blocks
    #[command(subcommand)]
    Blocks(BlocksCommand),
    /// List deploys: what serves now, what was superseded, rolled back, removed
    #[command(subcommand)]
    Deploys(DeploysCommand),
    /// Hold traffic against OpenAPI documents
    #[command(subcommand)]
    Routes(RoutesCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// File to write; one that is there is left as it is
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    pub(crate) config: PathBuf,
    /// Folder below which to look, such as a mounted image
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Configured {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    pub(crate) config: PathBuf,
    /// Log filter, such as `info` or `debug,transport=trace`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// One JSON object a line
    Json,
}

/// How lines are read.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reading {
    /// Log format, `auto` to detect it, or a template such as '$remote_addr [$time_local] $status'
    #[arg(long, default_value = "auto")]
    pub(crate) format: String,
    /// Service that the lines are about; default: the host name in the line
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Zone of times that name none, such as `Europe/Berlin`
    #[arg(long, default_value = "UTC")]
    pub(crate) time_zone: String,
    /// Network whose X-Forwarded-For is believed; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub(crate) trusted_proxy: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Log files; `.gz` and `.zst` are read as they are; `-` is standard input,
    /// judged as it comes
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Folder of rules; default: the pack that comes with this binary
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Folder with deploys, identities, OpenAPI documents, lists
    #[arg(long, value_name = "DIR")]
    pub(crate) context: Option<PathBuf>,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Kinds of verdicts to print, such as `opened,closed`; default: all
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Leave windows and episodes open at the end of input
    #[arg(long)]
    pub(crate) no_close: bool,
    /// How much disorder the watermark allows for
    #[arg(long, default_value = "10s")]
    pub(crate) lateness: String,
    /// Up to this moment `first_seen` only learns, and from there on it fires; default: a quarter of
    /// its span
    #[arg(long, value_name = "TIME")]
    pub(crate) learned_at: Option<schemas::EventTime>,
    /// Write what could not be used here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) dead_letters: Option<PathBuf>,
    /// Write every event here as it was enriched, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Say how much time was spent on parsing, enriching and detecting
    #[arg(long)]
    pub(crate) timing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Parse {
    /// Log files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FormatsCommand {
    /// List the formats that are told by their lines
    List,
    /// Show which format a file has, what its names stand for, and the first lines as they are read
    Detect {
        /// Log file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Show every mistake, and what each rule needs; against what runs or a log of your own, too
    Check(RulesCheck),
    /// Run the rules' own tests, four ways each
    Test(RulesTest),
    /// Say how a rule runs: its state, when it fires, and why
    Explain(RulesExplain),
    /// Say what each rule costs: time an event, matches, state
    Bench(RulesBench),
    /// List the rules
    List(RulesFolder),
    /// Write the rules that come with this binary into a folder, to change them and add others
    Export(RulesExport),
    /// Print the JSON Schema of a rule file, for editors
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct RulesFolder {
    /// Folder of rules; default: the pack that comes with this binary
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RulesExport {
    /// Folder to write; one that holds files is left as it is
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RulesCheck {
    /// Folder of rules; default: the pack that comes with this binary
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Say which rules keep their state: against `live`, the process that runs with this
    /// configuration; an admin endpoint's URL; another folder; or a file with what
    /// `GET /v1/rules` answered
    #[arg(long, value_name = "live|URL|DIR|FILE")]
    pub(crate) against: Option<String>,
    /// Configuration file that `--against live` takes the admin endpoint from
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    pub(crate) config: PathBuf,
    /// Log file of your own, to say what can never fire over it; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) sample: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Sampling,
}

#[derive(Debug, Args)]
pub(crate) struct RulesBench {
    /// Folder of rules; default: the pack that comes with this binary
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Log file to measure over; may be repeated; default: made-up traffic
    #[arg(long, value_name = "FILE")]
    pub(crate) sample: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Sampling,
    /// Measure so many times and take the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) runs: u32,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How a sample of log lines is read.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sampling {
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Folder with deploys, identities, OpenAPI documents, lists
    #[arg(long, value_name = "DIR")]
    pub(crate) context: Option<PathBuf>,
    /// Events that are taken at most
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) events: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RulesTest {
    /// Folder of rules; default: the pack that comes with this binary
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Only rules whose id contains this
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RulesExplain {
    /// Rule id, such as `auth/credential-stuffing`
    pub(crate) rule: String,
    /// Folder of rules; default: the pack that comes with this binary
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every mistake in the configuration
    Check(Configured),
    /// Print what is in force and where each setting comes from; secrets are masked
    Show(Configured),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BlocksCommand {
    /// List the blocks in force, in a dry run, and waiting for a person
    List(BlocksList),
    /// End blocks now, and confirm that they ended
    Release(BlocksRelease),
    /// Agree to a block that waits for a person; its time runs from now
    Approve(BlocksDecision),
    /// Refuse a block that waits for a person
    Refuse(BlocksDecision),
}

#[derive(Debug, Args)]
pub(crate) struct BlocksDecision {
    #[command(flatten)]
    pub(crate) configured: Configured,
    /// The order's id, as its ticket and `tidegate blocks list` name it
    pub(crate) order: String,
    /// Why, for the ledger and the ticket
    #[arg(long, default_value = "decided by hand")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct BlocksList {
    #[command(flatten)]
    pub(crate) configured: Configured,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(crate) struct BlocksRelease {
    #[command(flatten)]
    pub(crate) configured: Configured,
    /// Subject, such as `203.0.113.9` or `ip:203.0.113.9`
    #[arg(group = "which")]
    pub(crate) subject: Option<String>,
    /// One block, by the order's id, as tickets and deny files name it
    #[arg(long, value_name = "ID", group = "which")]
    pub(crate) order: Option<String>,
    /// Every block that this rule asked for
    #[arg(long, group = "which")]
    pub(crate) rule: Option<String>,
    /// Every block
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// Why, for the ledger
    #[arg(long, default_value = "released by hand")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeploysCommand {
    /// List the deploys of the running process, or of a context folder
    List(DeploysList),
}

#[derive(Debug, Args)]
pub(crate) struct DeploysList {
    #[command(flatten)]
    pub(crate) configured: Configured,
    /// Read this context folder instead of asking the running process
    #[arg(long, value_name = "DIR")]
    pub(crate) context: Option<PathBuf>,
    /// Only this service
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Only this environment, and deploys that name none
    #[arg(long)]
    pub(crate) environment: Option<String>,
    /// As it was at this time, such as `2026-11-20T08:00:00Z`; default: now
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// List routes that are declared, seen, or both, with what traffic says of each
    List(RoutesList),
}

#[derive(Debug, Args)]
pub(crate) struct RoutesList {
    /// Log files; `.gz` and `.zst` are read as they are; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Folder with `openapi/<service>.yml` and the rest of the context
    #[arg(long, value_name = "DIR")]
    pub(crate) context: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Only routes in these states, such as `shadow,zombie`; default: all
    #[arg(long, value_delimiter = ',', value_name = "STATE")]
    pub(crate) states: Vec<String>,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}
