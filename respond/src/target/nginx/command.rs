//! Running the commands of nginx.
//!
//! Owns: where a program is found, the bound on their time and on what is kept of their words.
//! Never: a shell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
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
    let mut process = Command::new(found(program));
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

/// Where root's programs are. Debian has nginx there, and the paths of other users lack it.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The program in a folder of the path, else among root's; as it is where it is in neither.
fn found(program: &str) -> PathBuf {
    // No setting of ours: where the system looks for programs.
    let path = std::env::var_os("PATH").unwrap_or_default();
    among(program, &path).unwrap_or_else(|| PathBuf::from(program))
}

fn among(program: &str, path: &OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        return None;
    }
    let folders = std::env::split_paths(path).chain(SYSTEM.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The process id in a file.
pub(super) fn pid(path: &Path) -> std::io::Result<u32> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_no_number| {
        std::io::Error::other(format!("{} holds no process id", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::among;

    #[test]
    fn a_program_is_found_in_the_path_first_and_among_roots_programs_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ldconfig");
        let found = |path: &OsStr| among("ldconfig", path);
        let roots = found(OsStr::new("/nowhere")).unwrap();
        assert!(roots.ends_with("sbin/ldconfig"), "{}", roots.display());
        std::fs::write(&ours, "").unwrap();
        assert_eq!(found(folder.path().as_os_str()), Some(ours));
        assert_eq!(among("/usr/sbin/ldconfig", OsStr::new("")), None, "a path is left as it is");
        assert_eq!(among("no-such-program-anywhere", OsStr::new("")), None);
    }
}
