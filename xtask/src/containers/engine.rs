//! The container engine: the one that answers, or, in CI, one of our own.
//!
//! Owns: finding or starting it, and stopping what it started. Never: images, containers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::wait_until;
use crate::packages::{self, DOCKER, IPTABLES};
use crate::place;
use crate::process::{Running, output};
use crate::trouble::Trouble;

const READY_LIMIT: Duration = Duration::from_secs(60);

/// An engine that answers. Dropping it stops one of our own.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Where ours listens; the user's own is where `docker` finds it.
    host: Option<String>,
    daemon: Option<Running>,
    folder: Option<PathBuf>,
}

impl Engine {
    /// The engine of this machine. Where none answers, CI gets one of its own, if root runs it; a
    /// person is told why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let users = Self { host: None, daemon: None, folder: None };
        if users.answers() {
            return Ok(users);
        }
        if !place::in_ci() {
            let why = place::program("docker").map_or(
                "there is no program `docker`",
                |_docker| "no container engine answers `docker version`",
            );
            return Err(why.to_owned());
        }
        if !packages::is_root() {
            return Err("no container engine answers, and starting one takes root".to_owned());
        }
        Self::start().map_err(|trouble| trouble.to_string())
    }

    /// `docker`, told where to go.
    pub(crate) fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        // An engine without buildx does it the old way.
        docker.env("DOCKER_BUILDKIT", "0").env("PATH", place::program_path()).stdin(Stdio::null());
        self.tell(&mut docker);
        docker
    }

    /// Lets a program find this engine.
    pub(crate) fn tell(&self, program: &mut Command) {
        if let Some(host) = &self.host {
            program.env("DOCKER_HOST", host);
        }
    }

    fn answers(&self) -> bool {
        output(self.docker().args(["version", "--format", "{{.Server.Version}}"])).is_ok()
    }

    /// Its images stay in the cache; everything else goes with it.
    fn start() -> Result<Self, Trouble> {
        let absent = packages::install(&[DOCKER, IPTABLES])?;
        if !absent.is_empty() {
            return Err(Trouble::dependency(packages::plea(&absent)));
        }
        // Short, for the path of a socket has 108 bytes at most.
        let folder = place::folder(Path::new(&format!("/run/tidegate-{}", std::process::id())))?;
        let host = format!("unix://{}", folder.join("docker.sock").display());
        let mut daemon = Command::new("dockerd");
        daemon.env("PATH", place::program_path()).arg("--host").arg(&host);
        daemon.arg("--data-root").arg(place::folder(&place::cache().join("docker"))?);
        daemon.arg("--exec-root").arg(folder.join("exec"));
        daemon.arg("--pidfile").arg(folder.join("pid"));
        let (log, again) = log(&folder.join("log"))?;
        let daemon = Running::start(daemon.stdout(log).stderr(again))?;
        let mut engine = Self { host: Some(host), daemon: Some(daemon), folder: Some(folder) };
        let ended = |engine: &mut Self| engine.daemon.as_mut().is_some_and(|d| d.ended().is_some());
        let ready = wait_until(READY_LIMIT, || ended(&mut engine) || engine.answers());
        if !ready || ended(&mut engine) {
            let said = place::read(&engine.folder.clone().unwrap_or_default().join("log"))?;
            return Err(Trouble::dependency(format!("dockerd did not start; it said:\n{said}")));
        }
        Ok(engine)
    }
}

/// One file to write to, twice.
fn log(path: &Path) -> Result<(File, File), Trouble> {
    let made = File::create(path).and_then(|file| Ok((file.try_clone()?, file)));
    made.map_err(|e| Trouble::io("make", path, &e))
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.daemon.take());
        if let Some(Err(trouble)) = self.folder.as_deref().map(place::remove_folder) {
            eprintln!("xtask: {trouble}");
        }
    }
}
