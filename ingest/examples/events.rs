//! What lines come to, for comparing two builds: `events FILE… [--mutants N] [--print]`.
//!
//! Owns: that comparison. Never: anything that the product uses.
//!
//! Each file is read as an input of its own. Printed is a digest a file of every event, dead letter
//! and directive, and of the rows that the same lines make in batches; equal digests of two builds
//! say that not a byte differs. `--mutants N` reads beside each line N that were broken at random,
//! the same in each run. `--print` prints everything in full, to find what differs.
#![expect(clippy::print_stdout, reason = "an example that says what lines come to")]

use std::error::Error;
use std::hash::Hasher;

use ingest::{Fed, Keys, Parsed, Parser, Place, Settings};
use schemas::{BatchBuilder, EventTime, event_at};
use siphasher::sip::SipHasher13;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// What stands in mutants: bytes that mean something in some format, and some that are no text.
const BYTES: &[u8] = b"\"\\{}[]:,=?&%#;/ .-@+_'<>()|$019azAZ\t\r\0\x7f\xc3\xa9\xff";

/// A generator that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }

    /// A line with one to four places changed, left out, doubled or cut off.
    fn mutant(&mut self, line: &[u8]) -> Vec<u8> {
        let mut line = line.to_vec();
        for _ in 0..=self.below(4) {
            let (at, len) = (self.below(line.len() + 1), self.below(12));
            let end = (at + len).min(line.len());
            let byte = BYTES.get(self.below(BYTES.len())).copied().unwrap_or(b'"');
            match self.below(8) {
                0 => line.truncate(at),
                1 => drop(line.drain(at..end)),
                2 => {
                    let twice = line.get(at..end).unwrap_or(&[]).to_vec();
                    drop(line.splice(at..at, twice));
                }
                3 | 4 => line.insert(at, byte),
                _ => {
                    if let Some(place) = line.get_mut(at) {
                        *place = byte;
                    }
                }
            }
        }
        line
    }
}

/// What one way of reading a file came to.
#[derive(Default)]
struct Told {
    digest: SipHasher13,
    prints: bool,
}

impl Told {
    fn tell(&mut self, what: &impl std::fmt::Debug) {
        let text = format!("{what:?}");
        if self.prints {
            println!("{text}");
        }
        self.digest.write(text.as_bytes());
    }
}

fn parser(lines: &[Vec<u8>], learns: bool) -> Parser {
    let mut parser = Parser::new(Settings::default(), Keys::new([7; 16]));
    if learns {
        let first: Vec<&[u8]> = lines.iter().take(64).map(Vec::as_slice).collect();
        parser.learn(&first);
    }
    parser
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut files, mut mutants, mut prints) = (Vec::new(), 0, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--mutants" => mutants = words.next().ok_or("--mutants N")?.parse::<usize>()?,
            "--print" => prints = true,
            _ => files.push(word),
        }
    }
    for file in &files {
        let text = std::fs::read(file)?;
        let mut dice = Dice(SEED);
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            lines.push(line.to_vec());
            (0..mutants).for_each(|_| lines.push(dice.mutant(line)));
        }
        let place = |offset| Place { topic: file, partition: 0, offset };
        let (mut alone, mut events) = (Told { prints, ..Told::default() }, 0_usize);
        let mut reader = parser(&lines, false);
        for (offset, line) in (0..).zip(&lines) {
            let parsed = reader.line(line, place(offset), EventTime(0));
            if let Parsed::Events(of_line) = &parsed {
                events += of_line.len();
            }
            alone.tell(&parsed);
        }
        let (mut rows, mut batch) = (Told { prints, ..Told::default() }, BatchBuilder::default());
        let mut reader = parser(&lines, true);
        for (offset, line) in (0..).zip(&lines) {
            let fed = reader.feed(line, place(offset), EventTime(0), &mut batch);
            if !matches!(fed, Fed::Events(_)) {
                rows.tell(&fed);
            }
            if batch.is_full() || lines.len() - 1 == usize::try_from(offset)? {
                let full = batch.finish()?;
                (0..full.num_rows()).for_each(|row| rows.tell(&event_at(&full, row)));
            }
        }
        let (alone, rows) = (alone.digest.finish(), rows.digest.finish());
        println!("{file}: {} lines, {events} events, {alone:016x}, {rows:016x}", lines.len());
    }
    Ok(())
}
