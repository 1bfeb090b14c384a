//! A directory with one writer and many readers.

mod asynchronous;
mod open;
mod reader;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use crate::atomic_file::{AtomicFile, Owner};
use crate::barrier::Barrier;
use crate::batch::Batch;
use crate::commit::{Change, Committer};
use crate::engine::{Engine, EngineInfo};
use crate::error::{Error, Result, Step};
use crate::key::Key;
use crate::payload::Payload;
use crate::plan::Existing;
use crate::put_options::PutOptions;
use crate::queue::Load;
use crate::stats::Stats;
use crate::version::Version;
use open::Session;
pub use reader::{Metadata, Reader};
pub use tree::List;

/// A directory of durable files.
///
/// One writer at a time holds the directory (`flock` on `.ringbolt/lock`); any number of [`Reader`]s, in this process or
/// another, read beside it. Every method that returns `Ok` from a change has made that change durable.
///
/// Keys are relative paths of normal components, such as `a/b/c`: any UTF-8, each component at most 255 bytes, none that
/// begins with `.ringbolt`, at most 4095 bytes in all. Two keys are the same file where the filesystem says so (one that
/// ignores case, for example). Missing directories on the way are created and made durable; empty ones stay. Symbolic
/// links beneath the root are never followed. The directory is the store's own: moving things about in it while a store
/// is open is not supported.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::open(dir.path())?;
/// store.put("volumes/7/keys.json", "{}")?;
/// assert_eq!(store.get("volumes/7/keys.json")?, "{}");
/// store.rename("volumes/7/keys.json", "volumes/8/keys.json")?;
/// assert_eq!(store.list("volumes/")?.collect::<Result<Vec<_>, _>>()?, ["volumes/8/keys.json"]);
/// store.delete("volumes/8/keys.json")?;
/// assert!(store.get("volumes/8/keys.json").unwrap_err().is_not_found());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What the store shares with the files that are being written to it, and with futures. Dropped in this order: what is queued
/// is committed before the session ends.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) committer: Committer,
    reader: Reader,
    session: Session,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.committer.drain();
        let core = self.committer.core();
        self.session.end(core.writer.is_tidy(), core.clock.last());
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `open`"]
pub struct StoreBuilder {
    path: PathBuf,
    engine: Engine,
    barrier: Barrier,
    queue: Load,
    create: bool,
}

/// What a store's queue holds unless it is told otherwise.
const QUEUE: Load = Load { files: 16_384, bytes: 64 << 20 };

impl StoreBuilder {
    /// The engine to use; [`Engine::Auto`] by default.
    pub fn engine(mut self, engine: Engine) -> StoreBuilder {
        self.engine = engine;
        self
    }

    /// How files of changes that meet are made durable; [`Barrier::Auto`] by default.
    pub fn barrier(mut self, barrier: Barrier) -> StoreBuilder {
        self.barrier = barrier;
        self
    }

    /// How many changes, and how many bytes of content, may wait to be committed or be under way; 16,384 and 64 MiB by default.
    /// Beyond that a blocking call waits and a future is pending, first come first served. What is larger by itself goes
    /// through alone.
    pub fn queue_limit(mut self, changes: usize, bytes: usize) -> StoreBuilder {
        self.queue = Load { files: changes, bytes };
        self
    }

    /// Create the directory, durably, if it does not exist but its parent does.
    pub fn create(mut self, create: bool) -> StoreBuilder {
        self.create = create;
        self
    }

    /// Opens the store for writing: takes the lock, makes sure that the filesystem can sync a directory, and removes the
    /// temporary files that an interrupted writer has left behind.
    ///
    /// # Errors
    ///
    /// [`is_locked`](Error::is_locked), [`is_unsupported_filesystem`](Error::is_unsupported_filesystem),
    /// [`is_unsupported_barrier`](Error::is_unsupported_barrier), [`is_engine_unavailable`](Error::is_engine_unavailable), [`is_unknown_format`](Error::is_unknown_format), or the
    /// directory cannot be opened or written.
    pub fn open(self) -> Result<Store> {
        Ok(Store { shared: Arc::new(open::open(self)?) })
    }
}

