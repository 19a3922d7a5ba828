//! The steps of CI.
//!
//! Owns: what each runs. Never: their order of failing; every step runs whatever came before.

use std::process::Command;

use super::session::{Session, TARGETS};
use super::{Ending, Step};
use crate::containers::Engine;
use crate::demo;
use crate::eval::{self, Score};
use crate::packages::{
    self, APACHE, CC, CXX, HAPROXY, JAVA, KCAT, MAKE, MAVEN, NGINX, Need, PROMTOOL, RSYSLOG,
    RSYSLOG_KAFKA, SYSTEMD, VARNISH, VENV,
};
use crate::process::succeeds;
use crate::trouble::Trouble;
use crate::{containers, fuzz, place, tidy};

/// What the machine needs beside Rust.
const NEEDS: [Need; 15] = [
    CC,
    CXX,
    MAKE,
    JAVA,
    MAVEN,
    VENV,
    NGINX,
    KCAT,
    RSYSLOG,
    RSYSLOG_KAFKA,
    APACHE,
    HAPROXY,
    VARNISH,
    PROMTOOL,
    SYSTEMD,
];

/// In the order of CI: what is quick and fails often comes first.
pub(super) const STEPS: &[Step] = &[
    Step { name: "install", about: "what the machine needs beside Rust", run: install },
    Step { name: "fmt", about: "formatting", run: fmt },
    Step { name: "tidy", about: "imports, licences, files", run: tidied },
    Step { name: "clippy", about: "lints, warnings denied", run: clippy },
    Step { name: "build", about: "the binary and the tests", run: build },
    Step {
        name: "test",
        about: "unit tests and suites, with a real Kafka and registry",
        run: test,
    },
    Step { name: "containers", about: "the Kafka suite over a container", run: containers },
    Step { name: "doc-test", about: "examples in the documentation", run: doc_test },
    Step { name: "rustdoc", about: "documentation, warnings denied", run: rustdoc },
    Step { name: "rules-check", about: "the rule pack is sound", run: rules_check },
    Step { name: "rules-test", about: "the rule pack's tests, four ways", run: rules_test },
    Step { name: "fuzz", about: "everything that reads bytes, ten seconds each", run: fuzzed },
    Step { name: "demo", about: "the whole way, with a real nginx", run: demonstrate },
    Step { name: "eval", about: "scores on data that others labelled", run: evaluate },
];

fn install(_: &mut Session) -> Result<Ending, Trouble> {
    let absent = packages::install(&NEEDS)?;
    if absent.is_empty() {
        return Ok(Ending::Passed);
    }
    Ok(Ending::Skipped(packages::plea(&absent)))
}

fn fmt(_: &mut Session) -> Result<Ending, Trouble> {
    judge(place::cargo().args(["fmt", "--all", "--check"]), "run `cargo fmt --all`")
}

fn tidied(_: &mut Session) -> Result<Ending, Trouble> {
    tidy::all().map(|()| Ending::Passed)
}

fn clippy(_: &mut Session) -> Result<Ending, Trouble> {
    let mut clippy = place::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    judge(&mut clippy, "see above")
}

fn build(session: &mut Session) -> Result<Ending, Trouble> {
    session.binary().map(|_| Ending::Passed)
}

