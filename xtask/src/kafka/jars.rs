//! Kafka's jars, fetched once for every checkout.
//!
//! Owns: versions, and the folder under the cache. Never: anything per cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, JAVA, MAVEN};
use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

/// The newest Kafka whose tools are published too.
const KAFKA: &str = "4.3.1";
const SCALA: &str = "2.13";
const LOG4J: &str = "2.25.4";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder with the jars; fetches them if they are not there.
pub(crate) fn folder() -> Result<PathBuf, Trouble> {
    let absent = packages::missing(&[JAVA]);
    if !absent.is_empty() {
        return Err(Trouble::dependency(packages::plea(&absent)));
    }
    let home = place::folder(&place::cache().join("kafka"))?;
    let jars = home.join("libs");
    let complete = jars.join(format!("complete-{KAFKA}-{LOG4J}"));
    if complete.exists() {
        return Ok(jars);
    }
    let absent = packages::missing(&[MAVEN]);
    if !absent.is_empty() {
        return Err(Trouble::dependency(packages::plea(&absent)));
    }
    fetch(&home, &jars)?;
    place::write(&complete, "")?;
    Ok(jars)
}

/// Fetches into a folder of its own and moves it into place, so that half a fetch is never used.
fn fetch(home: &Path, jars: &Path) -> Result<(), Trouble> {
    eprintln!("fetching Kafka {KAFKA} (about 55 MB)");
    let draft = place::folder(&home.join(format!("fetch-{}", std::process::id())))?;
    let project = draft.join("pom.xml");
    place::write(&project, &pom())?;
    let fresh = draft.join("libs");
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(&project).arg(COPY);
    maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", fresh.display()));
    output(&mut maven)?;
    place::remove_folder(jars)?;
    std::fs::rename(&fresh, jars).map_err(|e| Trouble::io("move the jars to", jars, &e))?;
    place::remove_folder(&draft)
}

fn pom() -> String {
    let wanted = [
        ("org.apache.kafka", format!("kafka_{SCALA}"), KAFKA),
        ("org.apache.kafka", "kafka-tools".to_owned(), KAFKA),
        ("org.apache.logging.log4j", "log4j-slf4j-impl".to_owned(), LOG4J),
    ];
    let wanted = wanted.map(|(group, artifact, version)| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    });
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  \
         <modelVersion>4.0.0</modelVersion>\n  <groupId>tidegate</groupId>\n  \
         <artifactId>kafka</artifactId>\n  <version>1</version>\n  <packaging>pom</packaging>\n  \
         <dependencies>\n{}  </dependencies>\n</project>\n",
        wanted.concat()
    )
}
