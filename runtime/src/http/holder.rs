//! Who listens on a port, for an error message.
//!
//! Owns: reading the kernel's tables (Linux; elsewhere nothing is known).
//! Never: more than a guess: another user's processes cannot be seen.

use std::fs;
use std::path::Path;

/// The state of a listening socket in the kernel's table.
const LISTENING: &str = "0A";

/// The process that listens on `port`, such as `nginx (pid 812)`.
pub(super) fn holder_of_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| inode_of_listener(line, port).map(str::to_owned))
    })?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| holds(&process.path(), &link))
}

/// The inode in this line of the table, if it is of a socket that listens on `port`.
fn inode_of_listener(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let (_, local_port) = local.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let ours = u16::from_str_radix(local_port, 16).ok()? == port && state == LISTENING;
    ours.then(|| fields.nth(5)).flatten()
}

fn holds(process: &Path, link: &str) -> Option<String> {
    let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
    let mut descriptors = fs::read_dir(process.join("fd")).ok()?.filter_map(Result::ok);
    descriptors.find(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link))?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

#[cfg(test)]
mod tests {
    use super::inode_of_listener;

    #[test]
    fn a_listening_line_gives_its_inode() {
        let line = "   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 44321 1 0000000000000000 100 0 0 10 0";
        assert_eq!(inode_of_listener(line, 7070), Some("44321"));
        assert_eq!(inode_of_listener(line, 7071), None);
        assert_eq!(inode_of_listener(&line.replace(" 0A ", " 01 "), 7070), None);
    }
}
