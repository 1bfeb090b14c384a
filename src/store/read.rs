//! Reading through an open store: as its [`Reader`](crate::Reader).

use std::ops::RangeBounds;

use bytes::Bytes;

use super::list::List;
use super::list_options::ListOptions;
use super::{Metadata, Store};
use crate::error::Result;
use crate::protocol::Version;

/// Reading. No method waits for a writer. The methods of [`Reader`](crate::Reader) with the same names describe the details
/// and the errors.
impl Store {
    /// The content of `key`. See [`Reader::get`](crate::Reader::get).
    pub fn get(&self, key: impl AsRef<str>) -> Result<Bytes> {
        self.inner.reader.get(key)
    }

    /// The content of `key` and its version, both of the same put. The version is `None` where the filesystem does not keep
    /// versions. See [`Reader::get_versioned`](crate::Reader::get_versioned).
    pub fn get_versioned(&self, key: impl AsRef<str>) -> Result<(Bytes, Option<Version>)> {
        self.inner.reader.get_versioned(key)
    }

    /// The bytes of `key` in `range`. A range that reaches beyond the end is cut there. See
    /// [`Reader::get_range`](crate::Reader::get_range).
    pub fn get_range(&self, key: impl AsRef<str>, range: impl RangeBounds<u64>) -> Result<Bytes> {
        self.inner.reader.get_range(key, range)
    }

    /// As [`get_range`](Store::get_range), with the version of the content that was read.
    pub fn get_range_versioned(
        &self,
        key: impl AsRef<str>,
        range: impl RangeBounds<u64>,
    ) -> Result<(Bytes, Option<Version>)> {
        self.inner.reader.get_range_versioned(key, range)
    }

    /// Length, time, mode and version of `key`. See [`Reader::metadata`](crate::Reader::metadata).
    pub fn metadata(&self, key: impl AsRef<str>) -> Result<Metadata> {
        self.inner.reader.metadata(key)
    }

    /// Whether `key` is a regular file. See [`Reader::exists`](crate::Reader::exists).
    pub fn exists(&self, key: impl AsRef<str>) -> Result<bool> {
        self.inner.reader.exists(key)
    }

    /// The keys that begin with `prefix`, in the order of their bytes; `""` lists all. See [`Reader::list`](crate::Reader::list).
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<List> {
        self.inner.reader.list(prefix)
    }

    /// The keys that `options` ask for, in the order of their bytes. See [`ListOptions`].
    pub fn list_with(&self, options: ListOptions) -> Result<List> {
        self.inner.reader.list_with(options)
    }
}
