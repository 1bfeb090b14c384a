//! Reading a store without a lock.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Bound, RangeBounds};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::format;
use super::list::List;
use super::list_options::ListOptions;
use super::metadata::{Metadata, version};
use super::threads::Threads;
use crate::error::{Error, Result, Step};
use crate::fs::{Dir, Key, regular, scan, sys};
use crate::protocol::Version;

/// Reads a store, with or without a writer beside it. Takes no lock and changes nothing.
///
/// A key has its old content or its new content, whole. New content may be visible before it is durable and acknowledged to its
/// writer.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::create(dir.path())?;
/// store.put("a", "1")?;
/// let reader = ringbolt::Reader::open(dir.path())?;
/// assert_eq!(reader.get("a")?, "1");
/// assert_eq!(reader.metadata("a")?.len, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    files: Files,
    threads: Arc<Threads>,
}

/// The directory of a store, for reading. Work on other threads holds this instead of the reader, which owns those threads.
#[derive(Clone, Debug)]
pub(super) struct Files {
    root: Arc<Dir>,
    keeps_versions: bool,
}

impl Reader {
    /// Opens a store for reading.
    ///
    /// The reader takes from the modification time of `.ringbolt/format` whether the filesystem keeps
    /// [versions](Metadata::version): the writer sets a time with a part below a millisecond. A reader without access to
    /// `.ringbolt` returns no versions.
    ///
    /// # Errors
    ///
    /// [`NotAStore`](crate::ErrorKind::NotAStore), [`UnknownFormat`](crate::ErrorKind::UnknownFormat),
    /// [`RecoveryNeeded`](crate::ErrorKind::RecoveryNeeded) if acknowledged changes may be missing from the files, since the last
    /// writer was interrupted, [`DamagedLog`](crate::ErrorKind::DamagedLog), or the directory does not exist or cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader> {
        Reader::of(Dir::open(path.as_ref())?)
    }

    /// Opens a store for reading in an open directory. The reader uses a descriptor of its own.
    ///
    /// # Errors
    ///
    /// As [`open`](Reader::open).
    pub fn open_at(dir: impl AsFd) -> Result<Reader> {
        Reader::of(Dir::reopen(dir.as_fd())?)
    }

    fn of(root: Dir) -> Result<Reader> {
        let keeps_versions = format::look(&root)?;
        Ok(Reader::new(Arc::new(root), keeps_versions))
    }

    pub(super) fn new(root: Arc<Dir>, keeps_versions: bool) -> Reader {
        Reader { files: Files { root, keeps_versions }, threads: Arc::new(Threads::new()) }
    }

    /// The content of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`], [`Error::is_a_directory`], [`Error::is_symlink`], [`Error::is_not_a_file`],
    /// [`Error::is_invalid_key`], or it cannot be read.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Bytes> {
        self.files.get(key.as_ref()).map(|(bytes, _)| bytes)
    }

    /// The content of `key` and its version, both of the same put. The version is `None` where the filesystem does not keep
    /// versions; see [`Metadata::version`].
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn get_versioned(&self, key: impl AsRef<str>) -> Result<(Bytes, Option<Version>)> {
        self.files.get(key.as_ref())
    }

    /// The bytes of `key` in `range`, counted from the start of the content. Reads no other bytes.
    ///
    /// A range that reaches beyond the end is cut at the end. A range that starts at or beyond the end, or ends before it starts,
    /// is empty.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let store = ringbolt::Store::create(dir.path())?;
    /// store.put("a", "0123456789")?;
    /// let reader = store.reader();
    /// assert_eq!(reader.get_range("a", 2..5)?, "234");
    /// assert_eq!(reader.get_range("a", 8..)?, "89");
    /// assert_eq!(reader.get_range("a", 8..u64::MAX)?, "89");
    /// assert_eq!(reader.get_range("a", 10..)?, "");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn get_range(&self, key: impl AsRef<str>, range: impl RangeBounds<u64>) -> Result<Bytes> {
        self.files.get_range(key.as_ref(), bounds(&range)).map(|(bytes, _)| bytes)
    }

    /// As [`get_range`](Reader::get_range), with the version of the content that was read. Ranges with the same version are parts
    /// of the same content.
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn get_range_versioned(
        &self,
        key: impl AsRef<str>,
        range: impl RangeBounds<u64>,
    ) -> Result<(Bytes, Option<Version>)> {
        self.files.get_range(key.as_ref(), bounds(&range))
    }

    /// The file of `key`, open for reading. It keeps this content even if the key is replaced or deleted.
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn file(&self, key: impl AsRef<str>) -> Result<File> {
        self.files.open(key.as_ref()).map(|(file, _)| file)
    }

    /// Length, time, mode and version of `key`.
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn metadata(&self, key: impl AsRef<str>) -> Result<Metadata> {
        self.files.metadata(key.as_ref())
    }

    /// Whether `key` is a regular file. `false` for a directory, a symbolic link or a special file, and if a parent is not a
    /// directory.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_key`], [`Error::is_directory_removed`], or a parent directory cannot be opened.
    pub fn exists(&self, key: impl AsRef<str>) -> Result<bool> {
        self.files.exists(key.as_ref())
    }

    /// The keys that begin with `prefix` (`"a/"` for those in a directory, `""` for all), in the order of their bytes. Files with
    /// names that are not UTF-8, and anything but regular files, are left out.
    ///
    /// # Errors
    ///
    /// A directory cannot be read. If no key has the prefix, the list is empty.
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<List> {
        self.list_with(ListOptions::new().prefix(prefix.as_ref()))
    }

    /// The keys that `options` ask for, in the order of their bytes. [`List::with_metadata`] adds the metadata of each.
    ///
    /// # Errors
    ///
    /// As [`list`](Reader::list).
    pub fn list_with(&self, options: ListOptions) -> Result<List> {
        self.files.list(&options)
    }

    /// As [`file`](Reader::file), with its metadata.
    #[cfg(feature = "object_store")]
    pub(crate) fn open_file(&self, key: &str) -> Result<(File, Metadata)> {
        let (file, found) = self.files.open(key)?;
        Ok((file, Metadata::of_file(&found, self.files.keeps_versions)))
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn threads(&self) -> &Arc<Threads> {
        &self.threads
    }

    /// Whether this reader returns versions.
    #[cfg(feature = "object_store")]
    pub(crate) fn keeps_versions(&self) -> bool {
        self.files.keeps_versions
    }

    /// The path that the directory was opened by.
    pub(crate) fn path(&self) -> &Path {
        self.files.path()
    }
}

