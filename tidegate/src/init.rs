//! `tidegate init`: a first configuration for what is on this machine.
//!
//! Owns: where gateways keep their access logs, and the text of the file. Never: overwriting one;
//! guessing what lies outside this machine.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::Init;
use crate::fault::Fault;
use crate::terminal;

/// A gateway, and where its packages let it write access logs.
struct Gateway {
    name: &'static str,
    folder: &'static str,
    /// What the names of its access logs hold; the log itself or its like.
    holds: &'static str,
    /// How they end.
    ends: &'static str,
}

const GATEWAYS: &[Gateway] = &[
    Gateway { name: "nginx", folder: "var/log/nginx", holds: "access", ends: ".log" },
    Gateway { name: "Apache", folder: "var/log/apache2", holds: "access", ends: ".log" },
    Gateway { name: "Apache", folder: "var/log/httpd", holds: "access", ends: "_log" },
    Gateway { name: "Caddy", folder: "var/log/caddy", holds: "", ends: ".log" },
    Gateway { name: "Traefik", folder: "var/log/traefik", holds: "access", ends: ".log" },
    Gateway { name: "HAProxy", folder: "var/log", holds: "haproxy", ends: ".log" },
    Gateway { name: "Envoy", folder: "var/log/envoy", holds: "access", ends: ".log" },
];

/// Access logs that were found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    gateway: &'static str,
    /// A path, or a pattern that all of them match.
    path: PathBuf,
    files: usize,
    /// One that this user may not read.
    unreadable: Option<PathBuf>,
}

/// Writes the file and says what to do next.
pub(crate) fn run(command: &Init) -> Result<(), Fault> {
    let found = look(&command.root);
    let nginx = command.root.join("etc/nginx/nginx.conf").is_file();
    let text = configuration(&found, nginx);
    let path = &command.config;
    let shown = path.display();
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Fault::Usage(format!(
            "{shown} is there already and was left as it is; see what it says with \
             `tidegate config show --config {shown}`, or write another one with \
             `tidegate init --config OTHER.toml`"
        )),
        _ => Fault::Usage(format!(
            "cannot write {shown}: {error}; go to a folder that you may write, or name one with \
             --config"
        )),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Fault::Usage(format!("cannot write {shown}: {error}")))?;
    terminal::say(&next(&found, path));
    Ok(())
}

fn look(root: &Path) -> Vec<Found> {
    let logs = GATEWAYS.iter().filter_map(|gateway| {
        let folder = root.join(gateway.folder);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.contains(gateway.holds) && name.ends_with(gateway.ends)
            })
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        let only = files.first()?.clone();
        let pattern = match gateway.holds {
            "" => format!("*{}*", gateway.ends),
            holds => format!("*{holds}*{}*", gateway.ends),
        };
        // With what it is rotated to, so that nothing is lost that was rotated while nobody read.
        let rotated = || PathBuf::from(format!("{}*", only.display()));
        Some(Found {
            gateway: gateway.name,
            path: if files.len() == 1 { rotated() } else { folder.join(pattern) },
            files: files.len(),
            unreadable: files.into_iter().find(|file| File::open(file).is_err()),
        })
    });
    logs.collect()
}

/// A string of TOML.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

fn configuration(found: &[Found], nginx: bool) -> String {
    let mut text = HEAD.to_owned();
    if found.is_empty() {
        text.push_str(
            "# No access log was found on this machine. Set the path of yours.\n\
             [[input]]\ntype = \"file\"\npath = \"/var/log/nginx/access.log*\"\n",
        );
        text.push_str(INPUT_KEYS);
    }
    for log in found {
        let (gateway, path) = (log.gateway, quoted(&log.path));
        text.push_str(&format!(
            "[[input]]              # {gateway}\ntype = \"file\"\npath = {path}\n"
        ));
        text.push_str(INPUT_KEYS);
    }
    text.push_str(MIDDLE);
    text.push_str(if nginx { NGINX } else { AUTHZ });
    text.push_str(TAIL);
    text
}

