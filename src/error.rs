//! The one error type: what failed, at which step, on which path, why, and which of the two worlds we are in.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

pub(crate) use crate::kind::Kind;
use crate::kind::classify;
pub use crate::step::Step;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, and what is true afterwards.
///
/// Ask it: [`outcome`](Error::outcome) tells whether the old content is still there; the `is_*` methods tell what kind of
/// failure it was; [`step`](Error::step) and [`path`](Error::path) tell where. It converts into [`io::Error`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use ringbolt::{Outcome, WriteOptions};
///
/// let path = dir.path().join("vote");
/// ringbolt::write(&path, "term 1")?;
/// let error = WriteOptions::new().create_new(true).write(&path, "term 2").unwrap_err();
/// assert!(error.is_already_exists());
/// assert_eq!(error.outcome(), Outcome::Unchanged);
/// assert_eq!(std::fs::read(&path)?, b"term 1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("{}", .inner)]
pub struct Error {
    // One pointer wide, so that a `Result` of it costs nothing on the good path.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    step: Step,
    path: PathBuf,
    cause: Option<io::Error>,
    outcome: Outcome,
    leftover: Option<PathBuf>,
}

/// What is true of the target after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The target is what it was before the call, and no temporary file is left (if one could not be removed,
    /// [`Error::leftover`] names it).
    Unchanged,
    /// The change happened, or may have happened, and may be visible; whether it survives a power cut is not known, since the
    /// directory could not be synced or nobody knows how far it came. A store refuses further writes until it is reopened.
    Unknown,
}

impl Error {
    pub(crate) fn new(kind: Kind, step: Step, path: impl Into<PathBuf>) -> Error {
        let inner = Inner { kind, step, path: path.into(), cause: None, outcome: Outcome::Unchanged, leftover: None };
        Error { inner: Box::new(inner) }
    }

    /// A failed call to the kernel: the errno, read in the light of the step it came from.
    pub(crate) fn from_errno(errno: Errno, step: Step, path: impl Into<PathBuf>) -> Error {
        Error::new(classify(errno, step), step, path).with_cause(errno.into())
    }

    pub(crate) fn from_io(cause: io::Error, step: Step, path: impl Into<PathBuf>) -> Error {
        let kind = cause.raw_os_error().map_or(Kind::Io, |errno| classify(Errno::from_raw(errno), step));
        Error::new(kind, step, path).with_cause(cause)
    }

