//! Named tasks and named threads, none of which ends unnoticed.
//!
//! Owns: the list of what runs, the first failure, and the wait for the end.
//! Never: restarting. A panic or an error of any task ends the process with its name and reason,
//! because the state that the others would go on with is no longer known to be right.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{debug, error, warn};

use crate::error::{Class, Classified, Exit, chain};
use crate::shutdown::Shutdown;

/// What runs in this process. Cheap to clone; clones are one, so that a task can start others.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    shutdown: Shutdown,
    state: Mutex<State>,
    running: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, Running>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Running {
    name: Arc<str>,
    /// None for a thread, which cannot be aborted, and for a task in its first moment.
    abort: Option<AbortHandle>,
}

/// A task or thread that did not end well.
#[derive(Debug)]
pub struct Failure {
    /// The name under which it was started.
    pub name: String,
    /// What happened.
    pub cause: Cause,
}

/// How a task or thread failed.
#[derive(Debug)]
pub enum Cause {
    /// It panicked with this message.
    Panicked(String),
    /// It returned this error.
    Failed {
        /// What it returned.
        error: Box<dyn Error + Send + Sync>,
        /// The class of that error.
        class: Class,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Panicked(message) => write!(f, "`{}` panicked: {message}", self.name),
            Cause::Failed { error, .. } => write!(f, "`{}` failed: {error}", self.name),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Panicked(_) => None,
            Cause::Failed { error, .. } => error.source(),
        }
    }
}

impl Classified for Failure {
    fn class(&self) -> Class {
        match &self.cause {
            Cause::Panicked(_) => Class::Bug,
            Cause::Failed { class, .. } => *class,
        }
    }
}

/// Why a process did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A task or thread failed. Those named in `unfinished` did not end before the deadline.
    #[error("{failure}{}", Unfinished(unfinished))]
    Failed {
        /// The first failure; later ones are only logged.
        failure: Failure,
        /// The names of what was still running at the end.
        unfinished: Vec<String>,
    },
    /// Nothing failed, but draining took longer than it may.
    #[error("ended before all was done{}", Unfinished(unfinished))]
    Unfinished {
        /// The names of what was still running at the end.
        unfinished: Vec<String>,
    },
}

struct Unfinished<'a>(&'a [String]);

impl fmt::Display for Unfinished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "; still running at the deadline: `{}`", self.0.join("`, `"))
    }
}

impl Stop {
    /// The exit code that says so. What did not drain in time waited for something outside.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failed { failure, .. } => Exit::from(failure.class()),
            Self::Unfinished { .. } => Exit::Dependency,
        }
    }
}

impl Tasks {
    /// Nothing runs yet. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            runtime: Handle::current(),
            shutdown,
            state: Mutex::default(),
            running: watch::Sender::new(0),
        }))
    }

    /// The shutdown that a failure of any task asks for.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// Starts a task. It should end soon after the shutdown's token is cancelled.
    pub fn spawn<F, E>(&self, name: &str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Classified + Send + Sync + 'static,
    {
        let id = self.0.enter(name);
        let inner = Arc::clone(&self.0);
        let mut future = Box::pin(future);
        let task = async move {
            let ended =
                poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(failed)),
                    Err(panic) => Poll::Ready(Err(panicked(panic.as_ref()))),
                })
                .await;
            inner.leave(id, ended);
        };
        let abort = self.0.runtime.spawn(task).abort_handle();
        if let Some(running) = self.0.state().running.get_mut(&id) {
            running.abort = Some(abort);
        }
    }

    /// Starts a dedicated thread, for code that blocks. It has to watch the shutdown's token
    /// itself; what is still running at the deadline ends with the process.
    ///
    /// # Errors
    /// When the operating system gives no further thread.
    pub fn thread<F, E>(&self, name: &str, run: F) -> std::io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Error + Classified + Send + Sync + 'static,
    {
        let id = self.0.enter(name);
        let inner = Arc::clone(&self.0);
        let body = move || {
            let ended = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(result) => result.map_err(failed),
                Err(panic) => Err(panicked(panic.as_ref())),
            };
            inner.leave(id, ended);
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
            Ok(_detached) => Ok(()),
            Err(error) => {
                self.0.leave(id, Ok(()));
                Err(error)
            }
        }
    }

    /// The names of what runs now.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.0.state().running.values().map(|running| running.name.to_string()).collect()
    }

    /// Waits until everything has ended. Once the shutdown is asked for, by a signal or by a
    /// failure, that may take `drain_max`; then, or when told to end at once, what still runs is
    /// aborted.
    ///
    /// # Errors
    /// The first failure, and what had to be aborted.
    pub async fn join_all(&self, drain_max: Duration) -> Result<(), Stop> {
        let mut running = self.0.running.subscribe();
        let shutdown = &self.0.shutdown;
        let cut = async {
            shutdown.token().cancelled_owned().await;
            tokio::select! {
                () = tokio::time::sleep(drain_max) => {}
                () = shutdown.at_once_token().cancelled_owned() => {}
            }
        };
        tokio::select! {
            biased;
            // The sender lives in `self`, so this cannot fail.
            _ = running.wait_for(|count| *count == 0) => {}
            () = cut => {}
        }
        self.0.end()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, name: &str) -> u64 {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.running.insert(id, Running { name: Arc::from(name), abort: None });
        self.running.send_replace(state.running.len());
        id
    }

    fn leave(&self, id: u64, ended: Result<(), Cause>) {
        let mut state = self.state();
        let Some(Running { name, .. }) = state.running.remove(&id) else { return };
        match ended {
            Ok(()) => debug!(task = %name, "task ended"),
            Err(cause) => {
                let failure = Failure { name: name.to_string(), cause };
                let reason = chain(&failure);
                error!(task = %name, reason, "task failed");
                self.shutdown.request(&reason);
                state.failure.get_or_insert(failure);
            }
        }
        self.running.send_replace(state.running.len());
    }

    fn end(&self) -> Result<(), Stop> {
        let mut state = self.state();
        let left = std::mem::take(&mut state.running);
        let unfinished: Vec<String> = left.values().map(|task| task.name.to_string()).collect();
        for abort in left.into_values().filter_map(|task| task.abort) {
            abort.abort();
        }
        if !unfinished.is_empty() {
            warn!(?unfinished, "aborted what did not end in time");
        }
        match (state.failure.take(), unfinished.is_empty()) {
            (Some(failure), _) => Err(Stop::Failed { failure, unfinished }),
            (None, false) => Err(Stop::Unfinished { unfinished }),
            (None, true) => Ok(()),
        }
    }
}

fn failed<E: Error + Classified + Send + Sync + 'static>(error: E) -> Cause {
    let class = error.class();
    Cause::Failed { error: Box::new(error), class }
}

fn panicked(panic: &(dyn Any + Send)) -> Cause {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned());
    Cause::Panicked(message)
}

#[cfg(test)]
mod tests;
