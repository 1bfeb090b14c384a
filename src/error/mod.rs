//! The error type: what failed, at which step, on which path, why, and what is true afterwards.

mod kind;
mod predicates;
mod rejected;
mod step;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub use kind::ErrorKind;
use kind::classify;
pub use rejected::Rejected;
pub use step::Step;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, and what is true afterwards.
///
/// [`outcome`](Error::outcome) says whether the old content is still there, [`kind`](Error::kind) (or one of the `is_*`
/// methods) what kind of failure it was, [`step`](Error::step) and [`path`](Error::path) where it happened. The message is
/// complete in one line; [`source`](std::error::Error::source) is the [`io::Error`] of the system call that failed, if one
/// did. An `Error` converts into [`io::Error`].
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
#[error(transparent)]
pub struct Error {
    // One pointer wide, so that a `Result` of it costs nothing on the good path.
    inner: Box<Inner>,
}

#[derive(Debug, thiserror::Error)]
struct Inner {
    kind: ErrorKind,
    /// Details beyond the kind: why a key is invalid, which process holds a lock.
    detail: Cow<'static, str>,
    step: Step,
    path: PathBuf,
    #[source]
    cause: Option<io::Error>,
    outcome: Outcome,
    leftover: Option<PathBuf>,
    /// Whether the temporary file of a guard is complete and was left in place.
    content_kept: bool,
}

/// What is true of the target after an error. There are only these two cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The target has its old content, and no temporary file is left (if one could not be removed, [`Error::leftover`] names it).
    Unchanged,
    /// The change happened or may have happened, and may be visible. It is unknown whether it survives a power cut, since a
    /// directory could not be synced or the change was interrupted. A store refuses further writes until it is reopened.
    Unknown,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, step: Step, path: impl Into<PathBuf>) -> Error {
        let inner = Inner {
            kind,
            detail: Cow::Borrowed(""),
            step,
            path: path.into(),
            cause: None,
            outcome: Outcome::Unchanged,
            leftover: None,
            content_kept: false,
        };
        Error { inner: Box::new(inner) }
    }

    /// The error of a failed system call: its kind depends on the errno and the step.
    pub(crate) fn from_errno(errno: Errno, step: Step, path: impl Into<PathBuf>) -> Error {
        Error::new(classify(errno, step), step, path).with_cause(errno.into())
    }

    pub(crate) fn from_io(cause: io::Error, step: Step, path: impl Into<PathBuf>) -> Error {
        let kind = cause.raw_os_error().map_or(ErrorKind::Io, |errno| classify(Errno::from_raw(errno), step));
        Error::new(kind, step, path).with_cause(cause)
    }

    /// A copy, for another caller.
    pub(crate) fn again(&self) -> Error {
        let Inner { kind, detail, step, path, cause, outcome, leftover, content_kept } = &*self.inner;
        let cause = cause.as_ref().map(|cause| match cause.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(cause.kind(), cause.to_string()),
        });
        let inner = Inner {
            kind: *kind,
            detail: detail.clone(),
            step: *step,
            path: path.clone(),
            cause,
            outcome: *outcome,
            leftover: leftover.clone(),
            content_kept: *content_kept,
        };
        Error { inner: Box::new(inner) }
    }

    pub(crate) fn at_step(mut self, step: Step) -> Error {
        self.inner.step = step;
        self
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Error {
        self.inner.detail = detail.into();
        self
    }

    /// Marks the temporary file as complete and left in place.
    pub(crate) fn with_content_kept(mut self) -> Error {
        self.inner.content_kept = true;
        self
    }

    pub(crate) fn content_kept(&self) -> bool {
        self.inner.content_kept
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Error {
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

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the target has its old content, or its durability is unknown.
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

    /// The errno of the system call that failed, if one did.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.inner.cause.as_ref().and_then(io::Error::raw_os_error)
    }

    /// A temporary file that could not be removed after the failure. The next open of the store removes it.
    pub fn leftover(&self) -> Option<&Path> {
        self.inner.leftover.as_deref()
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths are quoted and escaped: a name may contain anything, including terminal control sequences.
        let Inner { kind, detail, step, path, .. } = self;
        match kind {
            ErrorKind::InvalidKey => return write!(f, "invalid name {path:?}: {detail}"),
            ErrorKind::Locked => {
                write!(f, "{step} failed on {path:?}: another writer has it open")?;
                return if detail.is_empty() { Ok(()) } else { write!(f, " (process {detail})") };
            }
            ErrorKind::Poisoned => {
                return write!(
                    f,
                    "the store in {path:?} refuses writes: after an earlier failure it is not known what is durable; reopen \
                     the store"
                );
            }
            ErrorKind::Forked => {
                return write!(
                    f,
                    "the store in {path:?} was opened by the process that this one was forked from; a forked child may \
                     only read"
                );
            }
            ErrorKind::InUse => return write!(f, "the store in {path:?} stays open: {detail}"),
            ErrorKind::NotAStore => {
                return write!(f, "{path:?} is not a store");
            }
            ErrorKind::DirectoryNotEmpty => {
                return write!(
                    f,
                    "{path:?} is not a store, and holds other files ({detail:?}); to turn it and all its files into one, \
                     adopt it"
                );
            }
            ErrorKind::RecoveryNeeded => {
                return write!(
                    f,
                    "the intent log {path:?} holds changes that may be missing from the files ({detail}); open the store for \
                     writing, or run `ringbolt recover`"
                );
            }
            ErrorKind::DamagedLog => return write!(f, "the intent log {path:?} cannot be used: {detail}"),
            ErrorKind::UnsupportedBarrier => return write!(f, "{detail} ({path:?})"),
            ErrorKind::VersionMismatch => return write!(f, "{path:?} does not have the expected version"),
            ErrorKind::NotAttempted => {
                return write!(f, "{path:?} was not attempted: a change in an earlier group of its batch failed");
            }
            ErrorKind::UnsupportedVersion => {
                return write!(f, "the time stamps of the filesystem of {path:?} are too coarse to hold versions");
            }
            ErrorKind::EngineUnavailable => return f.write_str(detail),
            ErrorKind::UnknownFormat => {
                return write!(
                    f,
                    "{path:?} holds {detail:?}, a store format that this version of ringbolt does not know"
                );
            }
            _ => write!(f, "{step} failed on {path:?}")?,
        }
        for reason in [kind.explanation(), detail].into_iter().filter(|reason| !reason.is_empty()) {
            write!(f, ": {reason}")?;
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
        let cause = || error.inner.cause.as_ref().map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(error.kind().to_io().unwrap_or_else(cause), error)
    }
}