fn next(found: &[Found], path: &Path) -> String {
    let mut lines = vec![format!("wrote {}", path.display())];
    for log in found {
        let files = if log.files == 1 { String::new() } else { format!(", {} files", log.files) };
        lines.push(format!("  reads {} ({}{files})", log.path.display(), log.gateway));
        if let Some(file) = &log.unreadable {
            lines.push(format!(
                "  but this user may not read {}; run as one who may, often a member of group adm",
                file.display()
            ));
        }
    }
    if found.is_empty() {
        lines.push("  no access log was found here: set `path` under [[input]] first".to_owned());
    }
    let config = match path.to_str() {
        Some("tidegate.toml") => String::new(),
        _ => format!(" --config {}", path.display()),
    };
    lines.push("nothing is blocked until `dry_run = false`; next:".to_owned());
    if let Some(log) = found.first() {
        let path = log.path.display();
        lines.push(format!("  tidegate replay {path}    # what it would have said so far"));
    }
    lines.push(format!("  tidegate config check{config}"));
    lines.push(format!("  tidegate up{config}"));
    lines.join("\n")
}

const HEAD: &str = "\
# Tidegate's configuration, written by `tidegate init`.
# Relative paths start at this file's folder. Every key can also be set from the environment, such
# as TIDEGATE__ADMIN__LISTEN. A key that does not exist is refused with the nearest that does.
# Show what is in force, with its origin:  tidegate config show

";

const INPUT_KEYS: &str = "\
# service = \"shop\"       # the API behind it; absent: the host name in the line, if it has one
# environment = \"production\"
# format = \"auto\"        # detected by itself; `tidegate parse FILE` shows how lines are read
# time_zone = \"UTC\"      # of times that name none
# trusted_proxies = [\"10.0.0.0/8\"]   # whose X-Forwarded-For is believed
# lateness = \"10s\"       # disorder that is allowed for
# live = false           # a recording: time passes with its lines, not with the clock
# from_end = true        # at the very first start, leave out what is in the files already

";

const MIDDLE: &str = "\
# Other shippers post lines, one or many a request; answered once they are durable.
# [[input]]
# type = \"http\"
# listen = \"127.0.0.1:7071\"

# Over Kafka topics that shippers write to are inputs too; lines of those above go to `raw.NAME`:
#   [[input]]
#   type = \"kafka\"
#   topic = \"access.raw\"
#   [kafka]
#   brokers = \"HOST:9092\"   # yours; they are not guessed
#   records = \"avro\"         # verdicts, orders, outcomes, dead letters; default: json
#   [kafka.registry]         # a schema registry with Confluent's interface
#   url = \"http://HOST:8081\"
#   user = \"tidegate\"
#   password = { file = \"registry-password\" }

# [context]
# folder = \"context\"     # deploys.jsonl, identities.jsonl, api_keys.jsonl, openapi/SERVICE.yml, …

# [rules]
# folder = \"rules\"       # your own rules; absent: the pack that comes with the binary

[respond]
dry_run = true           # everything but the last call; false: blocks are carried out
# policy = \"policy.yml\"  # absent: the built-in policy
# gateways = [\"10.0.0.5\"]   # never blocked

# Every ticket as a Markdown file.
[[target]]
type = \"tickets\"
folder = \"tickets\"

# Every verdict, order and outcome as a JSON line.
[[target]]
type = \"file\"
path = \"respond.jsonl\"

";

const NGINX: &str = "\
# Blocks at the nginx of this machine. Make the folder and an empty file (`up` fills it), and include
# that in nginx.conf:
#   http {
#     geo $tidegate_blocked { default 0; include /var/lib/tidegate/nginx/ip.map; }
#     server { if ($tidegate_blocked) { return 403; } … }
#   }
# [[target]]
# type = \"nginx\"
# ip_map = \"/var/lib/tidegate/nginx/ip.map\"
# test = [\"nginx\", \"-t\"]
# reload = [\"nginx\", \"-s\", \"reload\"]

