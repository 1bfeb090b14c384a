//! How a store is opened or created.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::replay::Replay;
use super::{Store, open};
use crate::commit::barrier::Barrier;
use crate::commit::load::Load;
use crate::engine::Engine;
use crate::error::Result;
use crate::fs::Dir;
use crate::log::layout;

/// Options for opening or creating a store: [`Store::builder`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use ringbolt::{Barrier, Store};
///
/// let store = Store::builder(dir.path())
///     .barrier(Barrier::PerFile)
///     .queue_bytes(256 << 20)
///     .create_if_missing(true)
///     .open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `open` or `create`"]
pub struct StoreBuilder {
    pub(super) at: At,
    pub(super) engine: Engine,
    pub(super) barrier: Barrier,
    pub(super) queue: Load,
    pub(super) log_bytes: u64,
    pub(super) create_if_missing: bool,
    pub(super) adopt: bool,
    pub(super) replay: Replay,
}

/// The place of the store.
#[derive(Clone, Debug)]
pub(super) enum At {
    Path(PathBuf),
    Dir(Arc<Dir>),
}

/// The default limit of a store's queue.
const QUEUE: Load = Load { files: 16_384, bytes: 64 << 20 };

/// The default length of an intent log.
pub(crate) const LOG_BYTES: u64 = 64 << 20;

impl StoreBuilder {
    fn new(at: At) -> StoreBuilder {
        StoreBuilder {
            at,
            engine: Engine::Auto,
            barrier: Barrier::default(),
            queue: QUEUE,
            log_bytes: LOG_BYTES,
            create_if_missing: false,
            adopt: false,
            replay: Replay::default(),
        }
    }

    /// Sets the engine. Default: [`Engine::Auto`].
    pub fn engine(mut self, engine: Engine) -> StoreBuilder {
        self.engine = engine;
        self
    }

    /// Sets how the files of a commit become durable. Default: [`Barrier::Auto`].
    pub fn barrier(mut self, barrier: Barrier) -> StoreBuilder {
        self.barrier = barrier;
        self
    }

    /// Limits how many changes may be queued or in a commit at the same time. Default: 16,384. Beyond the limit a blocking call
    /// waits and a future is pending, first come, first served.
    pub fn queue_changes(mut self, changes: usize) -> StoreBuilder {
        self.queue.files = changes;
        self
    }

    /// Limits how many bytes of content and keys may be queued or in a commit at the same time. Default: 64 MiB. A change larger
    /// than the limit is admitted when the queue is empty.
    pub fn queue_bytes(mut self, bytes: usize) -> StoreBuilder {
        self.queue.bytes = bytes;
        self
    }

    /// Sets the length of the intent log, with [`Barrier::IntentLog`]. Default: 64 MiB; from 256 KiB to 16 GiB, rounded to whole
    /// blocks. A checkpoint begins when half of it is in use, and a record takes an eighth of it at most: values that are longer,
    /// or longer than 256 KiB, are made durable by syncs.
    pub fn log_bytes(mut self, bytes: u64) -> StoreBuilder {
        self.log_bytes = bytes.clamp(layout::LEN_MIN, layout::LEN_MAX);
        self
    }

    /// Lets [`open`](StoreBuilder::open) create a missing store, as [`create`](StoreBuilder::create) does.
    pub fn create_if_missing(mut self, create: bool) -> StoreBuilder {
        self.create_if_missing = create;
        self
    }

    /// Lets a store be created in a directory that contains files, which become its keys. Otherwise a directory that is not empty
    /// is refused, so that a mistyped path does not turn an unrelated directory into a store.
    ///
    /// The names of these files are made durable, but not their contents: sync those first if they were just written.
    pub fn adopt(mut self, adopt: bool) -> StoreBuilder {
        self.adopt = adopt;
        self
    }

    /// Leaves the changes of a key in the intent log out of the recovery, for a key whose changes cannot be applied. They are lost
    /// once the store is open: the key then has the file that the interruption left, which may be the old one, the new one, a part of
    /// it, or none. [`LogReader`](crate::LogReader) shows them. May be called several times, for several keys.
    pub fn discard_pending(mut self, key: impl Into<String>) -> StoreBuilder {
        self.replay.discard.insert(key.into());
        self
    }

