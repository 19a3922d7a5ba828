//! An HTTP input that makes lines durable, and reads them back out of its log into events.
//!
//! `cargo xtask bench ingest` starts it as `bulk FOLDER LINES`, posts so many lines to the address
//! that it prints, and takes its CPU time when it says that all of them are events: the way of a
//! line through `tidegate up` as far as `ingest` goes, in a process of its own.
//!
//! Owns: that process. Never: the requests, which `xtask` makes.

#![expect(clippy::print_stdout, reason = "a benchmark's answer is what it prints")]

use std::error::Error;
use std::hint::black_box;
use std::path::Path;

use ingest::input::{HttpInput, RawLog, RawRecord, lines_router};
use ingest::{Fed, Keys, Parser, Place, Settings};
use mimalloc::MiMalloc;
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::http::{HttpMetrics, Listening, Serving, listen, serve};
use runtime::metrics::Metrics;
use schemas::{BatchBuilder, EventTime};
use transport::embedded::{Store, StoreOptions};
use transport::{NextOffset, ReadLimits};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Reads the log until so many lines are events.
async fn events(raw: &RawLog, wanted: usize) -> Result<(), Box<dyn Error>> {
    let mut parser = Parser::new(Settings::default(), Keys::new([7; 16]));
    let mut reader = raw.log().reader(RawLog::PARTITION, NextOffset::ZERO).await?;
    let (mut batch, mut events) = (BatchBuilder::default(), 0);
    while events < wanted {
        for record in reader.next(ReadLimits::default()).await?.records {
            let line = RawRecord::of(&record);
            let place = Place { topic: "raw", partition: 0, offset: record.offset.0 };
            match parser.feed(line.value, place, EventTime(line.taken_ms), &mut batch) {
                Fed::Events(count) => events += count,
                other => return Err(format!("a line is no event: {other:?}").into()),
            }
            if batch.is_full() {
                black_box(batch.finish()?);
            }
        }
        black_box(batch.finish()?);
    }
    println!("events {events}");
    Ok(())
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let (Some(folder), Some(wanted)) = (words.next(), words.next()) else {
        println!("not run: `cargo xtask bench ingest` starts this as `bulk FOLDER LINES`");
        return Ok(());
    };
    let clock = Clock::system();
    let store = Store::open(Path::new(&folder), StoreOptions::new(clock.clone()))?;
    let raw = RawLog::open(&store, clock)?;
    let address = "127.0.0.1:0".parse()?;
    let listener = listen(Listening { what: "bench", address, setting: "bench" }).await?;
    println!("listening {}", listener.local_addr()?);
    let router = lines_router(HttpInput::new("edge", None, raw.clone()));
    let serving = Serving::new(HttpMetrics::new(&Metrics::new(), "bench"));
    let stop = CancellationToken::new();
    // It serves on when all are events, until whoever measures has looked.
    let served = async { serve(listener, router, serving, stop).await.map_err(Into::into) };
    tokio::try_join!(served, events(&raw, wanted.parse()?)).map(|((), ())| ())
}
