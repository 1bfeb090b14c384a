//! A directory with one writer and many readers.

mod asynchronous;
pub(crate) mod batch;
mod builder;
mod file;
mod format;
mod list;
mod list_options;
mod log;
mod log_change;
mod log_reader;
mod metadata;
mod open;
mod read;
mod read_async;
mod reader;
mod recovery;
mod replay;
mod session;
mod threads;
mod tree;
mod walk;
#[cfg(test)]
mod walk_tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use self::batch::Batch;
use crate::commit::stats::Stats;
use crate::commit::{Applied, Change, Committer};
use crate::engine::{EngineInfo, Payload};
use crate::error::{Error, ErrorKind, Rejected, Result, Step};
use crate::protocol::{PutOptions, Version};
#[cfg(feature = "bench")]
pub(crate) use builder::LOG_BYTES;
pub use builder::StoreBuilder;
pub use file::StoreFile;
#[cfg(feature = "object_store")]
pub(crate) use list::Listed;
pub use list::{Entries, Entry, List};
pub use list_options::ListOptions;
pub use log_change::{LogChange, LogChangeKind, LogPut, LogRecord, LogState, LogSuperblock};
pub use log_reader::LogReader;
pub use metadata::Metadata;
pub use reader::Reader;
use session::Session;

/// A directory of durable files.
///
/// One writer at a time holds the directory (`flock` on `.ringbolt/lock`); any number of [`Reader`]s, in this process or another,
/// read beside it. When a method that changes something returns `Ok`, the change is durable.
///
/// Keys are relative paths with normal components, such as `a/b/c`: any UTF-8, at most 255 bytes in a component and 4095 in all,
/// no component that begins with `.ringbolt`. Two keys may name the same file where the filesystem makes them equal (one that
/// ignores case, for example). Missing directories are created and made durable; empty directories stay until a key needs their
/// name. Symbolic links beneath the root are never followed. The directory belongs to the store: other programs must not move
/// files in it while the store is open.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::create(dir.path())?;
/// store.put("volumes/7/keys.json", "{}")?;
/// assert_eq!(store.get("volumes/7/keys.json")?, "{}");
/// store.rename("volumes/7/keys.json", "volumes/8/keys.json")?;
/// assert_eq!(store.list("volumes/")?.collect::<Result<Vec<_>, _>>()?, ["volumes/8/keys.json"]);
/// store.delete("volumes/8/keys.json")?;
/// assert!(store.get("volumes/8/keys.json").unwrap_err().is_not_found());
/// # Ok(())
/// # }
/// ```
/// A clone is another handle of the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// The state behind all handles of a store, its files and its futures. Fields are dropped in this order: queued changes are
/// committed before the session ends.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) committer: Committer,
    reader: Reader,
    session: Session,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.committer.drain();
        let core = self.committer.core();
        if core.writer.is_ours() && core.log_ended() {
            // If it fails, the next open finds a clean log.
            let _: Result<()> = format::write(&core.writer, &self.session.own, false);
        }
        let is_tidy = core.writer.is_ours() && core.writer.is_tidy() && core.leaves_no_log();
        self.session.end(is_tidy.then(|| core.versions.clock.bound()));
    }
}

impl Store {
    /// The path that the directory was opened by.
    pub fn path(&self) -> &Path {
        self.inner.committer.core().dirs.root().path()
    }

    /// Which engine runs, and why. [`probe_uring`](crate::probe_uring) checks whether io_uring works here.
    pub fn engine(&self) -> &EngineInfo {
        self.inner.committer.core().writer.engine.info()
    }

    /// What the store has done since it was opened, and how long it took.
    pub fn stats(&self) -> Stats {
        self.inner.committer.stats()
    }

    /// Durably replaces the content of `key`, or creates it. The new file has mode 0600 less the umask and does not inherit the
    /// old mode; see [`put_with`](Store::put_with).
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the failed step: [`InvalidKey`](ErrorKind::InvalidKey), [`IsADirectory`](ErrorKind::IsADirectory)
    /// if there are keys beneath this one, [`NotADirectory`](ErrorKind::NotADirectory) if a key stands in its path,
    /// [`StorageFull`](ErrorKind::StorageFull), or any other failed call. [`Error::outcome`] says whether the old content is
    /// still there; after [`Outcome::Unknown`](crate::Outcome::Unknown) this store refuses further writes
    /// ([`Poisoned`](ErrorKind::Poisoned)) until it is reopened.
    pub fn put(&self, key: impl AsRef<str>, bytes: impl Into<Payload>) -> Result<Version> {
        self.put_with(key, bytes, PutOptions::new())
    }