impl Files {
    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn get(&self, key: &str) -> Result<(Bytes, Option<Version>)> {
        let (mut file, found) = self.open(key)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.cannot_read(error, key))?;
        Ok((bytes.into(), version(&found, self.keeps_versions)))
    }

    pub(super) fn get_range(&self, key: &str, (start, end): (u64, u64)) -> Result<(Bytes, Option<Version>)> {
        let (file, found) = self.open(key)?;
        let end = end.min(found.len());
        let bytes = read_at(&file, start, end.saturating_sub(start)).map_err(|error| self.cannot_read(error, key))?;
        Ok((bytes.into(), version(&found, self.keeps_versions)))
    }

    pub(super) fn metadata(&self, key: &str) -> Result<Metadata> {
        self.open(key).map(|(_, found)| Metadata::of_file(&found, self.keeps_versions))
    }

    pub(super) fn exists(&self, key: &str) -> Result<bool> {
        let key = Key::parse(key)?;
        let found = match key.parent() {
            "" => fstatat(self.root.fd(), &*key.name(), AtFlags::AT_SYMLINK_NOFOLLOW),
            parent => scan::open_dir(&self.root, parent)
                .and_then(|dir| fstatat(dir, &*key.name(), AtFlags::AT_SYMLINK_NOFOLLOW)),
        };
        match found {
            Ok(stat) => Ok(scan::kind(&stat) == Some(Type::File)),
            Err(errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG)) => {
                let path = self.root.path().join(key.as_str());
                let error = Error::from_errno(errno, Step::OpenFile, path).with_kind(self.root.not_found());
                if error.is_directory_removed() { Err(error) } else { Ok(false) }
            }
            Err(errno) => Err(Error::from_errno(errno, Step::OpenFile, self.root.path().join(key.as_str()))),
        }
    }

    pub(super) fn list(&self, options: &ListOptions) -> Result<List> {
        List::new(Arc::clone(&self.root), options, self.keeps_versions)
    }

    fn open(&self, key: &str) -> Result<(File, std::fs::Metadata)> {
        let key = Key::parse(key)?;
        let path = self.root.path().join(key.as_str());
        let open = |flags| sys::open_beneath(self.root.fd(), key.as_str(), flags);
        regular::open(open, &path)
            .map_err(|error| if error.is_not_found() { error.with_kind(self.root.not_found()) } else { error })
    }

    fn cannot_read(&self, error: io::Error, key: &str) -> Error {
        Error::from_io(error, Step::Read, self.root.path().join(key))
    }
}

/// The start and end of a range. An open end is greater than the length of any file.
pub(super) fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

/// Reads up to `len` bytes, fewer only if another program truncates the file.
fn read_at(file: &File, start: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], start + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}
