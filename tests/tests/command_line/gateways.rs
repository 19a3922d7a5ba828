//! Real gateways with the log that their page in `docs/gateways` shows, under hostile requests:
//! each request is found as an event or a dead letter, with its client.
//!
//! Needs the gateways: Debian's nginx, apache2, haproxy and varnish; envoy, traefik and caddy, which
//! `TIDEGATE_GATEWAYS` names a folder of. Where one is absent, that is said and its test passes; with
//! `CI` set it fails instead.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{stdout, tidegate};

/// Requests that a gateway may get, each from an address of its own.
const REQUESTS: [(&str, &[u8]); 8] = [
    ("plain", b"GET /v1/plain?a=b HTTP/1.1\r\nHost: api.example\r\nUser-Agent: curl/8.5\r\nConnection: close\r\n\r\n"),
    ("agent", b"GET /v1/agent HTTP/1.1\r\nHost: api.example\r\nUser-Agent: \xff\xfe\"\\ {}\r\nConnection: close\r\n\r\n"),
    ("escapes", b"GET /%ff%22%0a?x=%0d%0a&%ff=%00 HTTP/1.1\r\nHost: api.example\r\nUser-Agent: x\r\nConnection: close\r\n\r\n"),
    ("quote", b"GET /a\"b\\c?d=\"e HTTP/1.1\r\nHost: api.example\r\nUser-Agent: x\r\nConnection: close\r\n\r\n"),
    ("control", b"GET /v1/control HTTP/1.1\r\nHost: api.example\r\nUser-Agent: a\x01b\r\nConnection: close\r\n\r\n"),
    ("user", b"GET /v1/user HTTP/1.1\r\nHost: api.example\r\nAuthorization: Basic YSBbMSJdIC06eA==\r\nX-Forwarded-For: 203.0.113.9, \"x\r\nConnection: close\r\n\r\n"),
    ("long", b"GET /LONG HTTP/1.1\r\nHost: api.example\r\nUser-Agent: x\r\nConnection: close\r\n\r\n"),
    ("foreign", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
];

/// A gateway's folder and its processes, which end with it.
struct Gateway {
    folder: tempfile::TempDir,
    port: u16,
    running: Vec<Child>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for child in &mut self.running {
            let asked = Command::new("kill").arg(child.id().to_string()).status();
            if asked.is_err() || !ends(child) {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

fn ends(child: &mut Child) -> bool {
    (0..100).any(|_| {
        pause();
        child.try_wait().unwrap().is_some()
    })
}

#[expect(clippy::disallowed_methods, reason = "no runtime here that this could block")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// A program of this name, wherever gateways are installed; says so where it is not.
fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("TIDEGATE_GATEWAYS").map(PathBuf::from);
    let found = std::env::split_paths(&folders)
        .chain([PathBuf::from("/usr/sbin")])
        .chain(named)
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed, and CI skips nothing");
        let said = format!("skipped a gateway: {name} is not installed\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
    }
    found
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateways").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// The first one.
fn block(page: &str, language: &str) -> String {
    blocks(page, language).remove(0)
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

impl Gateway {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        // Workers that gave up their rights read and write here too.
        Command::new("chmod").arg("777").arg(folder.path()).status().unwrap();
        std::fs::write(folder.path().join("ready"), "ok").unwrap();
        Self { folder, port, running: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }

    fn start(&mut self, program: &Path, args: &[&str], out: &str) {
        let log = |name: &str| File::create(self.folder.path().join(name)).unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log(out)).stderr(log(&format!("{out}.err")));
        self.running.push(command.spawn().unwrap());
    }

    /// Waits until requests are answered as its configuration says.
    #[track_caller]
    fn ready(&self) {
        let up = (0..600).any(|_| {
            pause();
            self.answers()
        });
        assert!(up, "the gateway does not answer: {}", self.said());
    }

    fn answers(&self) -> bool {
        let request = b"GET /ready HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n";
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(request).is_ok()
            && stream.read_to_end(&mut answer).is_ok()
            && answer.starts_with(b"HTTP/1.1 200")
    }

    /// Sends every request from an address of its own, and gives the addresses.
    #[track_caller]
    fn attack(&self) -> BTreeMap<&'static str, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], self.port));
        self.ready();
        let mut senders = BTreeMap::new();
        for (number, (name, request)) in (1..).zip(REQUESTS) {
            let from = Ipv4Addr::new(127, 0, 1, number);
            senders.insert(name, from.to_string());
            let text = String::from_utf8_lossy(request).replace("LONG", &"a/".repeat(1500));
            let request = if name == "long" { text.as_bytes() } else { request };
            runtime.block_on(send(from, to, request));
        }
        senders
    }

    /// What the processes said, for a test that fails.
    fn said(&self) -> String {
        let mut all = String::new();
        for file in std::fs::read_dir(self.folder.path()).unwrap().flatten() {
            let mut text = Vec::new();
            if file.path().is_file()
                && File::open(file.path()).unwrap().read_to_end(&mut text).is_ok()
            {
                let text = String::from_utf8_lossy(&text);
                all.push_str(&format!("== {}\n{text}\n", file.file_name().display()));
            }
        }
        all
    }

    /// Every request is there once with its client, but those whose client the gateway does not log.
    #[track_caller]
    fn check(&self, log: &str, format: &str, unknown: &[&str]) {
        let senders = self.attack();
        let log = self.path(log);
        let expected: BTreeMap<String, usize> = senders
            .iter()
            .filter(|(name, _)| !unknown.contains(name))
            .map(|(_, address)| (address.clone(), 1))
            .collect();
        let mut found = BTreeMap::new();
        let mut printed = Vec::new();
        for _ in 0..200 {
            pause();
            // A writer that waits for more before it writes gets more.
            assert!(self.answers());
            let output = tidegate(&["parse", "--format", format, &log], "");
            assert!(output.status.success(), "{}", super::stderr(&output));
            printed = stdout(&output);
            found.clear();
            for line in &printed {
                let line = line.get("dead_letter").unwrap_or(line);
                if let Some(client) =
                    line["client_ip"].as_str().filter(|c| c.starts_with("127.0.1."))
                {
                    *found.entry(client.to_owned()).or_default() += 1;
                }
            }
            if found == expected {
                break;
            }
        }
        let shown: Vec<String> = printed.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{senders:?}\n{}\n{}", shown.join("\n"), self.said());
        let plain = printed.iter().find(|line| line["client_ip"] == senders["plain"]).unwrap();
        assert_eq!(plain["path"], "/v1/plain");
        assert_eq!(plain["method"], "GET");
        assert_eq!(plain["query_keys"], serde_json::json!(["a"]));
        assert_eq!(plain["user_agent"], "curl/8.5");
        assert!(plain["status"].is_number() && plain["event_time"].is_string(), "{plain}");
    }
}

async fn send(from: Ipv4Addr, to: SocketAddr, request: &[u8]) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    // A gateway may hang up before it has read all.
    if stream.write_all(request).await.is_ok() {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        drop(tokio::time::timeout(Duration::from_secs(2), read).await);
    }
}

/// A server that answers everything with 200, for as long as the process lives.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: std::net::TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.extend_from_slice(&byte);
    }
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    // Whoever asked may be gone.
    drop(stream.write_all(ok));
}

