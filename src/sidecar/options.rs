//! How the file of a sidecar is read and written.

use std::path::Path;

use super::Sidecar;
use super::error::SidecarError;
use super::file::{self, Held, Leniency};
use super::store::SidecarStore;
use crate::engine::{Engine, select};
use crate::protocol::Existing;

/// How the file of a [`Sidecar`] is read and written.
///
/// By default: the engine is [`Engine::Auto`], and a file that others than its owner may read or write is refused.
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
    /// The defaults.
    pub fn new() -> SidecarOptions {
        SidecarOptions::default()
    }

    /// The engine that writes.
    pub fn engine(mut self, engine: Engine) -> SidecarOptions {
        self.engine = engine;
        self
    }

    /// Read also a file that group or others may read or write. The next write makes it private (mode 0600).
    pub fn allow_shared(mut self, allow_shared: bool) -> SidecarOptions {
        self.leniency.shared = allow_shared;
        self
    }

    /// Read also a file whose active ids are not those of keys with the same purpose, to set them right: every write needs right ones.
    pub fn allow_bad_active(mut self, allow_bad_active: bool) -> SidecarOptions {
        self.leniency.active = allow_bad_active;
        self
    }

    /// Reads a file. It takes no lock and changes nothing; what it sees is whole, and may not be durable yet if somebody is just
    /// writing it.
    ///
    /// # Errors
    ///
    /// [`SidecarError::NotFound`], [`NotAFile`](SidecarError::NotAFile) (a FIFO is not waited for),
    /// [`Exposed`](SidecarError::Exposed), [`Io`](SidecarError::Io), or whatever is wrong with its text.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Sidecar, SidecarError> {
        file::read(path.as_ref(), self.leniency)
    }

    /// Durably writes a file, whatever is there: the new content is whole and mode 0600.
    ///
    /// # Errors
    ///
    /// What [`Sidecar::validate`] finds; or [`SidecarError::Io`], whose [`Error`](crate::Error) tells the step: another writer
    /// holds the directory ([`is_locked`](crate::Error::is_locked)), the filesystem cannot make it durable
    /// ([`is_unsupported_filesystem`](crate::Error::is_unsupported_filesystem), nothing was written),
    /// or a call failed. [`SidecarError::outcome`] tells whether the old content is still there.
    pub fn write(&self, path: impl AsRef<Path>, sidecar: &Sidecar) -> Result<(), SidecarError> {
        Held::take(path.as_ref(), select(self.engine)?)?.write(sidecar, Existing::Replace)
    }

    /// Opens the file as its one writer.
    ///
    /// # Errors
    ///
    /// As [`read`](SidecarOptions::read), and as far as the directory is concerned as [`write`](SidecarOptions::write);
    /// [`SidecarError::Owner`] if the file is another user's, who could not read what we would write in its place.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SidecarStore, SidecarError> {
        SidecarStore::open_with(path.as_ref(), select(self.engine)?, self.leniency)
    }

    /// Durably creates the file, and opens it as its one writer.
    ///
    /// # Errors
    ///
    /// The file exists ([`is_already_exists`](crate::Error::is_already_exists)); otherwise as
    /// [`write`](SidecarOptions::write).
    pub fn create(&self, path: impl AsRef<Path>, sidecar: Sidecar) -> Result<SidecarStore, SidecarError> {
        SidecarStore::create_with(path.as_ref(), select(self.engine)?, sidecar)
    }
}
