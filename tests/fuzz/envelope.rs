//! The engine's envelope around bytes that libFuzzer made up: magic, kind, version, checksum,
//! length and compression are right, so that what is in it is read.

/// Magic, kind and version of an entry, as this build writes them.
pub(crate) type Head = [u8; 4];

/// Magic, kind and version, checksum, length.
const HEAD_BYTES: usize = 12;

/// The head and the body of what this build wrote.
pub(crate) fn open(sealed: &[u8]) -> (Head, Vec<u8>) {
    let length = u32::from_le_bytes(sealed[8..HEAD_BYTES].try_into().unwrap());
    let body = lz4_flex::block::decompress(&sealed[HEAD_BYTES..], length as usize).unwrap();
    (sealed[..4].try_into().unwrap(), body)
}

/// The body in an envelope of this kind.
pub(crate) fn seal(head: Head, body: &[u8]) -> Vec<u8> {
    let mut rest = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    rest.extend_from_slice(&lz4_flex::block::compress(body));
    let mut sealed = head.to_vec();
    sealed.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    sealed.extend_from_slice(&rest);
    sealed
}
