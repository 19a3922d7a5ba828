//! What a process keeps in its storage folder beside logs and ledger.
//!
//! Owns: the installation's key, this process's name, and the posted deploys. Never: what they mean.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use enrich::AcceptedDeploys;
use schemas::{Deploy, DeployAction};
use tokio::sync::mpsc::Receiver;
use transport::LogError;
use transport::embedded::{Change, Store, Table};

use crate::fault::Fault;

/// The key under which secrets are hashed: made at the first start, the same ever after.
pub(super) fn installation_key(folder: &Path) -> Result<[u8; 16], Fault> {
    kept(folder, "key", "installation's key").map(u128::to_be_bytes)
}

/// What lines of this process are known by in a topic that others write to as well. Not the key:
/// that is copied from machine to machine, so that they hash alike.
pub(super) fn writer_name(folder: &Path) -> Result<String, Fault> {
    kept(folder, "writer", "writer's name").map(|number| format!("{number:032x}"))
}

/// A number made by chance at the first start.
fn kept(folder: &Path, file: &str, what: &str) -> Result<u128, Fault> {
    let path = folder.join(file);
    let fault = |doing: &str, error: &dyn std::error::Error| {
        Fault::Usage(format!(
            "cannot {doing} the {what} at {}: {error}; set `storage.folder` to a folder that this user may write",
            path.display()
        ))
    };
    fs::create_dir_all(folder).map_err(|error| fault("make the folder of", &error))?;
    if !path.exists() {
        draw(folder, &path).map_err(|error| fault("make", &error))?;
    }
    let text = fs::read_to_string(&path).map_err(|error| fault("read", &error))?;
    u128::from_str_radix(text.trim(), 16).map_err(|error| fault("understand", &error))
}

/// Several processes may start at once: the first number to stand there is everybody's.
fn draw(folder: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; 16];
    fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!("{name}.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    writeln!(file, "{:032x}", u128::from_be_bytes(key))?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// What tells one entry of the history from another. A deploy that is taken away is two, and each
/// time that one is gone back to is another.
pub(super) fn deploy_key(deploy: &Deploy) -> Vec<u8> {
    let environment = deploy.environment.as_deref().unwrap_or_default();
    let kind = match deploy.action {
        DeployAction::Deployed | DeployAction::Upgraded => String::new(),
        DeployAction::Rolledback => format!("\0back\0{}", deploy.deployed_at.millis()),
        DeployAction::Removed => "\0gone".to_owned(),
    };
    format!("{}\0{environment}\0{}{kind}", deploy.service, deploy.deploy_id).into_bytes()
}

/// Deploys that were posted.
#[derive(Debug, Clone)]
pub(super) struct Deploys(Table);

/// Rows read at once.
const ROWS_MAX: usize = 1024;

impl Deploys {
    pub(super) fn open(store: &Store) -> Result<Self, LogError> {
        store.table("deploys").map(Self)
    }

    /// All that was stored.
    pub(super) async fn all(&self) -> Result<Vec<Deploy>, LogError> {
        let mut deploys = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.0.scan(b"", after.as_deref(), ROWS_MAX).await?;
            let Some((last, _)) = rows.last() else { return Ok(deploys) };
            after = Some(last.to_vec());
            for (_, row) in &rows {
                match serde_json::from_slice(row) {
                    Ok(deploy) => deploys.push(deploy),
                    Err(error) => {
                        tracing::error!(%error, "a stored deploy cannot be read; it does not join");
                    }
                }
            }
        }
    }

    /// Stores what is accepted, before the sender hears so.
    pub(super) async fn keep(
        self,
        mut accepted: Receiver<AcceptedDeploys>,
    ) -> Result<(), LogError> {
        while let Some(request) = accepted.recv().await {
            let rows = request.deploys.iter().filter_map(|deploy| {
                Some(Change::Put(deploy_key(deploy), serde_json::to_vec(deploy).ok()?))
            });
            match self.0.apply(rows.collect()).await {
                Ok(()) => request.stored(),
                Err(error) => {
                    tracing::warn!(%error, "deploys could not be stored");
                    request.failed(&error.to_string());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use enrich::{ContextCell, DeploysEndpoint, EnrichMetrics};
    use runtime::clock::Clock;
    use runtime::http::axum::serve;
    use runtime::metrics::Metrics;
    use schemas::Deploy;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use transport::embedded::{Store, StoreOptions};

    use super::Deploys;

    /// What stands in the table after these bodies were posted one after the other.
    async fn stored(bodies: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::new(Clock::system())).unwrap();
        let deploys = Deploys::open(&store).unwrap();
        let metrics = EnrichMetrics::new(&Metrics::new());
        let (endpoint, accepted) =
            DeploysEndpoint::new(ContextCell::default(), Clock::system(), metrics);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        let keeping = deploys.clone().keep(accepted);
        tasks.spawn(async move { drop(keeping.await) });
        tasks.spawn(async move { serve(listener, endpoint.router()).await.unwrap() });
        for body in bodies {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = "POST /v1/deploys HTTP/1.1\r\nhost: x\r\nconnection: close";
            let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        }
        let shown =
            |d: Deploy| format!("{} {:?} {:?} {:?}", d.deploy_id, d.action, d.version, d.owner);
        deploys.all().await.unwrap().into_iter().map(shown).collect()
    }

    #[tokio::test]
    async fn a_deploy_each_rollback_and_its_removal_are_stored_beside_each_other() {
        let told = stored(&[
            "service=shop deploy_id=d1 version=1",
            "service=shop deploy_id=d1 version=1 action=rolledback",
            "service=shop deploy_id=d1 version=2 deployed_at=2026-11-20T08:00:00Z action=rolledback",
            "service=shop deploy_id=d1 action=removed",
        ]);
        let expected = [
            "d1 Deployed Some(\"1\") None",
            "d1 Rolledback Some(\"1\") None",
            "d1 Rolledback Some(\"2\") None",
            "d1 Removed None None",
        ];
        let mut told = told.await;
        told.sort_by_key(|line| expected.iter().position(|known| known == line));
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn what_a_repeat_adds_is_stored_with_what_was_known() {
        let told = stored(&[
            "service=shop deploy_id=d1 version=1",
            "service=shop deploy_id=d1 owner=team",
        ]);
        assert_eq!(told.await, ["d1 Deployed Some(\"1\") Some(\"team\")"]);
    }
}
