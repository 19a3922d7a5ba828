//! TLS for what listens.
//!
//! Owns: certificate, key, and the bound on a handshake. Never: client certificates; the network, a
//! firewall or a token says who may send.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::{Class, Classified};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A certificate and its key, as files.
#[derive(Debug, Clone, Copy)]
pub struct TlsFiles<'a> {
    /// PEM with the certificate, its chain behind it.
    pub certificate: &'a Path,
    /// PEM with its key.
    pub key: &'a Path,
}

/// A certificate or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used: {why}")]
pub struct TlsError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

impl Classified for TlsError {
    fn class(&self) -> Class {
        Class::Input
    }
}

/// Takes TLS connections. Cheap to clone.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls")
    }
}

impl Tls {
    /// With the application protocols that are offered, the best first; none where only one is
    /// spoken anyway.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no certificate or no key, or they do not belong
    /// together.
    pub fn open(files: TlsFiles<'_>, protocols: &[&str]) -> Result<Self, TlsError> {
        let wrong = |path: &Path, why: String| TlsError { path: path.display().to_string(), why };
        let TlsFiles { certificate, key } = files;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| wrong(certificate, error.to_string()))?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(certificate, error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| wrong(certificate, error.to_string()))?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The connection, once its handshake is done.
    ///
    /// # Errors
    /// When the other end speaks no TLS, or does not agree, or takes more than ten seconds.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_MAX, self.0.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_elapsed) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))
            }
        }
    }
}
