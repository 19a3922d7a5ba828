//! Inputs whose clients are hidden: behind one's own proxy, or behind a CDN.
//!
//! Owns: who is told of it (the responder and `/ready`), and the file by which it is known after a
//! restart, before as many events were seen again as it takes to judge.
//! Never: the suspicion, which is `ingest`'s; what it means for orders, which is `respond`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ingest::Advice;
use respond::{Hidden, HiddenCallers, LedgerError, Responder};
use runtime::error::{Class, Classified};
use runtime::files::replace;
use runtime::ready::Condition;
use runtime::retry::Backoff;
use tracing::warn;

/// What is known of all inputs.
#[derive(Debug)]
pub(super) struct Clients {
    hidden: BTreeMap<String, Hidden>,
    callers: HiddenCallers,
    condition: Condition,
    /// None where it is learned again from what is stored.
    file: Option<PathBuf>,
}

impl Clients {
    /// Takes up what the file knows of these inputs.
    pub(super) fn open(
        inputs: &[String],
        callers: &HiddenCallers,
        condition: Condition,
        file: PathBuf,
    ) -> Self {
        let mut hidden = read(&file).unwrap_or_else(|error| {
            let path = file.display();
            warn!(%path, %error, "whose clients were hidden cannot be read; it is judged anew");
            BTreeMap::new()
        });
        hidden.retain(|input, _| inputs.contains(input));
        for (input, hidden) in &hidden {
            callers.tell(input, Some(hidden.clone()));
        }
        let clients = Self { hidden, callers: callers.clone(), condition, file: Some(file) };
        clients.tell();
        clients
    }

    /// Knows nothing yet.
    pub(super) fn unknown(callers: &HiddenCallers, condition: Condition) -> Self {
        let clients =
            Self { hidden: BTreeMap::new(), callers: callers.clone(), condition, file: None };
        clients.tell();
        clients
    }

    /// Takes what an input's clients look like by now. Whether addresses became known to hide
    /// clients, so that what acts on them is to end: [`spare`].
    pub(super) fn judged(&mut self, input: &str, advice: Option<&Advice>) -> bool {
        let told =
            |advice: &Advice| Hidden { networks: advice.networks(), advice: advice.to_string() };
        let hidden = advice.map(told);
        if self.hidden.get(input) == hidden.as_ref() {
            return false;
        }
        let is_news = hidden.is_some();
        match &hidden {
            Some(hidden) => self.hidden.insert(input.to_owned(), hidden.clone()),
            None => self.hidden.remove(input),
        };
        self.callers.tell(input, hidden);
        self.tell();
        if let Some(file) = &self.file
            && let Err(error) = replace(file, |file| Ok(serde_json::to_writer(file, &self.hidden)?))
        {
            let path = file.display();
            warn!(%path, %error, "whose clients are hidden is not known after a restart");
        }
        is_news
    }

    fn tell(&self) {
        if self.hidden.is_empty() {
            return self.condition.ready();
        }
        let told = self.hidden.iter().map(|(input, hidden)| {
            format!("input `{input}`: {}; such a block waits for a person", hidden.advice)
        });
        self.condition.remark(&told.collect::<Vec<_>>().join("; "));
    }
}

/// Ends what acts on addresses that turned out to hide clients. Waits while the ledger's disk is
/// away.
pub(super) async fn spare(responder: &Responder) -> Result<(), LedgerError> {
    let mut backoff = Backoff::network();
    loop {
        let failure = match responder.release_hidden().await {
            Ok(orders) if orders.is_empty() => return Ok(()),
            Ok(orders) => {
                let orders = orders.join(", ");
                warn!(orders, "orders on addresses behind which all clients sit are ended");
                return Ok(());
            }
            Err(failure) if failure.class() == Class::Dependency => failure,
            Err(failure) => return Err(failure),
        };
        warn!(error = %failure, "ending orders on hidden clients waits for the ledger");
        tokio::time::sleep(backoff.next_wait(None)).await;
    }
}

fn read(file: &Path) -> io::Result<BTreeMap<String, Hidden>> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        bytes => Ok(serde_json::from_slice(&bytes?)?),
    }
}

#[cfg(test)]
mod tests {
    use ingest::Advice;
    use respond::HiddenCallers;
    use runtime::ready::Ready;
    use schemas::Subject;

    use super::Clients;

    #[test]
    fn a_proxy_is_known_after_a_restart_and_forgotten_with_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let open = |inputs: &[&str]| {
            let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            let (ready, callers) = (Ready::new(), HiddenCallers::default());
            let condition = ready.condition("clients", "are being judged");
            let file = folder.path().join("clients.json");
            (Clients::open(&inputs, &callers, condition, file), ready, callers)
        };
        let proxy = Subject { kind: "ip".into(), value: "10.0.0.5".into() };
        let (mut clients, ready, callers) = open(&["shop"]);
        assert!(ready.report().ready && ready.report().remarks.is_empty());
        let advice = Advice::OneProxy { address: "10.0.0.5".into() };
        assert!(clients.judged("shop", Some(&advice)));
        assert!(!clients.judged("shop", Some(&advice)), "told once");
        assert!(callers.behind(&proxy).is_some());
        let remark = &ready.report().remarks[0].reason;
        assert!(remark.contains("input `shop`") && remark.contains("trusted_proxies"), "{remark}");
        let (mut clients, ready, callers) = open(&["shop"]);
        assert!(callers.behind(&proxy).is_some());
        assert_eq!(ready.report().remarks.len(), 1);
        assert_eq!(open(&["other"]).2.behind(&proxy), None);
        assert!(!clients.judged("shop", None));
        assert_eq!(callers.behind(&proxy), None);
        assert_eq!(ready.report().remarks, []);
        assert_eq!(open(&["shop"]).2.behind(&proxy), None);
    }
}
