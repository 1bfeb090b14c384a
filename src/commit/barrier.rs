//! Barriers: how a commit makes the content of its files durable, and where each barrier holds.

use std::fmt;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::{Dir, sys};

/// How a commit makes the content of its files durable: before their names change or, with [`Journal`](Barrier::Journal), together
/// with the names.
///
/// With every barrier, an acknowledged change survives a power cut. They differ in cost and in what they rely on. Except with
/// [`IntentLog`](Barrier::IntentLog), each directory is synced after the files, once for all changes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Barrier {
    /// Chooses [`PerFile`](Barrier::PerFile) or [`Filesystem`](Barrier::Filesystem) for each batch: the one that has lately
    /// cost less on this filesystem for batches of this size. Uses only `PerFile` where `Filesystem` does not hold. From
    /// time to time it tries the other barrier, and spends no more than a few percent of its time on that.
    /// [`Store::stats`](crate::Store::stats) shows what it has chosen, and why. A single put uses `PerFile`.
    #[default]
    Auto,
    /// Syncs every file by itself, many at the same time, so that the filesystem can merge the syncs. Holds everywhere.
    PerFile,
    /// Calls `syncfs` once for all files. This flushes the device far less often when many changes are in a batch, but it also
    /// writes back all other data on that filesystem. Needs Linux 5.17 or later (before, syncfs(2) did not report every
    /// error), and ext4, btrfs, xfs without a realtime device, or tmpfs; anywhere else the store does not open. A batch that
    /// begins with one change, when no other is queued, uses `PerFile`.
    Filesystem,
    /// Writes the data of all files to the device (`sync_file_range`) and waits for it. The sync of the directory then
    /// commits sizes, extents and names together, and its flush of the device's cache covers the data. This takes half the
    /// flushes or fewer, also for a single put.
    ///
    /// POSIX does not guarantee this; it relies on how the filesystem's journal works. So it must be requested, and holds only
    /// on ext4 with an internal journal (`data=ordered`, barriers on, no `fast_commit`, no `journal_async_commit`) and on xfs
    /// without a realtime device or an external log; anywhere else the store does not open. It never holds on btrfs. Only
    /// the device shows that an ext4 has no `fast_commit`, so the process that opens the store must be allowed to read the
    /// device (root, group `disk`).
    Journal,
    /// Uses [`Journal`](Barrier::Journal) where it holds, else [`Auto`](Barrier::Auto).
    JournalOrAuto,
    /// Writes the changes of a commit as one record to a file of its own, the intent log, with one flush of the device, and
    /// changes the files without syncing them. Checkpoints sync the files later: in the background, on
    /// [`Store::checkpoint`](crate::Store::checkpoint), and when the store is closed.
    ///
    /// An acknowledged change survives a power cut in the log. **The files are right again only when the store has been opened**:
    /// until then, one that was changed since the last checkpoint may be old, empty or torn, and
    /// [`Reader::open`](crate::Reader::open) refuses the store. Values over 256 KiB, files written through
    /// [`Store::writer`](crate::Store::writer), and renames of long files, of files with extended attributes or of several names are
    /// made durable by syncs.
    ///
    /// Needs Linux 5.17 or later, and ext4, or xfs without a realtime device; anywhere else the store does not open. The log is
    /// written through an io_uring of its own with [`Engine::Uring`](crate::Engine::Uring) and, where io_uring works, with
    /// [`Engine::Auto`](crate::Engine::Auto). `docs/intent-log.md` describes it.
    IntentLog,
    /// Uses [`IntentLog`](Barrier::IntentLog) where it holds, else [`Auto`](Barrier::Auto).
    IntentLogOrAuto,
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Barrier::Auto => "auto",
            Barrier::PerFile => "per-file",
            Barrier::Filesystem => "filesystem",
            Barrier::Journal => "journal",
            Barrier::JournalOrAuto => "journal-or-auto",
            Barrier::IntentLog => "intent-log",
            Barrier::IntentLogOrAuto => "intent-log-or-auto",
        })
    }
}

/// The barrier that a commit uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BarrierKind {
    /// [`Barrier::PerFile`].
    PerFile,
    /// [`Barrier::Filesystem`].
    Filesystem,
    /// [`Barrier::Journal`].
    Journal,
    /// [`Barrier::IntentLog`].
    IntentLog,
}

impl fmt::Display for BarrierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BarrierKind::PerFile => "per-file",
            BarrierKind::Filesystem => "filesystem",
            BarrierKind::Journal => "journal",
            BarrierKind::IntentLog => "intent-log",
        })
    }
}

/// The barriers that hold in a store, as found when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// `PerFile`, and `Filesystem` unless there is a reason against it.
    Either {
        /// Why `Filesystem` does not hold.
        no_filesystem: Option<String>,
        /// Why `Journal` or `IntentLog` does not hold, if it was preferred.
        no_preferred: Option<String>,
    },
    Only(BarrierKind),
}

impl Barrier {
    /// Finds the barriers that hold in the store at `root`.
    pub(crate) fn resolve(self, root: &Dir) -> Result<Allowed> {
        let no_filesystem = || sys::no_syncfs(root.fd());
        let refused =
            |why: String| Err(Error::new(ErrorKind::UnsupportedBarrier, Step::Check, root.path()).with_detail(why));
        match self {
            Barrier::Auto => Ok(Allowed::Either { no_filesystem: no_filesystem(), no_preferred: None }),
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
                no_preferred => Ok(Allowed::Either { no_filesystem: no_filesystem(), no_preferred }),
            },
            Barrier::IntentLog => match sys::no_intent_log(root.fd()) {
                None => Ok(Allowed::Only(BarrierKind::IntentLog)),
                Some(why) => refused(why),
            },
            Barrier::IntentLogOrAuto => match sys::no_intent_log(root.fd()) {
                None => Ok(Allowed::Only(BarrierKind::IntentLog)),
                no_preferred => Ok(Allowed::Either { no_filesystem: no_filesystem(), no_preferred }),
            },
        }
    }
}
