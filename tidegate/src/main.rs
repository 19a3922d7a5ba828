//! The command line, and stages wired into processes.
//!
//! Owns: what the commands are made of. Never: what a stage does; each has its own crate.

mod blocks;
mod cli;
mod config;
mod deploys;
mod fault;
mod formats;
mod init;
mod lines;
mod pack;
mod parse;
mod reading;
mod replay;
mod routes;
mod rules;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser;
use cli::{
    BlocksCommand, Cli, Command, ConfigCommand, DeploysCommand, RoutesCommand, RulesCommand,
};
use fault::Fault;
use mimalloc::MiMalloc;
use runtime::error::Exit;

/// Batches of some megabytes come and go a hundred times a second; the system's allocator gives
/// their pages back each time and has them cleared again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => {
            let code = if asked.use_stderr() { Exit::Usage } else { Exit::Done };
            // Help that nobody reads is no failure.
            drop(asked.print());
            return code.into();
        }
    };
    match run(cli.command) {
        Ok(()) => Exit::Done.into(),
        Err(fault) => {
            let text = fault.to_string();
            if !text.is_empty() {
                terminal::say(&format!("tidegate: {text}"));
            }
            fault.exit().into()
        }
    }
}

fn run(command: Command) -> Result<(), Fault> {
    match command {
        Command::Init(command) => init::run(&command),
        Command::Up(configured) => up::run(&configured),
        Command::Ingest(configured) => up::run_stage(&configured, up::Stage::Ingest),
        Command::Enrich(configured) => up::run_stage(&configured, up::Stage::Enrich),
        Command::Detect(configured) => up::run_stage(&configured, up::Stage::Detect),
        Command::Respond(configured) => up::run_stage(&configured, up::Stage::Respond),
        Command::Replay(replay) => replay::run(&replay),
        Command::Parse(parse) => parse::run(&parse),
        Command::Formats(command) => formats::run(&command),
        Command::Rules(command) => match command {
            RulesCommand::Check(check) => rules::check(&check),
            RulesCommand::Test(test) => rules::test(&test),
            RulesCommand::Explain(explain) => rules::explain(&explain),
            RulesCommand::Bench(bench) => rules::bench(&bench),
            RulesCommand::List(folder) => rules::list(&folder),
            RulesCommand::Export(export) => rules::export(&export),
            RulesCommand::Schema => rules::schema(),
        },
        Command::Config(ConfigCommand::Check(configured)) => config::check(&configured),
        Command::Config(ConfigCommand::Show(configured)) => config::show(&configured),
        Command::Blocks(BlocksCommand::List(list)) => blocks::list(&list),
        Command::Blocks(BlocksCommand::Release(release)) => blocks::release(&release),
        Command::Blocks(BlocksCommand::Approve(decision)) => blocks::approve(&decision),
        Command::Blocks(BlocksCommand::Refuse(decision)) => blocks::refuse(&decision),
        Command::Deploys(DeploysCommand::List(list)) => deploys::list(&list),
        Command::Routes(RoutesCommand::List(list)) => routes::list(&list),
    }
}
