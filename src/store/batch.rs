//! Changes that are committed together.

use std::sync::Arc;

use super::Inner;
use crate::commit::{Applied, Change, ChangeGroups, ChangeResult};
use crate::engine::Payload;
use crate::error::Result;
use crate::protocol::{PutOptions, Version};

/// Changes of several keys that are committed together. Each has a result of its own.
///
/// They are made in order, but not atomically: a change that fails does not stop the others, and a power cut before the end
/// leaves some changes made and others not, each file whole. [`then`](Batch::then) starts a new group: all earlier changes are
/// durable before a change of the group becomes visible, and if one of them fails, the group is not attempted. So write data
/// files first, then the manifest that names them:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::create(dir.path())?;
/// let mut batch = store.batch();
/// batch.put("data/1", "one").put("data/2", "two");
/// batch.then().put("MANIFEST", "data/1 data/2");
/// batch.commit().into_result()?;
/// assert_eq!(store.get("MANIFEST")?, "data/1 data/2");
///
/// let mut batch = store.batch();
/// batch.put_new("data/1", "again").delete("data/2");
/// for result in batch.commit().results() {
///     match result {
///         Ok(_) => {}
///         Err(error) if error.is_already_exists() => assert!(error.path().ends_with("data/1")),
///         Err(error) => panic!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is done before `commit`"]
pub struct Batch {
    inner: Arc<Inner>,
    groups: Vec<Vec<Change>>,
}

impl Batch {
    pub(crate) fn new(inner: &Arc<Inner>) -> Batch {
        Batch { inner: Arc::clone(inner), groups: vec![Vec::new()] }
    }

    /// As [`Store::put`](crate::Store::put).
    pub fn put(&mut self, key: impl AsRef<str>, bytes: impl Into<Payload>) -> &mut Batch {
        self.put_with(key, bytes, PutOptions::new())
    }

    /// As [`Store::put_with`](crate::Store::put_with).
    pub fn put_with(&mut self, key: impl AsRef<str>, bytes: impl Into<Payload>, options: PutOptions) -> &mut Batch {
        self.push(Change::put(key.as_ref(), bytes, options))
    }

    /// As [`Store::put_new`](crate::Store::put_new).
    pub fn put_new(&mut self, key: impl AsRef<str>, bytes: impl Into<Payload>) -> &mut Batch {
        self.put_with(key, bytes, PutOptions::new().create_new(true))
    }

    /// As [`Store::put_if`](crate::Store::put_if).
    pub fn put_if(&mut self, key: impl AsRef<str>, expected: Version, bytes: impl Into<Payload>) -> &mut Batch {
        self.put_with(key, bytes, PutOptions::new().expect_version(expected))
    }

    /// As [`Store::delete`](crate::Store::delete).
    pub fn delete(&mut self, key: impl AsRef<str>) -> &mut Batch {
        self.push(Change::delete(key.as_ref(), None))
    }

    /// As [`Store::delete_if`](crate::Store::delete_if).
    pub fn delete_if(&mut self, key: impl AsRef<str>, expected: Version) -> &mut Batch {
        self.push(Change::delete(key.as_ref(), Some(expected)))
    }

    /// As [`Store::rename`](crate::Store::rename).
    pub fn rename(&mut self, from: impl AsRef<str>, to: impl AsRef<str>) -> &mut Batch {
        self.push(Change::rename(from.as_ref(), to.as_ref()))
    }

    /// Starts a new group: all changes so far are durable before a later change becomes visible.
    pub fn then(&mut self) -> &mut Batch {
        if self.groups.last().is_some_and(|group| !group.is_empty()) {
            self.groups.push(Vec::new());
        }
        self
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Whether the batch is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the changes. Returns when each is durable or has failed.
    pub fn commit(self) -> Committed {
        if self.is_empty() {
            return Committed { results: Vec::new() };
        }
        Committed { results: self.inner.committer.commit(ChangeGroups::of(self.groups)) }
    }

    /// [`commit`](Batch::commit) as a future for any runtime. Dropping the future while it waits for room in the queue cancels
    /// the batch. After that, dropping it cancels nothing.
    pub async fn commit_async(self) -> Committed {
        if self.is_empty() {
            return Committed { results: Vec::new() };
        }
        Committed { results: self.inner.committer.commit_async(ChangeGroups::of(self.groups)).await }
    }

    fn push(&mut self, change: Change) -> &mut Batch {
        match self.groups.last_mut() {
            Some(group) => group.push(change),
            None => self.groups.push(vec![change]),
        }
        self
    }
}

/// The results of a batch, in the order of its changes.
#[derive(Debug)]
#[must_use = "a change may have failed"]
pub struct Committed {
    results: Vec<ChangeResult>,
}

impl Committed {
    /// The result of each change.
    pub fn results(&self) -> &[Result<Applied>] {
        &self.results
    }

    /// The results by value.
    pub fn into_results(self) -> Vec<Result<Applied>> {
        self.results
    }

    /// What each change did, or the first error.
    ///
    /// # Errors
    ///
    /// The error of the first change that failed.
    pub fn into_result(self) -> Result<Vec<Applied>> {
        self.results.into_iter().collect()
    }
}
