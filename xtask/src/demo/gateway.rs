//! A real nginx on loopback that enforces what the pipeline decides.
//!
//! Owns: its process, and asking it as different callers. Never: its deny file.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::scene::Scene;
use super::traffic::Traffic;
use crate::clock::wait_until;
use crate::http::Request;
use crate::place;
use crate::process::Running;
use crate::trouble::Trouble;

/// The gateway, running.
#[derive(Debug)]
pub(super) struct Gateway {
    address: SocketAddr,
    _process: Running,
}

impl Gateway {
    /// Starts it and waits until it answers.
    pub(super) fn start(scene: &Scene) -> Result<Self, Trouble> {
        let program = place::program("nginx").unwrap_or_else(|| "nginx".into());
        let mut nginx = Command::new(program);
        nginx.arg("-c").arg(scene.gateway_file()).arg("-p").arg(&scene.folder);
        nginx.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running::start(&mut nginx)?;
        let address = scene.gateway;
        if !wait_until(Duration::from_secs(10), || TcpStream::connect(address).is_ok()) {
            let log = scene.folder.join("nginx-error.log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            return Err(Trouble::dependency(format!("nginx does not answer; its log:\n{log}")));
        }
        Ok(Self { address, _process: process })
    }

    /// What a caller with this address gets.
    pub(super) fn status_for(&self, client: &str) -> Result<u16, Trouble> {
        let headers = [("X-Forwarded-For", client)];
        let ask = Request { method: "GET", path: "/v1/products", headers: &headers, body: "" };
        Ok(ask.send(self.address)?.status)
    }

    /// Asks as each attacker and as some others, and prints what they get.
    pub(super) fn show(&self, traffic: &Traffic) -> Result<(), Trouble> {
        let attackers = traffic.labels.iter().filter_map(|label| label.address.as_deref());
        for (who, client) in attackers
            .map(|address| ("attacker", address))
            .chain([("office", "198.18.200.1"), ("customer", "198.18.20.10")])
        {
            let status = self.status_for(client)?;
            println!("nginx answers {status} to {who:<9} {client}");
        }
        Ok(())
    }
}
