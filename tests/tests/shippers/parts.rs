//! Real shippers, the configuration that their page in `docs/shippers` shows, and lines with hostile
//! bytes for them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::running::free_port;

/// Lines of a log as attackers make gateways write them, each from a client of its own.
pub(crate) fn hostile() -> Vec<Vec<u8>> {
    let combined = |rest: &[u8]| {
        let head = b" - - [20/Nov/2026:08:00:00 +0000] ";
        [&head[..], rest].concat()
    };
    let rests = [
        combined(b"\"GET /v1/plain?a=b HTTP/1.1\" 200 5 \"-\" \"curl/8.5\""),
        combined(b"\"GET /v1/agent HTTP/1.1\" 200 5 \"-\" \"\xff\xfe\x80 \\\"x\\\\ \xc3\x28\""),
        combined(b"\"GET /%ff%22%0a?x=%0d%0a&%ff=%00 HTTP/1.1\" 404 5 \"-\" \"x\""),
        combined(b"\"GET /a\x01\x1b[31m\x7fb HTTP/1.1\" 400 5 \"-\" \"\x08\x0c\""),
        combined(b"\"\\x16\\x03\\x01\\x02\" 400 0 \"-\" \"-\""),
        combined(b"\"GET / HTTP/1.1\" 200 5 \"-\" \"<13>1 2026 - - [a b=\\\"c\\\"] 99999 \""),
        combined(&[b"\"GET /", &[b'a'; 20_000][..], b" HTTP/1.1\" 200 5 \"-\" \"x\""].concat()),
        b" is all that is left of a line".to_vec(),
        combined(b"\"GET / HTTP/1.1\" 200"),
        combined(b"\"GET /end HTTP/1.1\" 200 5 \"-\" \"ends with CR\"\r"),
    ];
    (1..).zip(rests).map(|(client, rest)| [client_of(client).as_bytes(), &rest].concat()).collect()
}

pub(crate) fn client_of(number: usize) -> String {
    format!("203.0.113.{number}")
}

/// The block of this language that stands in this place on a shipper's page.
pub(crate) fn block(page: &str, language: &str, place: usize) -> String {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shippers");
    let text = std::fs::read_to_string(pages.join(page)).unwrap();
    let rest = text.split(&format!("```{language}\n")).nth(place + 1).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// What the environment names. What is absent is said; in CI it fails.
pub(crate) fn named(variable: &str, what: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    if named.is_none() {
        absent(what, &format!("{variable} is not set"));
    }
    named
}

/// Says that something is absent; in CI it fails.
pub(crate) fn absent(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}, and CI skips nothing");
    // Not captured, so that it is seen.
    std::io::stderr().write_all(format!("skipped {what}: {why}\n").as_bytes()).unwrap();
}

/// A process that ends with this.
pub(crate) struct Ended(Child);

impl Ended {
    pub(crate) fn run(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.0.id().to_string()).status());
        let waited = (0..100).any(|_| {
            crate::running::pause();
            self.0.try_wait().is_ok_and(|ended| ended.is_some())
        });
        if !waited {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

pub(crate) fn write_lines(path: &Path, lines: &[Vec<u8>]) {
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    for line in lines {
        file.write_all(&[line, &b"\n"[..]].concat()).unwrap();
    }
}

/// syslog-ng from a folder that is laid out like `/`.
pub(crate) fn syslog_ng(root: &Path, folder: &Path, configuration: &str) -> Ended {
    let libraries = |within: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(within).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.display().to_string().ends_with("-linux-gnu")).collect()
    };
    let own = root.join("usr/lib/syslog-ng");
    let modules = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().path());
    let modules = modules.filter(|path| path.is_dir()).max().unwrap();
    let version = modules.file_name().unwrap().display().to_string();
    let mut all = vec![own];
    all.extend(libraries(&root.join("usr/lib")));
    all.extend(libraries(&root.join("lib")));
    let all = std::env::join_paths(all).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("syslog-ng.conf"), format!("@version: {version}\n{configuration}"))
        .unwrap();
    let log = std::fs::File::create(path("syslog-ng.log")).unwrap();
    let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
    command.args(["-F", "--no-caps", "-f", &path("syslog-ng.conf"), "-R", &path("persist")]);
    command.args(["-c", &path("control"), "--pidfile", &path("pid")]);
    command.arg("--module-path").arg(modules).env("LD_LIBRARY_PATH", all);
    Ended::run(command.stderr(log))
}

/// Sends lines as log records with OpenTelemetry's exporter. A text of protobuf is UTF-8.
#[track_caller]
pub(crate) fn export(python: &Path, protocol: &str, endpoint: &str, lines: &[Vec<u8>]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shippers/otlp.py");
    let mut command = Command::new(python);
    command.arg(script).args([protocol, endpoint, "let-me-in"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let text: Vec<String> =
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let text = serde_json::to_string(&text).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Failed"), "{said}");
}

/// Rotel as a block of the page starts it, at other ports: what exporters send to, and what is
/// replaced beside that.
pub(crate) fn rotel(
    python: &Path,
    place: usize,
    folder: &Path,
    replaced: &[(&str, String)],
) -> (Ended, u16) {
    let receives = free_port();
    let find = "import os, rotel; print(os.path.dirname(rotel.__file__))";
    let found = Command::new(python).args(["-c", find]).output().unwrap().stdout;
    let agent = Path::new(String::from_utf8(found).unwrap().trim()).join("rotel-agent");
    let mut block = block("otel.md", "sh", place)
        .replace("rotel start", &format!("exec {} start", agent.display()))
        .replace("14317", &receives.to_string())
        .replace("14318", &free_port().to_string());
    for (shown, real) in replaced {
        assert!(block.contains(shown), "{shown} is on the page: {block}");
        block = block.replace(shown, real);
    }
    let log = std::fs::File::create(folder.join("rotel.log")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &block]).current_dir(folder).stderr(log);
    (Ended::run(&mut command), receives)
}
