//! Kinds of failures, and which one an errno means.

use nix::errno::Errno;

use crate::error::Step;

/// What kind of failure; asked through the predicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AlreadyExists,
    DirectoryRemoved,
    EngineLost,
    EngineUnavailable(String),
    InvalidKey(&'static str),
    IsADirectory,
    Locked(Option<u32>),
    NotADirectory,
    NotAFile,
    NotAttempted,
    NotFound,
    Poisoned,
    StorageFull,
    Symlink,
    UnknownFormat(String),
    UnsupportedBarrier(String),
    UnsupportedFilesystem,
    UnsupportedVersion,
    VersionMismatch,
    Io,
}

/// (On Linux the first two are one.)
const UNSUPPORTED: [Errno; 5] = [Errno::ENOTSUP, Errno::EOPNOTSUPP, Errno::EINVAL, Errno::ENOSYS, Errno::EBADF];

/// One errno means different things at different steps.
pub(crate) fn classify(errno: Errno, step: Step) -> Kind {
    match (errno, step) {
        // A filesystem that cannot fsync directories says so in one of these ways. EIO and ENOSPC are not among them: those
        // are failures of one that can.
        (errno, Step::SyncDir) if UNSUPPORTED.contains(&errno) => Kind::UnsupportedFilesystem,
        (Errno::EINVAL | Errno::ENOSYS, Step::SyncFile) => Kind::UnsupportedFilesystem,
        (Errno::ESTALE, Step::Compare) => Kind::VersionMismatch,
        (Errno::ECANCELED, _) => Kind::EngineLost,
        // Creating in a directory that is held open finds no such entry only when the directory itself is gone.
        (Errno::ENOENT, Step::CreateTemp | Step::CreateDir) => Kind::DirectoryRemoved,
        (Errno::ENOENT, _) => Kind::NotFound,
        (Errno::EEXIST, Step::Rename) => Kind::AlreadyExists,
        // Onto a directory: EISDIR, or ENOTEMPTY if it is on the way to the source.
        (Errno::EISDIR, _) | (Errno::ENOTEMPTY, Step::Rename) => Kind::IsADirectory,
        (Errno::ENOTDIR, _) => Kind::NotADirectory,
        (Errno::ELOOP, _) => Kind::Symlink,
        (Errno::ENOSPC | Errno::EDQUOT, _) => Kind::StorageFull,
        _ => Kind::Io,
    }
}
