//! One registry process, which keeps everything in memory.
//!
//! Owns: its folder, port, and whether it is ready. Never: what is registered.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::tree;
use crate::clock::wait_until;
use crate::http::Request;
use crate::place;
use crate::process::signal;
use crate::trouble::Trouble;

/// Twenty-six seconds were seen on a machine that was busy otherwise.
const READY_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Where it speaks Confluent's interface.
const INTERFACE: &str = "/apis/ccompat/v7";

/// A registry that runs.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    pid: u32,
    port: u16,
}

impl Server {
    /// Starts one in `folder` and waits until it serves. One that runs there stays as it is.
    pub(crate) fn start(folder: &Path, port: Option<u16>) -> Result<Self, Trouble> {
        if let Some(server) = Self::running(folder) {
            return Ok(server);
        }
        let (java, tree) = (tree::java()?, tree::folder()?);
        let folder = place::folder(folder)?;
        let (port, management) = (port.map_or_else(free_port, Ok)?, free_port()?);
        let out = folder.join("out.log");
        let file = std::fs::File::create(&out).map_err(|e| Trouble::io("write", &out, &e))?;
        let copy = file.try_clone().map_err(|e| Trouble::io("write", &out, &e))?;
        let mut registry = Command::new(java);
        registry.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        registry.arg("-Djava.util.logging.manager=org.jboss.logmanager.LogManager");
        registry.arg(mark(&folder)).args(["-jar", "quarkus-run.jar"]).current_dir(tree);
        for (name, value) in [("HTTP", port), ("MANAGEMENT", management)] {
            registry.env(format!("QUARKUS_{name}_HOST"), "127.0.0.1");
            registry.env(format!("QUARKUS_{name}_PORT"), value.to_string());
        }
        registry.process_group(0).stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = registry
            .spawn()
            .map_err(|e| Trouble::dependency(format!("start the registry: {e}")))?;
        let server = Self { folder, pid: child.id(), port };
        place::write(&server.folder.join("pid"), &format!("{} {port}", server.pid))?;
        server.wait_ready()?;
        Ok(server)
    }

    /// The one that runs in `folder`.
    pub(crate) fn running(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let text = std::fs::read_to_string(folder.join("pid")).ok()?;
        let (pid, port) = text.split_once(' ')?;
        let (pid, port) = (pid.parse().ok()?, port.parse().ok()?);
        let server = Self { folder, pid, port };
        server.is_alive().then_some(server)
    }

    /// What clients are told.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{INTERFACE}", self.port)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops it; with it everything that was registered is gone.
    pub(crate) fn stop(&self) {
        signal("TERM", &self.pid.to_string());
        if !wait_until(STOP_LIMIT, || !self.is_alive()) {
            signal("KILL", &self.pid.to_string());
        }
    }

    fn wait_ready(&self) -> Result<(), Trouble> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let path = format!("{INTERFACE}/subjects");
        let ask = Request { method: "GET", path: &path, headers: &[], body: "" };
        let mut died = false;
        let ready = wait_until(READY_LIMIT, || {
            died = !self.is_alive();
            died || ask.send(address).is_ok_and(|answer| answer.status == 200)
        });
        if ready && !died {
            return Ok(());
        }
        self.stop();
        let log = self.folder.join("out.log");
        Err(Trouble::dependency(format!("the registry did not start; see {}", log.display())))
    }

    /// Whether the process is still there, and not another one that got its number. A process that
    /// is just being made has no command line yet.
    fn is_alive(&self) -> bool {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(&mark(&self.folder)) || (line.is_empty() && !has_ended(self.pid))
    }
}

/// By this option a process of ours is known.
fn mark(folder: &Path) -> String {
    format!("-Dtidegate.registry={}", folder.display())
}

fn has_ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.lines().any(|line| line.starts_with("State:") && !line.contains(['Z', 'X']))
}

fn free_port() -> Result<u16, Trouble> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|e| Trouble::dependency(format!("find a free port on 127.0.0.1: {e}")))
}
