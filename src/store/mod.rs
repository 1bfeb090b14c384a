//! A directory of durable files with one writer and many readers.

mod dirs;
mod open;
mod reader;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::stat::{SFlag, fstatat};

use crate::atomic_file::{AtomicFile, Owner};
use crate::commit::{Barrier, Committer};
use crate::dir::Dir;
use crate::engine::{Engine, EngineInfo};
use crate::error::{Error, Outcome, Result, Step};
use crate::key::Key;
use crate::plan::Existing;
use crate::put_options::PutOptions;
use crate::writer::Writer;
use dirs::Dirs;
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

/// What the store shares with the files that are being written to it. Dropped in this order: the engine finishes what it
/// has in flight before the session ends.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) committer: Committer,
    dirs: Dirs,
    reader: Reader,
    session: Session,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.committer.writer.is_tidy() {
            self.session.leave_untidy();
        }
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `open`"]
pub struct StoreBuilder {
    path: PathBuf,
    engine: Engine,
    barrier: Barrier,
    create: bool,
}

impl StoreBuilder {
    /// The engine to use; [`Engine::Auto`] by default.
    pub fn engine(mut self, engine: Engine) -> StoreBuilder {
        self.engine = engine;
        self
    }

    /// How files of puts that meet are made durable; [`Barrier::PerFile`] by default.
    pub fn barrier(mut self, barrier: Barrier) -> StoreBuilder {
        self.barrier = barrier;
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
            create: false,
        }
    }

    /// The directory, as it was named when it was opened.
    pub fn path(&self) -> &Path {
        self.shared.dirs.root().path()
    }

    /// Which engine runs, and why. Where io_uring is not used, this tries whether it would work.
    pub fn engine(&self) -> &EngineInfo {
        self.writer().engine.info()
    }

    /// Durably replaces the content of `key`, or creates it. The new file has mode 0600 less the umask, whatever the old one
    /// had; see [`put_with`](Store::put_with).
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the failed step. [`Error::outcome`] tells whether the old content is still there; after
    /// [`Outcome::Unknown`] this store refuses further writes until it is reopened.
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
        self.in_dir(&key, |dir| self.shared.committer.put(dir, &name, bytes.clone(), options))
    }

    /// Begins a new version of `key` that is written piece by piece, for content that does not fit into memory. Nothing is
    /// visible before [`AtomicFile::commit`]. The store stays locked until the file is committed or dropped.
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put). Create-only, it fails at once if the key exists, and at the commit if it does by then.
    pub fn create(&self, key: impl AsRef<str>, options: PutOptions) -> Result<AtomicFile> {
        let key = Key::parse(key.as_ref())?;
        self.in_dir(&key, |dir| {
            if options.existing == Existing::Refuse
                && fstatat(dir.fd(), &*key.name(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
            {
                return Err(Error::from_errno(Errno::EEXIST, Step::Rename, dir.path_of(&key.name())));
            }
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

    /// Length, time and mode of `key`.
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
        let key = Key::parse(key.as_ref())?;
        self.again_if_moved(&[&key], || {
            let dir = self.shared.dirs.find(&key)?;
            self.shared.committer.delete(&dir, &key.name()).map_err(|error| match error.raw_os_error() {
                // What POSIX has for a directory, and macOS too; Linux says EISDIR at once.
                Some(libc::EPERM) => look(&dir, &key).err().unwrap_or(error),
                _ => error,
            })
        })
    }

    /// Durably renames a key; what is at `to` is replaced. If both are names of one file already (hard links), nothing happens,
    /// as POSIX has it for rename(2).
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if there is no key `from`, [`Error::is_a_directory`] if either is a directory; otherwise
    /// as [`put`](Store::put).
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        let (from, to) = (Key::parse(from.as_ref())?, Key::parse(to.as_ref())?);
        let (writer, dirs) = (self.writer(), &self.shared.dirs);
        self.again_if_moved(&[&from, &to], || {
            let source = dirs.find(&from)?;
            look(&source, &from)?;
            let dir = self.ensure(&to)?;
            let _shape = dirs.freeze();
            // A rename of a directory would succeed, and move every key in it.
            look(&source, &from)?;
            writer.rename((source, from.name()), &dir, &to.name())
        })
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

    fn writer(&self) -> &Writer {
        &self.shared.committer.writer
    }

    fn check(&self) -> Result<()> {
        self.writer().check(self.shared.dirs.root())
    }

    fn in_dir<T>(&self, key: &Key<'_>, act: impl Fn(&Arc<Dir>) -> Result<T>) -> Result<T> {
        self.again_if_moved(&[key], || act(&self.ensure(key)?))
    }

    /// The directory of a key, created if need be.
    fn ensure(&self, key: &Key<'_>) -> Result<Arc<Dir>> {
        self.shared.dirs.ensure(key, |error| self.writer().latch(error), || self.check())
    }

    /// Does something in the directories of `keys`. Once more if one of them was held open and has been removed in the
    /// meantime, or if the directories held open are what leaves no descriptor.
    fn again_if_moved<T>(&self, keys: &[&Key<'_>], act: impl Fn() -> Result<T>) -> Result<T> {
        self.check()?;
        let dirs = &self.shared.dirs;
        match act() {
            Err(error) if error.outcome() == Outcome::Unknown => Err(error),
            Err(error) if error.is_directory_removed() && keys.iter().any(|key| !key.parent().is_empty()) => {
                keys.iter().for_each(|key| dirs.forget(key));
                act()
            }
            Err(error) if error.is_too_many_open_files() => {
                dirs.release();
                act()
            }
            result => result,
        }
    }
}

/// That there is something under a key, and that it is no directory.
fn look(dir: &Dir, key: &Key<'_>) -> Result<()> {
    let name = key.name();
    let fail = |errno| Error::from_errno(errno, Step::OpenFile, dir.path_of(&name));
    match fstatat(dir.fd(), &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR => {
            Err(fail(Errno::EISDIR))
        }
        Ok(_) => Ok(()),
        Err(Errno::ENOENT) => Err(fail(Errno::ENOENT).with_kind(dir.not_found())),
        Err(errno) => Err(fail(errno)),
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store in {:?}", self.path())
    }
}
