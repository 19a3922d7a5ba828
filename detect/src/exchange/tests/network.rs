//! What lies between processes and topics, moved by dice.

use std::time::Duration;

use bytes::Bytes;
use transport::memory::{MemoryLog, Motion};
use transport::{Offset, Partition};

use super::Dice;

/// How the network behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Everything lands at once, and is acknowledged.
    Calm,
    /// Queues move by turns, repeat what was not acknowledged, and go on after their session is
    /// gone, or lose the rest.
    Storm,
}

/// Carries what sessions send, for ever.
pub(super) async fn carry(logs: Vec<MemoryLog>, mut dice: Dice, weather: Weather) {
    loop {
        for log in &logs {
            match weather {
                Weather::Calm => {
                    for queue in 0..log.queues() {
                        while log.happens(queue, Motion::Land) {}
                        while log.happens(queue, Motion::Acknowledge) {}
                    }
                }
                Weather::Storm => storm(log, &mut dice),
            }
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

fn storm(log: &MemoryLog, dice: &mut Dice) {
    for _motion in 0..6 {
        let queues = u64::try_from(log.queues()).unwrap();
        if queues == 0 {
            return;
        }
        let queue = usize::try_from(dice.below(queues)).unwrap();
        let motion = match dice.below(100) {
            0..55 => Motion::Land,
            55..93 => Motion::Acknowledge,
            93..97 => Motion::Repeat,
            _ => Motion::Lose,
        };
        log.happens(queue, motion);
    }
}

/// A record whose bytes a disk has damaged, and what they were.
#[derive(Debug)]
pub(super) struct Torn {
    partition: Partition,
    offset: Offset,
    was: Bytes,
}

impl Torn {
    /// Cuts or changes one of the last records of a topic; `None` where there is none yet.
    pub(super) fn one_of(
        log: &MemoryLog,
        bounds: (Partition, i64),
        dice: &mut Dice,
    ) -> Option<Self> {
        let (partition, end) = bounds;
        let back = i64::try_from(dice.below(4)).unwrap() + 1;
        let offset = Offset(end - back);
        let was = log.replace_value(partition, offset, Bytes::new())?;
        if was.is_empty() {
            return None;
        }
        let torn = match dice.below(3) {
            0 => Bytes::new(),
            1 => {
                let length = dice.below(u64::try_from(was.len()).unwrap());
                was.slice(..usize::try_from(length).unwrap())
            }
            _ => {
                let mut bytes = was.to_vec();
                let place = dice.below(u64::try_from(bytes.len()).unwrap());
                bytes[usize::try_from(place).unwrap()] ^= 1 << dice.below(8);
                Bytes::from(bytes)
            }
        };
        log.replace_value(partition, offset, torn);
        Some(Self { partition, offset, was })
    }

    pub(super) fn place(&self) -> (u32, i64) {
        (self.partition.0, self.offset.0)
    }

    /// Somebody copies the record from a replica.
    pub(super) fn mend(self, log: &MemoryLog) {
        log.replace_value(self.partition, self.offset, self.was);
    }
}
