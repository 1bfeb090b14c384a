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
    pub(crate) names: Names,
}

/// How changes of names become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// By a sync of each directory.
    Synced,
    /// The same in a store with an intent log: recovery must not replay what the log holds of the key from before.
    BesideLog,
    /// By a record of the intent log. The files and directories are synced later, by a checkpoint.
    Logged,
}

impl Medium {
    /// An fsync: a change that is committed alone.
    pub(crate) const FSYNC: Medium =
        Medium { after_write: &[], before_close: &[Call::SyncFile], barrier: &[], names: Names::Synced };

    /// The data is written out; the sync of the directory commits the rest. Not on every filesystem: see `Barrier::Journal`.
    pub(crate) const JOURNAL: Medium = Medium { before_close: &[Call::SyncRange], ..Medium::FSYNC };

    /// An fsync of each file of a batch. Where all are written out before the first is synced, one journal commit serves them all.
    pub(crate) const PER_FILE_BATCH: Medium =
        Medium { after_write: &[Call::StartSync], before_close: &[Call::WriteOut, Call::SyncFile], ..Medium::FSYNC };

    /// [`Medium::JOURNAL`] for a batch: writeback of all files starts before any is waited for.
    pub(crate) const JOURNAL_BATCH: Medium = Medium { after_write: &[Call::StartSync], ..Medium::JOURNAL };

    /// One `syncfs` for all files of a batch. It would write them out itself, but then ext4 needs two commits of its journal, and
    /// does not report to anyone that a delayed allocation failed (ENOSPC).
    pub(crate) const FILESYSTEM_BATCH: Medium =
        Medium { before_close: &[Call::WriteOut], barrier: &[Call::SyncFilesystem], ..Medium::PER_FILE_BATCH };

    /// A record of the intent log. Nothing is synced before the change is acknowledged.
    pub(crate) const LOGGED: Medium =
        Medium { after_write: &[Call::Describe], before_close: &[], barrier: &[], names: Names::Logged };

    /// An fsync of each file, for changes that the intent log of the store does not hold.
    pub(crate) const BESIDE_LOG: Medium = Medium { names: Names::BesideLog, ..Medium::PER_FILE_BATCH };
}
