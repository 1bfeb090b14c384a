//! Reading through an open store.

use std::ops::RangeBounds;

use bytes::Bytes;

use super::Store;
use super::list::List;
use super::list_options::ListOptions;
use crate::error::Result;
use crate::protocol::version::Version;

impl Store {
    /// The bytes of `key` in `range`. A range that reaches beyond the end is cut there. See
    /// [`Reader::get_range`](crate::Reader::get_range).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let store = ringbolt::Store::create(dir.path())?;
    /// store.put("a", "0123456789")?;
    /// assert_eq!(store.get_range("a", 2..5)?, "234");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Reader::get`](crate::Reader::get).
    pub fn get_range(&self, key: impl AsRef<str>, range: impl RangeBounds<u64>) -> Result<Bytes> {
        self.shared.reader.get_range(key, range)
    }

    /// As [`get_range`](Store::get_range), with the version of the content that was read.
    ///
    /// # Errors
    ///
    /// As [`Reader::get`](crate::Reader::get).
    pub fn get_range_versioned(
        &self,
        key: impl AsRef<str>,
        range: impl RangeBounds<u64>,
    ) -> Result<(Bytes, Option<Version>)> {
        self.shared.reader.get_range_versioned(key, range)
    }

    /// Whether `key` is a regular file. See [`Reader::exists`](crate::Reader::exists).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let store = ringbolt::Store::create(dir.path())?;
    /// store.put("a/b", "")?;
    /// assert!(store.exists("a/b")? && !store.exists("a")? && !store.exists("c")?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Reader::exists`](crate::Reader::exists).
    pub fn exists(&self, key: impl AsRef<str>) -> Result<bool> {
        self.shared.reader.exists(key)
    }

    /// The keys that `options` ask for, in the order of their bytes. See [`ListOptions`].
    ///
    /// # Errors
    ///
    /// As [`Reader::list`](crate::Reader::list).
    pub fn list_with(&self, options: ListOptions) -> Result<List> {
        self.shared.reader.list_with(options)
    }
}
