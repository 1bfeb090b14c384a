//! A writer's hold on a store, from its opening to its end.

use std::ffi::CStr;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, futimens};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::format;
use crate::error::{Error, Result, Step};
use crate::fs::Dir;
use crate::fs::lock::Lock;
use crate::protocol::Version;

/// Exists while no writer has the store open, if the last one left nothing to recover.
const CLEAN: &CStr = c"clean";

/// The lock, and the directory of the store's own files.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) own: Arc<Dir>,
    lock: Lock,
}

impl Session {
    /// Takes the lock of the store in `root`.
    pub(super) fn begin(own: Arc<Dir>, root: &Dir) -> Result<Session> {
        let lock = Lock::take(&own, c"lock", root.path())?;
        Ok(Session { own, lock })
    }

    /// Whether the last session ended cleanly. Removes the marker. The caller must sync the store's own directory before the
    /// first change to make that durable.
    pub(super) fn take_marker(&self) -> Result<bool> {
        match unlinkat(self.own.fd(), CLEAN, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Error::from_errno(errno, Step::Sweep, self.own.path_of(CLEAN))),
        }
    }

    /// Whether the filesystem keeps versions exactly, tried on the lock file. If another user owns that file, its times cannot be
    /// set and `otherwise` decides.
    pub(super) fn keeps_versions(&self, version: Version, otherwise: bool) -> bool {
        let time = version.to_time();
        match futimens(&*self.lock, &time, &time) {
            Ok(()) => fstat(&*self.lock).is_ok_and(|stat| Version::of(&stat) == version),
            Err(_) => otherwise,
        }
    }

    /// Ends the session. No version above `bound` was given; `None` if the next session must recover.
    pub(super) fn end(&self, bound: Option<Version>) {
        let Some(bound) = bound.filter(|_| self.lock.is_ours()) else { return };
        format::lower(&self.own, bound);
        // Not synced: without the marker the next open only takes longer. It cannot become durable too early, since everything
        // acknowledged is durable by now.
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let _ = openat(self.own.fd(), CLEAN, flags, Mode::from_bits_truncate(0o600));
    }
}
