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

    /// What a caller gets.
    pub(super) fn status_for(&self, caller: &Caller<'_>) -> Result<u16, Trouble> {
        let headers = [("X-Forwarded-For", caller.address), ("X-User", caller.user)];
        let ask = Request { method: "GET", path: "/v1/products", headers: &headers, body: "" };
        Ok(ask.send(self.address)?.status)
    }
}

/// Somebody who asks the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// What to call them.
    pub(super) who: &'a str,
    /// Address.
    pub(super) address: &'a str,
    /// Who they are logged in as, or `-`.
    pub(super) user: &'a str,
    /// What they should get.
    pub(super) expected: u16,
}

/// Every attacker, and some who did nothing.
pub(super) fn callers(traffic: &Traffic) -> Vec<Caller<'_>> {
    let attackers = traffic.labels.iter().filter_map(|label| {
        let address = label.address.as_deref()?;
        let user = label.principal.as_deref().unwrap_or("-");
        Some(Caller { who: label.attack, address, user, expected: 403 })
    });
    let innocent = |who, address, user| Caller { who, address, user, expected: 200 };
    attackers
        .chain([
            innocent("an office of twelve", "198.18.200.1", "office01"),
            innocent("a customer", "198.18.20.10", "cust000"),
            innocent("the search engine", "198.18.7.7", "-"),
        ])
        .collect()
}
