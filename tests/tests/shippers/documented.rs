//! Shippers that cannot be installed where the tests run: requests as their documentation shows them,
//! to the input that their page shows. What they make of bytes that are no UTF-8 is U+FFFD.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::Input;
use crate::parts::hostile;
use crate::running::{ask, free_port};

const TOKEN: &str = "Authorization: Bearer let-me-in\r\n";
/// `beat:let-me-in`.
const BASIC: &str = "Authorization: Basic YmVhdDpsZXQtbWUtaW4=\r\n";

fn lines() -> Vec<String> {
    hostile().iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

fn input(page: &str) -> (Input, u16) {
    let port = free_port();
    (Input::of(page, 0, 7071, port), port)
}

#[test]
fn filebeat_asks_about_elasticsearch_and_sends_a_bulk() {
    let (input, port) = input("filebeat.md");
    for (path, expected) in [("/", "\"number\":\"8."), ("/_license?human=false", "\"active\"")] {
        let (status, said) = ask(port, "GET", path, BASIC, "").unwrap();
        assert!(status == 200 && said.contains(expected), "{path}: {status} {said}");
    }
    let documents: String = (0..)
        .zip(lines())
        .map(|(offset, line)| {
            let action = json!({ "create": { "_index": "filebeat-8.15.0" } });
            let document = json!({
                "@timestamp": "2026-11-20T08:00:00.000Z",
                "log": { "offset": offset, "file": { "path": "/var/log/nginx/access.log" } },
                "message": line,
                "input": { "type": "filestream" },
                "ecs": { "version": "8.0.0" },
                "host": { "name": "edge-1" },
                "agent": { "type": "filebeat", "version": "8.15.0" },
            });
            format!("{action}\n{document}\n")
        })
        .collect();
    let headers = format!("{BASIC}Content-Type: application/json\r\n");
    let (status, said) = ask(port, "POST", "/_bulk", &headers, &documents).unwrap();
    assert!(status == 200 && said.contains("\"errors\":false"), "{status} {said}");
    input.arrive(lines().len());
}

#[test]
fn logstash_sends_batches_as_lists() {
    let (input, port) = input("logstash.md");
    let batch: Vec<_> = lines()
        .iter()
        .map(|line| {
            json!({
                "@timestamp": "2026-11-20T08:00:00.123Z",
                "@version": "1",
                "event": { "original": line },
                "message": line,
                "host": { "name": "edge-1" },
                "tags": ["beats_input_codec_plain_applied"],
            })
        })
        .collect();
    let headers = format!("{TOKEN}Content-Type: application/json\r\n");
    let (status, said) = ask(port, "POST", "/", &headers, &json!(batch).to_string()).unwrap();
    assert_eq!((status, said), (200, format!("{{\"accepted\":{}}}", batch.len())));
    input.arrive(batch.len());
}

#[test]
fn fluent_bit_sends_a_record_a_line_or_a_list() {
    let (input, port) = input("fluent-bit.md");
    let records: Vec<_> =
        lines().iter().map(|line| json!({ "date": 1_795_161_600.123, "log": line })).collect();
    let (first, second) = records.split_at(4);
    let text: Vec<String> = first.iter().map(ToString::to_string).collect();
    let (status, _) = ask(port, "POST", "/", TOKEN, &text.join("\n")).unwrap();
    assert_eq!(status, 200);
    let (status, _) = ask(port, "POST", "/", TOKEN, &json!(second).to_string()).unwrap();
    assert_eq!(status, 200);
    input.arrive(records.len());
}

#[test]
fn vector_sends_lines_compressed_by_zstd() {
    let (input, port) = input("vector.md");
    let body = zstd::encode_all(lines().join("\n").as_bytes(), 1).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{TOKEN}Content-Encoding: zstd\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    input.arrive(lines().len());
}

#[test]
fn without_the_token_nothing_is_taken() {
    let (input, port) = input("fluent-bit.md");
    for headers in ["", "Authorization: Bearer let-me-out\r\n", "Authorization: Bearer \r\n"] {
        assert_eq!(ask(port, "POST", "/", headers, "a line").unwrap().0, 401, "{headers}");
    }
    assert!(input.clients().is_empty());
}
