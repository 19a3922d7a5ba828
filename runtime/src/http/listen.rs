//! Opening a listening socket, with a message that helps when it fails.
//!
//! Owns: the bind, and what a failure of it is called.
//! Never: accepting.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::holder::holder_of_port;
use crate::error::{Class, Classified};

/// What to listen on, and how the user calls it.
#[derive(Debug, Clone, Copy)]
pub struct Listening<'a> {
    /// What for: `admin endpoint`.
    pub what: &'a str,
    /// Where.
    pub address: SocketAddr,
    /// The setting that says so: `admin.listen`.
    pub setting: &'a str,
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process, or another part of this one, listens there.
    #[error(
        "{what} cannot listen on {address}: the port is in use{}; \
         stop the other one or set `{setting}` to a free address",
        held_by(holder.as_deref())
    )]
    InUse {
        /// What was to listen.
        what: String,
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: String,
        /// Who listens there, as far as this user may see.
        holder: Option<String>,
    },
    /// The machine has no such address.
    #[error(
        "{what} cannot listen on {address}: this machine has no address {}; \
         set `{setting}` to one of its own, or to 127.0.0.1",
        address.ip()
    )]
    NotOurs {
        /// What was to listen.
        what: String,
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: String,
    },
    /// This user may not.
    #[error(
        "{what} cannot listen on {address}: not allowed for this user; \
         set `{setting}` to a port from 1024 up"
    )]
    NotAllowed {
        /// What was to listen.
        what: String,
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: String,
    },
    /// Anything else.
    #[error("{what} cannot listen on {address}, set by `{setting}`")]
    Failed {
        /// What was to listen.
        what: String,
        /// Where.
        address: SocketAddr,
        /// The setting that says so.
        setting: String,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Classified for ListenError {
    fn class(&self) -> Class {
        match self {
            Self::InUse { .. } | Self::Failed { .. } => Class::Dependency,
            Self::NotOurs { .. } | Self::NotAllowed { .. } => Class::Input,
        }
    }
}

fn held_by(holder: Option<&str>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

/// Opens the socket. Port 0 takes any free one.
///
/// # Errors
/// When the address is taken, is not ours, or is not allowed.
pub async fn listen(listening: Listening<'_>) -> Result<TcpListener, ListenError> {
    let Listening { address, .. } = listening;
    let what = listening.what.to_owned();
    let setting = listening.setting.to_owned();
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder_of_port(address.port());
            ListenError::InUse { what, address, setting, holder }
        }
        ErrorKind::AddrNotAvailable => ListenError::NotOurs { what, address, setting },
        ErrorKind::PermissionDenied => ListenError::NotAllowed { what, address, setting },
        _ => ListenError::Failed { what, address, setting, source },
    })
}
