//! Where things are: the repository, the cache, the build output.
//!
//! Owns: reading the environment. Never: creating anything but the folder that is asked for.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::trouble::Trouble;

/// What cargo tells a program that it runs, and what would mislead a cargo run by that program.
const OUTER_CARGO: [&str; 9] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
];

/// A variable of the environment; absent and empty are the same.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether a CI service runs us: nothing may be skipped then.
pub(crate) fn in_ci() -> bool {
    variable("CI").is_some_and(|value| value != "false" && value != "0")
}

/// The repository: the folder above this crate's. As cargo says when it runs us: clones that share
/// a target folder may share a build of this crate too, which was made in one of them.
pub(crate) fn root() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let here = variable("CARGO_MANIFEST_DIR").map_or_else(built, PathBuf::from);
    here.parent().map(Path::to_path_buf).unwrap_or(here)
}

/// `~/.cache/tidegate`: what is slow to get and the same for every checkout.
pub(crate) fn cache() -> PathBuf {
    let base = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map_or_else(env::temp_dir, PathBuf::from).join(".cache");
    base.unwrap_or_else(home).join("tidegate")
}

/// Where cargo builds for us. A relative path is one below the repository.
pub(crate) fn target() -> PathBuf {
    variable("TIDEGATE_TARGET_DIR").map_or_else(|| cache().join("target"), |dir| root().join(dir))
}

/// A cargo command in the repository that builds into [`target`].
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TARGET_DIR", target()).env("PATH", program_path());
    for name in OUTER_CARGO {
        command.env_remove(name);
    }
    command
}

/// The cargo command that builds the binary. Examples ask for the features that tests ask for, so
/// that DataFusion, which takes minutes, is built once for the demo, the tests and this.
pub(crate) fn build() -> Command {
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins", "--examples"]);
    command
}

/// Makes a folder and those above it.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, Trouble> {
    std::fs::create_dir_all(path).map_err(|e| Trouble::io("make folder", path, &e))?;
    path.canonicalize().map_err(|e| Trouble::io("open folder", path, &e))
}

/// Removes a folder with everything in it; one that is not there is fine.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Trouble> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Trouble::io("remove folder", path, &e))
        }
        _ => Ok(()),
    }
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Trouble> {
    std::fs::read_to_string(path).map_err(|e| Trouble::io("read", path, &e))
}

/// Writes a text file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text).map_err(|e| Trouble::io("write", path, &e))
}

/// A program that is named by its path.
pub(crate) fn program_at(path: &Path) -> Result<PathBuf, Trouble> {
    path.canonicalize().map_err(|e| Trouble::io("find program", path, &e))
}

/// Where programs are looked for: as a shell does, and in the folders of root's programs too, where
/// Debian has nginx and rsyslogd, and which the paths of other users lack.
fn program_folders() -> Vec<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).collect()
}

/// The same as a `PATH`, for what we start: it looks for these programs itself.
pub(crate) fn program_path() -> OsString {
    // Only a folder with a colon in its name cannot stand there, and that came out of a PATH.
    env::join_paths(program_folders()).or_else(|_| variable("PATH").ok_or(())).unwrap_or_default()
}

/// Finds a program in [`program_folders`].
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    program_folders().into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}
