//! The floor of reading JSON access logs: lines are split and their twelve fields parsed with
//! sonic-rs, and nothing is done with them. `cargo xtask bench` runs it beside `replay`.
//!
//! Owns: that measurement. Never: anything that the product uses.
#![expect(clippy::print_stdout, reason = "an example that says what it counted")]

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};

use serde::Deserialize;

/// The fields of the benchmark's JSON lines, borrowed from the line.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    time: &'a str,
    remote_addr: &'a str,
    request_method: &'a str,
    request_uri: &'a str,
    status: u16,
    body_bytes_sent: u64,
    request_time: f64,
    http_user_agent: &'a str,
    remote_user: &'a str,
    host: &'a str,
    request_id: &'a str,
    server_protocol: &'a str,
}

impl Line<'_> {
    /// Uses every field, so that none is parsed in vain.
    fn weight(&self) -> u64 {
        let texts = [
            self.time,
            self.remote_addr,
            self.request_method,
            self.request_uri,
            self.http_user_agent,
            self.remote_user,
            self.host,
            self.request_id,
            self.server_protocol,
        ];
        let length: usize = texts.iter().map(|text| text.len()).sum();
        let slow = u64::from(self.request_time > 1.0);
        u64::try_from(length).unwrap_or(0) + u64::from(self.status) + self.body_bytes_sent + slow
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: floor FILE")?;
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut lines, mut weight, mut line) = (0_u64, 0_u64, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        weight = weight.wrapping_add(sonic_rs::from_slice::<Line<'_>>(&line)?.weight());
        lines += 1;
        line.clear();
    }
    println!("{lines} lines, weight {weight}");
    Ok(())
}