    /// Accepts an intent log that was copied while changes were in it, and recovers it. Otherwise such a copy is refused
    /// ([`DamagedLog`](crate::ErrorKind::DamagedLog)): a recovery brings the files to what the log holds, and that may be older than
    /// they are. This is right if the log and the files were copied from one atomic snapshot, or after a crash and before anything
    /// was written again.
    pub fn accept_copied_log(mut self, accept: bool) -> StoreBuilder {
        self.replay.accepts_copy = accept;
        self
    }

    /// Calls a function during the recovery of an intent log, before the first key and after each one: with the number of keys that
    /// are done, and of all.
    pub fn on_recovery(mut self, progress: impl Fn(usize, usize) + Send + Sync + 'static) -> StoreBuilder {
        self.replay.progress = Some(Arc::new(progress));
        self
    }

    /// Opens the store for writing: takes the lock, proves that the filesystem can sync a directory, and, if the last writer was
    /// interrupted, removes its temporary files, syncs every directory, and brings the changes in its intent log into the files.
    ///
    /// # Errors
    ///
    /// [`NotAStore`](crate::ErrorKind::NotAStore), [`NotFound`](crate::ErrorKind::NotFound) if the directory does not exist,
    /// [`Locked`](crate::ErrorKind::Locked), [`UnsupportedFilesystem`](crate::ErrorKind::UnsupportedFilesystem),
    /// [`UnsupportedBarrier`](crate::ErrorKind::UnsupportedBarrier),
    /// [`EngineUnavailable`](crate::ErrorKind::EngineUnavailable), [`UnknownFormat`](crate::ErrorKind::UnknownFormat),
    /// [`DamagedLog`](crate::ErrorKind::DamagedLog), or the directory cannot be opened or written. With [`create_if_missing`](StoreBuilder::create_if_missing) also as
    /// [`create`](StoreBuilder::create), except for a store that exists.
    pub fn open(self) -> Result<Store> {
        let wanted = if self.create_if_missing { open::Wanted::Either } else { open::Wanted::Existing };
        open::open(self, wanted)
    }

    /// Creates a store durably, and opens it. Creates the directory if only its parent exists. If this is interrupted, creating
    /// the store again completes it.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if it is a store,
    /// [`DirectoryNotEmpty`](crate::ErrorKind::DirectoryNotEmpty) if it contains anything but `lost+found`; otherwise as
    /// [`open`](StoreBuilder::open).
    pub fn create(self) -> Result<Store> {
        open::open(self, open::Wanted::New)
    }
}

impl Store {
    /// Opens an existing store with the defaults of [`Store::builder`]. It never turns a directory into a store:
    /// [`Store::create`] does, and `Store::builder(path).create_if_missing(true).open()` does either.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such directory, [`NotAStore`](crate::ErrorKind::NotAStore) if it
    /// is not a store, [`Locked`](crate::ErrorKind::Locked) if another writer has it open; otherwise as [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open()
    }

    /// Creates a store in a directory that is missing or empty, with the defaults of [`Store::builder`]. Of several processes that
    /// do this at the same time, one succeeds.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if it is a store,
    /// [`DirectoryNotEmpty`](crate::ErrorKind::DirectoryNotEmpty) if it holds other files; otherwise as [`StoreBuilder::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).create()
    }

    /// Options for opening or creating a store.
    pub fn builder(path: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder::new(At::Path(path.as_ref().to_owned()))
    }

    /// Chooses how to open or create a store in a directory that is open already: a capability, or one that was passed by another
    /// process. The store uses a descriptor of its own. Paths in messages are what the system calls the directory now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let directory = std::fs::File::open(dir.path())?;
    /// let store = ringbolt::Store::builder_at(&directory)?.create()?;
    /// store.put("a", "1")?;
    /// assert_eq!(std::fs::read(dir.path().join("a"))?, b"1");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// It is not a directory, it may not be read, or no descriptor is left.
    pub fn builder_at(dir: impl AsFd) -> Result<StoreBuilder> {
        Dir::reopen(dir.as_fd()).map(|dir| StoreBuilder::new(At::Dir(Arc::new(dir))))
    }
}
