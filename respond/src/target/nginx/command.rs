//! Running the commands of nginx.
//!
//! Owns: the bound on their time and on what is kept of their words.
//! Never: a shell.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Characters kept of what a command says: the first lines name the mistake.
const TOLD_MAX: usize = 1_000;

/// Runs a command to its end.
///
/// # Errors
/// What it said, when it does not end well or in time.
pub(super) async fn run(command: &[String], timeout: Duration) -> Result<(), String> {
    let named = command.join(" ");
    let Some((program, arguments)) = command.split_first() else {
        return Err("no command is set".to_owned());
    };
    let mut process = Command::new(program);
    process.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(timeout, process.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let told = [output.stderr, output.stdout].concat();
            let told: String =
                String::from_utf8_lossy(&told).trim().chars().take(TOLD_MAX).collect();
            Err(format!("`{named}` ended with {}: {told}", output.status))
        }
        Ok(Err(error)) => Err(format!("`{named}` cannot be run: {error}")),
        Err(_elapsed) => Err(format!("`{named}` did not end within {} s", timeout.as_secs_f32())),
    }
}

/// The process id in a file.
pub(super) fn pid(path: &Path) -> std::io::Result<u32> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_no_number| {
        std::io::Error::other(format!("{} holds no process id", path.display()))
    })
}
