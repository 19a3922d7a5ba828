//! What the machine needs beside Rust.
//!
//! Owns: finding which Debian packages are missing, installing them or saying how. Never: `sudo`;
//! starting a service; what is kept in folders of ours, which is [`fetched`]'s.

mod fetched;

use std::path::Path;
use std::process::Command;

use crate::place;
use crate::process::{Guard, output, succeeds};
use crate::trouble::Trouble;

pub(crate) use fetched::{collectors, gateways, python, syslog_ng};

/// Asked by Debian's package scripts before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Something that the machine should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// The Debian package.
    pub(crate) package: &'static str,
    /// A program of it, or with a slash a file, by which one sees that it is there.
    pub(crate) proof: &'static str,
    /// What it is for, as the end of "needed for …".
    pub(crate) purpose: &'static str,
}

/// A C compiler.
pub(crate) const CC: Need =
    Need { package: "gcc", proof: "cc", purpose: "building the Kafka client library" };
/// A C++ compiler.
pub(crate) const CXX: Need = Need { package: "g++", proof: "c++", purpose: "building libFuzzer" };
/// Make.
pub(crate) const MAKE: Need =
    Need { package: "make", proof: "make", purpose: "building the Kafka client library" };
/// Java, for Kafka.
pub(crate) const JAVA: Need =
    Need { package: "default-jre-headless", proof: "java", purpose: "the Kafka broker" };
/// Maven, which fetches Kafka.
pub(crate) const MAVEN: Need = Need { package: "maven", proof: "mvn", purpose: "fetching Kafka" };
/// The gateway that the tests and the demo block at.
pub(crate) const NGINX: Need =
    Need { package: "nginx", proof: "nginx", purpose: "the gateway that answers 403" };
/// A Kafka client that is not ours.
pub(crate) const KCAT: Need =
    Need { package: "kcat", proof: "kcat", purpose: "writing to Kafka as shippers do" };
/// A shipper.
pub(crate) const RSYSLOG: Need =
    Need { package: "rsyslog", proof: "rsyslogd", purpose: "shipping log files" };
/// The shipper's way to Kafka.
pub(crate) const RSYSLOG_KAFKA: Need = Need {
    package: "rsyslog-kafka",
    proof: "rsyslog/omkafka.so",
    purpose: "shipping log files to Kafka",
};

/// A gateway whose log is read.
pub(crate) const APACHE: Need =
    Need { package: "apache2", proof: "apache2", purpose: "a gateway's log" };
/// A gateway whose log is read.
pub(crate) const HAPROXY: Need =
    Need { package: "haproxy", proof: "haproxy", purpose: "a gateway's log" };
/// A gateway whose log is read.
pub(crate) const VARNISH: Need =
    Need { package: "varnish", proof: "varnishd", purpose: "a gateway's log" };

/// What checks and tests alerts.
pub(crate) const PROMTOOL: Need =
    Need { package: "prometheus", proof: "promtool", purpose: "the tests of alerts" };
/// What checks units.
pub(crate) const SYSTEMD: Need =
    Need { package: "systemd", proof: "systemd-analyze", purpose: "the checks of units" };

/// The container engine.
pub(crate) const DOCKER: Need =
    Need { package: "docker.io", proof: "dockerd", purpose: "Kafka in a container" };
/// What the container engine maps ports with.
pub(crate) const IPTABLES: Need =
    Need { package: "iptables", proof: "iptables", purpose: "ports of containers" };
/// Debian in a folder.
pub(crate) const DEBOOTSTRAP: Need =
    Need { package: "debootstrap", proof: "debootstrap", purpose: "a system of its own" };
/// Python's environments.
pub(crate) const VENV: Need = Need {
    package: "python3-venv",
    proof: "ensurepip/__init__.py",
    purpose: "the Java that the schema registry needs",
};

impl Need {
    /// Whether it is there.
    pub(crate) fn is_met(&self) -> bool {
        if !self.proof.contains('/') {
            return place::program(self.proof).is_some();
        }
        let lib = Path::new("/usr/lib");
        let per_machine = std::fs::read_dir(lib).into_iter().flatten().flatten();
        let mut folders = per_machine.map(|entry| entry.path()).chain([lib.to_path_buf()]);
        folders.any(|folder| folder.join(self.proof).exists())
    }
}

