//! What the steps share: the built binary, the broker and the schema registry.
//!
//! Owns: making each of them once, and taking it down. Never: which step needs which.

use std::path::PathBuf;

use crate::kafka::{Cluster, Wish};
use crate::place;
use crate::process::{Guard, succeeds};
use crate::registry::Server;
use crate::trouble::Trouble;

/// Every target but benchmarks, which take long to build and show nothing here.
pub(super) const TARGETS: [&str; 4] = ["--lib", "--bins", "--tests", "--examples"];

/// The state of one run. Dropping it stops what it started.
#[derive(Debug, Default)]
pub(super) struct Session {
    binary: Option<PathBuf>,
    broker: Option<Broker>,
    registry: Option<Registry>,
}

/// A broker for this run only.
#[derive(Debug)]
struct Broker {
    cluster: Cluster,
    _guards: Vec<Guard>,
}

/// A schema registry for this run only.
#[derive(Debug)]
struct Registry {
    server: Server,
    _guard: Guard,
}

impl Session {
    /// Nothing made yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The `tidegate` binary. Everything that tests need is built with it in one go: other choices
    /// of targets would switch on other features, and build DataFusion twice.
    pub(super) fn binary(&mut self) -> Result<PathBuf, Trouble> {
        if let Some(binary) = &self.binary {
            return Ok(binary.clone());
        }
        let mut build = place::cargo();
        build.args(["build", "--workspace"]).args(TARGETS);
        if !succeeds(&mut build)? {
            return Err(Trouble::no("the build failed; the errors stand above"));
        }
        let binary = place::target().join("debug/tidegate");
        self.binary = Some(binary.clone());
        Ok(binary)
    }

    /// `host:port` of a fresh broker.
    pub(super) fn brokers(&mut self) -> Result<String, Trouble> {
        if let Some(broker) = &self.broker {
            return Ok(broker.cluster.brokers());
        }
        let folder = place::target().join("kafka-test");
        if let Some(old) = Cluster::open(&folder)? {
            if !old.pids().is_empty() {
                return Err(Trouble::dependency(format!(
                    "another `cargo xtask test` uses the broker in {0}; wait for it, or stop the \
                     broker with: cargo xtask kafka stop --dir {0}",
                    folder.display()
                )));
            }
            old.wipe()?;
        }
        let cluster = Cluster::start(&folder, &Wish::default())?;
        let guards = cluster.pids().into_iter().map(Guard::for_group).collect::<Result<_, _>>()?;
        let broker = self.broker.insert(Broker { cluster, _guards: guards });
        Ok(broker.cluster.brokers())
    }

    /// The address of a fresh schema registry.
    pub(super) fn registry(&mut self) -> Result<String, Trouble> {
        if let Some(registry) = &self.registry {
            return Ok(registry.server.url());
        }
        let folder = place::target().join("registry-test");
        if Server::running(&folder).is_some() {
            return Err(Trouble::dependency(format!(
                "another `cargo xtask test` uses the schema registry in {0}; wait for it, or stop \
                 it with: cargo xtask registry stop --dir {0}",
                folder.display()
            )));
        }
        let server = Server::start(&folder, None)?;
        let guard = Guard::for_group(server.pid())?;
        let registry = self.registry.insert(Registry { server, _guard: guard });
        Ok(registry.server.url())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.stop();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.cluster.stop();
        if let Err(trouble) = self.cluster.wipe() {
            eprintln!("xtask: {trouble}");
        }
    }
}
