//! Compressed bodies.
//!
//! Owns: gzip, deflate, zstd and snappy, each with a bound on what comes out, and one on what comes
//! out of all that are under way. Never: what is in a body.

use std::io::Read;

use axum::body::Bytes;
use runtime::http::{Room, axum};

use super::Refused;

/// Bytes of a body when it is not compressed any more: four times what may be sent, since logs
/// shrink to a tenth, so that a sender need not guess.
const OPENED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of all bodies that were opened and are not written yet: eight of the largest at once.
pub(super) const OPENED_ROOM_BYTES: usize = 8 * OPENED_BYTES_MAX;
/// Bytes that are opened at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The body as it was before it was compressed, in the way of this name.
pub(super) fn opened(encoding: Option<&str>, body: Bytes, room: &Room) -> Result<Bytes, Refused> {
    match encoding.map(|encoding| encoding.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => read(flate2::read::MultiGzDecoder::new(&*body), room),
        Some("deflate") => read(flate2::read::ZlibDecoder::new(&*body), room),
        Some("zstd") => match zstd::stream::read::Decoder::new(&*body) {
            Ok(reader) => read(reader, room),
            Err(_broken) => Err(Refused::Unreadable("the body is no zstd")),
        },
        Some("snappy") => snappy(&body, room),
        Some(_) => Err(Refused::Encoding),
    }
}

/// Snappy's block format, which Loki's clients send without naming it.
pub(super) fn snappy(body: &[u8], room: &Room) -> Result<Bytes, Refused> {
    const BROKEN: Refused = Refused::Unreadable("the body is no snappy block");
    let len = snap::raw::decompress_len(body).map_err(|_broken| BROKEN)?;
    if len > OPENED_BYTES_MAX {
        return Err(Refused::TooLarge(OPENED_BYTES_MAX));
    }
    let mut filling = room.fill();
    let opened = filling.grow(len)?;
    let written = snap::raw::Decoder::new().decompress(body, opened).map_err(|_broken| BROKEN)?;
    if written != len {
        return Err(BROKEN);
    }
    Ok(filling.done())
}

fn read(mut reader: impl Read, room: &Room) -> Result<Bytes, Refused> {
    let mut filling = room.fill();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = reader.read(&mut piece).map_err(|_broken| {
            Refused::Unreadable("the body is not what its Content-Encoding says")
        })?;
        if read == 0 {
            return Ok(filling.done());
        }
        if filling.len() + read > OPENED_BYTES_MAX {
            return Err(Refused::TooLarge(OPENED_BYTES_MAX));
        }
        filling.push(piece.get(..read).unwrap_or_default())?;
    }
}
