//! Room for the bodies of requests that are under way.
//!
//! Owns: the bound on all of them together. Never: waits; who finds no room is told so.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use http_body_util::{LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What room is counted in: permits are 32 bits wide.
const UNIT_BYTES: usize = 1024;

/// Bytes that may be held at a time, by all who share it. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

/// There is no room now; there will be once others are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as much is being taken in as there is room for; send it again")]
pub struct NoRoom;

/// Why a body was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    NoRoom,
    TooLarge,
    Broken,
}

impl Room {
    /// For so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// Begins to take something in.
    #[must_use]
    pub fn fill(&self) -> Filling {
        Filling { bytes: Vec::new(), hold: self.hold() }
    }

    /// Holds nothing yet.
    #[must_use]
    pub fn hold(&self) -> Hold {
        Hold { room: Arc::clone(&self.0), bytes: 0, held: None }
    }

    /// Takes a body in, of at most so many bytes.
    pub(super) async fn read(&self, body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
        let mut body = Limited::new(body, bytes_max);
        let mut filling = self.fill();
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            let frame = frame.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Unread::TooLarge,
                None => Unread::Broken,
            })?;
            let Ok(mut data) = frame.into_data() else { continue };
            while data.has_remaining() {
                let part = data.chunk();
                filling.push(part).map_err(|NoRoom| Unread::NoRoom)?;
                let len = part.len();
                data.advance(len);
            }
        }
        Ok(filling.done())
    }
}

/// Room that is held, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    room: Arc<Semaphore>,
    bytes: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Hold {
    /// Holds so many bytes more.
    ///
    /// # Errors
    /// When there is no room for them now; what was held before still is.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = self.bytes.saturating_add(bytes);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(held);
        if more > 0 {
            let more = u32::try_from(more).map_err(|_many| NoRoom)?;
            let more = Arc::clone(&self.room).try_acquire_many_owned(more);
            let more = more.map_err(|_none| NoRoom)?;
            match &mut self.held {
                Some(held) => held.merge(more),
                None => self.held = Some(more),
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

/// Something that is taken in. What it holds is given back when it, or the last slice of its bytes,
/// is dropped.
#[derive(Debug)]
pub struct Filling {
    bytes: Vec<u8>,
    hold: Hold,
}

impl Filling {
    /// Takes a part in.
    ///
    /// # Errors
    /// When there is no room for it now.
    pub fn push(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        self.hold.grow(part.len())?;
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Makes so many bytes more, all zero, to be written to.
    ///
    /// # Errors
    /// When there is no room for them now.
    pub fn grow(&mut self, len: usize) -> Result<&mut [u8], NoRoom> {
        self.hold.grow(len)?;
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        Ok(self.bytes.get_mut(start..).unwrap_or_default())
    }

    /// How many bytes were taken in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All of it.
    #[must_use]
    pub fn done(self) -> Bytes {
        let Self { bytes, hold } = self;
        Bytes::from_owner(Held { bytes, _hold: hold })
    }
}

/// Bytes, with the room that they take.
struct Held {
    bytes: Vec<u8>,
    _hold: Hold,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{NoRoom, Room};

    #[test]
    fn room_is_given_back_with_the_last_slice() {
        let room = Room::new(4096);
        let mut first = room.fill();
        first.push(&[1; 1000]).unwrap();
        first.push(&[2; 1000]).unwrap();
        let slice = first.done().slice(..10);
        let mut second = room.fill();
        second.push(&[3; 2048]).unwrap();
        assert_eq!(second.push(&[3; 1]), Err(NoRoom));
        assert_eq!(second.len(), 2048);
        drop(slice);
        second.push(&[3; 2048]).unwrap();
        assert_eq!(room.fill().push(&[4]), Err(NoRoom));
        drop(second);
        room.fill().push(&[4; 4096]).unwrap();
    }
}
