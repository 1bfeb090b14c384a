//! A directory of durable files with one writer and many readers.

mod dirs;
mod open;
mod reader;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::stat::{SFlag, fstatat};

use crate::atomic_file::{AtomicFile, Owner};
use crate::engine::{Engine, EngineInfo};
use crate::error::{Error, Kind, Result, Step};
use crate::key::Key;
use crate::put_options::PutOptions;
use crate::writer::Writer;
use dirs::Dirs;
use open::Lock;
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

/// What the store shares with the files that are being written to it. Dropped in this order: the engine finishes what it
/// has in flight before the lock is given up.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) writer: Writer,
    dirs: Dirs,
    reader: Reader,
    _lock: Lock,
}

/// How a store is opened.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `open`"]
pub struct StoreBuilder {
    path: PathBuf,
    engine: Engine,
    create: bool,
}

impl StoreBuilder {
    /// The engine to use; [`Engine::Auto`] by default.
    pub fn engine(mut self, engine: Engine) -> StoreBuilder {
        self.engine = engine;
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
    /// [`is_engine_unavailable`](Error::is_engine_unavailable), [`is_unknown_format`](Error::is_unknown_format), or the
    /// directory cannot be opened or written.
    pub fn open(self) -> Result<Store> {
        let StoreBuilder { path, engine, create } = self;
        let shared = open::open(&path, engine, create)?;
        Ok(Store { shared: Arc::new(shared) })
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
        StoreBuilder { path: path.as_ref().to_owned(), engine: Engine::Auto, create: false }
    }

    /// Which engine runs, and why.
    pub fn engine(&self) -> &EngineInfo {
        self.shared.writer.engine.info()
    }

    /// Durably replaces the content of `key`, or creates it.
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the failed step. [`Error::outcome`] tells whether the old content is still there; after
    /// [`Outcome::Unknown`](crate::Outcome::Unknown) this store refuses further writes until it is reopened.
    pub fn put(&self, key: impl AsRef<str>, bytes: impl Into<Bytes>) -> Result<()> {
        self.put_with(key, bytes, PutOptions::new())
    }

    /// Durably creates `key`; of several writers exactly one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::is_already_exists`] if there is such a key; otherwise as [`put`](Store::put).
    pub fn put_new(&self, key: impl AsRef<str>, bytes: impl Into<Bytes>) -> Result<()> {
        self.put_with(key, bytes, PutOptions::new().create_new(true))
    }

    /// A [`put`](Store::put) with options.
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put).
    pub fn put_with(&self, key: impl AsRef<str>, bytes: impl Into<Bytes>, options: PutOptions) -> Result<()> {
        let key = Key::parse(key.as_ref())?;
        let (name, bytes) = (key.name(), bytes.into());
        self.in_dir(&key, |dir| self.shared.writer.put(dir, &name, bytes.clone(), options))
    }

    /// Begins a new version of `key` that is written piece by piece, for content that does not fit into memory. Nothing is
    /// visible before [`AtomicFile::commit`]. The store stays locked until the file is committed or dropped.
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put).
    pub fn create(&self, key: impl AsRef<str>, options: PutOptions) -> Result<AtomicFile> {
        let key = Key::parse(key.as_ref())?;
        self.in_dir(&key, |dir| {
            let owner = Owner::Store(Arc::clone(&self.shared));
            AtomicFile::begin(owner, Arc::clone(dir), key.name(), options)
        })
    }

    /// The content of `key`. Never waits for a writer.
    ///
    /// # Errors
    ///
    /// As [`Reader::get`].
    pub fn get(&self, key: impl AsRef<str>) -> Result<Bytes> {
        self.shared.reader.get(key)
    }

    /// Durably removes `key`. Directories that become empty stay.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if there is no such key, [`Error::is_a_directory`]; otherwise as [`put`](Store::put).
    pub fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        let key = Key::parse(key.as_ref())?;
        self.check()?;
        let dir = self.shared.dirs.find(&key)?;
        self.shared.writer.delete(&dir, &key.name()).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => error.with_kind(dir.not_found()),
            // What POSIX has for a directory, and macOS too; Linux says EISDIR at once.
            Some(libc::EPERM) => self.must_be_file(&dir, &key).err().unwrap_or(error),
            _ => error,
        })
    }

    /// Durably renames a key; what is at `to` is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if there is no key `from`, [`Error::is_a_directory`] if either is a directory; otherwise
    /// as [`put`](Store::put).
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        let (from, to) = (Key::parse(from.as_ref())?, Key::parse(to.as_ref())?);
        self.check()?;
        let source = self.shared.dirs.find(&from)?;
        // A rename of a directory would succeed, and move every key in it.
        self.must_be_file(&source, &from)?;
        let (from, name) = (from.name(), to.name());
        self.in_dir(&to, |dir| self.shared.writer.rename((Arc::clone(&source), from.clone()), dir, &name))
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

    /// Finishes what is in flight and gives up the lock. Dropping the store does the same; a file that is still being
    /// written keeps the store locked until it is committed or dropped.
    ///
    /// # Errors
    ///
    /// [`Error::is_poisoned`] if a directory sync has failed since the store was opened.
    pub fn close(self) -> Result<()> {
        self.check()
    }

    fn check(&self) -> Result<()> {
        self.shared.writer.check(self.shared.dirs.root())
    }

    /// Does something in the directory of `key`, which is created if need be; once more if the directory was held open
    /// and has been removed in the meantime.
    fn in_dir<T>(&self, key: &Key<'_>, act: impl Fn(&Arc<crate::dir::Dir>) -> Result<T>) -> Result<T> {
        self.check()?;
        let dir = self.shared.writer.latch(self.shared.dirs.ensure(key))?;
        match act(&dir) {
            Err(error) if error.is_directory_removed() && !key.parent().is_empty() => {
                self.shared.dirs.forget(key);
                act(&self.shared.writer.latch(self.shared.dirs.ensure(key))?)
            }
            result => result,
        }
    }

    fn must_be_file(&self, dir: &crate::dir::Dir, key: &Key<'_>) -> Result<()> {
        let name = key.name();
        let fail = |kind| Err(Error::new(kind, Step::Check, dir.path_of(&name)));
        let stat = fstatat(dir.fd(), &*name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::from_errno(errno, Step::OpenFile, dir.path_of(&name)))?;
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => fail(Kind::IsADirectory),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store in {:?}, engine {}", self.shared.dirs.root().path(), self.engine())
    }
}
