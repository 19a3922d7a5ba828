//! Lines posted as Elasticsearch's `_bulk` to a running `tidegate up`.
//!
//! Owns: the process, its configuration, the requests. Never: a shipper.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::measure;
use crate::clock::{Stopwatch, wait_until};
use crate::http::Request;
use crate::place;
use crate::process::Running;
use crate::trouble::Trouble;

/// Lines in a request. Shippers send some hundreds to some thousands.
const LINES_A_REQUEST: usize = 1_000;
/// Senders at a time: one waits for its answer while another's lines are taken.
const SENDERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub(super) struct Posted {
    /// User and system time of the whole process.
    pub(super) cpu_ns_a_line: f64,
    /// The rates, in a sentence.
    pub(super) text: String,
}

/// Posts every line of a log and waits until all have become events.
pub(super) fn measure(tidegate: &Path, folder: &Path, log: &Path) -> Result<Posted, Trouble> {
    let folder = folder.join("bulk");
    place::remove_folder(&folder)?;
    place::folder(&folder.join("rules"))?;
    let (input, admin) = (free_address()?, free_address()?);
    let configuration = folder.join("tidegate.toml");
    place::write(&configuration, &configured(input, admin))?;
    let text = place::read(log)?;
    let lines: Vec<&str> = text.lines().collect();
    let bodies: Vec<String> = lines.chunks(LINES_A_REQUEST).map(body).collect();

    let mut command = Command::new(tidegate);
    command.arg("up").arg("--config").arg(&configuration).current_dir(&folder);
    let said = folder.join("said.log");
    let file = std::fs::File::create(&said).map_err(|e| Trouble::io("write", &said, &e))?;
    command.stdout(Stdio::null()).stderr(file);
    let running = Running::start(&mut command)?;
    if !wait_until(PATIENCE, || is_ready(admin)) {
        let said = place::read(&said).unwrap_or_default();
        return Err(Trouble::dependency(format!("`tidegate up` is not ready:\n{said}")));
    }
    let (started_with, watch) = (measure::cpu(running.id()), Stopwatch::start());
    post(&bodies, input)?;
    let answered = watch.elapsed();
    let wanted = u64::try_from(lines.len()).unwrap_or(u64::MAX);
    if !wait_until(PATIENCE, || judged(admin) >= wanted) {
        let judged = judged(admin);
        return Err(Trouble::dependency(format!("{judged} of {wanted} lines became events")));
    }
    let all = watch.elapsed();
    let cpu = measure::cpu(running.id()).saturating_sub(started_with);
    drop(running);
    let count = f64::from(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    let rate = |time: Duration| count / time.as_secs_f64() / 1e3;
    Ok(Posted {
        cpu_ns_a_line: cpu.as_secs_f64() * 1e9 / count,
        text: format!(
            "`_bulk` with {LINES_A_REQUEST} lines a request and {SENDERS} senders on the same \
             machine: all answered as durable at {:.0} k lines/s, all events judged at {:.0} k \
             lines/s by the clock",
            rate(answered),
            rate(all)
        ),
    })
}

fn configured(input: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "[[input]]\ntype = \"elasticsearch\"\nlisten = \"{input}\"\nservice = \"shop\"\n\
         live = false\n\n[rules]\nfolder = \"rules\"\n\n[storage]\nfolder = \"data\"\n\n\
         [admin]\nlisten = \"{admin}\"\n"
    )
}

fn body(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{{\"create\":{{\"_index\":\"access\"}}}}\n{line}\n")).collect()
}

/// Posts all bodies; each must be answered before its sender posts another.
fn post(bodies: &[String], to: SocketAddr) -> Result<(), Trouble> {
    let send = |first: usize| -> Result<(), Trouble> {
        for body in bodies.iter().skip(first).step_by(SENDERS) {
            let headers = [("Content-Type", "application/x-ndjson")];
            let request = Request { method: "POST", path: "/_bulk", headers: &headers, body };
            let answer = request.send(to)?;
            if answer.status != 200 || !answer.body.contains("\"errors\":false") {
                return Err(Trouble::dependency(format!("`_bulk` answered {}", answer.status)));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|first| scope.spawn(move || send(first))).collect();
        senders.into_iter().try_for_each(|sender| {
            sender.join().unwrap_or_else(|_| Err(Trouble::no("a sender panicked")))
        })
    })
}

fn get(admin: SocketAddr, path: &str) -> Option<String> {
    let answer = Request { method: "GET", path, headers: &[], body: "" }.send(admin).ok()?;
    (answer.status == 200).then_some(answer.body)
}

fn is_ready(admin: SocketAddr) -> bool {
    get(admin, "/ready").is_some()
}

/// Events that have gone through all stages.
fn judged(admin: SocketAddr) -> u64 {
    let page = get(admin, "/metrics").unwrap_or_default();
    let counters = page.lines().filter(|line| line.starts_with("tidegate_pipeline_judged_events"));
    counters.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn free_address() -> Result<SocketAddr, Trouble> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|e| Trouble::dependency(format!("find a free port on 127.0.0.1: {e}")))
}
