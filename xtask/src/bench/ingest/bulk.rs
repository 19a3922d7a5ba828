//! Lines posted as Elasticsearch's `_bulk` to an input of `ingest`.
//!
//! Owns: the process that takes them, the requests. Never: a shipper.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::measure;
use crate::clock::Stopwatch;
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

/// Posts every line of a log to the benchmark `bulk` and waits until all have become events.
pub(super) fn measure(bench: &Path, folder: &Path, log: &Path) -> Result<Posted, Trouble> {
    let folder = folder.join("bulk");
    place::remove_folder(&folder)?;
    place::folder(&folder)?;
    let text = place::read(log)?;
    let lines: Vec<&str> = text.lines().collect();
    let bodies: Vec<String> = lines.chunks(LINES_A_REQUEST).map(body).collect();

    let mut command = Command::new(bench);
    command.arg(&folder).arg(lines.len().to_string());
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let said = said(running.child().stdout.take());
    let input = wait_for(&said, "listening ")?;
    let input: SocketAddr = input.parse().map_err(|e| {
        Trouble::dependency(format!("the benchmark listens at no address: {input}: {e}"))
    })?;
    let (started_with, watch) = (measure::cpu(running.id()), Stopwatch::start());
    post(&bodies, input)?;
    let answered = watch.elapsed();
    wait_for(&said, "events ")?;
    let all = watch.elapsed();
    let cpu = measure::cpu(running.id()).saturating_sub(started_with);
    drop(running);
    place::remove_folder(&folder)?;
    let count = f64::from(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    let rate = |time: Duration| count / time.as_secs_f64() / 1e3;
    Ok(Posted {
        cpu_ns_a_line: cpu.as_secs_f64() * 1e9 / count,
        text: format!(
            "`_bulk` with {LINES_A_REQUEST} lines a request and {SENDERS} senders on the same \
             machine: all answered as durable at {:.0} k lines/s, all events made at {:.0} k \
             lines/s by the clock",
            rate(answered),
            rate(all)
        ),
    })
}

/// The lines that a process prints, as they come.
fn said(out: Option<ChildStdout>) -> Receiver<String> {
    let (tell, said) = channel();
    std::thread::spawn(move || {
        let lines = out.into_iter().flat_map(|out| BufReader::new(out).lines());
        lines.map_while(Result::ok).try_for_each(|line| tell.send(line))
    });
    said
}

/// What follows these words, once the process says them.
fn wait_for(said: &Receiver<String>, words: &str) -> Result<String, Trouble> {
    loop {
        let line = said.recv_timeout(PATIENCE).map_err(|e| {
            Trouble::dependency(format!("the benchmark did not say `{words}`: {e}"))
        })?;
        if let Some(rest) = line.strip_prefix(words) {
            return Ok(rest.to_owned());
        }
    }
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
