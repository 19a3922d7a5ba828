//! A Kafka cluster of one to a few nodes in one folder.
//!
//! Owns: the folder, `cluster.json` in it, and which ports are used. Never: a node's insides.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::jars;
use super::node::Node;
use super::properties::Ports;
use crate::place;
use crate::trouble::Trouble;

const NODES_MAX: usize = 9;

/// What a cluster should be like; what is absent is as it was, or the default.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// How many nodes; one by default.
    pub(crate) nodes: Option<usize>,
    /// Client port of the first node; the next ones are ten apart, controllers one above. Any free
    /// ports by default.
    pub(crate) first_port: Option<u16>,
    /// Java heap of a node, `512m` by default.
    pub(crate) heap: Option<String>,
}

/// A cluster that was started at least once.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    id: String,
    ports: Vec<Ports>,
}

impl Cluster {
    /// Starts the cluster in `folder` and waits until it serves. One that runs stays as it is.
    pub(crate) fn start(folder: &Path, wish: &Wish) -> Result<Self, Trouble> {
        let jars = jars::folder()?;
        let mut cluster = match Self::open(folder)? {
            Some(cluster) => cluster.checked(wish)?,
            None => Self::make(place::folder(folder)?, wish)?,
        };
        if cluster.nodes().all(|node| node.pid().is_none()) {
            cluster.settle_ports(wish)?;
            for node in cluster.nodes() {
                node.prepare(&jars, &cluster.id, &cluster.ports)?;
            }
        }
        let heap = wish.heap.as_deref().unwrap_or("512m");
        for node in cluster.nodes() {
            node.start(&jars, heap)?;
        }
        for node in cluster.nodes() {
            if let Err(trouble) = node.wait_ready() {
                cluster.stop();
                return Err(trouble);
            }
        }
        Ok(cluster)
    }

    /// The cluster in `folder`, running or not; `None` where none was ever started.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>, Trouble> {
        let file = folder.join("cluster.json");
        if !file.exists() {
            return Ok(None);
        }
        let folder = place::folder(folder)?;
        let text = place::read(&file)?;
        let broken = || {
            Trouble::dependency(format!(
                "{}: not what `kafka start` writes; remove the folder and start anew",
                file.display()
            ))
        };
        let stored: Value = serde_json::from_str(&text)
            .map_err(|e| Trouble::dependency(format!("read {}: {e}", file.display())))?;
        let id = stored.get("id").and_then(Value::as_str).ok_or_else(broken)?.to_owned();
        let nodes = stored.get("nodes").and_then(Value::as_array).ok_or_else(broken)?;
        let ports: Option<Vec<Ports>> = nodes.iter().map(read_ports).collect();
        Ok(Some(Self { folder, id, ports: ports.ok_or_else(broken)? }))
    }

    /// Stops every node and waits.
    pub(crate) fn stop(&self) {
        std::thread::scope(|scope| {
            for node in self.nodes() {
                scope.spawn(move || node.stop());
            }
        });
    }

    /// Removes everything it stored. Only for a cluster that is stopped.
    pub(crate) fn wipe(&self) -> Result<(), Trouble> {
        place::remove_folder(&self.folder)
    }

    /// `host:port,…` for clients.
    pub(crate) fn brokers(&self) -> String {
        let each = self.ports.iter().map(|ports| format!("127.0.0.1:{}", ports.client));
        each.collect::<Vec<_>>().join(",")
    }

    /// Process ids of the nodes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes().filter_map(|node| node.pid()).collect()
    }

    /// Whether every node runs.
    pub(crate) fn is_up(&self) -> bool {
        self.nodes().all(|node| node.pid().is_some())
    }

    /// One line a node, for a person.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.nodes().map(|node| node.describe()).collect()
    }

    /// Where it keeps everything.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn nodes(&self) -> impl Iterator<Item = Node> {
        (1..).zip(&self.ports).map(|(id, ports)| Node::new(id, &self.folder, *ports))
    }

    fn make(folder: PathBuf, wish: &Wish) -> Result<Self, Trouble> {
        let count = wish.nodes.unwrap_or(1);
        if !(1..=NODES_MAX).contains(&count) {
            return Err(Trouble::usage(format!("--nodes {count}: between 1 and {NODES_MAX}")));
        }
        let ports = vec![Ports::default(); count];
        Ok(Self { folder, id: cluster_id()?, ports })
    }

    /// Refuses to change the number of nodes of stored state.
    fn checked(self, wish: &Wish) -> Result<Self, Trouble> {
        match wish.nodes {
            Some(nodes) if nodes != self.ports.len() => Err(Trouble::usage(format!(
                "{} holds a cluster of {} nodes, not {nodes}; remove it with \
                 `cargo xtask kafka stop --wipe --dir {}` or choose another --dir",
                self.folder.display(),
                self.ports.len(),
                self.folder.display()
            ))),
            _ => Ok(self),
        }
    }

    /// Chooses ports before a start: those asked for, else those of last time, else any free ones.
    fn settle_ports(&mut self, wish: &Wish) -> Result<(), Trouble> {
        if let Some(first) = wish.first_port {
            self.ports = fixed_ports(first, self.ports.len())?;
        } else if self
            .ports
            .iter()
            .any(|ports| !is_free(ports.client) || !is_free(ports.controller))
        {
            self.ports = free_ports(self.ports.len())?;
        }
        let nodes: Vec<Value> = self
            .ports
            .iter()
            .map(|ports| json!({"client": ports.client, "controller": ports.controller}))
            .collect();
        let text = json!({"id": self.id, "nodes": nodes}).to_string();
        place::write(&self.folder.join("cluster.json"), &text)
    }
}

