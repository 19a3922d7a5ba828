//! One Kafka node: its files, its process, whether it is ready.
//!
//! Owns: a folder `n1`, `n2`, … of a cluster. Never: other nodes.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::properties::{LOGGING, Ports, server};
use crate::clock::wait_until;
use crate::place;
use crate::process::{output, signal};
use crate::trouble::Trouble;

/// A recovery after kill -9 with gigabytes of log took ten seconds on two cores.
const READY_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    id: usize,
    folder: PathBuf,
    ports: Ports,
}

impl Node {
    /// Node `id` of the cluster in `folder`.
    pub(super) fn new(id: usize, cluster: &Path, ports: Ports) -> Self {
        Self { id, folder: cluster.join(format!("n{id}")), ports }
    }

    /// Writes its configuration and makes its storage if there is none.
    pub(super) fn prepare(&self, jars: &Path, id: &str, ports: &[Ports]) -> Result<(), Trouble> {
        let storage = place::folder(&self.folder.join("storage"))?;
        place::write(&self.properties(), &server(self.id, ports, &storage))?;
        place::write(&self.logging(), LOGGING)?;
        if storage.join("meta.properties").exists() {
            return Ok(());
        }
        let mut format = Command::new("java");
        format.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        self.log_to(&mut format, "format.log");
        format.arg("-cp").arg(jars.join("*")).arg("kafka.tools.StorageTool");
        format.args(["format", "-t", id, "-c"]).arg(self.properties());
        output(&mut format).map(drop)
    }

    /// Starts the process, which outlives us.
    pub(super) fn start(&self, jars: &Path, heap: &str) -> Result<(), Trouble> {
        if self.pid().is_some() {
            return Ok(());
        }
        let log = self.folder.join("server.log");
        if let Err(e) = std::fs::remove_file(&log)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Trouble::io("remove", &log, &e));
        }
        let out = self.folder.join("out.log");
        let file = std::fs::File::create(&out).map_err(|e| Trouble::io("write", &out, &e))?;
        let copy = file.try_clone().map_err(|e| Trouble::io("write", &out, &e))?;
        let mut java = Command::new("java");
        java.args([format!("-Xms{heap}"), format!("-Xmx{heap}")]);
        java.args(["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true"]);
        self.log_to(&mut java, "server.log");
        java.arg("-cp").arg(jars.join("*")).arg("kafka.Kafka").arg(self.properties());
        java.process_group(0).stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = java.spawn().map_err(|e| Trouble::dependency(format!("start `java`: {e}")))?;
        place::write(&self.folder.join("pid"), &child.id().to_string())
    }

    /// Waits until it serves clients.
    pub(super) fn wait_ready(&self) -> Result<(), Trouble> {
        let mut died = false;
        let ready = wait_until(READY_LIMIT, || {
            died = self.pid().is_none();
            died || (self.says_started() && self.answers())
        });
        if ready && !died {
            return Ok(());
        }
        let what = if died { "died while starting" } else { "was not ready in time" };
        Err(Trouble::dependency(format!(
            "Kafka node {} {what}; the end of its logs in {}:\n{}{}",
            self.id,
            self.folder.display(),
            self.tail("out.log"),
            self.tail("server.log")
        )))
    }

    /// Asks it to stop; what does not is killed.
    pub(super) fn stop(&self) {
        let Some(pid) = self.pid() else { return };
        signal("TERM", &pid.to_string());
        if !wait_until(STOP_LIMIT, || self.pid().is_none()) {
            signal("KILL", &pid.to_string());
            wait_until(STOP_LIMIT, || self.pid().is_none());
        }
    }

    /// Its process id while it runs. A number that another process got meanwhile is not it.
    pub(super) fn pid(&self) -> Option<u32> {
        let pid: u32 =
            std::fs::read_to_string(self.folder.join("pid")).ok()?.trim().parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&line).contains(&*self.properties().to_string_lossy());
        // Neither a process that is just being made nor one that has just ended has a command line.
        (ours || (line.is_empty() && !has_ended(pid))).then_some(pid)
    }

    /// One line for a person.
    pub(super) fn describe(&self) -> String {
        let Self { id, ports: Ports { client, .. }, .. } = self;
        let Some(pid) = self.pid() else { return format!("node {id} is down (port {client})") };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = memory
            .and_then(|text| text.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or_default();
        format!("node {id} is up: 127.0.0.1:{client}, pid {pid}, {} MB", kilobytes / 1024)
    }

    fn says_started(&self) -> bool {
        let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        log.contains("Kafka Server started")
    }

    fn answers(&self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports.client));
        TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
    }

    fn tail(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        lines.iter().skip(from).map(|line| format!("  {line}\n")).collect()
    }

    fn log_to(&self, java: &mut Command, name: &str) {
        java.arg(format!("-Dlog4j2.configurationFile={}", self.logging().display()));
        java.arg(format!("-Dtidegate.kafka.log={}", self.folder.join(name).display()));
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn logging(&self) -> PathBuf {
        self.folder.join("log4j2.properties")
    }
}

/// Whether nothing is left of a process but its entry in the table.
fn has_ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.lines().any(|line| line.starts_with("State:") && !line.contains(['Z', 'X']))
}