fn test(session: &mut Session) -> Result<Ending, Trouble> {
    let binary = session.binary()?;
    let mut test = place::cargo();
    test.args(["test", "--workspace", "--no-fail-fast"]).args(TARGETS).env("TIDEGATE_BIN", binary);
    let absent = packages::missing(&[JAVA, MAVEN, VENV]);
    if absent.is_empty() {
        test.env("TIDEGATE_KAFKA_BROKERS", session.brokers()?);
        test.env("TIDEGATE_SCHEMA_REGISTRY", session.registry()?);
    }
    match packages::gateways() {
        Ok(folder) => {
            test.env("TIDEGATE_GATEWAYS", folder);
        }
        Err(why) => eprintln!("without some gateways: {why}"),
    }
    match packages::syslog_ng() {
        Ok(folder) => {
            test.env("TIDEGATE_SYSLOG_NG", folder);
        }
        Err(why) => eprintln!("without syslog-ng: {why}"),
    }
    match packages::collectors() {
        Ok(python) => {
            test.env("TIDEGATE_COLLECTORS", python);
        }
        Err(why) => eprintln!("without a collector: {why}"),
    }
    let scim = packages::python(&["scim2-server"]);
    if let Ok(python) = &scim {
        test.env("TIDEGATE_SCIM_SERVER", python.with_file_name("scim2-server"));
    }
    // Tests that need what is not there say so on standard error, and fail in CI.
    match judge(&mut test, "see above")? {
        Ending::Passed if !absent.is_empty() => {
            Ok(Ending::Skipped(format!("tests with a broker; {}", packages::plea(&absent))))
        }
        Ending::Passed => Ok(scim.map_or_else(
            |e| Ending::Skipped(format!("the test with a SCIM server: {e}")),
            |_python| Ending::Passed,
        )),
        other => Ok(other),
    }
}

fn containers(session: &mut Session) -> Result<Ending, Trouble> {
    let engine = match Engine::find() {
        Ok(engine) => engine,
        Err(why) if place::in_ci() => {
            return Ok(Ending::Skipped(format!("the Kafka suite over a container: {why}")));
        }
        Err(why) => {
            return Ok(Ending::Absent(format!("the Kafka suite over a container: {why}")));
        }
    };
    let image = containers::image(&engine)?;
    session.binary()?;
    let mut test = place::cargo();
    test.args(["test", "--manifest-path", "tests/containers/Cargo.toml"]);
    test.env("CARGO_TARGET_DIR", place::target().join("containers"));
    test.env("TIDEGATE_KAFKA_SUITE", containers::suite()?);
    engine.tell(&mut test);
    judge(test.env("TIDEGATE_KAFKA_IMAGE", image), "see above")
}

fn doc_test(_: &mut Session) -> Result<Ending, Trouble> {
    judge(place::cargo().args(["test", "--workspace", "--doc"]), "see above")
}

fn rustdoc(_: &mut Session) -> Result<Ending, Trouble> {
    let mut doc = place::cargo();
    doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    judge(&mut doc, "see above")
}

fn rules_check(session: &mut Session) -> Result<Ending, Trouble> {
    rules(session, "check")
}

fn rules_test(session: &mut Session) -> Result<Ending, Trouble> {
    rules(session, "test")
}

fn rules(session: &mut Session, verb: &str) -> Result<Ending, Trouble> {
    let mut command = Command::new(session.binary()?);
    judge(command.args(["rules", verb, "rules"]).current_dir(place::root()), "see above")
}

fn fuzzed(_: &mut Session) -> Result<Ending, Trouble> {
    let absent = packages::missing(&[CXX]);
    if !absent.is_empty() {
        return Ok(Ending::Skipped(format!("all targets; {}", packages::plea(&absent))));
    }
    fuzz::prove().map(|()| Ending::Passed)
}

fn demonstrate(session: &mut Session) -> Result<Ending, Trouble> {
    demo::prove(&session.binary()?)?;
    let absent = packages::missing(&[NGINX]);
    if absent.is_empty() {
        return Ok(Ending::Passed);
    }
    Ok(Ending::Skipped(format!("blocks at a gateway; {}", packages::plea(&absent))))
}

fn evaluate(session: &mut Session) -> Result<Ending, Trouble> {
    Ok(match eval::score(&session.binary()?, None, None)? {
        Score::Reached => Ending::Passed,
        Score::Short(what) => Ending::Failed(format!("not reached: {}", what.join("; "))),
        Score::NoCorpora(why) => Ending::Absent(why),
    })
}

/// Runs a command to its end with its output untouched.
fn judge(command: &mut Command, hint: &str) -> Result<Ending, Trouble> {
    let passed = succeeds(command)?;
    Ok(if passed { Ending::Passed } else { Ending::Failed(hint.to_owned()) })
}
