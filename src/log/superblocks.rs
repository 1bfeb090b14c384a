//! Writes superblocks: every change of what a log belongs to, and of where its live records begin.

use super::layout::{AREA, Layout, Position, SLOTS};
use super::scan::Contents;
use super::storage::Storage;
use super::superblock::{LogId, State, Superblock};
#[cfg(any(test, ringbolt_mutants))]
use crate::engine::Mutant;

/// The superblock of a log, and the slots that hold it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Superblocks {
    current: Superblock,
    /// The slot to write first: the other one holds the current superblock for certain.
    first_slot: usize,
    /// Whether that slot held no superblock when the log was read.
    is_lone: bool,
    /// The protocol of the store, if it is a wrong one.
    #[cfg(any(test, ringbolt_mutants))]
    mutant: Option<Mutant>,
}

impl Superblocks {
    pub(crate) fn of(contents: &Contents) -> Superblocks {
        Superblocks {
            current: contents.superblock,
            first_slot: contents.first_slot,
            is_lone: contents.is_lone,
            #[cfg(any(test, ringbolt_mutants))]
            mutant: Mutant::chosen(),
        }
    }

    /// Makes a new, clean log with this layout and id, durably.
    pub(crate) fn create(storage: &dyn Storage, layout: Layout, id: LogId) -> nix::Result<Superblocks> {
        let start = Position { offset: AREA, sequence: 1 };
        let (inode, state) = (storage.inode(), State::Clean);
        let current =
            Superblock { layout, id, inode, generation: 0, state, epoch: 0, first: 0, start, version_floor: 0 };
        let mut superblocks = Superblocks {
            current,
            first_slot: 0,
            is_lone: false,
            #[cfg(any(test, ringbolt_mutants))]
            mutant: Mutant::chosen(),
        };
        superblocks.change(storage, |_| ()).map(|()| superblocks)
    }

    /// Writes the current superblock into its slot again. Before a restart it may have reached only the cache of the device, and the
    /// next change writes the other slot first: a power cut during that could then leave neither. If the other slot is invalid, the
    /// current one was durable before that was written, and is not put at risk: the other one is written.
    pub(crate) fn confirm(&self, storage: &dyn Storage) -> nix::Result<()> {
        let slot = if self.is_lone { self.first_slot } else { 1 - self.first_slot };
        storage.write(&self.current.encode(), SLOTS[slot])
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
            #[cfg(any(test, ringbolt_mutants))]
            if self.mutant == Some(Mutant::OneSlot) {
                self.first_slot = 1 - slot;
                return Ok(());
            }
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
