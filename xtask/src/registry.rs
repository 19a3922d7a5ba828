//! `cargo xtask registry`: a real schema registry on loopback, Apicurio from Maven Central.
//!
//! Owns: the verbs and what they print. Never: schemas; whoever writes records registers those.

mod server;
mod tree;

use std::path::PathBuf;

use crate::args::Args;
use crate::place;
use crate::trouble::Trouble;

pub(crate) use server::Server;
pub(crate) use tree::java;

/// Runs `registry start|stop`.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let verb = args.word("`start` or `stop`")?;
    let folder = args.option("--dir")?;
    let folder = folder.map_or_else(|| place::target().join("registry"), PathBuf::from);
    match verb.as_str() {
        "start" => {
            let port = args.parsed("--port")?;
            args.finish()?;
            let server = Server::start(&folder, port)?;
            eprintln!("stop it with: cargo xtask registry stop --dir {}", folder.display());
            println!("{}", server.url());
        }
        "stop" => {
            args.finish()?;
            match Server::running(&folder) {
                Some(server) => {
                    server.stop();
                    eprintln!("stopped");
                }
                None => eprintln!("no registry runs in {}", folder.display()),
            }
        }
        other => return Err(Trouble::usage(format!("registry does not know `{other}`"))),
    }
    Ok(())
}
