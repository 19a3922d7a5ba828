//! Bytes for logs and markers.
//!
//! Owns: the envelope (version, checksum, compression), plain values and Arrow columns as bytes.
//! Never: trusts a byte: what is torn, foreign or hostile is an error, never a panic, and never
//! asks for more memory than it brings evidence for.
//!
//! Envelope: `TG`, kind, version, CRC-32 of all that follows, length of the body, body compressed
//! with LZ4. Numbers are little-endian; texts, lists and maps carry their length first.

mod columns;
mod value;

pub(crate) use columns::{OTHER_COLUMNS, read_batch, write_batch};

/// A body may not be longer: 256 MiB, four times the default budget of a rule.
const BODY_BYTES_MAX: usize = 256 << 20;
/// LZ4 expands by at most 255, so a longer claim is a lie.
const EXPANSION_MAX: usize = 255;
const MAGIC: [u8; 2] = *b"TG";
const HEAD_BYTES: usize = 12;

/// Bytes that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not ours at all, or of another kind.
    #[error("expected a {wanted} here; the bytes begin with {found:02x?}")]
    Foreign {
        /// What was expected.
        wanted: &'static str,
        /// The first bytes.
        found: Vec<u8>,
    },
    /// Written by a version that this one does not know.
    #[error("a {what} of version {found}; this build reads version {known}")]
    Version {
        /// What it is.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The version known.
        known: u8,
    },
    /// Cut short or changed on the way.
    #[error("torn or changed bytes: checksum {found:08x}, expected {wanted:08x}")]
    Checksum {
        /// As computed.
        found: u32,
        /// As written.
        wanted: u32,
    },
    /// Ends in the middle of something.
    #[error("the bytes end inside {what}")]
    Short {
        /// What was being read.
        what: &'static str,
    },
    /// Says something that cannot be.
    #[error("{what} cannot be read")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// More than anybody writes.
    #[error("a body of {bytes} bytes; at most {BODY_BYTES_MAX} are read")]
    TooLong {
        /// Length claimed.
        bytes: usize,
    },
}

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) tag: u8,
    pub(crate) version: u8,
}

/// Puts a body into its envelope.
pub(crate) fn seal(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(HEAD_BYTES + body.len() / 2);
    rest.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    rest.extend_from_slice(&lz4_flex::block::compress(body));
    let mut out = Vec::with_capacity(HEAD_BYTES + rest.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind.tag, kind.version]);
    out.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    out.extend_from_slice(&rest);
    out
}

/// The tag of what an envelope says it holds.
pub(crate) fn tag(bytes: &[u8]) -> Option<u8> {
    bytes.strip_prefix(&MAGIC)?.first().copied()
}

/// Takes a body out of its envelope.
pub(crate) fn unseal(kind: Kind, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    let foreign =
        || WireError::Foreign { wanted: kind.name, found: bytes.iter().copied().take(4).collect() };
    let mut head = Reader::new(bytes);
    if head.take(2, "the envelope").map_err(|_short| foreign())? != MAGIC
        || head.u8().map_err(|_short| foreign())? != kind.tag
    {
        return Err(foreign());
    }
    let version = head.u8()?;
    if version != kind.version {
        let (what, known) = (kind.name, kind.version);
        return Err(WireError::Version { what, found: version, known });
    }
    let wanted = head.u32()?;
    let found = crc32fast::hash(head.rest);
    if found != wanted {
        return Err(WireError::Checksum { found, wanted });
    }
    let length = head.len("the length of the body")?;
    if length > BODY_BYTES_MAX || length > head.rest.len().saturating_mul(EXPANSION_MAX) {
        return Err(WireError::TooLong { bytes: length });
    }
    let body = lz4_flex::block::decompress(head.rest, length)
        .map_err(|_not_lz4| WireError::Malformed { what: "the compressed body" })?;
    if body.len() == length { Ok(body) } else { Err(WireError::Short { what: "the body" }) }
}

/// Appends values.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn put<T: Wire>(&mut self, value: &T) {
        value.write(self);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.len(text.len());
        self.raw(text.as_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A length. Nothing in memory here is longer than 4 GiB: budgets see to that.
    pub(crate) fn len(&mut self, length: usize) {
        self.raw(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// Takes values off the front.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (front, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short { what })?;
        self.rest = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (front, rest) =
            self.rest.split_first_chunk::<N>().ok_or(WireError::Short { what: "a number" })?;
        self.rest = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn len(&mut self, what: &'static str) -> Result<usize, WireError> {
        usize::try_from(self.u32()?).map_err(|_too_long| WireError::Malformed { what })
    }

    /// The length of a list, each of whose items takes at least one byte.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, WireError> {
        let count = self.len(what)?;
        if count > self.rest.len() { Err(WireError::Short { what }) } else { Ok(count) }
    }

    pub(crate) fn get<T: Wire>(&mut self) -> Result<T, WireError> {
        T::read(self)
    }

    /// Nothing may be left over.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Malformed { what }) }
    }
}

/// A value with one way to be written.
pub(crate) trait Wire {
    fn write(&self, out: &mut Writer);
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError>
    where
        Self: Sized;
}

/// Implements [`Wire`] for a struct, field by field in the order given.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn write(&self, out: &mut $crate::wire::Writer) {
                $(out.put(&self.$field);)*
            }
            fn read(
                from: &mut $crate::wire::Reader<'_>,
            ) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: from.get()?,)* })
            }
        }
    };
}
pub(crate) use wire_struct;

#[cfg(test)]
mod tests;
