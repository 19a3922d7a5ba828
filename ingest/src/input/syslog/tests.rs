use std::time::Duration;

use runtime::CancellationToken;
use runtime::clock::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use transport::embedded::{Store, StoreOptions};
use transport::{NextOffset, ReadLimits};

use super::SyslogInput;
use crate::input::{InputConfig, RawLog, RawRecord};

/// A self-signed certificate for `localhost`, good for a hundred years, and its key.
const CERTIFICATE: &str = include_str!("tests/certificate.pem");
const KEY: &str = include_str!("tests/key.pem");

fn configured(text: &str) -> InputConfig {
    serde_json::from_str(text).unwrap()
}

fn raw(folder: &std::path::Path) -> RawLog {
    let clock = Clock::system();
    let store = Store::open(&folder.join("store"), StoreOptions::new(clock.clone())).unwrap();
    RawLog::open(&store, clock).unwrap()
}

/// Waits for so many lines.
async fn lines(raw: &RawLog, count: usize) -> Vec<String> {
    let mut reader = raw.log().reader(RawLog::PARTITION, NextOffset::ZERO).await.unwrap();
    let mut lines = Vec::new();
    while lines.len() < count {
        let next =
            tokio::time::timeout(Duration::from_secs(20), reader.next(ReadLimits::default()));
        for record in &next.await.expect("the lines come").unwrap().records {
            lines.push(String::from_utf8_lossy(RawRecord::of(record).value).into_owned());
        }
    }
    lines
}

#[tokio::test]
async fn datagrams_and_streams_become_lines() {
    let folder = tempfile::tempdir().unwrap();
    let raw = raw(folder.path());
    // One port for both, which the system chose for one of them.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let input = configured(&format!(r#"{{"type":"syslog","listen":"{free}"}}"#));
    let input = SyslogInput::open(&input, raw.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let sent = async {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.send_to(b"<13>one\n", free).await.unwrap();
        assert_eq!(lines(&raw, 1).await, ["<13>one"]);
        let mut tcp = TcpStream::connect(free).await.unwrap();
        tcp.write_all(b"<13>two\n9 <13>three").await.unwrap();
        tcp.write_all(b"<13>four\r\n<13>no end").await.unwrap();
        tcp.shutdown().await.unwrap();
        let all = lines(&raw, 5).await;
        assert_eq!(all, ["<13>one", "<13>two", "<13>three", "<13>four", "<13>no end"]);
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(input.run(stop.clone()), sent);
    ran.unwrap();
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let raw = raw(folder.path());
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, CERTIFICATE).unwrap();
    std::fs::write(&key, KEY).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let json = serde_json::json!({
        "type": "syslog", "listen": free, "tls_certificate": certificate, "tls_key": key,
    });
    let input = SyslogInput::open(&configured(&json.to_string()), raw.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let sent = async {
        let mut clear = TcpStream::connect(free).await.unwrap();
        clear.write_all(b"<13>in clear\n").await.unwrap();
        let mut tls = connector()
            .connect("localhost".try_into().unwrap(), TcpStream::connect(free).await.unwrap())
            .await
            .unwrap();
        tls.write_all(b"<13>over tls\n").await.unwrap();
        tls.shutdown().await.unwrap();
        assert_eq!(lines(&raw, 1).await, ["<13>over tls"]);
        drop(clear);
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(input.run(stop.clone()), sent);
    ran.unwrap();
    assert_eq!(raw.end().await.unwrap(), NextOffset(1));
}

/// A client that trusts the certificate.
fn connector() -> tokio_rustls::TlsConnector {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    std::sync::Arc::new(config).into()
}

#[tokio::test]
async fn a_key_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.pem");
    std::fs::write(&path, "hello").unwrap();
    let json = serde_json::json!({
        "type": "syslog", "listen": "127.0.0.1:0", "tls_certificate": path, "tls_key": path,
    });
    let refused = SyslogInput::open(&configured(&json.to_string()), raw(folder.path())).await;
    let refused = refused.unwrap_err();
    let said = std::error::Error::source(&refused).unwrap().to_string();
    assert!(said.contains("k.pem"), "{said}");
    assert!(refused.to_string().contains("`input.tls_certificate`"), "{refused}");
}