    /// The same, for somebody else.
    pub(crate) fn again(&self) -> Error {
        let Inner { kind, step, path, cause, outcome, leftover } = &*self.inner;
        let cause = cause.as_ref().map(|cause| match cause.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(cause.kind(), cause.to_string()),
        });
        let inner = Inner {
            kind: kind.clone(),
            step: *step,
            path: path.clone(),
            cause,
            outcome: *outcome,
            leftover: leftover.clone(),
        };
        Error { inner: Box::new(inner) }
    }

    pub(crate) fn at_step(mut self, step: Step) -> Error {
        self.inner.step = step;
        self
    }

    pub(crate) fn with_kind(mut self, kind: Kind) -> Error {
        self.inner.kind = kind;
        self
    }

    pub(crate) fn with_cause(mut self, cause: io::Error) -> Error {
        self.inner.cause = Some(cause);
        self
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Error {
        self.inner.outcome = outcome;
        self
    }

    pub(crate) fn with_leftover(mut self, leftover: PathBuf) -> Error {
        self.inner.leftover = Some(leftover);
        self
    }

    /// Whether the target is what it was, or visible with its durability unknown.
    pub fn outcome(&self) -> Outcome {
        self.inner.outcome
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        self.inner.step
    }

    /// The path that the failing step worked on. For an invalid key it is the key itself.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The error of the call that failed, where a call did; it is part of the message already.
    pub fn cause(&self) -> Option<&io::Error> {
        self.inner.cause.as_ref()
    }

    /// The errno of the call that failed, where a call to the kernel did.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.inner.cause.as_ref().and_then(io::Error::raw_os_error)
    }

    /// A temporary file that could not be removed after the failure. The next open of the store removes it.
    pub fn leftover(&self) -> Option<&Path> {
        self.inner.leftover.as_deref()
    }

    /// Create-only, and the target exists.
    pub fn is_already_exists(&self) -> bool {
        self.inner.kind == Kind::AlreadyExists
    }

    /// The directory that held the target was removed while it was open.
    pub fn is_directory_removed(&self) -> bool {
        self.inner.kind == Kind::DirectoryRemoved
    }

    /// The engine, or the thread that commits, has ended under the store, after an error of the kernel's or a panic. Reopen the
    /// store.
    pub fn is_engine_lost(&self) -> bool {
        self.inner.kind == Kind::EngineLost
    }

    /// The engine asked for cannot run here; the message says why and what to do.
    pub fn is_engine_unavailable(&self) -> bool {
        matches!(self.inner.kind, Kind::EngineUnavailable(_))
    }

    /// The key, or the path of a single write, cannot name a file: nothing was tried.
    pub fn is_invalid_key(&self) -> bool {
        matches!(self.inner.kind, Kind::InvalidKey(_))
    }

    /// The target is a directory.
    pub fn is_a_directory(&self) -> bool {
        self.inner.kind == Kind::IsADirectory
    }

    /// Another writer has the store open.
    pub fn is_locked(&self) -> bool {
        matches!(self.inner.kind, Kind::Locked(_))
    }

    /// A component of the path that must be a directory is a file.
    pub fn is_not_a_directory(&self) -> bool {
        self.inner.kind == Kind::NotADirectory
    }

    /// The target is a FIFO, a socket or a device, not a regular file.
    pub fn is_not_a_file(&self) -> bool {
        self.inner.kind == Kind::NotAFile
    }

    /// The file would be larger than the filesystem or `RLIMIT_FSIZE` allows (`EFBIG`).
    pub fn is_file_too_large(&self) -> bool {
        self.raw_os_error() == Some(libc::EFBIG)
    }

    /// Permission denied (`EACCES`, `EPERM`).
    pub fn is_permission_denied(&self) -> bool {
        matches!(self.raw_os_error(), Some(libc::EACCES | libc::EPERM))
    }

    /// The filesystem is mounted read-only, or became so after an error (`EROFS`).
    pub fn is_read_only(&self) -> bool {
        self.raw_os_error() == Some(libc::EROFS)
    }

    /// No file descriptor left, in the process or the system (`EMFILE`, `ENFILE`).
    pub fn is_too_many_open_files(&self) -> bool {
        matches!(self.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }

    /// There is no such file or directory.
    pub fn is_not_found(&self) -> bool {
        self.inner.kind == Kind::NotFound
    }

    /// It was not tried, because something in an earlier group of its batch failed ([`Batch::then`](crate::Batch::then)).
    pub fn is_not_attempted(&self) -> bool {
        self.inner.kind == Kind::NotAttempted
    }

    /// An earlier directory sync failed: the store no longer knows what is durable and refuses writes until reopened.
    pub fn is_poisoned(&self) -> bool {
        self.inner.kind == Kind::Poisoned
    }

    /// No space or no quota left (`ENOSPC`, `EDQUOT`).
    pub fn is_storage_full(&self) -> bool {
        self.inner.kind == Kind::StorageFull
    }

    /// A symbolic link stands inside the path, or where a file to read was expected. Links are never followed.
    pub fn is_symlink(&self) -> bool {
        self.inner.kind == Kind::Symlink
    }

    /// The store was made by a later version of this crate.
    pub fn is_unknown_format(&self) -> bool {
        matches!(self.inner.kind, Kind::UnknownFormat(_))
    }

    /// The barrier asked for does not hold on this filesystem or kernel.
    pub fn is_unsupported_barrier(&self) -> bool {
        matches!(self.inner.kind, Kind::UnsupportedBarrier(_))
    }

    /// The filesystem cannot sync a directory, so nothing in it can be made durable.
    pub fn is_unsupported_filesystem(&self) -> bool {
        self.inner.kind == Kind::UnsupportedFilesystem
    }

    /// The filesystem does not keep times exactly enough to hold versions, so nothing can be compared with one.
    pub fn is_unsupported_version(&self) -> bool {
        self.inner.kind == Kind::UnsupportedVersion
    }

    /// The key does not have the version that was expected, or is not there.
    pub fn is_version_mismatch(&self) -> bool {
        self.inner.kind == Kind::VersionMismatch
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted and escaped: a name may hold anything, also what moves a terminal's cursor.
        let Inner { step, path, .. } = self;
        match &self.kind {
            Kind::InvalidKey(why) => return write!(f, "invalid name {path:?}: {why}"),
            Kind::Locked(holder) => {
                write!(f, "{step} failed on {path:?}: it is open in another writer")?;
                return holder.map_or(Ok(()), |pid| write!(f, " (process {pid})"));
            }
            Kind::Poisoned => {
                return write!(
                    f,
                    "the store in {path:?} refuses writes: an earlier fsync of a directory failed, and what is durable is \
                     not known; reopen the store"
                );
            }
            Kind::UnsupportedBarrier(why) => return write!(f, "{why} ({path:?})"),
            Kind::VersionMismatch => return write!(f, "{path:?} does not have the version that was expected"),
            Kind::NotAttempted => {
                return write!(f, "{path:?} was left alone: a change in an earlier group of its batch failed");
            }
            Kind::UnsupportedVersion => {
                return write!(f, "the filesystem of {path:?} does not keep times exactly enough to hold versions");
            }
            Kind::EngineUnavailable(why) => return f.write_str(why),
            Kind::UnknownFormat(found) => {
                return write!(f, "{path:?} holds {found:?}, not a store that this version of ringbolt knows");
            }
            _ => write!(f, "{step} failed on {path:?}")?,
        }
        match &self.kind {
            Kind::DirectoryRemoved => f.write_str(": its directory was removed while it was open")?,
            Kind::EngineLost => f.write_str(
                ": what was to do it has ended, after an error of the kernel's or a panic; reopen the store",
            )?,
            Kind::NotAFile => f.write_str(": not a regular file")?,
            Kind::Symlink => f.write_str(": a symbolic link stands in the way, and links are never followed")?,
            Kind::UnsupportedFilesystem => {
                f.write_str(": this filesystem cannot make a directory durable, so no file in it can be")?;
            }
            _ => {}
        }
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(leftover) = &self.leftover {
            write!(f, " (the temporary file {leftover:?} could not be removed)")?;
        }
        Ok(())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error.inner.kind {
            Kind::AlreadyExists => io::ErrorKind::AlreadyExists,
            Kind::DirectoryRemoved | Kind::NotFound => io::ErrorKind::NotFound,
            Kind::EngineUnavailable(_)
            | Kind::UnsupportedBarrier(_)
            | Kind::UnsupportedFilesystem
            | Kind::UnsupportedVersion => io::ErrorKind::Unsupported,
            Kind::InvalidKey(_) | Kind::NotAFile => io::ErrorKind::InvalidInput,
            Kind::IsADirectory => io::ErrorKind::IsADirectory,
            Kind::Locked(_) => io::ErrorKind::WouldBlock,
            Kind::NotADirectory => io::ErrorKind::NotADirectory,
            Kind::EngineLost | Kind::NotAttempted | Kind::Poisoned | Kind::VersionMismatch => io::ErrorKind::Other,
            Kind::StorageFull => io::ErrorKind::StorageFull,
            Kind::Symlink => io::ErrorKind::InvalidInput,
            Kind::UnknownFormat(_) => io::ErrorKind::InvalidData,
            Kind::Io => error.inner.cause.as_ref().map_or(io::ErrorKind::Other, io::Error::kind),
        };
        io::Error::new(kind, error)
    }
}
