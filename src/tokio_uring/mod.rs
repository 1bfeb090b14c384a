//! Durable replaces on a runtime of `tokio-uring` 0.5 that the caller already has.
//!
//! The same protocol as [`ringbolt::write`](crate::write()): temporary file, sync, close, rename, sync of the directory. Each step goes
//! through the caller's own ring, and is awaited and checked before the next. Whoever has no such runtime takes
//! [`Store`](crate::Store) or [`write`](crate::write()).
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
//!     Err(error) if error.is_engine_unavailable() => println!("{error}"), // says by what io_uring is refused
//!     result => result??,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What if the future is dropped
//!
//! `tokio-uring` cancels nothing: a request that was made is carried out, and it keeps the buffer and the descriptor until then. So
//! a future that is dropped
//!
//! - while the temporary file is created, written, synced or closed, leaves the target as it was, and no temporary file: it is removed
//!   at once, or by a task of the runtime as soon as it has been created;
//! - during the rename, leaves the old content or the new, each whole, and nobody knows which it will be: the kernel may rename a
//!   moment later. Another write to the same path that was begun in that moment may come first;
//! - during the sync of the directory, leaves the new content, which may not survive a power cut.
//!
//! What can stay behind is an empty temporary file, if the runtime itself ends while one is being created. Like every other of a single
//! write it is called `.ringbolt-w….tmp`: no store takes it for its own, no key can have such a name, and nobody reads it.
//!
//! # Why the store does not work this way
//!
//! `tokio-uring` 0.5.0 is of May 2024, the last release, on io-uring 0.6, and has no maintainer. One request an await means six trips to
//! the kernel and back for what the crate's own ring does in one or two: requests cannot be linked, and its driver may submit the
//! queue in the middle of what were to be a chain. It has neither a table of files nor requests with a directory's descriptor, a rename
//! that refuses to replace (so there is no `create_new` here), a write with `RWF_SYNC`, or an `fchmod`. Its futures are not `Send`. And of
//! what its sources show:
//!
//! - `start` panics where io_uring is refused ([`start`] here says why in words), and some 20 KiB of the runtime that could not be made
//!   are leaked;
//! - the open of a file that is dropped half-way leaks the descriptor (here it is a task of its own, which is never dropped alone);
//! - a submission that fails when the runtime parks is ignored: where a filter begins to refuse `io_uring_enter` later, futures are
//!   pending for ever;
//! - `UnsubmittedOneshot::new` and `submit` are safe functions that pass any request to the kernel, with any address in it;
//! - lengths of buffers are cut to 32 bits (here no write has more than 1 GiB).

mod replace;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::engine::no_ring;
use crate::engine::payload::Payload;
use crate::error::Result;
use crate::fs::dir::Dir;
use crate::fs::path::{file_name, parent};
use crate::protocol::options::PutOptions;
pub(crate) use replace::replace;

/// Durably replaces the content of the file at `path`, or creates it, with the defaults of [`WriteOptions`].
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

/// How one file is written on a runtime of `tokio-uring`.
///
/// By default: mode 0600 less the umask. An existing file is replaced; the directory must exist.
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
    /// The defaults.
    pub fn new() -> WriteOptions {
        WriteOptions { put: PutOptions::new() }
    }

    /// See [`PutOptions::mode`].
    pub fn mode(mut self, mode: u32) -> WriteOptions {
        self.put = self.put.mode(mode);
        self
    }

    /// Durably writes one file, as [`ringbolt::WriteOptions::write`](crate::WriteOptions::write) does. Three things are plain calls on the
    /// thread that polls, none of which waits for a flush: the open of the directory, the setting of a mode, and the removal of a
    /// temporary file after a failure.
    ///
    /// `/proc` must be mounted: every path begins with the directory's descriptor there, so that all steps mean the same directory,
    /// also if it is renamed meanwhile.
    ///
    /// # Errors
    ///
    /// Any failing step, as an [`Error`](crate::Error) that names it. With [`Outcome::Unchanged`](crate::Outcome::Unchanged) the file
    /// is what it was. With [`Outcome::Unknown`](crate::Outcome::Unknown) the new content is visible, or may be, and may not survive a
    /// power cut.
    ///
    /// # Panics
    ///
    /// When it is polled outside of a runtime of `tokio-uring`, as everything of that crate.
    pub async fn write(&self, path: impl AsRef<Path>, bytes: impl Into<Payload>) -> Result<()> {
        let name = file_name(path.as_ref())?;
        let dir = Arc::new(Dir::open(parent(path.as_ref()))?);
        replace(&dir, &name, &bytes.into(), self.put).await
    }
}

/// Runs a future on a runtime of `tokio-uring` made for it: as `tokio_uring::start`, which panics where io_uring is refused.
///
/// # Errors
///
/// [`is_engine_unavailable`](crate::Error::is_engine_unavailable) where io_uring is refused: the message says by what, and what to do. Or
/// the runtime cannot be made for another reason.
///
/// # Panics
///
/// Within another runtime, or if the future does.
pub fn start<F: Future>(future: F) -> Result<F::Output> {
    Ok(runtime()?.block_on(future))
}

pub(crate) fn runtime() -> Result<::tokio_uring::Runtime> {
    ::tokio_uring::Runtime::new(&::tokio_uring::builder()).map_err(no_ring)
}
