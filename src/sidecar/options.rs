//! Options for reading and writing the file of a sidecar.

use std::path::Path;

use super::Sidecar;
use super::error::SidecarError;
use super::file::{self, Leniency, LockedFile};
use super::store::SidecarStore;
use crate::engine::{Engine, select};
use crate::protocol::Existing;

/// Options for reading and writing the file of a [`Sidecar`].
///
/// By default, the engine is [`Engine::Auto`], and a file that group or others may read or write is refused.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("keys.json");
/// use ringbolt::sidecar::{Sidecar, SidecarError, SidecarOptions};
/// use std::{fs, os::unix::fs::PermissionsExt};
///
/// Sidecar::default().write(&path)?;
/// fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
/// assert!(matches!(Sidecar::read(&path), Err(SidecarError::Exposed { mode: 0o644, .. })));
/// assert_eq!(SidecarOptions::new().allow_shared(true).read(&path)?, Sidecar::default());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing by themselves"]
pub struct SidecarOptions {
    engine: Engine,
    leniency: Leniency,
}

impl SidecarOptions {
    /// Returns the default options.
    pub fn new() -> SidecarOptions {
        SidecarOptions::default()
    }

    /// Sets the engine that writes.
    pub fn engine(mut self, engine: Engine) -> SidecarOptions {
        self.engine = engine;
        self
    }

    /// Accepts a file that group or others may read or write. The next write makes it private (mode 0600).
    pub fn allow_shared(mut self, allow_shared: bool) -> SidecarOptions {
        self.leniency.shared = allow_shared;
        self
    }

    /// Accepts a file whose active ids have no key with the same purpose, to repair it. Writes still require valid ids.
    pub fn allow_bad_active(mut self, allow_bad_active: bool) -> SidecarOptions {
        self.leniency.active = allow_bad_active;
        self
    }

    /// Reads a file, without a lock and without changing anything. The content is complete, but may not be durable yet
    /// if a write is in progress.
    ///
    /// # Errors
    ///
    /// [`SidecarError::NotFound`], [`NotAFile`](SidecarError::NotAFile) (does not block on a FIFO),
    /// [`Exposed`](SidecarError::Exposed), [`Io`](SidecarError::Io), or the first violation in its text.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Sidecar, SidecarError> {
        file::read(path.as_ref(), self.leniency)
    }

    /// Writes a file durably, with mode 0600. Replaces any existing file atomically.
    ///
    /// # Errors
    ///
    /// As [`Sidecar::validate`]; or [`SidecarError::Io`], whose [`Error`](crate::Error) has the step: another writer
    /// holds the directory ([`is_locked`](crate::Error::is_locked)), the filesystem cannot make it durable
    /// ([`is_unsupported_filesystem`](crate::Error::is_unsupported_filesystem), nothing was written), or a call failed.
    /// [`SidecarError::outcome`] says whether the old content is still there.
    pub fn write(&self, path: impl AsRef<Path>, sidecar: &Sidecar) -> Result<(), SidecarError> {
        LockedFile::take(path.as_ref(), select(self.engine)?)?.write(sidecar, Existing::Replace)
    }

    /// Opens the file as its only writer.
    ///
    /// # Errors
    ///
    /// As [`read`](SidecarOptions::read) for the file and as [`write`](SidecarOptions::write) for the directory.
    /// [`SidecarError::Owner`] if the file belongs to another user, who could not read the file that this process would write.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SidecarStore, SidecarError> {
        SidecarStore::open_with(path.as_ref(), select(self.engine)?, self.leniency)
    }

    /// Creates the file durably, and opens it as its only writer.
    ///
    /// # Errors
    ///
    /// The file exists ([`is_already_exists`](crate::Error::is_already_exists)); otherwise as [`write`](SidecarOptions::write).
    pub fn create(&self, path: impl AsRef<Path>, sidecar: Sidecar) -> Result<SidecarStore, SidecarError> {
        SidecarStore::create_with(path.as_ref(), select(self.engine)?, sidecar)
    }
}
