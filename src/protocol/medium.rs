//! How the contents of files become durable before their names change.

use super::call::Call;

/// The calls that a way of committing makes in each phase, beside those that every change makes.
///
/// Plans are built from it, and the commit schedules plans. `commit/in_flight.rs` chooses the medium of each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Medium {
    /// After the write of each file.
    pub(super) after_write: &'static [Call],
    /// Before each file is closed.
    pub(super) before_close: &'static [Call],
    /// Once for all files, after the last is closed.
    pub(super) barrier: &'static [Call],
}

impl Medium {
    /// An fsync: a change that is committed alone.
    pub(crate) const FSYNC: Medium = Medium { after_write: &[], before_close: &[Call::SyncFile], barrier: &[] };

    /// The data is written out; the sync of the directory commits the rest. Not on every filesystem: see `Barrier::Journal`.
    pub(crate) const JOURNAL: Medium = Medium { after_write: &[], before_close: &[Call::SyncRange], barrier: &[] };

    /// An fsync of each file of a batch. Where all are written out before the first is synced, one journal commit serves them all.
    pub(crate) const PER_FILE_BATCH: Medium =
        Medium { after_write: &[Call::StartSync], before_close: &[Call::WriteOut, Call::SyncFile], ..Medium::FSYNC };

    /// [`Medium::JOURNAL`] for a batch: writeback of all files starts before any is waited for.
    pub(crate) const JOURNAL_BATCH: Medium = Medium { after_write: &[Call::StartSync], ..Medium::JOURNAL };

    /// One `syncfs` for all files of a batch. It would write them out itself, but then ext4 needs two commits of its journal, and
    /// does not report to anyone that a delayed allocation failed (ENOSPC).
    pub(crate) const FILESYSTEM_BATCH: Medium =
        Medium { after_write: &[Call::StartSync], before_close: &[Call::WriteOut], barrier: &[Call::SyncFilesystem] };
}
