//! Time for inputs that are pushed to.
//!
//! Owns: one mark a second. Never: lines.

use std::time::Duration;

use bytes::Bytes;
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use tracing::warn;
use transport::LogError;

use super::raw::RawLog;

/// Between two marks.
const MARK: Duration = Duration::from_secs(1);

/// Marks each second that all which was pushed before is here, until `stop`: without it an input
/// that nobody sends to would hold the time of all others.
///
/// # Errors
/// When the raw log fails in a way that waiting does not mend. Full disks are waited for.
pub async fn keep_time(
    sensor: String,
    raw: RawLog,
    stop: CancellationToken,
) -> Result<(), LogError> {
    let sensor = Bytes::from(sensor);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(MARK) => {}
        }
        match raw.append(vec![raw.mark(&sensor)]).await {
            Err(error) if stop.is_cancelled() || error.class() != Class::Dependency => {
                return if stop.is_cancelled() { Ok(()) } else { Err(error) };
            }
            Err(error) => warn!(%error, "a mark of time waits for the raw log"),
            Ok(_end) => {}
        }
    }
}