    /// Durably creates `key`. Of several writers exactly one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::is_already_exists`] if the key exists; otherwise as [`put`](Store::put).
    pub fn put_new(&self, key: impl AsRef<str>, bytes: impl Into<Payload>) -> Result<Version> {
        self.put_with(key, bytes, PutOptions::new().create_new(true))
    }

    /// Durably replaces the content of `key` if it has the version `expected`: compare and swap. Of several writers that expect
    /// the same version exactly one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::is_version_mismatch`] if the key has another version or does not exist; [`Error::is_unsupported_version`] if the
    /// filesystem's time stamps are too coarse; otherwise as [`put`](Store::put).
    pub fn put_if(&self, key: impl AsRef<str>, expected: Version, bytes: impl Into<Payload>) -> Result<Version> {
        self.put_with(key, bytes, PutOptions::new().expect_version(expected))
    }

    /// A [`put`](Store::put) with options.
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put).
    pub fn put_with(&self, key: impl AsRef<str>, bytes: impl Into<Payload>, options: PutOptions) -> Result<Version> {
        self.inner.committer.make(Change::put(key.as_ref(), bytes, options)).map(put_version)
    }

    /// Starts a batch: changes of several keys that are committed together. See [`Batch`].
    pub fn batch(&self) -> Batch {
        Batch::new(&self.inner)
    }

    /// Durably removes `key`, or a symbolic link or special file of that name. A directory that becomes empty stays until a key
    /// needs its name.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if the key does not exist, [`Error::is_a_directory`]; otherwise as [`put`](Store::put).
    pub fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        self.inner.committer.make(Change::delete(key.as_ref(), None)).map(drop)
    }

    /// Durably removes `key` if it has the version `expected`.
    ///
    /// # Errors
    ///
    /// [`Error::is_version_mismatch`] if the key has another version or does not exist; otherwise as [`put_if`](Store::put_if).
    pub fn delete_if(&self, key: impl AsRef<str>, expected: Version) -> Result<()> {
        self.inner.committer.make(Change::delete(key.as_ref(), Some(expected))).map(drop)
    }

    /// Durably renames a key, replacing `to`. If both names are hard links to one file, nothing happens, as POSIX defines
    /// rename(2). Renames are atomic in a power cut on ext4, xfs and btrfs; on a filesystem where they are not, a cut before this
    /// returns can leave neither name.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] if `from` does not exist, [`Error::is_a_directory`] if either is a directory; otherwise as
    /// [`put`](Store::put).
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        self.inner.committer.make(Change::rename(from.as_ref(), to.as_ref())).map(drop)
    }

    /// With [`Barrier::IntentLog`](crate::Barrier::IntentLog), makes everything that was acknowledged so far durable in its files, and
    /// empties the log. Returns at once in other stores, where acknowledged changes are in their files. Blocks: on an async runtime,
    /// use `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](crate::ErrorKind::Poisoned) if it could not: what was acknowledged is in the log, and reopening the store brings it
    /// into the files.
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.committer.checkpoint()
    }

    /// A reader of this store. It stays usable after the store is closed.
    pub fn reader(&self) -> Reader {
        self.inner.reader.clone()
    }

    /// Commits queued changes, ends the store's threads and releases the lock. When this returns `Ok`, another writer can open
    /// the directory, and its filesystem can be unmounted unless a [`Reader`] is left. Dropping the last handle does the same but
    /// reports no error.
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::ErrorKind::InUse) if a clone, a [`StoreFile`], a [`Batch`] or a pending future still holds the store: the
    /// error returns the store, which stays open. [`Poisoned`](crate::ErrorKind::Poisoned) if a failure since it
    /// was opened has left unknown what is durable: the store is closed all the same, and can be reopened. [`Forked`](crate::ErrorKind::Forked) in a child
    /// process, whose parent keeps the store.
    pub fn close(self) -> Result<(), Rejected<Store>> {
        if !self.inner.committer.core().writer.is_ours() {
            return Err(Rejected::new(self.inner.committer.core().check().unwrap_err(), None));
        }
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => {
                inner.committer.drain();
                // A queued change whose caller is gone can still fail.
                inner.committer.core().check().map_err(|error| Rejected::new(error, None))
            }
            Err(inner) => {
                let others = Arc::strong_count(&inner).saturating_sub(1).max(1);
                let what = format!("other handles, files, batches or futures hold it ({others})");
                let error = Error::new(ErrorKind::InUse, Step::Check, inner.committer.core().dirs.root().path());
                Err(Rejected::new(error.with_detail(what), Some(Store { inner })))
            }
        }
    }
}

/// The version of a put.
fn put_version(applied: Applied) -> Version {
    match applied {
        Applied::Put(version) => version,
        Applied::Deleted | Applied::Renamed => unreachable!("a put was made"),
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store in {:?}", self.path())
    }
}
