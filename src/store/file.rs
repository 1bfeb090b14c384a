//! New content of a key that is written piece by piece.

use std::fs::File;
use std::sync::Arc;

use super::{Inner, Store, put_version};
use crate::commit::{Action, Change, WrittenFile};
use crate::error::{Error, ErrorKind, Rejected, Result, Step};
use crate::file::draft::{Draft, write_to_draft};
use crate::fs::{Dir, Key};
use crate::protocol::{Existing, PutOptions, Version};
use nix::errno::Errno;
use nix::sys::stat::SFlag;

/// New content of a key, written piece by piece and invisible until [`commit`](StoreFile::commit): [`Store::writer`].
///
/// A commit whose name is refused gives the file back: see the example of [`Rejected`].
///
/// It is a temporary file in the directory of the key. Dropping or [`discarding`](StoreFile::discard) it removes that file; the
/// key does not change. The store stays open and locked as long as such a file exists.
///
/// Writes are not buffered: wrap a `&mut StoreFile` in a [`std::io::BufWriter`] for many small ones, and flush that before the
/// commit.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let store = ringbolt::Store::create(dir.path())?;
/// use ringbolt::PutOptions;
/// use std::io::Write;
///
/// let mut file = store.writer("exports/2026", PutOptions::new())?;
/// for row in 0..1000 {
///     writeln!(file, "{row}")?;
/// }
/// let version = file.commit()?;
/// assert_eq!(store.metadata("exports/2026")?.version, Some(version));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it discards what was written; call `commit`"]
pub struct StoreFile {
    store: Arc<Inner>,
    key: String,
    draft: Draft,
}

impl Store {
    /// Starts new content of `key` that is written piece by piece, for content that does not fit into memory. Nothing is visible
    /// before [`StoreFile::commit`].
    ///
    /// # Errors
    ///
    /// As [`put`](Store::put). With [`create_new`](PutOptions::create_new) this fails if the key exists, and the commit fails if
    /// it exists by then.
    pub fn writer(&self, key: impl AsRef<str>, options: PutOptions) -> Result<StoreFile> {
        let core = self.inner.committer.core();
        core.check()?;
        core.supports(options)?;
        let key = Key::parse(key.as_ref())?;
        let draft = core.again_if_moved(&[&key], || {
            let dir = core.directory(&key, options)?;
            if options.existing == Existing::Refuse && is_taken(&dir, &key) {
                let error = Error::from_errno(Errno::EEXIST, Step::Check, dir.path_of(&key.name()));
                return Err(error.with_kind(ErrorKind::AlreadyExists));
            }
            Draft::begin(&core.writer, dir, key.name(), options)
        })?;
        Ok(StoreFile { store: Arc::clone(&self.inner), key: key.as_str().to_owned(), draft })
    }
}

/// Whether something other than a directory has the name of the key. A directory may be empty and give way.
fn is_taken(dir: &Dir, key: &Key<'_>) -> bool {
    dir.look(&key.name()).is_ok_and(|kind| kind != SFlag::S_IFDIR)
}

impl StoreFile {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The temporary file, for operations that `Write` does not have: seeking, truncating, extended attributes.
    pub fn as_file(&self) -> &File {
        self.draft.file()
    }

    /// Replaces the options, for another try after the key existed or had another version.
    pub fn with_options(mut self, options: PutOptions) -> StoreFile {
        self.draft.options = options;
        self
    }

    /// Makes the new content durable and visible under the key. Returns its version.
    ///
    /// # Errors
    ///
    /// The error of an earlier failed write: half a file is never published. Otherwise as [`Store::put_with`]. If only the name
    /// was refused (the key exists, has another version, or is a directory), the error returns the file for another try.
    pub fn commit(mut self) -> Result<Version, Rejected<StoreFile>> {
        let core = self.store.committer.core();
        let file = match core.check().and_then(|()| self.draft.take()) {
            Ok(file) => file,
            Err(error) => return Err(Rejected::of(error, self)),
        };
        let Draft { dir, temp, options, .. } = &self.draft;
        let file = WrittenFile { dir: Arc::clone(dir), temp: temp.clone(), file };
        let action = Action::Publish { file, options: *options };
        let committed = self.store.committer.make(Change { key: Ok(self.key.clone()), action });
        let committed = self.draft.settle(&core.writer, committed);
        committed.map(put_version).map_err(|error| Rejected::of(error, self))
    }

    /// Removes the temporary file. The key does not change.
    ///
    /// # Errors
    ///
    /// The temporary file could not be removed. Dropping the guard ignores this error.
    pub fn discard(mut self) -> Result<()> {
        self.draft.remove(&self.store.committer.core().writer)
    }
}

write_to_draft!(StoreFile);

impl Drop for StoreFile {
    fn drop(&mut self) {
        let _ = self.draft.remove(&self.store.committer.core().writer);
    }
}
