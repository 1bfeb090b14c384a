//! Barriers: how the files of a commit are made durable before their names change, and where each of them holds.

use std::fmt;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::dir::Dir;
use crate::fs::sys;

/// How the files of changes that meet are made durable before their names change.
///
/// With each of them, what has been acknowledged survives a power cut; they differ in what that costs, and in what it rests
/// upon. However the files are made durable, each directory is then synced once for all changes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Barrier {
    /// [`PerFile`](Barrier::PerFile) or [`Filesystem`](Barrier::Filesystem), whichever has cost less lately on this
    /// filesystem for as many files at once; only `PerFile` where the other does not hold. Now and then it tries the
    /// other, and spends no more than a few percent of its time on that. [`Store::stats`](crate::Store::stats) tells what it
    /// has chosen, and why. A put that is alone goes by `PerFile`.
    #[default]
    Auto,
    /// Every file is synced by itself, many at the same time: the filesystem merges what it can. Holds everywhere.
    PerFile,
    /// One `syncfs` for all: far fewer flushes of the device when many changes meet, but it writes back everybody's data on
    /// that filesystem, too. Linux 5.17 or later (before, syncfs(2) did not report every error), on ext4, btrfs, xfs
    /// without a realtime device, and tmpfs; anywhere else the store does not open. A batch that begins with one change, when
    /// nobody else is there, goes by `PerFile`.
    Filesystem,
    /// The data of all files is written out to the device (`sync_file_range`) and waited for; then the one sync of the
    /// directory commits sizes, extents and names together, and its flush of the device's cache covers the data. Half the
    /// flushes or fewer, also for a put that is alone.
    ///
    /// POSIX does not promise that; it rests on how the filesystem's journal works. So it must be asked for, and holds only
    /// on ext4 with an internal journal (`data=ordered`, barriers on, no `fast_commit`, no `journal_async_commit`) and on xfs
    /// without realtime device or external log; anywhere else the store does not open. Never on btrfs. That an ext4 has no
    /// `fast_commit` is told by its device alone: who opens the store must be allowed to read that (root, group `disk`).
    Journal,
    /// [`Journal`](Barrier::Journal) where it holds, else [`Auto`](Barrier::Auto).
    JournalOrAuto,
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Barrier::Auto => "auto",
            Barrier::PerFile => "per-file",
            Barrier::Filesystem => "filesystem",
            Barrier::Journal => "journal",
            Barrier::JournalOrAuto => "journal-or-auto",
        })
    }
}

/// What one commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BarrierKind {
    /// As [`Barrier::PerFile`].
    PerFile,
    /// As [`Barrier::Filesystem`].
    Filesystem,
    /// As [`Barrier::Journal`].
    Journal,
}

impl fmt::Display for BarrierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BarrierKind::PerFile => "per-file",
            BarrierKind::Filesystem => "filesystem",
            BarrierKind::Journal => "journal",
        })
    }
}

/// What may be done in a store, as found when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// One of two; where `Filesystem` does not hold, why.
    Either {
        no_filesystem: Option<String>,
        /// Where a journal was preferred, why it does not hold.
        no_journal: Option<String>,
    },
    Only(BarrierKind),
}

impl Barrier {
    /// What this comes to in the store of which `root` is the directory.
    pub(crate) fn resolve(self, root: &Dir) -> Result<Allowed> {
        let no_filesystem = || sys::no_syncfs(root.fd());
        let refused =
            |why: String| Err(Error::new(ErrorKind::UnsupportedBarrier, Step::Check, root.path()).with_detail(why));
        match self {
            Barrier::Auto => Ok(Allowed::Either { no_filesystem: no_filesystem(), no_journal: None }),
            Barrier::PerFile => Ok(Allowed::Only(BarrierKind::PerFile)),
            Barrier::Filesystem => match no_filesystem() {
                None => Ok(Allowed::Only(BarrierKind::Filesystem)),
                Some(why) => refused(why),
            },
            Barrier::Journal => match sys::no_journal(root.fd()) {
                None => Ok(Allowed::Only(BarrierKind::Journal)),
                Some(why) => refused(why),
            },
            Barrier::JournalOrAuto => match sys::no_journal(root.fd()) {
                None => Ok(Allowed::Only(BarrierKind::Journal)),
                no_journal => Ok(Allowed::Either { no_filesystem: no_filesystem(), no_journal }),
            },
        }
    }
}
