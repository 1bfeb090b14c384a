//! One system call of the protocol, its phase, and the rule for linking calls.

use std::ops::Range;

use nix::errno::Errno;

use super::version::Version;
use crate::error::Step;

/// The most bytes in one write call. Linux stops at 0x7ffff000 bytes, macOS at `INT_MAX`.
pub(crate) const WRITE_MAX: usize = 1 << 30;

/// The most calls in one stage: an engine's queue must hold any stage whole.
pub(crate) const STAGE_MAX: usize = 8;

/// A system call. Its operands (directories, names, bytes, the open file) are in the engine's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `openat(dir, temp, O_CREAT|O_EXCL|O_NOFOLLOW|O_WRONLY, mode)`
    CreateTemp { mode: u32 },
    /// `fchown(file, uid, gid)`, unless the file already has this owner. May clear set-id bits.
    SetOwner(Owner),
    /// `fsetxattr(file)` for each extended attribute in the job.
    SetAttributes,
    /// `fchmod(file, mode)`: exact, whatever the umask.
    SetMode { mode: u32 },
    /// `pwrite` of this range of the content at the same offset. `sync` makes it durable in the same call (`RWF_SYNC`).
    Write { range: Range<usize>, sync: bool },
    /// `futimens(file)`: stores the version of the content.
    Stamp { version: Version },
    /// `sync_file_range(file, WRITE)`: starts writeback and does not wait.
    StartSync,
    /// `sync_file_range(file, WAIT_BEFORE|WRITE|WAIT_AFTER)` to save time. A sandbox may refuse it: then the file is synced by
    /// itself.
    WriteOut,
    /// The same call where durability depends on it: the data is on the device, possibly in the device's cache.
    SyncRange,
    /// `fsync(file)`
    SyncFile,
    /// `fstat(file)`: the owner and mode, for the record of the change.
    Describe,
    /// `close(file)`
    CloseFile,
    /// `syncfs(dir)`: every file on the filesystem.
    SyncFilesystem,
    /// `fstatat(dir, name)`: fails unless the change can be made to what is there. Everything that decides that comes before the
    /// record of the change.
    Admit(Condition),
    /// `fsync` of the file that has the target's name, and of its directory; for a rename also of the source.
    SyncPresent,
    /// A record of the intent log says that every earlier record of the key is in its file, which rules from here on.
    LogFileRules,
    /// A record of the intent log holds the change: it is durable.
    LogChange,
    /// `fstatat(dir, name)`: fails unless the file there has this version.
    Compare { expected: Version },
    /// `fstatat(source dir, source name)`: fails unless there is a file, which must not be a directory.
    CheckSource,
    /// `rmdir` of the target's name and of every directory beneath it: empty directories do not block a key. EISDIR
    /// if they contain anything else, EEXIST if the name is a file that must not be replaced.
    ClearName { existing: Existing },
    /// `renameat(dir, temp, dir, name)`
    Publish { existing: Existing },
    /// `linkat(dir, temp, dir, name)`: publishes without replacing where `renameat` cannot. The temporary name is removed
    /// afterwards.
    PublishByLink,
    /// `renameat(source dir, source name, dir, name)`
    Move,
    /// `unlinkat(dir, name)`
    Unlink,
    /// `fsync(dir)`
    SyncDir,
    /// `fsync(source dir)`
    SyncSourceDir,
    /// `unlinkat(dir, temp)`
    RemoveTemp,
}

/// The owner and group of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What happens to a file that already has the target's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Refuse,
    /// Replaced if it has this version. Otherwise, and if there is no file, nothing happens.
    Match(Version),
}

/// What must be there for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// What a put of this kind may replace.
    Put(Existing),
    /// A file, with this version if one is given.
    Delete(Option<Version>),
}

/// The phases of a commit, in order. Changes that are committed together pass each phase together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Temporary files are created and written.
    Write,
    /// Data is written out before the first file is synced, so that one journal commit can serve many syncs.
    WriteOut,
    /// Each file is made durable, as far as it needs a call of its own, and closed.
    Harden,
    /// One call makes all files durable.
    Barrier,
    /// Conditions are decided, before anything is in the intent log.
    Admit,
    /// One record of the intent log makes all changes durable.
    Log,
    /// Names change, one at a time.
    Publish,
    /// Directories are synced, each once for all changes in it.
    SyncDirs,
}

impl Call {
    /// A no-replace rename. Systems without one report EINVAL.
    pub(crate) const REFUSE: Call = Call::Publish { existing: Existing::Refuse };

    /// The step that errors name.
    pub(crate) fn step(&self) -> Step {
        match self {
            Call::CreateTemp { .. } => Step::CreateTemp,
            Call::SetOwner(_) => Step::SetOwner,
            Call::SetAttributes => Step::SetAttributes,
            Call::SetMode { .. } => Step::SetMode,
            Call::Write { .. } => Step::Write,
            Call::Stamp { .. } => Step::Stamp,
            Call::StartSync | Call::WriteOut | Call::SyncRange | Call::SyncFile => Step::SyncFile,
            Call::CloseFile => Step::Close,
            Call::Describe => Step::Write,
            Call::Admit(Condition::Put(Existing::Match(_)) | Condition::Delete(Some(_))) => Step::Compare,
            Call::Admit(Condition::Put(_)) => Step::Rename,
            Call::Admit(Condition::Delete(None)) => Step::Unlink,
            Call::SyncPresent => Step::SyncFile,
            Call::LogFileRules | Call::LogChange => Step::WriteLog,
            Call::SyncFilesystem => Step::SyncFilesystem,
            Call::Compare { .. } => Step::Compare,
            Call::CheckSource => Step::OpenFile,
            Call::ClearName { .. } | Call::Publish { .. } | Call::PublishByLink | Call::Move => Step::Rename,
            Call::Unlink => Step::Unlink,
            Call::SyncDir | Call::SyncSourceDir => Step::SyncDir,
            Call::RemoveTemp => Step::RemoveTemp,
        }
    }

