//! Which functions a line spends its time in.
//!
//! Owns: asking perf, where there is one. Never: an opinion about them.

use std::path::Path;
use std::process::Command;

use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

/// Functions below this share are left out, in percent.
const SHARE_MIN: f64 = 1.5;

/// The shares of functions in parsing each of these logs.
pub(super) fn of(bench: &Path, logs: &[&Path], folder: &Path) -> Result<Vec<String>, Trouble> {
    let Some(perf) = place::program("perf") else {
        return Ok(vec!["not measured: there is no `perf` on this machine".to_owned()]);
    };
    let data = folder.join("perf.data");
    let mut lines = Vec::new();
    for log in logs {
        let mut record = Command::new(&perf);
        record.args(["record", "-q", "-e", "cpu-clock:u", "-F", "5000", "-o"]).arg(&data);
        if let Err(why) = output(record.arg(bench).arg("--once").arg(log)) {
            return Ok(vec![format!("not measured: {why}")]);
        }
        let mut report = Command::new(&perf);
        report.args(["report", "--stdio", "--no-children", "-F", "overhead,symbol", "-i"]);
        let name = log.file_stem().unwrap_or_default().to_string_lossy();
        let shares = shares(&output(report.arg(&data))?);
        lines.push(format!("{name}, time in user space by function: {}", shares.join(", ")));
    }
    Ok(lines)
}

fn shares(report: &str) -> Vec<String> {
    let share = |line: &str| {
        let (share, name) = line.trim().split_once('%')?;
        let share: f64 = share.parse().ok()?;
        let name = name.trim().trim_start_matches("[.] ").trim();
        (share >= SHARE_MIN && !name.is_empty()).then(|| format!("`{name}` {share:.1} %"))
    };
    report.lines().filter(|line| !line.starts_with('#')).filter_map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_are_read_from_what_perf_prints() {
        let report =
            "# Overhead  Symbol\n\n    12.34%  [.] ingest::mask::line\n     0.10%  [.] x\n";
        assert_eq!(shares(report), ["`ingest::mask::line` 12.3 %"]);
    }
}
