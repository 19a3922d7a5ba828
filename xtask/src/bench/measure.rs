//! CPU time, wall time and peak memory of a process.
//!
//! Owns: reading them from /proc. Never: what they mean.
//!
//! A process that has ended keeps its CPU times in /proc until its parent asks how it ended, so
//! they are exact (to the kernel's tick of 10 ms). Its peak memory is gone by then, so that is read
//! every few milliseconds while it runs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::{Stopwatch, pause};
use crate::process::Running;
use crate::trouble::Trouble;

/// The kernel reports times in ticks of this many milliseconds on every Linux platform of ours.
const TICK_MS: u64 = 10;

/// How long a run may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit(pub(super) Duration);

/// What a run cost.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    /// User and system time of all threads.
    pub(super) cpu: Duration,
    /// From start to end.
    pub(super) wall: Duration,
    /// Highest resident memory in KiB.
    pub(super) peak_kib: u64,
    /// What it printed on standard output.
    pub(super) out: String,
    /// What it printed on standard error.
    pub(super) err: String,
    /// False when it was stopped at the limit.
    pub(super) finished: bool,
}

/// Runs a command to its end or to the limit. A run that fails is an error.
pub(super) fn run(command: &mut Command, limit: Limit) -> Result<Measured, Trouble> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let watch = Stopwatch::start();
    let mut running = Running::start(command)?;
    let pid = running.id();
    let out = running.child().stdout.take();
    let err = running.child().stderr.take();
    let mut measured = Measured::default();
    std::thread::scope(|scope| {
        let out = scope.spawn(|| all(out));
        let err = scope.spawn(|| all(err));
        while !has_ended(pid) && watch.elapsed() < limit.0 {
            measured.peak_kib = measured.peak_kib.max(peak_kib(pid));
            pause(Duration::from_millis(5));
        }
        measured.finished = has_ended(pid);
        measured.wall = watch.elapsed();
        measured.cpu = cpu(pid);
        running.stop();
        measured.out = out.join().unwrap_or_default();
        measured.err = err.join().unwrap_or_default();
    });
    let failed = running.ended().is_none_or(|status| !status.success());
    if measured.finished && failed {
        let name = command.get_program().to_string_lossy().into_owned();
        return Err(Trouble::dependency(format!("`{name}` failed:\n{}", measured.err)));
    }
    Ok(measured)
}

/// `cargo xtask bench-floor FILE`: reads a file line by line and does nothing with the lines. The
/// benchmark runs this in a release build of this program.
pub(crate) fn floor(path: &Path) -> Result<(), Trouble> {
    let trouble = |e: std::io::Error| Trouble::io("read", path, &e);
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(trouble)?);
    let (mut lines, mut bytes, mut line) = (0_u64, 0_usize, Vec::new());
    while reader.read_until(b'\n', &mut line).map_err(trouble)? > 0 {
        lines += 1;
        bytes += line.len();
        line.clear();
    }
    println!("{lines} lines, {bytes} bytes");
    Ok(())
}

fn all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe
        && let Err(e) = pipe.read_to_end(&mut bytes)
    {
        eprintln!("xtask: read what the benchmark printed: {e}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The fields of /proc/PID/stat after the name, which may hold anything but ends at the last `)`.
fn stat(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().map(str::to_owned).collect()
}

fn has_ended(pid: u32) -> bool {
    stat(pid).first().is_none_or(|state| state == "Z" || state == "X")
}

/// User and system time of all threads of a process so far.
pub(super) fn cpu(pid: u32) -> Duration {
    // After the state (the third field of proc(5)'s list), utime is the 14th and stime the 15th.
    let stat = stat(pid);
    let ticks = stat.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * TICK_MS)
}

fn peak_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Limit, run};

    fn shell(line: &str, limit: Duration) -> super::Measured {
        run(Command::new("sh").args(["-c", line]), Limit(limit)).unwrap()
    }

    #[test]
    fn a_busy_process_costs_cpu_and_memory_and_its_words_are_kept() {
        let busy = "n=0; while [ $n -lt 60000 ]; do n=$((n+1)); done; echo done; echo note >&2";
        let measured = shell(busy, Duration::from_secs(60));
        assert!(measured.finished);
        assert!(measured.cpu > Duration::ZERO && measured.wall >= measured.cpu / 2);
        assert!(measured.peak_kib > 100);
        assert_eq!((measured.out.as_str(), measured.err.as_str()), ("done\n", "note\n"));
    }

    #[test]
    fn a_process_that_takes_too_long_is_stopped_and_said_not_to_have_finished() {
        assert!(!shell("sleep 311", Duration::from_millis(50)).finished);
    }

    #[test]
    fn a_process_that_fails_is_an_error_with_its_words() {
        let failed = run(
            Command::new("sh").args(["-c", "echo no rules >&2; exit 2"]),
            Limit(Duration::from_secs(60)),
        );
        assert!(failed.unwrap_err().to_string().contains("no rules"));
    }
}