fn read_ports(stored: &Value) -> Option<Ports> {
    let port = |name| stored.get(name)?.as_u64().and_then(|port| u16::try_from(port).ok());
    Some(Ports { client: port("client")?, controller: port("controller")? })
}

fn is_free(port: u16) -> bool {
    port != 0 && TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn fixed_ports(first: u16, count: usize) -> Result<Vec<Ports>, Trouble> {
    let mut ports = Vec::with_capacity(count);
    for step in (0..=u16::MAX).step_by(10).take(count) {
        let pair =
            first.checked_add(step).and_then(|client| Some((client, client.checked_add(1)?)));
        let Some((client, controller)) = pair else {
            return Err(Trouble::usage(format!("--port {first}: too high for {count} nodes")));
        };
        if let Some(taken) = [client, controller].into_iter().find(|port| !is_free(*port)) {
            return Err(Trouble::dependency(format!(
                "port {taken} is in use; choose another --port, or none for any free one"
            )));
        }
        ports.push(Ports { client, controller });
    }
    Ok(ports)
}

/// Asks the system for free ports, holding all until the last is known so that they differ.
fn free_ports(count: usize) -> Result<Vec<Ports>, Trouble> {
    let mut held = Vec::new();
    let mut free = || -> std::io::Result<u16> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(port)
    };
    let mut pair =
        || -> std::io::Result<Ports> { Ok(Ports { client: free()?, controller: free()? }) };
    let ports: std::io::Result<Vec<Ports>> = (0..count).map(|_| pair()).collect();
    ports.map_err(|e| Trouble::dependency(format!("find a free port on 127.0.0.1: {e}")))
}

/// Sixteen random bytes in base64url without padding, which is what Kafka takes for a cluster id:
/// 21 letters of six bits each and a last one that carries only two.
fn cluster_id() -> Result<String, Trouble> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 22];
    std::fs::File::open(source)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .map_err(|e| Trouble::io("read", source, &e))?;
    // A first letter other than `-` keeps the id from looking like an option.
    let letter = |byte: u8| LETTERS.get(usize::from(byte % 64)).copied().map(char::from);
    let [first, middle @ .., last] = bytes;
    let ends = (letter(first % 62), letter(last / 64 * 16));
    let mut id: String = ends.0.into_iter().collect();
    id.extend(middle.into_iter().filter_map(letter));
    id.extend(ends.1);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::{Ports, cluster_id, fixed_ports, free_ports, is_free};

    #[test]
    fn free_ports_are_free_and_all_different() {
        let ports = free_ports(3).unwrap();
        let mut all: Vec<u16> = ports.iter().flat_map(|p| [p.client, p.controller]).collect();
        assert!(all.iter().all(|port| is_free(*port)));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let trouble = fixed_ports(port, 1).unwrap_err().to_string();
        assert!(trouble.contains(&port.to_string()), "{trouble}");
    }

    #[test]
    fn nodes_are_ten_ports_apart() {
        let first = free_ports(1).unwrap()[0].client / 2;
        if let Ok(ports) = fixed_ports(first, 2) {
            assert_eq!(ports[1], Ports { client: first + 10, controller: first + 11 });
        }
        assert!(fixed_ports(u16::MAX, 1).is_err());
    }

    #[test]
    fn cluster_ids_have_the_length_of_sixteen_bytes() {
        let id = cluster_id().unwrap();
        assert_eq!(id.len(), 22);
        assert!(!id.starts_with('-'));
        assert_ne!(id, cluster_id().unwrap());
    }
}
