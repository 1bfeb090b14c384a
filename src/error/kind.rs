//! The kinds of failures, and which one an errno means.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::Step;

/// What kind of failure an [`Error`](super::Error) is: [`Error::kind`](super::Error::kind).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let store = ringbolt::Store::create(dir.path())?;
/// use ringbolt::ErrorKind;
///
/// match store.get("config").map_err(|error| error.kind()) {
///     Ok(bytes) => println!("{} bytes", bytes.len()),
///     Err(ErrorKind::NotFound) => println!("not there yet"),
///     Err(kind) => println!("{kind}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The change must not replace anything, and the target exists; or [`Store::create`](crate::Store::create) found a store.
    AlreadyExists,
    /// [`Store::create`](crate::Store::create) found a directory that is not a store and not empty.
    DirectoryNotEmpty,
    /// The intent log of the store cannot be used: it is damaged, cut, a copy, missing, or of a later version. Nothing was changed.
    DamagedLog,
    /// The directory that held the target was removed while the store was open.
    DirectoryRemoved,
    /// The io_uring engine or the committing thread ended, after a kernel error or a panic. Reopen the store.
    EngineLost,
    /// The engine that was asked for cannot run here; the message says why, and what to do about it.
    EngineUnavailable,
    /// The file would exceed the filesystem's or `RLIMIT_FSIZE`'s maximum size (`EFBIG`).
    FileTooLarge,
    /// The store was opened by the process that this one was forked from. A forked child may read, and nothing else.
    Forked,
    /// Something else still holds the store, so closing it did not release the lock.
    InUse,
    /// The key, or the path of a single write, cannot name a file. Nothing was attempted.
    InvalidKey,
    /// Any other failed system call: see [`Error::raw_os_error`](super::Error::raw_os_error).
    Io,
    /// The target is a directory.
    IsADirectory,
    /// Another writer has the store open.
    Locked,
    /// A component of the path that must be a directory is a file.
    NotADirectory,
    /// The target is a FIFO, a socket or a device.
    NotAFile,
    /// The directory is not a store: [`Store::create`](crate::Store::create) makes one.
    NotAStore,
    /// The change was skipped because a change in an earlier group of its batch failed ([`Batch::then`](crate::Batch::then)).
    NotAttempted,
    /// There is no such file or directory.
    NotFound,
    /// Permission denied (`EACCES`, `EPERM`).
    PermissionDenied,
    /// An earlier failure left it unknown what is durable, and the store refuses writes until it is reopened. Causes: a failed sync
    /// of a directory or of the versions' ceiling, an ambiguous error of a rename or unlink, a panic during a commit.
    Poisoned,
    /// The last writer of the store was interrupted, and changes that it acknowledged may be in the intent log only. Open the store for
    /// writing, which applies them.
    RecoveryNeeded,
    /// The filesystem is mounted read-only, or became read-only after an error (`EROFS`).
    ReadOnly,
    /// No space or quota left (`ENOSPC`, `EDQUOT`).
    StorageFull,
    /// A symbolic link stands in the path, or where a file was expected, and was not followed; or links form a loop.
    Symlink,
    /// No file descriptor left, in the process or in the system (`EMFILE`, `ENFILE`).
    TooManyOpenFiles,
    /// The store was made by a later version of this crate.
    UnknownFormat,
    /// The barrier that was asked for does not hold on this filesystem or kernel.
    UnsupportedBarrier,
    /// The filesystem cannot sync a directory, so nothing in it can be made durable.
    UnsupportedFilesystem,
    /// The filesystem's time stamps are too coarse to hold versions, so nothing can be compared.
    UnsupportedVersion,
    /// The key does not have the expected version, or does not exist.
    VersionMismatch,
}