#[test]
fn nginx_as_its_page_says() {
    let Some(nginx) = program("nginx") else { return };
    let mut gateway = Gateway::new();
    let log = block("nginx.md", "nginx")
        .replace("/var/log/nginx/access.json", &gateway.path("access.log"));
    let (folder, port) = (gateway.folder.path().display().to_string(), gateway.port);
    let text = format!(
        "daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n\
         http {{\n{log}\nclient_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}\n"
    );
    let path = gateway.write("nginx.conf", &text);
    gateway.start(
        &nginx,
        &["-p", &folder, "-c", &path, "-e", &format!("{folder}/start.log")],
        "out",
    );
    gateway.check("access.log", "auto", &[]);
}

#[test]
fn apache_as_its_page_says() {
    let Some(apache) = program("apache2") else { return };
    let mut gateway = Gateway::new();
    let log = block("apache.md", "apache")
        .replace("/var/log/apache2/access.log", &gateway.path("access.log"));
    let input = block("apache.md", "toml");
    let (_, format) = input.split_once("format = '").unwrap();
    let (format, _) = format.split_once("'\n").unwrap();
    let (folder, port) = (gateway.folder.path().display().to_string(), gateway.port);
    let modules = "/usr/lib/apache2/modules";
    let text = format!(
        "ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\nMutex file:{folder} default\n\
         Listen 127.0.0.1:{port}\nServerName api.example\nUser nobody\nGroup nogroup\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         DocumentRoot {folder}\nErrorLog {folder}/error.log\n{log}"
    );
    let path = gateway.write("apache.conf", &text);
    gateway.start(&apache, &["-f", &path, "-DFOREGROUND"], "out");
    gateway.check("access.log", format, &[]);
}

#[test]
fn haproxy_as_its_page_says() {
    let Some(haproxy) = program("haproxy") else { return };
    let mut gateway = Gateway::new();
    let text = block("haproxy.md", "haproxy")
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", gateway.port))
        .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", upstream()));
    let path = gateway.write("haproxy.cfg", &text);
    gateway.start(&haproxy, &["-db", "-f", &path], "access.log");
    gateway.check("access.log", "auto", &[]);
}

/// Pages of what cannot be installed where the tests run, and the format of each of their lines.
const DOCUMENTED: [(&str, &[&str]); 6] = [
    ("iis.md", &["iis"]),
    ("fastly.md", &["json"]),
    ("ecs.md", &["ecs"]),
    ("ingress-nginx.md", &["ingress_nginx"]),
    ("kong.md", &["kong"]),
    ("aws.md", &["alb", "cloudfront", "api_gateway"]),
];

