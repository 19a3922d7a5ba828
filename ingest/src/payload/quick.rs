//! Whether a text, as sent, could carry a payload at all.
//!
//! Owns: the first look, which ordinary traffic does not get past. Never: a verdict.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Bytes that every disguise and most payloads need, and that names and numbers do not.
#[expect(clippy::indexing_slicing, reason = "a table of all bytes, made at compile time")]
const fn suspects() -> [bool; 256] {
    let mut table = [false; 256];
    let marks = b"'\"<>();|`$\\{}*%@#!^ ";
    let mut place = 0;
    while place < marks.len() {
        table[marks[place] as usize] = true;
        place += 1;
    }
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table
}

static SUSPECTS: [bool; 256] = suspects();

/// Words of payloads that need none of those bytes.
const WORDS: &[&str] = &[
    "..",
    "://",
    "union+",
    "select+",
    "+or+",
    "+and+",
    "information_schema",
    "sqlite_master",
    "sysobjects",
    "waitfor+",
    "--",
    "etc/passwd",
    "etc/shadow",
    "etc/hosts",
    "etc/group",
    "boot.ini",
    "win.ini",
    "system32",
    "proc/self",
    "proc/version",
    "web-inf",
    ".ssh/",
    "bin/sh",
    "bin/bash",
    "bin/cat",
    "bin/id",
    "cmd.exe",
    "powershell",
    "dev/tcp",
    "javascript:",
    "vbscript:",
    "onerror=",
    "onload=",
    "document.",
    "php:",
    "data:",
    "expect:",
    "phpinfo",
    "phpunit",
    "invokefunction",
    "auto_prepend_file",
    "allow_url_include",
    "_server[",
    "globals[",
    "__proto__",
    "__class__",
    "constructor",
    "prototype",
    "process.",
    "child_process",
    "java.lang",
    "classloader",
    "getruntime",
    "freemarker",
    "jndi:",
    "169.254.",
    "metadata",
    "localhost",
    "file:",
    "gopher:",
    "dict:",
    "w00tw00t",
    "acunetix",
    "nikto",
    "xp_cmdshell",
    "wget+",
    "curl+",
    "whoami",
    "base64",
];

static WORDS_FOUND: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(WORDS).ok());

/// Whether a closer look is worth its price.
pub(super) fn is_suspect(text: &str) -> bool {
    text.bytes().any(|byte| SUSPECTS.get(usize::from(byte)).copied().unwrap_or(false))
        || WORDS_FOUND.as_ref().is_none_or(|words| words.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::is_suspect;

    #[test]
    fn ordinary_targets_get_no_second_look() {
        for text in ["/v1/users/42", "q=item7", "page=2&sort=name", "/a_b-c.d~e/f:g", "a,b+c"] {
            assert!(!is_suspect(text), "{text}");
        }
        for text in ["/a/../b", "id=1'", "a=%27", "/ETC/PASSWD", "u=http://x"] {
            assert!(is_suspect(text), "{text}");
        }
    }
}