impl ErrorKind {
    /// What this kind means, in a few words for an error message. Empty where the failed call says it all.
    pub(super) fn explanation(self) -> &'static str {
        match self {
            ErrorKind::DirectoryRemoved => "its directory was removed while it was open",
            ErrorKind::EngineLost => {
                "the engine or the committing thread ended after a kernel error or a panic; reopen the store"
            }
            ErrorKind::NotAFile => "not a regular file",
            ErrorKind::Symlink => "a symbolic link stands in the way, and is not followed",
            ErrorKind::UnsupportedFilesystem => {
                "this filesystem cannot make a directory durable, so no file in it can be"
            }
            _ => "",
        }
    }

    /// The kind that `std` has for this one; `None` where the failed call's own kind is the best answer.
    pub(super) fn to_io(self) -> Option<io::ErrorKind> {
        Some(match self {
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::DirectoryNotEmpty => io::ErrorKind::DirectoryNotEmpty,
            ErrorKind::DirectoryRemoved | ErrorKind::NotFound | ErrorKind::NotAStore => io::ErrorKind::NotFound,
            ErrorKind::EngineUnavailable
            | ErrorKind::UnsupportedBarrier
            | ErrorKind::UnsupportedFilesystem
            | ErrorKind::UnsupportedVersion => io::ErrorKind::Unsupported,
            ErrorKind::FileTooLarge => io::ErrorKind::FileTooLarge,
            ErrorKind::InUse => io::ErrorKind::ResourceBusy,
            ErrorKind::InvalidKey | ErrorKind::NotAFile | ErrorKind::Symlink => io::ErrorKind::InvalidInput,
            ErrorKind::IsADirectory => io::ErrorKind::IsADirectory,
            ErrorKind::Locked => io::ErrorKind::WouldBlock,
            ErrorKind::NotADirectory => io::ErrorKind::NotADirectory,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::StorageFull => io::ErrorKind::StorageFull,
            ErrorKind::UnknownFormat | ErrorKind::DamagedLog => io::ErrorKind::InvalidData,
            ErrorKind::EngineLost
            | ErrorKind::Forked
            | ErrorKind::NotAttempted
            | ErrorKind::Poisoned
            | ErrorKind::RecoveryNeeded
            | ErrorKind::VersionMismatch => io::ErrorKind::Other,
            ErrorKind::Io | ErrorKind::TooManyOpenFiles => return None,
        })
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::DamagedLog => "intent log unusable",
            ErrorKind::DirectoryNotEmpty => "directory not empty",
            ErrorKind::DirectoryRemoved => "directory removed while open",
            ErrorKind::EngineLost => "engine lost",
            ErrorKind::EngineUnavailable => "engine unavailable",
            ErrorKind::FileTooLarge => "file too large",
            ErrorKind::Forked => "store of a parent process",
            ErrorKind::InUse => "store still in use",
            ErrorKind::InvalidKey => "invalid key",
            ErrorKind::Io => "I/O error",
            ErrorKind::IsADirectory => "is a directory",
            ErrorKind::Locked => "store locked by another writer",
            ErrorKind::NotADirectory => "not a directory",
            ErrorKind::NotAFile => "not a regular file",
            ErrorKind::NotAStore => "not a store",
            ErrorKind::NotAttempted => "not attempted",
            ErrorKind::NotFound => "not found",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::Poisoned => "store poisoned by an earlier failure",
            ErrorKind::RecoveryNeeded => "recovery needed",
            ErrorKind::ReadOnly => "read-only filesystem",
            ErrorKind::StorageFull => "no space left",
            ErrorKind::Symlink => "symbolic link in the path",
            ErrorKind::TooManyOpenFiles => "too many open files",
            ErrorKind::UnknownFormat => "unknown store format",
            ErrorKind::UnsupportedBarrier => "barrier not supported here",
            ErrorKind::UnsupportedFilesystem => "filesystem cannot sync directories",
            ErrorKind::UnsupportedVersion => "filesystem cannot hold versions",
            ErrorKind::VersionMismatch => "version mismatch",
        })
    }
}

/// How filesystems say that they cannot fsync a directory. (On Linux the first two are one.)
const UNSUPPORTED: [Errno; 5] = [Errno::ENOTSUP, Errno::EOPNOTSUPP, Errno::EINVAL, Errno::ENOSYS, Errno::EBADF];

/// The kind of a failed system call. The same errno means different things at different steps.
pub(super) fn classify(errno: Errno, step: Step) -> ErrorKind {
    match (errno, step) {
        // EIO and ENOSPC are not among them: those are failures of a filesystem that can.
        (errno, Step::SyncDir) if UNSUPPORTED.contains(&errno) => ErrorKind::UnsupportedFilesystem,
        (Errno::EINVAL | Errno::ENOSYS, Step::SyncFile) => ErrorKind::UnsupportedFilesystem,
        (Errno::ESTALE, Step::Compare) => ErrorKind::VersionMismatch,
        (Errno::ECANCELED, _) => ErrorKind::EngineLost,
        // Creating in a directory that is held open finds no such entry only when the directory itself is gone.
        (Errno::ENOENT, Step::CreateTemp | Step::CreateDir) => ErrorKind::DirectoryRemoved,
        (Errno::ENOENT, _) => ErrorKind::NotFound,
        (Errno::EEXIST, Step::Rename) => ErrorKind::AlreadyExists,
        // A rename onto a directory: EISDIR, or ENOTEMPTY if the directory is on the way to the source.
        (Errno::EISDIR, _) | (Errno::ENOTEMPTY, Step::Rename) => ErrorKind::IsADirectory,
        (Errno::ENOTDIR, _) => ErrorKind::NotADirectory,
        (Errno::ELOOP, _) => ErrorKind::Symlink,
        (Errno::ENOSPC | Errno::EDQUOT, _) => ErrorKind::StorageFull,
        (Errno::EFBIG, _) => ErrorKind::FileTooLarge,
        (Errno::EACCES | Errno::EPERM, _) => ErrorKind::PermissionDenied,
        (Errno::EROFS, _) => ErrorKind::ReadOnly,
        (Errno::EMFILE | Errno::ENFILE, _) => ErrorKind::TooManyOpenFiles,
        _ => ErrorKind::Io,
    }
}
