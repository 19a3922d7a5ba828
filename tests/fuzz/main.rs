//! Fuzz targets, all in one binary, since each that links DataFusion takes long to link.
//!
//! Owns: which target runs, by `TIDEGATE_FUZZ`. Never: what must hold; that is each target's.
//! `cargo xtask fuzz` builds and runs it.
//!
//! | target | bytes are | what must hold |
//! |---|---|---|
//! | `lines-FORMAT` | lines of that format | events or dead letters, in order, none lost |
//! | `lines-auto`, `lines-template` | lines of any format, or of a template | the same |
//! | `records` | one record, such as OTLP | the same |
//! | `frames` | the body of an entry of the exchange | refused, or applied and read back the same |
//! | `markers` | the body of a marker | refused, or goes on and reads back the same |
//! | `rules` | the text of a rule file | a rule that runs, or a mistake with its place |
//! | `lists` | the text of a list | entries, each of which is in the list |

#![no_main]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz target fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "libFuzzer owns the command line")]

mod envelope;
mod exchange;
mod lines;
mod rules;

use std::path::Path;
use std::sync::OnceLock;

use ingest::{Choice, Format};
use libfuzzer_sys::fuzz_target;

/// Templates of every kind that is read.
const TEMPLATES: [&str; 4] = [
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $upstream_addr $body_bytes_sent",
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %DURATION%",
    "%h %l %u %t \"%r\" %>s %b",
    "{\"time\":\"$time_iso8601\",\"who\":\"$remote_addr\",\"status\":$status}",
];

enum Target {
    Lines(Choice),
    /// The first byte says which.
    Templates(Vec<Choice>),
    Records,
    Frames,
    Markers,
    Rules,
    Lists,
}

static TARGET: OnceLock<Target> = OnceLock::new();

fn choose() -> Target {
    let name = std::env::var("TIDEGATE_FUZZ").expect("TIDEGATE_FUZZ names the target");
    if let Ok(folder) = std::env::var("TIDEGATE_FUZZ_SEEDS") {
        // What this build writes, whatever its version.
        match name.as_str() {
            "frames" => exchange::write_frames(folder.as_ref()),
            "markers" => exchange::write_markers(folder.as_ref()),
            _ => {}
        }
    }
    match name.as_str() {
        "lines-template" => Target::Templates(TEMPLATES.map(|of| of.parse().unwrap()).into()),
        "lines-auto" => {
            every_format_has_a_target();
            Target::Lines(Choice::Auto)
        }
        "records" => Target::Records,
        "frames" => Target::Frames,
        "markers" => Target::Markers,
        "rules" => Target::Rules,
        "lists" => Target::Lists,
        other => {
            let format = other.strip_prefix("lines-").and_then(|format| format.parse().ok());
            let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            Target::Lines(format.unwrap_or_else(|| {
                panic!("there is no target `{other}`; formats are {}", known.join(", "))
            }))
        }
    }
}

fn every_format_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for format in Format::ALL {
        let file = corpus.join(format!("lines-{}.txt", format.name()));
        assert!(file.exists(), "a format without a target: add an empty {}", file.display());
    }
}

fuzz_target!(
    init: {
        if TARGET.set(choose()).is_err() {
            panic!("the target is chosen once");
        }
    },
    |bytes: &[u8]| {
        match TARGET.get().expect("chosen before the first run") {
            Target::Lines(choice) => lines::check(choice, bytes),
            Target::Templates(all) => {
                if let Some((which, rest)) = bytes.split_first() {
                    lines::check(&all[usize::from(*which) % all.len()], rest);
                }
            }
            Target::Records => lines::check_record(bytes),
            Target::Frames => exchange::check_frame(bytes),
            Target::Markers => exchange::check_marker(bytes),
            Target::Rules => rules::check(bytes),
            Target::Lists => rules::check_list(bytes),
        }
    }
);
