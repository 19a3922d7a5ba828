//! nginx: a deny file that it includes, tested and reloaded.
//!
//! Owns: the files' text, their atomic exchange, `nginx -t`, the reload, and the way back when the
//! test fails.
//! Never: edits the configuration of nginx itself; overwrites a file that somebody else wrote;
//! writes a value that could end the line it stands in.
//!
//! ```nginx
//! geo $ip_blocked { default 0; include /var/lib/tidegate/nginx/ip.map; }
//! map $jwt_sub $principal_blocked { default 0; include /var/lib/tidegate/nginx/principal.map; }
//! server { if ($ip_blocked) { return 403; } … }
//! ```

mod command;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemas::Subject;
use tokio::sync::Mutex;
use tracing::info;

use super::{Held, TargetParts, Trouble, on_disk, write_whole};
use crate::config::{NginxConfig, SettingsError};
use crate::guard::NeverBlock;
use crate::ledger::Entry;
use command::run;

#[derive(Debug)]
pub(crate) struct Nginx {
    config: NginxConfig,
    ip_map: PathBuf,
    principal_map: Option<PathBuf>,
    never_block: NeverBlock,
    /// Whether nginx may still work with other files than those on the disk: at the start, because
    /// we may have been killed between writing and reloading, and after a reload that failed.
    stale: Mutex<bool>,
}

/// A file as it was, to go back to; none where there was none.
#[derive(Debug)]
struct Former {
    path: PathBuf,
    bytes: Option<Vec<u8>>,
}

impl Nginx {
    pub(super) fn new(
        config: &NginxConfig,
        parts: &TargetParts<'_>,
    ) -> Result<Self, SettingsError> {
        for (key, command) in [("test", &config.test), ("reload", &config.reload)] {
            if command.first().is_none_or(String::is_empty) {
                let message = "write the program and its arguments, such as [\"nginx\", \"-t\"]";
                return Err(SettingsError::value(format!("target.{key}"), message));
            }
        }
        Ok(Self {
            ip_map: parts.base.join(&config.ip_map),
            principal_map: config.principal_map.as_ref().map(|path| parts.base.join(path)),
            config: config.clone(),
            never_block: parts.never_block.clone(),
            stale: Mutex::new(true),
        })
    }

    /// What is written.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.ip_map), self.principal_map.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    pub(super) fn subjects(&self) -> Vec<&'static str> {
        let mut subjects = vec!["ip", "network"];
        if self.principal_map.is_some() {
            subjects.push("principal");
        }
        subjects
    }

    pub(super) async fn hold(&self, desired: &BTreeMap<Subject, Entry>) -> Result<Held, Trouble> {
        let mut stale = self.stale.lock().await;
        let texts = text::render(desired, &self.never_block);
        let mut files = vec![(self.ip_map.clone(), texts.addresses)];
        files.extend(self.principal_map.clone().map(|path| (path, texts.principals)));
        let changed = on_disk(move || exchange(&files), "write the deny file").await?;
        if let Some(foreign) = changed.foreign {
            let path = foreign.display();
            return Err(Trouble::again(format!(
                "{path} is there and was not written by Tidegate; \
                 move its entries elsewhere and the file away, or set another path"
            )));
        }
        *stale |= !changed.former.is_empty();
        if *stale {
            self.test_and_reload(changed.former).await?;
            *stale = false;
        }
        let present = self.read_back().await?;
        Ok(Held { present, rejected: texts.rejected })
    }

    /// Takes the new files into use, or puts the former ones back.
    async fn test_and_reload(&self, former: Vec<Former>) -> Result<(), Trouble> {
        let timeout = self.config.timeout.as_duration();
        if let Err(told) = run(&self.config.test, timeout).await {
            let restored = !former.is_empty();
            on_disk(move || restore(former), "put the former deny file back").await?;
            let now = if restored { "the former deny file is back" } else { "nothing was changed" };
            return Err(Trouble::again(format!(
                "nginx refuses its configuration, so {now}; correct it, it is tried again. {told}"
            )));
        }
        let reload = match &self.config.pid_file {
            Some(path) => {
                let path = path.clone();
                let pid =
                    on_disk(move || command::pid(&path), "read the process id of nginx").await?;
                vec!["kill".to_owned(), "-HUP".to_owned(), pid.to_string()]
            }
            None => self.config.reload.clone(),
        };
        run(&reload, timeout).await.map_err(|told| {
            Trouble::again(format!("nginx was not reloaded, the deny file is in place. {told}"))
        })?;
        info!(files = former.len(), "nginx reloaded");
        Ok(())
    }

    async fn read_back(&self) -> Result<std::collections::BTreeSet<Subject>, Trouble> {
        let (addresses, principals) = (self.ip_map.clone(), self.principal_map.clone());
        let read = move || {
            let mut present = text::addresses(&std::fs::read_to_string(addresses)?);
            if let Some(path) = principals {
                present.extend(text::principals(&std::fs::read_to_string(path)?));
            }
            Ok(present)
        };
        on_disk(read, "read the deny file back").await
    }
}

#[derive(Debug, Default)]
struct Changed {
    former: Vec<Former>,
    /// A file that we did not write.
    foreign: Option<PathBuf>,
}

/// Writes what differs from the disk.
fn exchange(files: &[(PathBuf, String)]) -> std::io::Result<Changed> {
    let mut changed = Changed::default();
    let mut writes = Vec::new();
    for (path, text) in files {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(named(path, &error)),
        };
        if bytes.as_deref() == Some(text.as_bytes()) {
            continue;
        }
        if bytes.as_deref().is_some_and(|bytes| !text::is_ours(bytes)) {
            changed.foreign = Some(path.clone());
            return Ok(changed);
        }
        writes.push((Former { path: path.clone(), bytes }, text));
    }
    for (former, text) in writes {
        if let Some(folder) = former.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
        }
        write_whole(&former.path, text.as_bytes()).map_err(|error| named(&former.path, &error))?;
        changed.former.push(former);
    }
    Ok(changed)
}

fn restore(former: Vec<Former>) -> std::io::Result<()> {
    for Former { path, bytes } in former {
        match bytes {
            Some(bytes) => write_whole(&path, &bytes),
            None => write_whole(&path, text::empty().as_bytes()),
        }
        .map_err(|error| named(&path, &error))?;
    }
    Ok(())
}

fn named(path: &Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