";

const AUTHZ: &str = "\
# Blocks at gateways that ask: nginx auth_request, Traefik forwardAuth, Caddy forward_auth, Envoy.
# [[target]]
# type = \"authz\"
# listen = \"127.0.0.1:7072\"

";

const TAIL: &str = "\
[storage]
folder = \"data\"          # lines until they are judged, state, ledger
# free_min = \"1GiB\"      # below it inputs are refused, not lost
# retention = \"26h\"      # at least the longest window and its lateness

[admin]
listen = \"127.0.0.1:7070\"   # /live /ready /metrics, deploys, blocks
";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{AUTHZ, TAIL, configuration, look, next, run};
    use crate::cli::{Configured, Init};
    use crate::config;

    fn machine(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    /// What is found on a machine with these files, as paths below its root; the file is good.
    #[track_caller]
    fn check(files: &[&str], expected: &[&str]) -> String {
        let root = machine(files);
        let found = look(root.path());
        let paths: Vec<String> = found
            .iter()
            .map(|log| log.path.strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(paths, expected);
        let path = root.path().join("tidegate.toml");
        run(&Init { config: path.clone(), root: root.path().to_owned() }).unwrap();
        let loaded = config::load(&Configured { config: path.clone(), log: "info".into() });
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert_eq!(loaded.settings.input.len(), expected.len().max(1));
        assert!(loaded.settings.respond.dry_run);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_logs_of_each_gateway_are_found_with_what_they_are_rotated_to() {
        let text = check(
            &["var/log/nginx/access.log", "var/log/nginx/access.log.1", "var/log/nginx/error.log"],
            &["var/log/nginx/access.log*"],
        );
        assert!(text.contains("type = \"authz\"") && !text.contains("ip_map"), "{text}");
        check(
            &["var/log/nginx/access.log", "var/log/nginx/shop.access.log", "var/log/haproxy.log"],
            &["var/log/nginx/*access*.log*", "var/log/haproxy.log*"],
        );
        check(
            &["var/log/httpd/access_log", "var/log/caddy/shop.log", "var/log/traefik/access.log"],
            &[
                "var/log/httpd/access_log*",
                "var/log/caddy/shop.log*",
                "var/log/traefik/access.log*",
            ],
        );
    }

    #[test]
    fn where_nginx_is_its_deny_file_is_explained_and_where_nothing_is_that_is_said() {
        let text = check(&["etc/nginx/nginx.conf"], &[]);
        assert!(text.contains("ip_map") && text.contains("No access log was found"), "{text}");
        assert!(next(&[], Path::new("x.toml")).contains("set `path`"));
    }

    /// Every key that is commented out is one that there is.
    #[test]
    fn what_is_commented_out_can_be_taken_in() {
        let text = configuration(&[], true).replace(TAIL, "") + AUTHZ + TAIL;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        let taken_in: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if key.starts_with("[") || key.split(' ').nth(1) == Some("=") => key,
                _ => line,
            })
            .collect();
        fs::write(&path, taken_in.join("\n")).unwrap();
        let loaded = config::load(&Configured { config: path, log: "info".into() });
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert_eq!((loaded.settings.input.len(), loaded.settings.target.len()), (2, 4));
    }

    #[test]
    fn a_file_that_is_there_is_left_as_it_is() {
        let root = machine(&["tidegate.toml"]);
        let path = root.path().join("tidegate.toml");
        let error = run(&Init { config: path.clone(), root: root.path().to_owned() }).unwrap_err();
        assert!(error.to_string().contains("left as it is"), "{error}");
        assert_eq!(fs::read_to_string(path).unwrap(), "");
    }
}
