//! `cargo xtask kafka`: a real Kafka on loopback, from the public Maven jars.
//!
//! Owns: the verbs and what they print. Never: topics; `transport` makes those.

mod cluster;
mod jars;
mod node;
mod properties;

use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::place;
use crate::trouble::Trouble;

pub(crate) use cluster::{Cluster, Wish};
pub(crate) use jars::folder as jars;
pub(crate) use properties::{LOGGING_TO_STDOUT, inside_a_container};

/// Runs `kafka start|stop|status`.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let verb = args.word("`start`, `stop` or `status`")?;
    let folder = args.option("--dir")?.map_or_else(|| place::target().join("kafka"), PathBuf::from);
    match verb.as_str() {
        "start" => start(args, &folder),
        "stop" => stop(args, &folder),
        "status" => status(args, &folder),
        other => Err(Trouble::usage(format!("kafka does not know `{other}`: start, stop, status"))),
    }
}

fn start(args: &mut Args, folder: &Path) -> Result<(), Trouble> {
    let wish = Wish {
        nodes: args.parsed("--nodes")?,
        first_port: args.parsed("--port")?,
        heap: args.option("--heap")?,
    };
    args.finish()?;
    let cluster = Cluster::start(folder, &wish)?;
    for line in cluster.describe() {
        eprintln!("{line}");
    }
    eprintln!("stop it with: cargo xtask kafka stop --dir {}", cluster.folder().display());
    println!("{}", cluster.brokers());
    Ok(())
}

fn stop(args: &mut Args, folder: &Path) -> Result<(), Trouble> {
    let wipe = args.flag("--wipe");
    args.finish()?;
    let Some(cluster) = Cluster::open(folder)? else {
        eprintln!("no Kafka was ever started in {}", folder.display());
        return Ok(());
    };
    cluster.stop();
    if wipe {
        cluster.wipe()?;
    }
    eprintln!("stopped");
    Ok(())
}

fn status(args: &Args, folder: &Path) -> Result<(), Trouble> {
    args.finish()?;
    let Some(cluster) = Cluster::open(folder)? else {
        return Err(Trouble::no(format!(
            "no Kafka was ever started in {}; start one with: cargo xtask kafka start",
            folder.display()
        )));
    };
    for line in cluster.describe() {
        println!("{line}");
    }
    if cluster.is_up() { Ok(()) } else { Err(Trouble::no("not every node is up")) }
}
