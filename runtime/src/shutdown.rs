//! The end of a process, asked for once and handed down.
//!
//! Owns: the signals, the two tokens (drain, at once) and the reason of the first request.
//! Never: waiting for the tasks; that is [`crate::tasks`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a process may take to drain. Container platforms kill after 30 s by default, so that
/// 10 s are left for the last flush and for a slow stop signal.
pub const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Asks the process to end. Cheap to clone; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    at_once: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// Nothing has been asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process is to end: take nothing new, finish what was taken.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Cancelled when there is no time to drain.
    #[must_use]
    pub fn at_once_token(&self) -> CancellationToken {
        self.at_once.clone()
    }

    /// Asks to drain and end. The first reason is kept; repeating it changes nothing.
    pub fn request(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_ok() {
            info!(reason, "shutting down");
        }
        self.drain.cancel();
    }

    /// Asks to end without draining.
    pub fn request_at_once(&self, reason: &str) {
        self.request(reason);
        if !self.at_once.is_cancelled() {
            warn!(reason, "ending at once");
        }
        self.at_once.cancel();
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Why the process ends; none as long as it does not.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// From now on SIGTERM or SIGINT asks to drain, and the second of them to end at once.
    ///
    /// Must be called within a tokio runtime. The listening ends with the runtime.
    ///
    /// # Errors
    /// When the operating system refuses to register the signals.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut signals = Signals::listen()?;
        let shutdown = self.clone();
        let listening = async move {
            let first = signals.next().await;
            shutdown.request(&format!("received {first}"));
            let second = signals.next().await;
            shutdown.request_at_once(&format!("received {second} again"));
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "listens as long as the runtime lives; as a task it would keep it alive"
        )]
        drop(tokio::spawn(listening));
        Ok(())
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "ctrl-c"
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::process::Command;

    use super::Shutdown;

    #[test]
    fn the_first_reason_is_kept() {
        let shutdown = Shutdown::new();
        assert_eq!((shutdown.is_requested(), shutdown.reason()), (false, None));
        shutdown.request("the input ended");
        shutdown.request("something later");
        assert_eq!((shutdown.is_requested(), shutdown.reason()), (true, Some("the input ended")));
    }

    #[test]
    fn ending_at_once_also_asks_to_drain() {
        let shutdown = Shutdown::new();
        shutdown.request_at_once("received SIGTERM again");
        assert!(shutdown.token().is_cancelled());
        assert!(shutdown.at_once_token().is_cancelled());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_ends_at_once() {
        let shutdown = Shutdown::new();
        shutdown.on_signals().unwrap();
        let signal = || {
            let pid = std::process::id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        };
        signal();
        shutdown.token().cancelled().await;
        assert_eq!(shutdown.reason(), Some("received SIGTERM"));
        assert!(!shutdown.at_once_token().is_cancelled());
        signal();
        shutdown.at_once_token().cancelled().await;
    }
}
