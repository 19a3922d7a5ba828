//! Log files as lines: plain, `.gz`, `.zst`, or standard input.
//!
//! Owns: cutting bytes into lines with the offset of each. Never: what a line means.

mod pipe;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::Fault;
use crate::terminal;
use pipe::Pipe;

/// A line longer than this is cut to this and one byte more, which every parser refuses as too
/// long; the rest is skipped.
const LINE_BYTES_MAX: usize = ingest::LINE_BYTES_MAX;

/// The lines of one file.
pub(crate) struct Lines {
    /// The file's name as given; `-` is standard input.
    pub(crate) name: String,
    reader: Box<dyn Source>,
    offset: u64,
    read: Arc<AtomicU64>,
    compressed: bool,
    /// Why a compressed file has no more lines than were given.
    broken: Option<String>,
}

/// What lines are cut from.
trait Source: BufRead {
    /// Whether a further line would have to be waited for.
    fn is_quiet(&mut self) -> bool {
        false
    }
}

impl<R: Read> Source for BufReader<R> {}

/// Counts the bytes that are read from the disk, for a progress bar.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Lines {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let read = Arc::new(AtomicU64::new(0));
        let fault = |error: io::Error| {
            Fault::Usage(format!(
                "cannot read {}: {error}; give log files, or `-` for standard input",
                path.display()
            ))
        };
        let name = path.display().to_string();
        let counted = Arc::clone(&read);
        let mut compressed = true;
        let reader: Box<dyn Source> = if name == "-" {
            compressed = false;
            let stdin = Counting { inner: io::stdin(), read: counted };
            Box::new(Pipe::new(stdin).map_err(fault)?)
        } else {
            let file = File::open(path).map_err(fault)?;
            if file.metadata().map_err(fault)?.is_dir() {
                return Err(fault(io::Error::other("it is a folder")));
            }
            let file = Counting { inner: file, read: counted };
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("gz") => buffered(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
                Some("zst") => buffered(zstd::Decoder::new(file).map_err(fault)?),
                _ => {
                    compressed = false;
                    buffered(file)
                }
            }
        };
        Ok(Self { name, reader, offset: 0, read, compressed, broken: None })
    }

    /// How many bytes were read so far, as they are on the disk.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether a further line would have to be waited for; a file always has one or its end.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.reader.is_quiet()
    }

    /// The next line without its end, and the offset of its first byte; `None` at the end. A
    /// compressed file that is cut or damaged ends there, which is said.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<u64>, Fault> {
        line.clear();
        let start = self.offset;
        let taken = match self.take(line) {
            Ok(taken) => taken,
            Err(error) if self.compressed => {
                self.end(&error);
                line.len() as u64
            }
            Err(error) => {
                return Err(Fault::Usage(format!("cannot read on in {}: {error}", self.name)));
            }
        };
        if taken == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        self.offset += taken;
        Ok(Some(start))
    }

    /// Reads a line, its end included, and gives how many bytes it has; 0 at the end.
    fn take(&mut self, line: &mut Vec<u8>) -> io::Result<u64> {
        if self.broken.is_some() {
            return Ok(0);
        }
        let limit = LINE_BYTES_MAX as u64 + 2;
        let mut taken = self.reader.by_ref().take(limit).read_until(b'\n', line)? as u64;
        if taken == limit && line.last() != Some(&b'\n') {
            taken += skip_line(&mut self.reader)?;
        }
        Ok(taken)
    }

    /// Says that what follows cannot be read.
    fn end(&mut self, error: &io::Error) {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut".to_owned(),
            _ => error.to_string(),
        };
        let said = format!(
            "{}: cannot be decompressed to its end: {why}; the lines before are read, get the \
             whole file for the others",
            self.name
        );
        terminal::say(&said);
        self.broken = Some(said);
    }
}

fn buffered(reader: impl Read + 'static) -> Box<dyn Source> {
    Box::new(BufReader::with_capacity(1 << 18, reader))
}

fn skip_line(reader: &mut Box<dyn Source>) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        skipped += used as u64;
        if end.is_some() {
            return Ok(skipped);
        }
    }
}

/// The bytes of all files on the disk; `None` where one is not a file.
pub(crate) fn total_bytes(paths: &[PathBuf]) -> Option<u64> {
    paths.iter().map(|path| std::fs::metadata(path).ok().map(|meta| meta.len())).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Lines;

    fn all(path: &std::path::Path) -> Vec<(u64, usize)> {
        let mut lines = Lines::open(path).unwrap();
        let (mut line, mut found) = (Vec::new(), Vec::new());
        while let Some(offset) = lines.next(&mut line).unwrap() {
            found.push((offset, line.len()));
        }
        found
    }

    #[test]
    fn offsets_count_bytes_and_the_last_line_needs_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "one\n\nthree").unwrap();
        assert_eq!(all(&path), [(0, 3), (4, 0), (5, 5)]);
    }

    #[test]
    fn a_line_beyond_the_limit_is_cut_and_the_next_one_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let long = "x".repeat(3 * super::LINE_BYTES_MAX);
        std::fs::write(&path, format!("{long}\nnext\n")).unwrap();
        let found = all(&path);
        assert_eq!(found.len(), 2);
        assert!(found[0].1 > super::LINE_BYTES_MAX);
        assert_eq!(found[1], (long.len() as u64 + 1, 4));
    }

    #[test]
    fn compressed_files_are_read_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log.gz");
        let file = std::fs::File::create(&path).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gz.write_all(b"one\ntwo\n").unwrap();
        gz.finish().unwrap();
        assert_eq!(all(&path), [(0, 3), (4, 3)]);
        let path = folder.path().join("a.log.zst");
        std::fs::write(&path, zstd::encode_all(&b"one\ntwo\n"[..], 1).unwrap()).unwrap();
        assert_eq!(all(&path), [(0, 3), (4, 3)]);
    }

    #[test]
    fn a_compressed_file_that_is_cut_gives_what_it_holds_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: String = (0..50_000).map(|number| format!("{number}\n")).collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(numbers.as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        let zst = zstd::encode_all(numbers.as_bytes(), 1).unwrap();
        for (name, bytes) in [("a.log.gz", gz), ("a.log.zst", zst)] {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).unwrap();
            let mut lines = Lines::open(&path).unwrap();
            let (mut line, mut found) = (Vec::new(), Vec::new());
            while lines.next(&mut line).unwrap().is_some() {
                found.push(String::from_utf8(line.clone()).unwrap());
            }
            assert!((1_000..50_000).contains(&found.len()), "{name}: {}", found.len());
            found.pop(); // cut
            assert!(found.iter().enumerate().all(|(at, line)| *line == at.to_string()), "{name}");
            let said = lines.broken.unwrap();
            assert!(said.contains(name) && said.contains("it is cut"), "{said}");
        }
    }
}
