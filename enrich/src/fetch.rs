//! Answers over HTTP, bounded in time and size.
//!
//! Owns: the client, reading a body up to its limit, and what to say about no answer. Never:
//! follows a redirect, which could carry a token elsewhere; the meaning of what is fetched.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Certificate, Client, Response, Url};

/// Characters of an answer that a person is shown.
const SHOWN_MAX: usize = 200;

/// A client whose requests take no longer than `within`. Certificates of `authority`, in PEM, are
/// believed beside those of the system.
pub(crate) fn client(within: Duration, authority: Option<&[u8]>) -> Result<Client, String> {
    // The client wants a provider even for plain HTTP. One that is there is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .timeout(within)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = authority {
        let certificates = Certificate::from_pem_bundle(pem).map_err(|error| error.to_string())?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| error.to_string())
}

/// The body, or why there is none.
pub(crate) async fn body(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| bare(&error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("the answer has more than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error without the address, which the setting names anyway.
pub(crate) fn bare(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}

/// The beginning of an answer, for a person.
pub(crate) fn shown(body: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(body)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(SHOWN_MAX)
        .collect();
    shown.trim().to_owned()
}

/// What is wrong with the address of a source, if anything is; `example` shows a good one.
pub(crate) fn check_url(url: &str, has_token: bool, example: &str) -> Option<String> {
    let url = match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => url,
        Ok(_) => return Some(format!("it is no web address; write for instance {example}")),
        Err(error) => {
            return Some(format!("it is no address: {error}; write for instance {example}"));
        }
    };
    if url.scheme() == "http" && has_token && !is_here(&url) {
        return Some("the token would travel in clear; use https".to_owned());
    }
    None
}

/// Whether the host is this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
