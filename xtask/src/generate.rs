//! `cargo xtask gen`: pages that are made from code, and the demo's traffic as files.
//!
//! Owns: where they are written. Never: what they are made of.

use std::path::PathBuf;

use crate::args::Args;
use crate::clock::Moment;
use crate::demo::Traffic;
use crate::place;
use crate::process::succeeds;
use crate::trouble::Trouble;

/// Runs `gen docs` or `gen traffic`.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    match args.word("`docs` or `traffic`")?.as_str() {
        "docs" => docs(args),
        "traffic" => traffic(args),
        other => Err(Trouble::usage(format!("gen does not know `{other}`: docs, traffic"))),
    }
}

/// Writes the pages that tests compare with what the code says: the same tests, told to write.
fn docs(args: &Args) -> Result<(), Trouble> {
    args.finish()?;
    let mut test = place::cargo();
    test.args(["test", "--workspace", "--quiet", "--lib", "--bins", "page"]);
    test.env("UPDATE_EXPECT", "1");
    if succeeds(&mut test)? { Ok(()) } else { Err(Trouble::no("see above")) }
}

/// Writes access log, labels and identities of the demo's ten minutes.
fn traffic(args: &mut Args) -> Result<(), Trouble> {
    let folder = args.option("--out")?.map(PathBuf::from);
    let seed = args.parsed("--seed")?.unwrap_or(7);
    let start = args.parsed("--start-ms")?.map_or_else(Moment::now, Moment);
    args.finish()?;
    let folder = folder.ok_or_else(|| Trouble::usage("gen traffic: `--out FOLDER` is missing"))?;
    let folder = place::folder(&folder)?;
    let traffic = Traffic::make(seed);
    let lines: String = traffic.requests.iter().map(|request| request.combined(start)).collect();
    place::write(&folder.join("access.log"), &lines)?;
    place::write(&folder.join("labels.jsonl"), &traffic.label_lines())?;
    place::write(&folder.join("identities.jsonl"), &traffic.identities)?;
    println!("{} lines in {}", traffic.requests.len(), folder.display());
    Ok(())
}
