//! Tickets as Markdown files in a folder: for one machine without a tracker.
//!
//! Owns: the files, one for each episode. Never: deletes one; a person does, when it is done.

use std::path::{Path, PathBuf};

use super::{Told, Trouble, on_disk, ticket, write_whole};
use crate::config::Markup;
use crate::ledger::Message;

#[derive(Debug)]
pub(crate) struct Tickets {
    folder: PathBuf,
}

impl Tickets {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) async fn tell(&self, message: &Message) -> Result<Told, Trouble> {
        let name = format!("{}.md", file_stem(&ticket::key(&message.entry.order.verdict_id)));
        let path = self.folder.join(&name);
        let fresh = ticket::create(message, Markup::Markdown);
        let fresh = format!("# {}\n\n{}\n", fresh.subject, fresh.body);
        let note = format!("\n---\n\n{}\n", ticket::note(message, Markup::Markdown));
        let mark = ticket::mark(&message.entry.order);
        let folder = self.folder.clone();
        let write = move || {
            std::fs::create_dir_all(&folder)?;
            let text = match std::fs::read_to_string(&path) {
                Ok(text) if text.contains(&mark) => return Ok(()),
                Ok(text) => text + &note,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh,
                Err(error) => return Err(error),
            };
            write_whole(&path, text.as_bytes())
        };
        on_disk(write, &format!("write the ticket {name}")).await?;
        Ok(Told { remote_id: Some(name), detail: None })
    }
}

/// A name that cannot leave the folder, whatever the id is.
fn file_stem(key: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    key.chars().map(|c| if fits(c) { c } else { '_' }).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::file_stem;

    #[test]
    fn a_name_stays_in_its_folder() {
        assert_eq!(file_stem("tidegate-0192-aB"), "tidegate-0192-aB");
        assert_eq!(file_stem("tidegate-../../etc/x"), "tidegate-______etc_x");
    }
}
