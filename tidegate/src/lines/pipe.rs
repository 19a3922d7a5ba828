//! A stream that somebody may be writing to now, such as standard input.
//!
//! Owns: telling "nothing yet" from "the end". Never: what the bytes mean.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::{LINE_BYTES_MAX, Source};

/// Bytes of one piece at most.
const PIECE_BYTES_MAX: usize = 1 << 18;
/// Pieces that wait: with those being read and taken, 1 MiB.
const PIECES_MAX: usize = 2;
/// A stream that gave nothing for so long is quiet: shorter than a person notices, longer than a
/// busy writer pauses.
const QUIET: Duration = Duration::from_millis(50);

/// Bytes read by a thread of their own, which lives until the stream ends or the process does.
pub(super) struct Pipe {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    /// Bytes of the piece that were taken.
    taken: usize,
    /// What ended the stream, where that was a mistake; told once.
    broken: Option<io::Error>,
    ended: bool,
}

impl Pipe {
    /// Begins to read.
    pub(super) fn new(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(PIECES_MAX);
        thread::Builder::new()
            .name("standard input".to_owned())
            .spawn(move || read(reader, &sender))?;
        Ok(Self { pieces, piece: Vec::new(), taken: 0, broken: None, ended: false })
    }

    fn rest(&self) -> &[u8] {
        self.piece.get(self.taken..).unwrap_or_default()
    }

    fn add(&mut self, came: Result<io::Result<Vec<u8>>, RecvTimeoutError>) {
        match came {
            Ok(Ok(piece)) if self.rest().is_empty() => (self.piece, self.taken) = (piece, 0),
            Ok(Ok(piece)) => {
                self.piece.drain(..self.taken);
                self.taken = 0;
                self.piece.extend(piece);
            }
            Ok(Err(error)) => self.broken = Some(error),
            Err(_disconnected) => self.ended = true,
        }
    }
}

impl Source for Pipe {
    fn is_quiet(&mut self) -> bool {
        loop {
            let rest = self.rest();
            if rest.len() > LINE_BYTES_MAX || rest.contains(&b'\n') {
                return false;
            }
            if self.ended || self.broken.is_some() {
                return false;
            }
            match self.pieces.recv_timeout(QUIET) {
                Err(RecvTimeoutError::Timeout) => return true,
                came => self.add(came),
            }
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() && !self.ended && self.broken.is_none() {
            let came = self.pieces.recv().map_err(|_ended| RecvTimeoutError::Disconnected);
            self.add(came);
        }
        if self.rest().is_empty()
            && let Some(error) = self.broken.take()
        {
            self.ended = true;
            return Err(error);
        }
        Ok(self.rest())
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

/// Hands on what the stream gives, as soon as it does.
fn read(mut reader: impl Read, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    loop {
        let piece = match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        // Nobody takes it any more: whoever read is done.
        if pieces.send(piece).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead, Write};

    use super::{Pipe, Source};

    #[test]
    fn a_stream_is_quiet_while_its_next_line_is_not_there() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut pipe = Pipe::new(reader).unwrap();
        let mut line = String::new();
        assert!(pipe.is_quiet());
        writer.write_all(b"one\ntw").unwrap();
        assert!(!pipe.is_quiet());
        pipe.read_line(&mut line).unwrap();
        assert!(pipe.is_quiet(), "half a line");
        writer.write_all(b"o\nthree").unwrap();
        assert!(!pipe.is_quiet());
        pipe.read_line(&mut line).unwrap();
        drop(writer);
        assert!(!pipe.is_quiet(), "its last line has no end");
        pipe.read_line(&mut line).unwrap();
        assert_eq!(line, "one\ntwo\nthree");
        assert!(!pipe.is_quiet());
        assert_eq!(pipe.read_line(&mut line).unwrap(), 0);
    }

    #[test]
    fn what_breaks_a_stream_is_told_after_what_came_before() {
        struct Breaks(bool);
        impl io::Read for Breaks {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                buffer[..4].copy_from_slice(b"one\n");
                Ok(4)
            }
        }
        let mut pipe = Pipe::new(Breaks(false)).unwrap();
        let mut line = String::new();
        assert_eq!(pipe.read_line(&mut line).unwrap(), 4);
        assert!(!pipe.is_quiet());
        assert_eq!(pipe.read_line(&mut line).unwrap_err().to_string(), "gone");
        assert_eq!(pipe.read_line(&mut line).unwrap(), 0);
    }
}