    /// The phase that this call belongs to. Calls before it in its plan run in this phase at the latest.
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Call::CreateTemp { .. } | Call::Write { .. } | Call::StartSync => Phase::Write,
            Call::SetOwner(_) | Call::SetAttributes | Call::SetMode { .. } | Call::Stamp { .. } => Phase::Write,
            Call::Describe => Phase::Write,
            Call::WriteOut => Phase::WriteOut,
            Call::SyncRange | Call::SyncFile | Call::CloseFile => Phase::Harden,
            Call::SyncFilesystem => Phase::Barrier,
            Call::Admit(_) | Call::SyncPresent => Phase::Admit,
            Call::LogFileRules | Call::LogChange => Phase::Log,
            Call::Compare { .. } | Call::CheckSource | Call::ClearName { .. } => Phase::Publish,
            Call::Publish { .. } | Call::PublishByLink | Call::Move | Call::Unlink => Phase::Publish,
            // Only a rename between directories has it, and is durable before the next name changes: see `Plan::rename`.
            Call::SyncSourceDir => Phase::Publish,
            Call::SyncDir | Call::RemoveTemp => Phase::SyncDirs,
        }
    }

    /// Whether changes that are committed together share this call: one is made for all that wait for it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Call::SyncFilesystem | Call::SyncDir | Call::LogFileRules | Call::LogChange)
    }

    /// Whether a failure of this call cancels the calls linked behind it in io_uring.
    ///
    /// Source: `io_uring/sync.c` and `io_uring/fs.c` complete a failed request without marking it failed, contrary to
    /// `io_uring_linked_requests(7)`; measured on Linux 6.18.
    pub(crate) fn severs(&self) -> bool {
        matches!(self, Call::CreateTemp { .. } | Call::Write { .. } | Call::CloseFile)
    }

    /// Whether this call does no harm although an earlier call of its stage has failed.
    fn harmless_after_failure(&self) -> bool {
        matches!(self, Call::Stamp { .. } | Call::StartSync | Call::CloseFile | Call::SyncDir)
    }

    /// Whether the change goes on although this call failed with this error.
    pub(crate) fn may_fail(&self, errno: Errno) -> bool {
        *self == Call::WriteOut && matches!(errno, Errno::ENOSYS | Errno::EPERM)
    }

    /// Whether this failure means that a directory may have the target's name.
    pub(crate) fn meets_directory(&self, errno: Errno) -> bool {
        match self {
            Call::Publish { existing: Existing::Refuse } | Call::PublishByLink => errno == Errno::EEXIST,
            Call::Admit(Condition::Put(Existing::Refuse)) => errno == Errno::EEXIST,
            Call::Publish { .. } | Call::Move | Call::Admit(Condition::Put(_)) => errno == Errno::EISDIR,
            _ => false,
        }
    }

    /// The call that removes an empty directory that is in the way of this one.
    pub(crate) fn clear_name(&self) -> Call {
        let existing = match self {
            Call::Publish { existing: Existing::Refuse } | Call::PublishByLink => Existing::Refuse,
            Call::Admit(Condition::Put(Existing::Refuse)) => Existing::Refuse,
            _ => Existing::Replace,
        };
        Call::ClearName { existing }
    }

    /// Whether this call changes what a reader sees under the target's name.
    pub(crate) fn is_visible(&self) -> bool {
        matches!(self, Call::Publish { .. } | Call::PublishByLink | Call::Move | Call::Unlink)
    }

    /// Whether this call makes content durable, or helps to.
    #[cfg(any(test, ringbolt_mutants))]
    pub(crate) fn hardens(&self) -> bool {
        *self == Call::StartSync
            || (Phase::WriteOut..=Phase::Barrier).contains(&self.phase()) && *self != Call::CloseFile
    }

    /// Whether this is the sync of a directory.
    pub(crate) fn is_dir_sync(&self) -> bool {
        matches!(self, Call::SyncDir | Call::SyncSourceDir)
    }
}

/// The rule that makes a linked stage safe: every call that could do harm follows only calls whose failure cancels it; and a
/// rename in the same stage as its write follows *one* write that syncs what it wrote. A write-out comes last in its stage.
pub(crate) fn stage_is_safe(stage: &[Call]) -> bool {
    (0..stage.len()).all(|i| may_follow(&stage[..i], &stage[i]))
}

/// Whether a call may be linked behind the calls of a safe stage.
pub(super) fn may_follow(stage: &[Call], call: &Call) -> bool {
    let is_whole = || {
        let mut writes = stage.iter().filter(|call| matches!(call, Call::Write { .. }));
        matches!((writes.next(), writes.next()), (None, _) | (Some(Call::Write { sync: true, .. }), None))
    };
    // What comes next depends on whether a write-out is refused.
    let is_decided = stage.last() != Some(&Call::WriteOut);
    stage.len() < STAGE_MAX
        && is_decided
        && (call.harmless_after_failure() || stage.iter().all(Call::severs))
        && (!matches!(call, Call::Publish { .. }) || is_whole())
}
