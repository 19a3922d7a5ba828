//! The scratch folder: configuration, context and places of the files.
//!
//! Owns: what is in it. Never: processes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::traffic::{LENGTH_MS, Traffic};
use crate::clock::Moment;
use crate::place;
use crate::trouble::Trouble;

/// A scratch folder that is ready to be used.
#[derive(Debug)]
pub(super) struct Scene {
    /// The folder.
    pub(super) folder: PathBuf,
    /// Where the pipeline answers.
    pub(super) admin: SocketAddr,
    /// Where the gateway answers.
    pub(super) gateway: SocketAddr,
}

impl Scene {
    /// Writes everything; with a target for the gateway where there is one.
    pub(super) fn set(folder: &Path, traffic: &Traffic, gateway: bool) -> Result<Self, Trouble> {
        let scene =
            Self { folder: folder.to_path_buf(), admin: free_address()?, gateway: free_address()? };
        for name in ["context/openapi", "deny", "out"] {
            place::folder(&folder.join(name))?;
        }
        let put = |name: &str, text: &str| place::write(&folder.join(name), text);
        put("access.log", "")?;
        put("labels.jsonl", &traffic.label_lines())?;
        put("context/identities.jsonl", &traffic.identities)?;
        put("context/deploys.jsonl", &earlier_deploy())?;
        put("context/openapi/shop.yml", include_str!("shop.yml"))?;
        put("deny/ip.map", "")?;
        put("deny/principal.map", "")?;
        put("nginx.conf", &scene.gateway_configuration())?;
        put("tidegate.toml", &scene.configuration(&place::root().join("rules"), gateway))?;
        Ok(scene)
    }

    /// The access log.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    /// Where nginx finds its configuration.
    pub(super) fn gateway_file(&self) -> PathBuf {
        self.folder.join("nginx.conf")
    }

    fn configuration(&self, rules: &Path, gateway: bool) -> String {
        let (admin, rules, conf) = (self.admin, rules.display(), self.gateway_file());
        let conf = conf.display();
        let mut text = format!(
            "# Made by `cargo xtask demo`.
[[input]]
type = \"file\"
path = \"access.log\"
format = \"auto\"
service = \"shop\"
environment = \"production\"
lateness = \"10s\"
live = false                   # time goes with the recording, not with this machine's clock

[context]
folder = \"context\"

[rules]
folder = \"{rules}\"

[respond]
dry_run = false

[[target]]
type = \"file\"
path = \"out/respond.jsonl\"

[[target]]
type = \"tickets\"
folder = \"tickets\"

[storage]
folder = \"data\"

[admin]
listen = \"{admin}\"
"
        );
        if gateway {
            text.push_str(&format!(
                "
[[target]]
type = \"nginx\"
ip_map = \"deny/ip.map\"
principal_map = \"deny/principal.map\"
test = [\"nginx\", \"-t\", \"-q\", \"-c\", \"{conf}\"]
reload = [\"nginx\", \"-s\", \"reload\", \"-c\", \"{conf}\"]
"
            ));
        }
        text
    }

    /// A gateway that answers 403 to whom the deny files name. It takes the client's address and
    /// name from headers, so that everybody can be played from this machine.
    fn gateway_configuration(&self) -> String {
        let (folder, listen) = (self.folder.display(), self.gateway);
        format!(
            "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-tmp;
  proxy_temp_path {folder}/nginx-tmp;
  fastcgi_temp_path {folder}/nginx-tmp;
  uwsgi_temp_path {folder}/nginx-tmp;
  scgi_temp_path {folder}/nginx-tmp;
  set_real_ip_from 127.0.0.0/8;
  real_ip_header X-Forwarded-For;
  geo $ip_blocked {{ default 0; include {folder}/deny/ip.map; }}
  map $http_x_user $user_blocked {{ default 0; include {folder}/deny/principal.map; }}
  server {{
    listen {listen};
    default_type application/json;
    location / {{
      if ($ip_blocked) {{ return 403 '{{\"error\":\"blocked\"}}'; }}
      if ($user_blocked) {{ return 403 '{{\"error\":\"blocked\"}}'; }}
      return 200 '{{\"shop\":\"open\"}}';
    }}
  }}
}}
"
        )
    }
}

/// The deploy that served before the scene began.
fn earlier_deploy() -> String {
    let at = Moment::now().plus_ms(-LENGTH_MS - 3 * 86_400_000).rfc3339();
    let deploy = json!({
        "service": "shop", "environment": "production", "deploy_id": "d1", "deployed_at": at,
        "commit": "aaa111", "change_id": "475", "owner": "team-shop",
    });
    format!("{deploy}\n")
}

fn free_address() -> Result<SocketAddr, Trouble> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|e| Trouble::dependency(format!("find a free port on 127.0.0.1: {e}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Scene;

    fn scene() -> Scene {
        Scene {
            folder: "/scratch".into(),
            admin: "127.0.0.1:7070".parse().unwrap(),
            gateway: "127.0.0.1:8080".parse().unwrap(),
        }
    }

    #[test]
    fn the_configuration_blocks_for_real_and_at_nginx_only_where_it_is() {
        let with = scene().configuration(Path::new("/rules"), true);
        assert!(with.contains("dry_run = false") && with.contains("type = \"nginx\""));
        let without = scene().configuration(Path::new("/rules"), false);
        assert!(!without.contains("nginx"));
    }

    #[test]
    fn the_gateway_reads_the_deny_file_and_listens_on_loopback() {
        let text = scene().gateway_configuration();
        assert!(text.contains("include /scratch/deny/ip.map;"), "{text}");
        assert!(text.contains("listen 127.0.0.1:8080;"), "{text}");
    }
}
