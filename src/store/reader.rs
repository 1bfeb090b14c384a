//! Reading a store: no lock, no waiting.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::tree::List;
use crate::dir::Dir;
use crate::error::{Error, Result, Step};
use crate::key::Key;
use crate::version::Version;
use crate::{regular, sys};
use bytes::Bytes;

/// Reads a directory of durable files, beside its writer or without one. Takes no lock and changes nothing.
///
/// What it sees is whole: a key has its old content or its new. A content that a writer has not had acknowledged yet may be
/// visible before it is durable.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::open(dir.path())?;
/// store.put("a", "1")?;
/// let reader = ringbolt::Reader::open(dir.path())?;
/// assert_eq!(reader.get("a")?, "1");
/// assert_eq!(reader.metadata("a")?.len, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    root: Arc<Dir>,
}

/// What is known of a key without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Length in bytes.
    pub len: u64,
    /// When this content was written; the version as a time. Where the clock was set back, it is later than that.
    pub modified: SystemTime,
    /// Permission bits (`0o7777`).
    pub mode: u32,
    /// Which content this is. Of a file that no store has put, it is what its time of modification happens to be.
    pub version: Version,
}

impl Reader {
    /// Opens a directory for reading.
    ///
    /// # Errors
    ///
    /// The directory does not exist or cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader> {
        Dir::open(path.as_ref()).map(|root| Reader::new(Arc::new(root)))
    }

    pub(super) fn new(root: Arc<Dir>) -> Reader {
        Reader { root }
    }

    /// The content of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`], [`Error::is_a_directory`], [`Error::is_symlink`], [`Error::is_not_a_file`],
    /// [`Error::is_invalid_key`], or it cannot be read.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Bytes> {
        let key = key.as_ref();
        let mut bytes = Vec::new();
        self.file(key)?.read_to_end(&mut bytes).map_err(|error| self.cannot_read(error, key))?;
        Ok(bytes.into())
    }

    /// The content of `key` and its version, both of the same put.
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn get_versioned(&self, key: impl AsRef<str>) -> Result<(Bytes, Version)> {
        let key = key.as_ref();
        let (mut file, found) = self.open_file(key)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.cannot_read(error, key))?;
        Ok((bytes.into(), version(&found)))
    }

    /// The file of `key`, open for reading. It stays this content even if the key is replaced or deleted meanwhile.
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn file(&self, key: impl AsRef<str>) -> Result<File> {
        self.open_file(key.as_ref()).map(|(file, _)| file)
    }

    /// Length, time, mode and version of `key`.
    ///
    /// # Errors
    ///
    /// As [`get`](Reader::get).
    pub fn metadata(&self, key: impl AsRef<str>) -> Result<Metadata> {
        let key = key.as_ref();
        let (_, found) = self.open_file(key)?;
        let modified = found.modified().map_err(|error| self.cannot_read(error, key))?;
        Ok(Metadata { len: found.len(), modified, mode: found.mode() & 0o7777, version: version(&found) })
    }

    /// The keys that begin with `prefix` (`"a/"` for those in a directory, `""` for all), in the order of their bytes.
    /// Files whose names are not UTF-8, and whatever is no regular file, are no keys.
    ///
    /// # Errors
    ///
    /// A directory cannot be read. A prefix that no key has is no error: the list is empty.
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<List> {
        List::new(Arc::clone(&self.root), prefix.as_ref())
    }

    fn open_file(&self, key: &str) -> Result<(File, std::fs::Metadata)> {
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

fn version(found: &std::fs::Metadata) -> Version {
    Version::at(found.mtime(), found.mtime_nsec())
}
