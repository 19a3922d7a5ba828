//! Lines of one input into the raw log, each once, for as long as it takes.
//!
//! Owns: waiting while the disk is full or the brokers are away, and what became of an append that
//! failed. Never: reading an input.

use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::retry::Backoff;
use tracing::{info, warn};
use transport::{LogError, NewRecord, NextOffset};

use super::raw::RawLog;

/// Records appended at once: they share one sync to disk.
const RECORDS_MAX: usize = 8192;

/// Appends what one input reads. There is one for each input, since what is found in the log after
/// a failure is counted.
#[derive(Debug)]
pub(super) struct Appender {
    raw: RawLog,
    input: String,
    /// All that was appended before is before this.
    since: NextOffset,
}

impl Appender {
    pub(super) async fn open(raw: RawLog, input: &str) -> Result<Self, LogError> {
        let since = raw.end().await?;
        Ok(Self { raw, input: input.to_owned(), since })
    }

    /// The log.
    pub(super) fn raw(&self) -> &RawLog {
        &self.raw
    }

    /// Appends all; durable when it returns. While a dependency is away, waits and tries again.
    ///
    /// # Errors
    /// When waiting does not help, or when it is to stop before it could append.
    pub(super) async fn append(
        &mut self,
        mut records: Vec<NewRecord>,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(RECORDS_MAX));
            self.append_some(records, stop).await?;
            records = rest;
        }
        Ok(())
    }

    async fn append_some(
        &mut self,
        mut records: Vec<NewRecord>,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        let mut backoff = Backoff::network();
        let mut waited = false;
        while !records.is_empty() {
            let error = match self.raw.append(records.clone()).await {
                Ok(end) => {
                    self.since = end;
                    break;
                }
                Err(error) => error,
            };
            if let Some(shortened) = Self::shortened(&mut records, &error) {
                warn!(input = %self.input, bytes = shortened, "a line is cut: the raw log takes no longer one");
                continue;
            }
            if error.class() != Class::Dependency || stop.is_cancelled() {
                return Err(error);
            }
            waited = true;
            warn!(input = %self.input, %error, "lines wait for the raw log; none is lost");
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next_wait(None)) => {}
            }
            records = self.missing(records).await;
        }
        if waited {
            info!(input = %self.input, "the raw log takes lines again");
        }
        Ok(())
    }

    /// Cuts the record that the log refuses for its size; none of its batch was appended. Gives what
    /// is left of it, in bytes; nothing where it was refused for another reason.
    fn shortened(records: &mut [NewRecord], error: &LogError) -> Option<usize> {
        let LogError::TooLarge { index, bytes, max, .. } = error else { return None };
        let record = records.get_mut(*index)?;
        let kept = record.value.len().checked_sub(bytes.saturating_sub(*max))?;
        record.value.truncate(kept);
        Some(kept)
    }

    /// Those that are not there yet: of an append that failed, some of the first may be.
    async fn missing(&self, mut records: Vec<NewRecord>) -> Vec<NewRecord> {
        match self.raw.count(&self.input, self.since).await {
            Ok(there) => {
                records.drain(..there.min(records.len()));
                records
            }
            Err(error) => {
                warn!(input = %self.input, %error, "cannot see which lines are there already");
                records
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::clock::Clock;
    use transport::Log;
    use transport::embedded::{Store, StoreOptions};
    use transport::memory::MemoryLog;

    use super::*;

    #[test]
    fn a_line_that_the_log_refuses_is_cut_to_what_it_takes() {
        let mut records = [NewRecord::new("short"), NewRecord::new("x".repeat(100))];
        let refused = |bytes| LogError::TooLarge { topic: "raw".into(), index: 1, bytes, max: 90 };
        assert_eq!(Appender::shortened(&mut records, &refused(110)), Some(80));
        assert_eq!(records[1].value.len(), 80);
        assert_eq!(Appender::shortened(&mut records, &refused(1_000)), None, "not by its value");
    }

    #[tokio::test]
    async fn after_an_append_that_failed_halfway_the_rest_is_appended_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::new(Clock::system())).unwrap();
        let log = Log::Memory(MemoryLog::new("raw", 1, Clock::system()));
        let clock = Clock::system();
        let mine = RawLog::shared(log.clone(), &store, clock.clone(), "me").unwrap();
        let other = RawLog::shared(log, &store, clock, "you").unwrap();
        let line = |raw: &RawLog, n: u64| {
            let (input, file) = ("nginx".into(), "1:1".into());
            raw.line(&input, n.to_string().into(), Some((&file, n)))
        };
        let appender = Appender::open(mine.clone(), "nginx").await.unwrap();
        // What landed of a batch of three, between lines of a process with an input of this name.
        other.append(vec![line(&other, 7)]).await.unwrap();
        mine.append(vec![line(&mine, 1)]).await.unwrap();
        other.append(vec![line(&other, 8)]).await.unwrap();
        let batch: Vec<_> = (1..4).map(|n| line(&mine, n)).collect();
        let missing = appender.missing(batch).await;
        let values: Vec<_> = missing.iter().map(|record| record.value.clone()).collect();
        assert_eq!(values, ["2", "3"]);
        assert_eq!(mine.places("nginx").await.unwrap()["1:1"].next, 1);
        assert_eq!(other.places("nginx").await.unwrap()["1:1"].next, 8);
    }
}
