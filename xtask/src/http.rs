//! As much HTTP as talking to our own servers on loopback takes.
//!
//! Owns: one request, one answer, with a deadline. Never: TLS, names, redirects.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::trouble::Trouble;

/// Longer than any answer of ours should take.
const DEADLINE: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Body, as far as it came.
    pub(crate) body: String,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Method.
    pub(crate) method: &'a str,
    /// Path with query.
    pub(crate) path: &'a str,
    /// Further headers.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Body.
    pub(crate) body: &'a str,
}

impl Request<'_> {
    /// Sends the request and reads the answer to its end.
    pub(crate) fn send(&self, to: SocketAddr) -> Result<Answer, Trouble> {
        self.exchange(to).map_err(|e| {
            Trouble::dependency(format!("{} http://{to}{}: {e}", self.method, self.path))
        })
    }

    fn exchange(&self, to: SocketAddr) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {to}\r\n", self.method, self.path);
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.body.len();
        head.push_str(&format!("Content-Length: {length}\r\nConnection: close\r\n\r\n"));
        stream.write_all(head.as_bytes())?;
        stream.write_all(self.body.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        read(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
    }
}

fn read(text: &str) -> Option<Answer> {
    let status = text.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::{Answer, read};

    #[test]
    fn the_status_and_the_body_are_found() {
        let answer = read("HTTP/1.1 403 Forbidden\r\nServer: x\r\n\r\n{\"error\":\"blocked\"}");
        assert_eq!(
            answer,
            Some(Answer { status: 403, body: "{\"error\":\"blocked\"}".to_owned() })
        );
        assert_eq!(read("SSH-2.0-OpenSSH"), None);
    }
}
