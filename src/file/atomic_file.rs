//! A file that is written piece by piece and appears whole or not at all.

use std::fs::File;
use std::path::Path;

use super::draft::{Draft, write_to_draft};
use super::write::WriteOptions;
use super::writer::Writer;
use crate::error::{Rejected, Result};
use crate::fs::preserved::Preserved;
use crate::protocol::{Medium, Plan};

/// A new version of a file, written beside the target and invisible until [`commit`](AtomicFile::commit).
///
/// Writes go to a temporary file (`O_CREAT|O_EXCL|O_NOFOLLOW`, mode 0600; the commit sets another mode) in the target's
/// directory. `commit` syncs and closes it, renames it over the target and syncs the directory; only then is the new content
/// durable. Dropping the guard, or [`discard`](AtomicFile::discard), removes the temporary file and leaves the target alone. In a
/// store, use [`Store::writer`](crate::Store::writer).
///
/// Writes are not buffered: wrap a `&mut AtomicFile` in a [`std::io::BufWriter`] for many small ones, and flush that
/// before the commit.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use std::io::Write;
///
/// let path = dir.path().join("report.csv");
/// let mut file = ringbolt::AtomicFile::create(&path)?;
/// writeln!(file, "name,size")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"name,size\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it discards what was written; call `commit`"]
pub struct AtomicFile {
    writer: Writer,
    draft: Draft,
    /// What is preserved of the file that it replaces.
    like: Option<Preserved>,
}

impl AtomicFile {
    /// Starts a new version of the file at `path`, with the defaults of [`WriteOptions`].
    ///
    /// # Errors
    ///
    /// The directory of `path` does not exist or cannot be written, or `path` does not name a file. In each case nothing has
    /// changed.
    pub fn create(path: impl AsRef<Path>) -> Result<AtomicFile> {
        WriteOptions::new().create(path)
    }

    pub(crate) fn new(writer: Writer, draft: Draft, like: Option<Preserved>) -> AtomicFile {
        AtomicFile { writer, draft, like }
    }

    /// The temporary file, for operations that `Write` does not have: seeking, truncating, extended attributes.
    pub fn as_file(&self) -> &File {
        self.draft.file()
    }

    /// Sets whether the commit fails if the target exists, instead of replacing it. Useful to try again after a commit that
    /// failed for that reason.
    pub fn create_new(mut self, create_new: bool) -> AtomicFile {
        self.draft.options = self.draft.options.create_new(create_new);
        self
    }

    /// Makes the new content durable and visible under the target's name.
    ///
    /// # Errors
    ///
    /// The error of an earlier failed write: half a file is never published. Otherwise as [`WriteOptions::write`];
    /// [`Error::outcome`](crate::Error::outcome) says what is true afterwards. If only the name was refused (the target exists,
    /// or is a directory), the error returns the file for another try.
    pub fn commit(mut self) -> Result<(), Rejected<AtomicFile>> {
        let file = match self.writer.check(&self.draft.dir).and_then(|()| self.draft.take()) {
            Ok(file) => file,
            Err(error) => return Err(Rejected::of(error, self)),
        };
        let Draft { dir, name, temp, options, .. } = &self.draft;
        let names = (name.as_c_str(), temp.as_c_str());
        let committed = match &self.like {
            Some(like) => {
                let plan = Plan::commit_like(like.options(*options), like.owner, Medium::FSYNC);
                self.writer.complete(dir, names, file, Some(&like.attributes), plan)
            }
            None => {
                let plan = Plan::commit(*options, None, Medium::FSYNC);
                self.writer.complete(dir, names, file, None, plan)
            }
        };
        self.draft.settle(&self.writer, committed).map_err(|error| Rejected::of(error, self))
    }

    /// Removes the temporary file. The target does not change.
    ///
    /// # Errors
    ///
    /// The temporary file could not be removed. Dropping the guard ignores this error.
    pub fn discard(mut self) -> Result<()> {
        self.draft.remove(&self.writer)
    }
}

write_to_draft!(AtomicFile);

impl Drop for AtomicFile {
    fn drop(&mut self) {
        let _ = self.draft.remove(&self.writer);
    }
}
