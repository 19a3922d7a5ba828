//! What the simulation leaves out of the delivery rules, to show that each part is needed.
//!
//! Owns: doing wrong what a rule asks for. Never: compiled into anything but tests of this crate.

use engine::accept::Sources;
use engine::frame::{Frame, Owner};
use schemas::EventTime;
use transport::{NextOffset, Partition};

use super::Exchange;
use super::marker::Folded;
use super::takeover::{Taken, owner_of};

/// A part of a delivery rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// 6: a new owner's term is above those before.
    HigherTerm,
    /// 6: an owner's id is new at every assignment.
    NewId,
    /// 7: only the owner's frames count.
    OnlyTheOwner,
    /// 7: a frame begins where the last one ended.
    WhereTheLastEnded,
    /// 8: a marker says how far the log was used, and not further.
    MarkerOfTheLog,
    /// 9: a new owner opens everywhere.
    OpenEverywhere,
    /// 9: it reads on to its own open before it begins.
    ReadBack,
    /// 9: it begins at the smallest place applied.
    Smallest,
    /// 9: with the last accepted origin.
    WithOrigin,
    /// 9: with the watermark as of there.
    WithWatermark,
    /// 9: each exchange partition gets only what is past its own.
    OnlyWhatIsPast,
    /// 9: and steps end where an exchange partition has got to.
    EndWhereApplied,
    /// 10: owners look whether there is a higher one.
    Look,
    /// 11: nothing is begun from what was committed.
    NotFromCommits,
}

impl Exchange {
    fn lacks(&self, part: Part) -> bool {
        self.left_out == Some(part)
    }

    pub(super) fn without_part_of_owner(
        &self,
        owner: Owner,
        folded: &[Folded],
        partition: u32,
    ) -> Owner {
        match self.left_out {
            Some(Part::HigherTerm) => Owner { term: 1, ..owner },
            Some(Part::NewId) => {
                // A process that goes on as who it was.
                let known = folded.iter().filter_map(|fold| owner_of(fold, partition)).max();
                Owner { id: 7, term: known.map_or(1, |known| known.term) }
            }
            _ => owner,
        }
    }

    pub(super) fn is_not_opened(&self, partition: Partition) -> bool {
        self.lacks(Part::OpenEverywhere) && partition.0 > 0
    }

    pub(super) fn does_not_read_back(&self) -> bool {
        self.lacks(Part::ReadBack)
    }

    pub(super) fn without_part_of_taken(&self, taken: Taken) -> Taken {
        match self.left_out {
            Some(Part::Smallest) => {
                let position = taken.applied.iter().copied().max().unwrap_or(taken.position);
                Taken { position, ..taken }
            }
            Some(Part::WithOrigin) => Taken { origin: None, ..taken },
            Some(Part::WithWatermark) => Taken { watermark: EventTime::MIN, ..taken },
            Some(Part::OnlyWhatIsPast) => {
                Taken { applied: vec![taken.position; taken.applied.len()], ..taken }
            }
            _ => taken,
        }
    }

    pub(super) fn by_commits(&self, taken: Taken, committed: Option<NextOffset>) -> Taken {
        match committed {
            Some(committed) if self.lacks(Part::NotFromCommits) => {
                Taken { position: committed.0, ..taken }
            }
            _ => taken,
        }
    }

    pub(super) fn without_cuts(&self, cuts: &mut Vec<i64>) {
        if self.lacks(Part::EndWhereApplied) {
            cuts.clear();
        }
    }

    pub(super) fn never_looks(&self) -> bool {
        self.lacks(Part::Look)
    }

    /// A frame that is taken whoever sent it, or wherever it begins.
    pub(super) fn forced(&self, frame: Frame, sources: &Sources) -> Frame {
        let found = sources.progress().find(|(of, _)| *of == frame.partition);
        let Some((owner, applied)) = found.and_then(|(_, of)| Some((of.owner?, of.applied?)))
        else {
            return frame;
        };
        match self.left_out {
            Some(Part::OnlyTheOwner) => Frame { owner, ..frame },
            Some(Part::WhereTheLastEnded) if frame.from != applied && frame.owner == owner => {
                let least = applied + i64::from(!frame.blocks.is_empty());
                Frame { from: applied, to: frame.to.max(least), ..frame }
            }
            _ => frame,
        }
    }

    pub(super) fn ahead(&self, next: NextOffset) -> NextOffset {
        NextOffset(next.0 + 3 * i64::from(self.lacks(Part::MarkerOfTheLog)))
    }
}
