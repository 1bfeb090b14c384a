//! Durable replaces on the caller's `tokio-uring` 0.5 runtime.
//!
//! The protocol is that of [`ringbolt::write`](crate::write()): temporary file, sync, close, rename, sync of the
//! directory. Each step runs on the caller's ring, and is awaited and checked before the next. Without such a runtime,
//! use [`Store`](crate::Store) or [`write`](crate::write()).
//!
//! ```
//! # fn main() -> ringbolt::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("keys.json");
//! let started = ringbolt::tokio_uring::start(async {
//!     ringbolt::tokio_uring::write(&path, "{}").await?;
//!     assert_eq!(std::fs::read(&path).unwrap(), b"{}");
//!     Ok::<(), ringbolt::Error>(())
//! });
//! match started {
//!     Err(error) if error.is_engine_unavailable() => println!("{error}"), // says what refuses io_uring
//!     result => result??,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Dropping the future
//!
//! `tokio-uring` does not cancel requests. A submitted request is carried out, and keeps its buffer and descriptor
//! until then. If the future is dropped
//!
//! - while the temporary file is created, written, synced or closed, the target is unchanged. The temporary file is
//!   removed at once, or by a task of the runtime as soon as it has been created;
//! - during the rename, the target has either the old content or the new, each complete. Which one is unknown, because
//!   the kernel may rename a moment later; a second write to the same path that starts in that moment may come first;
//! - during the sync of the directory, the target has the new content, which may not survive a power cut.
//!
//! An empty temporary file can stay behind if the runtime itself ends while creating one. It is called
//! `.ringbolt-w….tmp`, like those of all single writes: no store removes it, and no key can have such a name.
//!
//! `docs/decisions.md` says why the store itself does not use tokio-uring. Two of its limits show here: no rename refuses to
//! replace, so there is no `create_new`; and its futures are not `Send`.

mod replace;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::engine::{Payload, no_ring};
use crate::error::Result;
use crate::fs::Dir;
use crate::fs::path::{file_name, parent};
use crate::protocol::PutOptions;
pub(crate) use replace::replace;

/// Replaces or creates the file at `path` durably, with the defaults of [`WriteOptions`].
///
/// # Errors
///
/// As [`WriteOptions::write`].
///
/// # Panics
///
/// As [`WriteOptions::write`].
pub async fn write(path: impl AsRef<Path>, bytes: impl Into<Payload>) -> Result<()> {
    WriteOptions::new().write(path, bytes).await
}

/// Options for writing one file on a `tokio-uring` runtime.
///
/// By default, the mode is 0600, reduced by the umask. An existing file is replaced. The directory must exist.
#[derive(Clone, Debug)]
#[must_use = "options do nothing before `write`"]
pub struct WriteOptions {
    put: PutOptions,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions::new()
    }
}

impl WriteOptions {
    /// Returns the default options.
    pub fn new() -> WriteOptions {
        WriteOptions { put: PutOptions::new() }
    }

    /// Sets the mode; see [`PutOptions::mode`].
    pub fn mode(mut self, mode: u32) -> WriteOptions {
        self.put = self.put.mode(mode);
        self
    }

    /// Writes one file durably, like [`ringbolt::WriteOptions::write`](crate::WriteOptions::write). Three steps are
    /// plain calls on the polling thread: opening the directory, setting a mode, and removing the temporary file after
    /// a failure. None of them waits for a flush.
    ///
    /// `/proc` must be mounted. Every path starts with the directory's descriptor in `/proc`, so that all steps use the
    /// same directory even if it is renamed meanwhile.
    ///
    /// # Errors
    ///
    /// The [`Error`](crate::Error) names the failed step. With [`Outcome::Unchanged`](crate::Outcome::Unchanged), the
    /// file is unchanged. With [`Outcome::Unknown`](crate::Outcome::Unknown), the new content may be visible, and may
    /// not survive a power cut.
    ///
    /// # Panics
    ///
    /// When polled outside a `tokio-uring` runtime.
    pub async fn write(&self, path: impl AsRef<Path>, bytes: impl Into<Payload>) -> Result<()> {
        let name = file_name(path.as_ref())?;
        let dir = Arc::new(Dir::open(parent(path.as_ref()))?);
        replace(&dir, &name, &bytes.into(), self.put).await
    }
}

/// Runs a future on a new `tokio-uring` runtime. Unlike `tokio_uring::start`, does not panic where io_uring is refused.
///
/// # Errors
///
/// [`is_engine_unavailable`](crate::Error::is_engine_unavailable) if io_uring is refused; the message says by what, and
/// what to do. Or the runtime cannot be created for another reason.
///
/// # Panics
///
/// When called within another runtime, or if the future panics.
pub fn start<F: Future>(future: F) -> Result<F::Output> {
    Ok(runtime()?.block_on(future))
}

pub(crate) fn runtime() -> Result<::tokio_uring::Runtime> {
    ::tokio_uring::Runtime::new(&::tokio_uring::builder()).map_err(no_ring)
}
