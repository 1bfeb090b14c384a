//! The changes of a store as futures.

use std::future::Future;
use std::sync::Arc;

use super::{Store, put_version};
use crate::commit::{Change, ChangeGroups, ChangeResult};
use crate::engine::Payload;
use crate::error::Result;
use crate::protocol::{PutOptions, Version};

/// Changes as futures, for any runtime. They never wait for the disk on the polling thread. They are `Send` and borrow nothing.
/// Each keeps the store open until it ends: dropping the last one after the store closes the store, and waits for queued changes.
///
/// A future does nothing before it is first polled. If the queue is full, it waits for room, first come, first served; dropping
/// it then cancels the change. Once the change is admitted, dropping the future cancels nothing: the change is made without
/// anybody seeing its result.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let store = ringbolt::Store::create(dir.path())?;
/// let (a, b) = tokio::join!(store.put_async("a", "1"), store.put_async("b", "2")); // one commit
/// assert_ne!(a?, b?);
/// # Ok::<(), ringbolt::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
impl Store {
    /// As [`put`](Store::put).
    pub fn put_async<K: AsRef<str>, B: Into<Payload>>(
        &self,
        key: K,
        bytes: B,
    ) -> impl Future<Output = Result<Version>> + Send + 'static + use<K, B> {
        self.put_with_async(key, bytes, PutOptions::new())
    }

    /// As [`put_new`](Store::put_new).
    pub fn put_new_async<K: AsRef<str>, B: Into<Payload>>(
        &self,
        key: K,
        bytes: B,
    ) -> impl Future<Output = Result<Version>> + Send + 'static + use<K, B> {
        self.put_with_async(key, bytes, PutOptions::new().create_new(true))
    }

    /// As [`put_if`](Store::put_if).
    pub fn put_if_async<K: AsRef<str>, B: Into<Payload>>(
        &self,
        key: K,
        expected: Version,
        bytes: B,
    ) -> impl Future<Output = Result<Version>> + Send + 'static + use<K, B> {
        self.put_with_async(key, bytes, PutOptions::new().expect_version(expected))
    }

    /// As [`put_with`](Store::put_with).
    pub fn put_with_async<K: AsRef<str>, B: Into<Payload>>(
        &self,
        key: K,
        bytes: B,
        options: PutOptions,
    ) -> impl Future<Output = Result<Version>> + Send + 'static + use<K, B> {
        let made = self.make_async(Change::put(key.as_ref(), bytes, options));
        async move { made.await.map(put_version) }
    }

    /// As [`delete`](Store::delete).
    pub fn delete_async<K: AsRef<str>>(&self, key: K) -> impl Future<Output = Result<()>> + Send + 'static + use<K> {
        let made = self.make_async(Change::delete(key.as_ref(), None));
        async move { made.await.map(drop) }
    }

    /// As [`delete_if`](Store::delete_if).
    pub fn delete_if_async<K: AsRef<str>>(
        &self,
        key: K,
        expected: Version,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<K> {
        let made = self.make_async(Change::delete(key.as_ref(), Some(expected)));
        async move { made.await.map(drop) }
    }

    /// As [`rename`](Store::rename).
    pub fn rename_async<K: AsRef<str>, L: AsRef<str>>(
        &self,
        from: K,
        to: L,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<K, L> {
        let made = self.make_async(Change::rename(from.as_ref(), to.as_ref()));
        async move { made.await.map(drop) }
    }

    fn make_async(&self, change: Change) -> impl Future<Output = ChangeResult> + Send + 'static + use<> {
        let inner = Arc::clone(&self.inner);
        async move { inner.committer.commit_async(ChangeGroups::one(change)).await.remove(0) }
    }
}
