//! A Kafka image for whoever has a container engine. None is pulled: it is built from Debian's
//! packages, the jars that `kafka` fetches, and the Java that `registry` fetches.
//!
//! Owns: the image. Never: containers; the suite that wants one starts and stops it.

mod engine;

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use engine::Engine;

use crate::debian;
use crate::kafka;
use crate::packages;
use crate::place;
use crate::process::output;
use crate::registry;
use crate::trouble::Trouble;

/// Ours, so never called as somebody else's.
const IMAGE: &str = "local/kafka:4.3.1";
const BASE: &str = "local/debian-minbase:1";
/// Port of clients inside a container; outside it has the number that `ADVERTISED` names.
const PORT: u16 = 9092;
const DOCKERFILE: &str = include_str!("containers/Dockerfile");
const RUN: &str = include_str!("containers/run");

/// The name of the image, which is built where there is none yet.
pub(crate) fn image(engine: &Engine) -> Result<&'static str, Trouble> {
    if !has(engine, IMAGE) {
        build(engine)?;
    }
    Ok(IMAGE)
}

/// The built suite of `transport`; the last one where there are several.
pub(crate) fn suite() -> Result<PathBuf, Trouble> {
    let folder = place::target().join("debug/deps");
    let files = std::fs::read_dir(&folder).map_err(|e| Trouble::io("read", &folder, &e))?;
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("kafka-") && !name.contains('.')
    };
    let built = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    let suites = files.flatten().map(|file| file.path()).filter(is_it);
    suites.max_by_key(built).ok_or_else(|| {
        Trouble::dependency(format!("{} holds no built Kafka suite", folder.display()))
    })
}

fn has(engine: &Engine, image: &str) -> bool {
    output(engine.docker().args(["image", "inspect", image])).is_ok()
}

fn build(engine: &Engine) -> Result<(), Trouble> {
    if !has(engine, BASE) {
        base(engine)?;
    }
    eprintln!("building {IMAGE}");
    let draft = place::folder(&place::cache().join(format!("image-{}", std::process::id())))?;
    let made = fill(&draft).and_then(|()| {
        output(engine.docker().args(["build", "--quiet", "--tag", IMAGE]).arg(&draft)).map(drop)
    });
    place::remove_folder(&draft)?;
    made
}

/// Debian, and nothing beside it.
fn base(engine: &Engine) -> Result<(), Trouble> {
    if !packages::is_root() {
        return Err(Trouble::dependency(format!(
            "the image {IMAGE} is not there, and building it takes root once: sudo cargo xtask test \
             --only containers"
        )));
    }
    let root = place::cache().join(format!("rootfs-{}", std::process::id()));
    let made = debian::bootstrap(&root).and_then(|()| {
        let import = "tar -C \"$0\" -c . | docker import - \"$1\"";
        let mut import_it = Command::new("sh");
        import_it.args(["-c", import]).arg(&root).arg(BASE);
        engine.tell(&mut import_it);
        output(&mut import_it).map(drop)
    });
    place::remove_folder(&root)?;
    made
}

/// Everything that the image is made of.
fn fill(draft: &Path) -> Result<(), Trouble> {
    place::write(&draft.join("Dockerfile"), DOCKERFILE)?;
    place::write(&draft.join("run"), RUN)?;
    place::write(&draft.join("server.properties"), &kafka::inside_a_container(PORT))?;
    place::write(&draft.join("log4j2.properties"), kafka::LOGGING_TO_STDOUT)?;
    copy(&kafka::jars()?, &draft.join("libs"))?;
    let java = registry::java()?;
    let runtime = java.parent().and_then(Path::parent);
    let runtime = runtime.ok_or_else(|| Trouble::dependency("java stands in no folder"))?;
    copy(runtime, &draft.join("jre"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    output(Command::new("cp").arg("-r").arg(from).arg(to)).map(drop)
}
