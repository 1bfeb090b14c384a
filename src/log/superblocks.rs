//! Writes superblocks: every change of what a log belongs to, and of where its live records begin.

use super::layout::{Position, SLOTS};
use super::scan::Contents;
use super::storage::Storage;
use super::superblock::{State, Superblock};

/// The superblock of a log, and the slots that hold it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Superblocks {
    current: Superblock,
    /// The slot to write first: the other one holds the current superblock for certain.
    first_slot: usize,
}

impl Superblocks {
    pub(crate) fn of(contents: &Contents) -> Superblocks {
        Superblocks { current: contents.superblock, first_slot: contents.first_slot }
    }

    /// The superblock of a new log, which is in no slot yet.
    pub(crate) fn fresh(superblock: Superblock) -> Superblocks {
        Superblocks { current: superblock, first_slot: 0 }
    }

    pub(crate) fn current(&self) -> &Superblock {
        &self.current
    }

    /// Durably changes the superblock in both slots, one after the other, so that one is whole at any moment, and either alone is
    /// right afterwards.
    ///
    /// After an error the slot that failed is unknown. Only that slot may be written again; the next change begins with it.
    pub(crate) fn change(&mut self, storage: &dyn Storage, change: impl FnOnce(&mut Superblock)) -> nix::Result<()> {
        let mut next = self.current;
        change(&mut next);
        next.generation += 1;
        let block = next.encode();
        for slot in [self.first_slot, 1 - self.first_slot] {
            self.first_slot = slot;
            storage.write(&block, SLOTS[slot])?;
            // From here on this slot counts, since its generation is greater. If the other one fails, it is written first.
            self.current = next;
        }
        self.first_slot = 0;
        Ok(())
    }

    /// No record is live, and the next one goes to `head`.
    pub(crate) fn clean(&mut self, storage: &dyn Storage, head: Position) -> nix::Result<()> {
        self.change(storage, |superblock| {
            superblock.state = State::Clean;
            superblock.start = head;
        })
    }
}
