//! When the events of a file begin.
//!
//! Owns: reading the first lines of a file for the time of their events. Never: the lines that are
//! given; those are read once more, in their turn.

use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemas::{BatchBuilder, EventTime, event_at};

use super::mark::read_at;
use crate::{Keys, LINES_LOOKED_AT, Parser, Place, Settings};

/// Bytes looked at: the first lines of all but the strangest files.
const BYTES_MAX: usize = 64 * 1024;

/// How the lines of files are read for the time of their events.
#[derive(Debug, Clone)]
pub struct Begins(Settings);

impl Begins {
    /// Lines as an input reads them.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(settings)
    }

    /// The earliest time among the first events of a file; none where none of its first lines can
    /// be read as one.
    pub(super) fn of(&self, file: &File) -> Option<SystemTime> {
        let bytes = read_at(file, 0, BYTES_MAX).ok()?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n')?;
        let lines: Vec<&[u8]> =
            bytes.get(..whole)?.split(|byte| *byte == b'\n').take(LINES_LOOKED_AT).collect();
        // No hash is kept of what is read here.
        let mut parser = Parser::new(self.0.clone(), Keys::new([0; 16]));
        parser.learn(&lines);
        let mut builder = BatchBuilder::default();
        for line in lines {
            let place = Place { topic: "begins", partition: 0, offset: 0 };
            parser.feed(line, place, EventTime(0), &mut builder);
        }
        let batch = builder.finish().ok()?;
        let times = (0..batch.num_rows()).filter_map(|row| event_at(&batch, row).event_time);
        let since = Duration::from_millis(u64::try_from(times.min()?.millis()).ok()?);
        UNIX_EPOCH.checked_add(since)
    }
}