#[test]
fn lines_of_what_cannot_be_started_are_read_as_their_pages_show_them() {
    for (page, formats) in DOCUMENTED {
        let lines = blocks(page, "log");
        assert_eq!(lines.len(), formats.len(), "{page}");
        for (lines, format) in lines.iter().zip(formats) {
            let output = tidegate(&["parse", "-"], lines);
            let read = stdout(&output);
            let event = read.last().unwrap();
            assert_eq!(event["format"], *format, "{page}: {event}");
            assert_eq!(event["client_ip"], "203.0.113.9", "{page}: {event}");
            assert_eq!(event["method"], "GET", "{page}: {event}");
            assert_eq!(event["status"], 200, "{page}: {event}");
            assert_eq!(event["user_agent"], "curl/8.5", "{page}: {event}");
            assert!(event["path"].as_str().unwrap().ends_with("/v1/orders"), "{page}: {event}");
            assert!(
                event["event_time"].as_str().unwrap().starts_with("2026-11-20T08:00:0"),
                "{page}"
            );
        }
    }
}

#[test]
fn envoy_as_its_page_says() {
    envoy_with(0);
}

#[test]
fn envoy_with_istios_format_as_its_page_says() {
    envoy_with(1);
}

/// Envoy with the log that stands in this place on its page.
fn envoy_with(place: usize) {
    let Some(envoy) = program("envoy") else { return };
    let mut gateway = Gateway::new();
    let log = blocks("envoy.md", "yaml")[place]
        .replace("/var/log/envoy/access.json", &gateway.path("access.log"))
        .replace("/var/log/envoy/access.log", &gateway.path("access.log"));
    let (log, port) = (indented(&log, 10), gateway.port);
    let text = format!(
        r#"static_resources:
  listeners:
  - name: api
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          use_remote_address: true
{log}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [ {{ name: all, match: {{ prefix: "/" }}, direct_response: {{ status: 200 }} }} ] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#
    );
    let path = gateway.write("envoy.yaml", &text);
    gateway.start(
        &envoy,
        &["-c", &path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"],
        "out",
    );
    gateway.check("access.log", "auto", &[]);
}

#[test]
fn traefik_as_its_page_says() {
    let Some(traefik) = program("traefik") else { return };
    let mut gateway = Gateway::new();
    let log = block("traefik.md", "yaml")
        .replace("/var/log/traefik/access.json", &gateway.path("access.log"));
    let routes = format!(
        "http:\n  routers: {{ all: {{ rule: 'PathPrefix(`/`)', service: up }} }}\n  \
         services: {{ up: {{ loadBalancer: {{ servers: [ {{ url: 'http://127.0.0.1:{}' }} ] }} }} }}\n",
        upstream()
    );
    let routes = gateway.write("routes.yml", &routes);
    let text = format!(
        "global: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n\
         entryPoints: {{ web: {{ address: '127.0.0.1:{}' }} }}\n\
         providers: {{ file: {{ filename: {routes} }} }}\n{log}",
        gateway.port
    );
    let path = gateway.write("traefik.yml", &text);
    gateway.start(&traefik, &[&format!("--configFile={path}")], "out");
    gateway.check("access.log", "auto", &["control", "foreign"]);
}

#[test]
fn caddy_as_its_page_says() {
    let Some(caddy) = program("caddy") else { return };
    let mut gateway = Gateway::new();
    let log = block("caddy.md", "caddy")
        .replace("/var/log/caddy/access.json", &gateway.path("access.log"));
    let text = format!(
        "{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tstorage file_system {}\n}}\n\
         http://127.0.0.1:{port}, http://api.example:{port} {{\n\tbind 127.0.0.1\n{}\trespond ok\n}}\n",
        gateway.path("caddy"),
        indented(&log, 0),
        port = gateway.port
    );
    let path = gateway.write("Caddyfile", &text);
    gateway.start(&caddy, &["run", "--adapter", "caddyfile", "--config", &path], "out");
    gateway.check("access.log", "auto", &["control", "foreign"]);
}

#[test]
fn varnish_as_its_page_says() {
    let (Some(varnish), Some(_)) = (program("varnishd"), program("varnishncsa")) else { return };
    let mut gateway = Gateway::new();
    let work = gateway.path("varnish");
    let (listen, behind) =
        (format!("127.0.0.1:{}", gateway.port), format!("127.0.0.1:{}", upstream()));
    gateway.start(
        &varnish,
        &["-F", "-n", &work, "-a", &listen, "-b", &behind, "-j", "none"],
        "out",
    );
    gateway.ready();
    let log = block("varnish.md", "sh")
        .replace("/var/log/varnish/access.log", &gateway.path("access.log"))
        .replace("varnishncsa ", &format!("exec varnishncsa -n {work} "));
    gateway.start(Path::new("/bin/sh"), &["-c", log.trim()], "ncsa");
    // It shows what comes after it has begun to read.
    let reads = (0..600).any(|_| {
        pause();
        gateway.answers()
            && std::fs::metadata(gateway.path("access.log")).is_ok_and(|log| log.len() > 0)
    });
    assert!(reads, "varnishncsa shows nothing: {}", gateway.said());
    gateway.check("access.log", "auto", &["control", "foreign"]);
}
