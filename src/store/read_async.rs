//! Reading a store as futures.

use std::future::Future;
use std::ops::RangeBounds;

use bytes::Bytes;

use super::list::Entry;
use super::list_options::ListOptions;
use super::reader::{Files, bounds};
use super::{Metadata, Reader, Store};
use crate::error::Result;
use crate::protocol::Version;

/// The entries of a page without [`ListOptions::limit`].
const PAGE: usize = 1_000;

/// Reading as futures, for any runtime. They never block the polling thread: up to eight threads, which the reader and its clones
/// share, do the reads. These threads start on first use and end with the last of the readers and futures; dropping the last one
/// waits for reads in progress.
///
/// A future does nothing before it is first polled. Dropping it cancels a read that has not started. If a read panics, so does
/// the task that awaits it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// use ringbolt::ListOptions;
///
/// let store = ringbolt::Store::create(dir.path())?;
/// store.put_async("a", "0123456789").await?;
/// let reader = store.reader();
/// let (whole, part) = tokio::join!(reader.get_async("a"), reader.get_range_async("a", 2..5));
/// assert_eq!((whole?, part?), ("0123456789".into(), "234".into()));
///
/// // A listing in pages.
/// let mut options = ListOptions::new().limit(100);
/// loop {
///     let page = reader.list_page_async(options.clone()).await?;
///     let Some(last) = page.last() else { break };
///     println!("{} keys up to {:?}", page.len(), last.key);
///     options = options.start_after(&last.key);
/// }
/// # Ok::<(), ringbolt::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
impl Reader {
    /// As [`get`](Reader::get).
    pub fn get_async<K: AsRef<str>>(&self, key: K) -> impl Future<Output = Result<Bytes>> + Send + 'static + use<K> {
        self.read(key, |files, key| files.get(key).map(|(bytes, _)| bytes))
    }

    /// As [`get_versioned`](Reader::get_versioned).
    pub fn get_versioned_async<K: AsRef<str>>(
        &self,
        key: K,
    ) -> impl Future<Output = Result<(Bytes, Option<Version>)>> + Send + 'static + use<K> {
        self.read(key, Files::get)
    }

    /// As [`get_range`](Reader::get_range).
    pub fn get_range_async<K: AsRef<str>, R: RangeBounds<u64>>(
        &self,
        key: K,
        range: R,
    ) -> impl Future<Output = Result<Bytes>> + Send + 'static + use<K, R> {
        let bounds = bounds(&range);
        self.read(key, move |files, key| files.get_range(key, bounds).map(|(bytes, _)| bytes))
    }

    /// As [`metadata`](Reader::metadata).
    pub fn metadata_async<K: AsRef<str>>(
        &self,
        key: K,
    ) -> impl Future<Output = Result<Metadata>> + Send + 'static + use<K> {
        self.read(key, Files::metadata)
    }

    /// As [`exists`](Reader::exists).
    pub fn exists_async<K: AsRef<str>>(&self, key: K) -> impl Future<Output = Result<bool>> + Send + 'static + use<K> {
        self.read(key, Files::exists)
    }

    /// The first keys that `options` ask for, with their metadata: as many as the [limit](ListOptions::limit) says, or 1,000. The
    /// next page [starts after](ListOptions::start_after) the last key of this one; an empty page is the end. Each page reads the
    /// directory that it starts in from the beginning, so large pages suit large directories.
    ///
    /// # Errors
    ///
    /// A directory cannot be read, or the metadata of a key cannot. Then no part of the page is returned.
    pub fn list_page_async(
        &self,
        options: ListOptions,
    ) -> impl Future<Output = Result<Vec<Entry>>> + Send + 'static + use<> {
        let options = ListOptions { limit: options.limit.or(Some(PAGE)), ..options };
        let (files, path) = (self.files().clone(), self.path().to_owned());
        self.threads().run(path, move || files.list(&options)?.with_metadata().collect())
    }

    fn read<K: AsRef<str>, T: Send + 'static, W: FnOnce(&Files, &str) -> Result<T> + Send + 'static>(
        &self,
        key: K,
        read: W,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<K, T, W> {
        let (files, key) = (self.files().clone(), key.as_ref().to_owned());
        self.threads().run(self.path().join(&key), move || read(&files, &key))
    }
}

/// Reading as futures: see the methods of the same names of [`Reader`]. These futures do not keep the store open.
impl Store {
    /// As [`get`](Store::get).
    pub fn get_async<K: AsRef<str>>(&self, key: K) -> impl Future<Output = Result<Bytes>> + Send + 'static + use<K> {
        self.inner.reader.get_async(key)
    }

    /// As [`get_versioned`](Store::get_versioned).
    pub fn get_versioned_async<K: AsRef<str>>(
        &self,
        key: K,
    ) -> impl Future<Output = Result<(Bytes, Option<Version>)>> + Send + 'static + use<K> {
        self.inner.reader.get_versioned_async(key)
    }

    /// As [`get_range`](Store::get_range).
    pub fn get_range_async<K: AsRef<str>, R: RangeBounds<u64>>(
        &self,
        key: K,
        range: R,
    ) -> impl Future<Output = Result<Bytes>> + Send + 'static + use<K, R> {
        self.inner.reader.get_range_async(key, range)
    }

    /// As [`metadata`](Store::metadata).
    pub fn metadata_async<K: AsRef<str>>(
        &self,
        key: K,
    ) -> impl Future<Output = Result<Metadata>> + Send + 'static + use<K> {
        self.inner.reader.metadata_async(key)
    }

    /// As [`exists`](Store::exists).
    pub fn exists_async<K: AsRef<str>>(&self, key: K) -> impl Future<Output = Result<bool>> + Send + 'static + use<K> {
        self.inner.reader.exists_async(key)
    }

    /// A page of a listing. See [`Reader::list_page_async`].
    ///
    /// # Errors
    ///
    /// As [`Reader::list_page_async`].
    pub fn list_page_async(
        &self,
        options: ListOptions,
    ) -> impl Future<Output = Result<Vec<Entry>>> + Send + 'static + use<> {
        self.inner.reader.list_page_async(options)
    }
}
