//! Processes that never outlive this one, whatever ends it.
//!
//! Owns: starting, stopping, and the guard. Never: processes that somebody else started.
//!
//! Rust's standard library takes no signals, so a killed `xtask` cannot clean up. Each process
//! therefore runs in a group of its own, and a guard beside it, a shell that reads from a pipe
//! which only we hold, ends that group when the pipe closes: on Ctrl-C, on kill -9, on a panic.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::clock::wait_until;
use crate::trouble::Trouble;

/// How long a process has between being asked to stop and being made to.
const GRACE: Duration = Duration::from_secs(10);

/// `$0` is what to do when the pipe closes without a word.
const GUARD: &str = r#"read -r word || eval "$0""#;

/// Runs a shell line if this process ends without letting it go.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Arms the guard.
    pub(crate) fn arm(line: &str) -> Result<Self, Trouble> {
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARD, line]).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().map(Self).map_err(|e| Trouble::dependency(format!("start `sh`: {e}")))
    }

    /// Kills a process group, politely first.
    pub(crate) fn for_group(group: u32) -> Result<Self, Trouble> {
        Self::arm(&format!(
            "kill -s TERM -- -{group}; n=0; \
             while kill -s 0 -- -{group} && [ $n -lt {} ]; do sleep 0.1; n=$((n+1)); done; \
             kill -s KILL -- -{group}",
            GRACE.as_millis() / 100
        ))
    }
}

impl Drop for Guard {
    /// Lets it go: its line does not run.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take()
            && let Err(e) = pipe.write_all(b"done\n")
        {
            eprintln!("xtask: let a guard go: {e}");
        }
        if let Err(e) = self.0.wait() {
            eprintln!("xtask: wait for a guard: {e}");
        }
    }
}

/// A process with its group and guard. Dropping it stops the whole group.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: u32,
    _guard: Guard,
}

impl Running {
    /// Starts a process. Its standard input is empty: a group in the background may not read the
    /// terminal.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Trouble> {
        command.process_group(0).stdin(Stdio::null());
        let child = command.spawn().map_err(|e| {
            let name = command.get_program().to_string_lossy().into_owned();
            Trouble::dependency(format!("start `{name}`: {e}"))
        })?;
        let group = child.id();
        Ok(Self { child, group, _guard: Guard::for_group(group)? })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.group
    }

    /// The process itself, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Result<ExitStatus, Trouble> {
        self.child.wait().map_err(|e| Trouble::dependency(format!("wait for a process: {e}")))
    }

    /// Asks it to stop and waits; what does not is killed.
    pub(crate) fn stop(&mut self) {
        stop_group(self.group, || self.child.try_wait().is_ok_and(|status| status.is_some()));
    }
}

impl Drop for Running {
    /// Also ends what a finished process left behind in its group.
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends TERM to a group, waits until `gone` says so, then sends KILL.
fn stop_group(group: u32, gone: impl FnMut() -> bool) {
    signal("TERM", &format!("-{group}"));
    wait_until(GRACE, gone);
    signal("KILL", &format!("-{group}"));
}

/// Sends a signal to a process, or with a minus before the number to a group. False when there is
/// nothing to send it to.
pub(crate) fn signal(name: &str, target: &str) -> bool {
    let line = format!("kill -s {name} -- {target}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// Runs a process to its end with our output; true when it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, Trouble> {
    Ok(Running::start(command)?.wait()?.success())
}

/// Runs a short process and returns what it printed; its failure is an error with its last words.
pub(crate) fn output(command: &mut Command) -> Result<String, Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let result = command.stdin(Stdio::null()).output();
    let result = result.map_err(|e| Trouble::dependency(format!("start `{name}`: {e}")))?;
    if result.status.success() {
        return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&result.stderr).into_owned();
    let last: Vec<&str> = words.lines().rev().take(12).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Trouble::dependency(format!("`{name}` ended with {}:\n{}", result.status, last.join("\n"))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    use super::{Guard, Running, output, signal};
    use crate::clock::wait_until;

    fn alive(pid: u32) -> bool {
        // A zombie has no command line.
        let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        line.is_ok_and(|line| !line.is_empty())
    }

    #[test]
    fn a_dropped_process_is_gone_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 311 & echo $!; wait"]).stdout(std::process::Stdio::piped());
        let mut running = Running::start(&mut command).unwrap();
        let mut said = String::new();
        let mut pipe = std::io::BufReader::new(running.child().stdout.take().unwrap());
        std::io::BufRead::read_line(&mut pipe, &mut said).unwrap();
        let grandchild: u32 = said.trim().parse().unwrap();
        assert!(wait_until(Duration::from_secs(5), || alive(grandchild)));
        drop(running);
        assert!(wait_until(Duration::from_secs(5), || !alive(grandchild)));
    }

    #[test]
    fn a_guard_acts_when_its_holder_vanishes() {
        let mut sleeper = Command::new("sleep").arg("311").spawn().unwrap();
        let mut guard = Guard::arm(&format!("kill -s KILL {}", sleeper.id())).unwrap();
        drop(guard.0.stdin.take()); // what the system does when we are killed
        assert!(wait_until(Duration::from_secs(5), || sleeper.try_wait().unwrap().is_some()));
    }

    #[test]
    fn a_guard_that_was_let_go_does_nothing() {
        let mut sleeper = Command::new("sleep").arg("311").spawn().unwrap();
        drop(Guard::arm(&format!("kill -s KILL {}", sleeper.id())).unwrap());
        assert!(sleeper.try_wait().unwrap().is_none());
        assert!(signal("KILL", &sleeper.id().to_string()));
        sleeper.wait().unwrap();
    }

    #[test]
    fn a_failed_command_is_quoted() {
        let failed = output(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"]));
        assert!(failed.unwrap_err().to_string().contains("no such luck"));
    }
}