impl Store {
    /// Opens the store in an existing directory with the defaults of [`Store::builder`].
    ///
    /// # Errors
    ///
    /// As [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open()
    }

    /// Chooses how to open a store.
    pub fn builder(path: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder {
            path: path.as_ref().to_owned(),
            engine: Engine::Auto,
            barrier: Barrier::default(),
            queue: QUEUE,
            create: false,
        }
    }

    /// The directory, as it was named when it was opened.
    pub fn path(&self) -> &Path {
        self.shared.committer.core().dirs.root().path()
    }

    /// Which engine runs, and why. Where io_uring is not used, this tries whether it would work.
    pub fn engine(&self) -> &EngineInfo {
        self.shared.committer.core().writer.engine.info()
    }

    /// What the store has done since it was opened, and how long it took.
    pub fn stats(&self) -> Stats {
        self.shared.committer.stats()
    }

    /// Durably replaces the content of `key`, or creates it. The new file has mode 0600 less the umask, whatever the old one
    /// had; see [`put_with`](Store::put_with).
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the failed step. [`Error::outcome`] tells whether the old content is still there; after
    /// [`Outcome::Unknown`](crate::Outcome::Unknown) this store refuses further writes until it is reopened.
    pub fn put(&self, key: impl AsRef<str>, bytes: impl Into<Payload>) -> Result<Version> {
        self.put_with(key, bytes, PutOptions::new())
    }

    /// Durably creates `key`; of several writers exactly one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::is_already_exists`] if there is such a key; otherwise as [`put`](Store::put).
    pub fn put_new(&self, key: impl AsRef<str>, bytes: impl Into<Payload>) -> Result<Version> {
        self.put_with(key, bytes, PutOptions::new().create_new(true))
    }

    /// Durably replaces the content of `key` if it still has the version `expected`: compare and swap. Of several writers
    /// that expect the same version exactly one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::is_version_mismatch`] if it has another or is not there; [`Error::is_unsupported_version`] on a filesystem
    /// that does not keep times exactly enough; otherwise as [`put`](Store::put).
    pub fn put_if(&self, key: impl AsRef<str>, expected: Version, bytes: impl Into<Payload>) -> Result<Version> {
        self.put_with(key, bytes, PutOptions::new().expect_version(expected))
    }

    /// A [`put`](Store::put) with options.
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put).
    pub fn put_with(&self, key: impl AsRef<str>, bytes: impl Into<Payload>, options: PutOptions) -> Result<Version> {
        self.shared.committer.make(Change::put(key.as_ref(), bytes, options)).map(versioned)
    }

    /// Begins a new version of `key` that is written piece by piece, for content that does not fit into memory. Nothing is
    /// visible before [`AtomicFile::commit`]. The store stays locked until the file is committed or dropped.
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put). Create-only, it fails at once if the key exists, and at the commit if it does by then.
    pub fn create(&self, key: impl AsRef<str>, options: PutOptions) -> Result<AtomicFile> {
        let core = self.shared.committer.core();
        core.check()?;
        core.supports(options)?;
        let key = Key::parse(key.as_ref())?;
        core.again_if_moved(&[&key], || {
            let dir = core.directory(&key, options)?;
            if options.existing == Existing::Refuse
                && fstatat(dir.fd(), &*key.name(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
            {
                return Err(Error::from_errno(Errno::EEXIST, Step::Rename, dir.path_of(&key.name())));
            }
            let owner = Owner::Store(Arc::clone(&self.shared), key.as_str().to_owned());
            AtomicFile::begin(owner, dir, key.name(), options)
        })
    }

    /// Changes of several keys, committed together: one barrier, and an answer for each. See [`Batch`].
    pub fn batch(&self) -> Batch {
        Batch::new(&self.shared)
    }

    /// The content of `key`. Never waits for a writer.
    ///
    /// # Errors
    ///
    /// As [`Reader::get`].
    pub fn get(&self, key: impl AsRef<str>) -> Result<Bytes> {
        self.shared.reader.get(key)
    }

    /// The content of `key` and its version, both of the same put. Never waits for a writer.
    ///
    /// # Errors
    ///
    /// As [`Reader::get`].
    pub fn get_versioned(&self, key: impl AsRef<str>) -> Result<(Bytes, Version)> {
        self.shared.reader.get_versioned(key)
    }

    /// Length, time, mode and version of `key`.
    ///
    /// # Errors
    ///
    /// As [`Reader::get`].
    pub fn metadata(&self, key: impl AsRef<str>) -> Result<Metadata> {
        self.shared.reader.metadata(key)
    }

    /// Durably removes `key`; also a symbolic link or special file of that name, which is no key. Directories that become empty stay.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if there is no such key, [`Error::is_a_directory`]; otherwise as [`put`](Store::put).
    pub fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        self.shared.committer.make(Change::delete(key.as_ref(), None)).map(drop)
    }

    /// Durably removes `key` if it still has the version `expected`.
    ///
    /// # Errors
    ///
    /// [`Error::is_version_mismatch`] if it has another or is not there; otherwise as [`put_if`](Store::put_if).
    pub fn delete_if(&self, key: impl AsRef<str>, expected: Version) -> Result<()> {
        self.shared.committer.make(Change::delete(key.as_ref(), Some(expected))).map(drop)
    }

    /// Durably renames a key; what is at `to` is replaced. If both are names of one file already (hard links), nothing happens,
    /// as POSIX has it for rename(2). Where the filesystem does not make a rename as one change (ext4, xfs and btrfs do), a power
    /// cut before this returns can leave neither name.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if there is no key `from`, [`Error::is_a_directory`] if either is a directory; otherwise
    /// as [`put`](Store::put).
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        self.shared.committer.make(Change::rename(from.as_ref(), to.as_ref())).map(drop)
    }

    /// The keys that begin with `prefix`, in the order of their bytes; `""` lists all. See [`Reader::list`].
    ///
    /// # Errors
    ///
    /// As [`Reader::list`].
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<List> {
        self.shared.reader.list(prefix)
    }

    /// A reader of this store, which stays usable when the store is closed.
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// Commits what is queued and gives up the lock. Dropping the store does the same. While a file that is being written, a
    /// batch or a future of this store is still there, it stays open, and all this is done when the last of them is gone.
    ///
    /// # Errors
    ///
    /// [`Error::is_poisoned`] if a directory sync has failed since the store was opened.
    pub fn close(self) -> Result<()> {
        // What was queued and given up by its caller can still fail.
        if Arc::strong_count(&self.shared) == 1 {
            self.shared.committer.drain();
        }
        self.shared.committer.core().check()
    }
}

/// Every put has a version.
fn versioned(version: Option<Version>) -> Version {
    version.expect("a put gives a version")
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store in {:?}", self.path())
    }
}
