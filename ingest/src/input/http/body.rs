//! Compressed bodies.
//!
//! Owns: gzip, deflate, zstd and snappy, each with a bound on what comes out.
//! Never: what is in a body.

use std::io::Read;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use runtime::http::axum;

use super::Refused;

/// Bytes of a body when it is not compressed any more: four times what may be sent, since logs
/// shrink to a tenth, so that a sender need not guess. 64 requests at once hold 2 GiB.
const OPENED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The body as it was before it was compressed.
pub(super) fn opened(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refused> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    match encoding.map(|encoding| encoding.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => read(flate2::read::MultiGzDecoder::new(&*body)),
        Some("deflate") => read(flate2::read::ZlibDecoder::new(&*body)),
        Some("zstd") => match zstd::stream::read::Decoder::new(&*body) {
            Ok(reader) => read(reader),
            Err(_broken) => Err(Refused::Unreadable("the body is no zstd")),
        },
        Some("snappy") => snappy(&body),
        Some(_) => Err(Refused::Unreadable(
            "this Content-Encoding is not read; send gzip, zstd, or the body as it is",
        )),
    }
}

/// Snappy's block format, which Loki's clients send without naming it.
pub(super) fn snappy(body: &[u8]) -> Result<Bytes, Refused> {
    const BROKEN: Refused = Refused::Unreadable("the body is no snappy block");
    let len = snap::raw::decompress_len(body).map_err(|_broken| BROKEN)?;
    if len > OPENED_BYTES_MAX {
        return Err(Refused::TooLarge(OPENED_BYTES_MAX));
    }
    let opened = snap::raw::Decoder::new().decompress_vec(body).map_err(|_broken| BROKEN)?;
    Ok(Bytes::from(opened))
}

fn read(reader: impl Read) -> Result<Bytes, Refused> {
    let mut opened = Vec::new();
    let limit = u64::try_from(OPENED_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    match reader.take(limit).read_to_end(&mut opened) {
        Ok(_) if opened.len() > OPENED_BYTES_MAX => Err(Refused::TooLarge(OPENED_BYTES_MAX)),
        Ok(_) => Ok(Bytes::from(opened)),
        Err(_broken) => Err(Refused::Unreadable("the body is not what its Content-Encoding says")),
    }
}