/// The line that installs packages.
pub(crate) fn install_line(needs: &[Need]) -> String {
    let names: Vec<&str> = needs.iter().map(|need| need.package).collect();
    format!("apt-get install -y --no-install-recommends {}", names.join(" "))
}

/// Those that are not there.
pub(crate) fn missing(needs: &[Need]) -> Vec<Need> {
    needs.iter().filter(|need| !need.is_met()).copied().collect()
}

/// Installs what is missing, where we may. Returns what is still missing afterwards.
pub(crate) fn install(needs: &[Need]) -> Result<Vec<Need>, Trouble> {
    let absent = missing(needs);
    if absent.is_empty() || !is_root() || place::program("apt-get").is_none() {
        return Ok(absent);
    }
    let names: Vec<&str> = absent.iter().map(|need| need.package).collect();
    eprintln!("installing {}", names.join(", "));
    let _quiet = NoServices::declare(Path::new(POLICY))?;
    let mut wanted = apt("install");
    wanted.args(["-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]);
    wanted.args(&names);
    // Lists that are absent or old make the first try fail, and only then are they worth fetching.
    if !succeeds(&mut wanted)? && succeeds(&mut apt("update"))? {
        succeeds(&mut wanted)?;
    }
    Ok(missing(needs))
}

/// A command of apt that asks nothing and waits for others.
fn apt(verb: &str) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300", verb]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A message about what is missing, with the line that mends it.
pub(crate) fn plea(absent: &[Need]) -> String {
    let reasons: Vec<String> =
        absent.iter().map(|need| format!("{} (for {})", need.package, need.purpose)).collect();
    let sudo = if is_root() { "" } else { "sudo " };
    format!("missing: {}; install with:\n  {sudo}{}", reasons.join(", "), install_line(absent))
}

/// Whether root runs us.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// While this lives, packages that are installed do not start their services.
#[derive(Debug)]
struct NoServices<'a> {
    policy: &'a Path,
    guard: Option<Guard>,
}

impl<'a> NoServices<'a> {
    /// Forbids it, unless the machine has its own answer to the question.
    fn declare(policy: &'a Path) -> Result<Self, Trouble> {
        if policy.exists() {
            return Ok(Self { policy, guard: None });
        }
        let guard = Guard::arm(&format!("rm -f '{}'", policy.display()))?;
        place::write(
            policy,
            "#!/bin/sh\n# placed by xtask while it installs packages\nexit 101\n",
        )?;
        output(Command::new("chmod").arg("755").arg(policy))?;
        Ok(Self { policy, guard: Some(guard) })
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if self.guard.is_some()
            && let Err(e) = std::fs::remove_file(self.policy)
        {
            let policy = self.policy.display();
            eprintln!("xtask: remove {policy}: {e}; remove it by hand, or no service will start");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Need, NoServices, install_line, missing, plea};

    const SHELL: Need = Need { package: "dash", proof: "sh", purpose: "this test" };
    const NONE: Need = Need { package: "no-such", proof: "no-such-program", purpose: "nothing" };
    const NO_FILE: Need = Need { package: "nil", proof: "no/such.so", purpose: "nothing" };

    #[test]
    fn only_what_is_not_there_is_missing() {
        assert_eq!(missing(&[SHELL, NONE, NO_FILE]), [NONE, NO_FILE]);
    }

    #[test]
    fn services_are_forbidden_only_while_installing() {
        let policy = std::env::temp_dir().join(format!("xtask-policy-{}", std::process::id()));
        let quiet = NoServices::declare(&policy).unwrap();
        assert_eq!(Command::new(&policy).status().unwrap().code(), Some(101));
        drop(NoServices::declare(&policy).unwrap()); // the machine's own answer stays
        assert!(policy.exists());
        drop(quiet);
        assert!(!policy.exists());
    }

    #[test]
    fn the_plea_names_each_package_its_purpose_and_the_line() {
        let plea = plea(&[NONE]);
        assert!(plea.contains("no-such (for nothing)"), "{plea}");
        assert!(plea.contains(&install_line(&[NONE])), "{plea}");
    }
}
