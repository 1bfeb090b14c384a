//! Listing the keys of a store.

use std::sync::Arc;

use super::list_options::ListOptions;
use super::metadata::Metadata;
#[cfg(feature = "object_store")]
use super::walk::holds_a_key;
use super::walk::{NAMES_MAX, Walk};
use crate::error::Result;
use crate::fs::Dir;

/// The keys of a store, in the order of their bytes; made by [`Reader::list`](crate::Reader::list) and
/// [`Reader::list_with`](crate::Reader::list_with).
///
/// Directories are read as the iterator advances, so a key that is put or deleted meanwhile may or may not be listed. At most
/// 65,536 names of each parent directory of the current key are in memory; a larger directory is read several times.
///
/// After an error (for example a directory that cannot be read) the iterator continues with the next directory.
#[derive(Debug)]
#[must_use = "an iterator does nothing unless it is advanced"]
pub struct List {
    walk: Walk,
    /// How many more keys to return.
    left: Option<usize>,
    keeps_versions: bool,
}

/// The keys of a store with their metadata; made by [`List::with_metadata`].
///
/// Otherwise as [`List`]. The directory of the current key stays open while the iterator is in it.
#[derive(Debug)]
#[must_use = "an iterator does nothing unless it is advanced"]
pub struct Entries {
    list: List,
}

/// A key and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its length, time, mode and version.
    pub metadata: Metadata,
}

impl List {
    pub(super) fn new(root: Arc<Dir>, options: &ListOptions, keeps_versions: bool) -> Result<List> {
        Ok(List { walk: Walk::new(root, options, NAMES_MAX)?, left: options.limit, keeps_versions })
    }

    /// Lists each key with its metadata. This takes one `fstatat` per key and opens no files. A key that is deleted between the
    /// two is left out and does not count towards a limit.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let store = ringbolt::Store::create(dir.path())?;
    /// store.put("a", "123")?;
    /// for entry in store.list("")?.with_metadata() {
    ///     let entry = entry?;
    ///     assert_eq!((entry.key.as_str(), entry.metadata.len), ("a", 3));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_metadata(mut self) -> Entries {
        self.walk.keep_open();
        Entries { list: self }
    }

    /// The entries directly in the directory that the prefix names or is in. Directories without any key beneath are left out;
    /// each is read up to its first key.
    #[cfg(feature = "object_store")]
    pub(crate) fn one_level(mut self) -> impl Iterator<Item = Result<Listed>> {
        self.walk.keep_open();
        std::iter::from_fn(move || {
            loop {
                let name = match self.walk.next_name()? {
                    Ok(name) => name,
                    Err(error) => return Some(Err(error)),
                };
                let listed = match name.strip_suffix('/') {
                    Some(dir) => {
                        holds_a_key(self.walk.root(), dir).map(|holds| holds.then(|| Listed::Dir(dir.to_owned())))
                    }
                    None => self.look(name).map(|entry| entry.map(Listed::Key)),
                };
                if let Some(listed) = listed.transpose() {
                    return Some(listed);
                }
            }
        })
    }

    /// The entry of a key; `None` if it is gone.
    fn look(&mut self, key: String) -> Result<Option<Entry>> {
        let found = self.walk.stat(&key)?;
        Ok(found.map(|stat| Entry { key, metadata: Metadata::of(&stat, self.keeps_versions) }))
    }

    fn count(&mut self) {
        self.left = self.left.map(|left| left - 1);
    }
}

#[cfg(test)]
impl Entries {
    pub(super) fn open_dirs(&self) -> usize {
        self.list.walk.open_dirs()
    }
}

/// A key or a directory of a listing of one level.
#[cfg(feature = "object_store")]
#[derive(Debug)]
pub(crate) enum Listed {
    Key(Entry),
    Dir(String),
}

impl Iterator for List {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        if self.left == Some(0) {
            return None;
        }
        let key = self.walk.next_key(self.left)?;
        if key.is_ok() {
            self.count();
        }
        Some(key)
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let list = &mut self.list;
        if list.left == Some(0) {
            return None;
        }
        loop {
            let key = match list.walk.next_key(list.left)? {
                Ok(key) => key,
                Err(error) => return Some(Err(error)),
            };
            match list.look(key) {
                Ok(Some(entry)) => {
                    list.count();
                    return Some(Ok(entry));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
