//! Fixes which records are live while they are brought into the files.

use super::scan::Contents;
use super::storage::Storage;
use super::superblock::State;
use super::superblocks::Superblocks;
use crate::engine::is_mutant;

/// Lets `apply` bring the live records into the files, durably. The log is clean afterwards.
///
/// Whatever interrupts this, the next recovery finds the same records: which are live is fixed, durably, before the first file
/// changes. `fail` makes an error of a failed write.
pub(crate) fn recover<E>(
    storage: &dyn Storage,
    contents: &Contents,
    fail: impl Fn(nix::Error) -> E,
    apply: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let mut superblocks = Superblocks::of(contents);
    if !is_mutant!(CachedSuperblock) {
        superblocks.confirm(storage).map_err(&fail)?;
    }
    if contents.copied_from.is_some() {
        // Accepted for good: what interrupts the recovery finds a log that is no copy.
        let inode = storage.inode();
        superblocks.change(storage, |superblock| superblock.inode = inode).map_err(&fail)?;
    }
    if contents.records.iter().any(|record| !record.entries.is_empty()) {
        if !is_mutant!(OpenEnd) {
            fix_end(storage, contents, &mut superblocks).map_err(&fail)?;
        }
        apply()?;
    }
    if contents.superblock.state != State::Clean {
        superblocks.clean(storage, contents.head).map_err(&fail)?;
    }
    if contents.copied_from.is_some() {
        // Of no file: the next session makes a log of its own, since the copy may share its blocks with the original.
        superblocks.change(storage, |superblock| superblock.inode = 0).map_err(&fail)?;
    }
    Ok(())
}

fn fix_end(storage: &dyn Storage, contents: &Contents, superblocks: &mut Superblocks) -> nix::Result<()> {
    // The last record may be in the cache of the device only: what is to be applied must stay.
    let last = contents.records.last().expect("one of them has changes");
    if !is_mutant!(OldTail) {
        let offset = last.header.position.offset;
        storage.write(&storage.read(offset, last.len as usize)?, offset)?;
    }
    let end = contents.head;
    superblocks.change(storage, |superblock| superblock.state = State::Recovering { end })
}
