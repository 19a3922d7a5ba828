//! The twelve fields of the benchmark's JSON lines, as sonic-rs reads them.
//!
//! Owns: the floor of reading such a line. Never: anything that the product uses.

use serde::Deserialize;

/// The fields of the benchmark's JSON lines, borrowed from the line.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
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
    pub(crate) fn weight(&self) -> u64 {
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
