//! A file that is written piece by piece and appears whole, or not at all.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::commit::{Change, What, Written};
use crate::dir::Dir;
use crate::error::{Error, Result, Step};
use crate::plan::{FileSync, Plan};
use crate::preserved::Preserved;
use crate::put_options::PutOptions;
use crate::report::certainly_not_created;
use crate::store::Shared;
use crate::temp;
use crate::version::Version;
use crate::write::WriteOptions;
use crate::writer::{NAME_ATTEMPTS, Temp, Writer};

/// A new version of a file, written beside the target and invisible until [`commit`](AtomicFile::commit).
///
/// Writes go to a temporary file (`O_CREAT|O_EXCL|O_NOFOLLOW`, mode 0600; another mode is set by the commit) in the target's
/// directory. `commit` syncs and closes it, renames it over the target and syncs the directory; only then is the new
/// content durable. Dropping the guard, or [`discard`](AtomicFile::discard), removes the temporary file and leaves the
/// target alone.
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
    owner: Owner,
    dir: Arc<Dir>,
    name: CString,
    temp: CString,
    /// Open until the commit takes it.
    file: Option<File>,
    options: PutOptions,
    /// What it takes over from the file that it replaces.
    like: Option<Preserved>,
    /// The first error of a write. What was meant to be in the file is not, so it must not be published.
    broken: Option<io::Error>,
}

/// Whose engine makes it durable.
#[derive(Debug)]
pub(crate) enum Owner {
    Alone(Writer),
    /// Keeps the store locked for as long as one of its files is being written; and the file's key.
    Store(Arc<Shared>, String),
}

impl Owner {
    fn writer(&self) -> &Writer {
        match self {
            Owner::Alone(writer) => writer,
            Owner::Store(store, _) => &store.committer.core().writer,
        }
    }
}

impl AtomicFile {
    /// Begins a new version of the file at `path`, with the defaults of [`WriteOptions`].
    ///
    /// # Errors
    ///
    /// The directory of `path` does not exist or cannot be written, or `path` names no file. Nothing has changed then.
    pub fn create(path: impl AsRef<Path>) -> Result<AtomicFile> {
        WriteOptions::new().create(path)
    }

    /// Without a store; with what it takes over from the file that it replaces.
    pub(crate) fn begin_like(
        writer: Writer,
        dir: Arc<Dir>,
        name: CString,
        options: PutOptions,
        like: Option<Preserved>,
    ) -> Result<AtomicFile> {
        let mut file = AtomicFile::begin(Owner::Alone(writer), dir, name, options)?;
        file.like = like;
        Ok(file)
    }

    pub(crate) fn begin(owner: Owner, dir: Arc<Dir>, name: CString, options: PutOptions) -> Result<AtomicFile> {
        let (temp, file) = create_temp(&dir, &name, owner.writer())?;
        Ok(AtomicFile { owner, dir, name, temp, file: Some(file), options, like: None, broken: None })
    }

    /// The temporary file, for what `Write` does not offer: seeking, setting its length, extended attributes.
    pub fn as_file(&self) -> &File {
        self.file.as_ref().expect("open until the commit consumes the guard")
    }

    /// Appends what `source` has from its cursor to its end, and returns how many bytes that is. Both cursors move.
    ///
    /// Between files on Linux, the kernel copies (`copy_file_range(2)`), which on xfs and btrfs shares the blocks instead of writing
    /// them again. Writing the same through [`Write`] takes a `write` for each buffer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    /// std::fs::write(&from, "content")?;
    /// let mut file = ringbolt::AtomicFile::create(&to)?;
    /// assert_eq!(file.copy_from(&std::fs::File::open(&from)?)?, 7);
    /// file.commit()?;
    /// assert_eq!(std::fs::read(&to)?, b"content");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Reading or writing failed, after some of it perhaps. Then [`commit`](AtomicFile::commit) fails, as after a failed write.
    pub fn copy_from(&mut self, source: &File) -> io::Result<u64> {
        self.copy_at_most(source, u64::MAX)
    }

    /// The same for at most so many bytes: to copy a large file in pieces, with a look at something else between them. Fewer bytes
    /// mean that `source` has ended.
    ///
    /// # Errors
    ///
    /// As [`copy_from`](AtomicFile::copy_from).
    pub fn copy_at_most(&mut self, source: &File, most: u64) -> io::Result<u64> {
        let result = copy(source, self.as_file(), most);
        self.note(result)
    }

    /// Makes the new content durable and visible under the target's name. Returns its version, if it is in a store.
    ///
    /// # Errors
    ///
    /// If a write has failed before, with that failure: half a file is never published. Otherwise as
    /// [`WriteOptions::write`]; [`Error::outcome`] tells what is true then.
    pub fn commit(mut self) -> Result<Option<Version>> {
        self.owner.writer().check(&self.dir)?;
        if let Some(cause) = self.broken.take() {
            return Err(Error::from_io(cause, Step::Write, self.dir.path_of(&self.temp)));
        }
        let file = self.file.take().expect("open until the commit consumes the guard");
        let temp = std::mem::take(&mut self.temp);
        match &self.owner {
            Owner::Alone(writer) => {
                if let Some(like) = &self.like {
                    let names = (&*self.name, &*temp);
                    return writer.complete_like(&self.dir, names, file.into(), self.options, like).map(|()| None);
                }
                let plan = Plan::commit(self.options, None, FileSync::Fsync);
                writer.complete(&self.dir, &self.name, &temp, Some(file.into()), plan).map(|()| None)
            }
            Owner::Store(store, key) => {
                let file = Written::new(&store.committer.core().writer, &self.dir, temp, file.into());
                let what = What::Publish { file, options: self.options };
                store.committer.make(Change { key: Ok(key.clone()), what })
            }
        }
    }

    /// Removes the temporary file. The target is left alone.
    ///
    /// # Errors
    ///
    /// The temporary file could not be removed. A drop does the same and keeps silent.
    pub fn discard(mut self) -> Result<()> {
        self.file = None;
        if self.owner.writer().remove_temp(&self.dir, &self.temp) != Temp::Stuck {
            return Ok(());
        }
        let path = self.dir.path_of(&self.temp);
        Err(Error::new(crate::error::Kind::Io, Step::RemoveTemp, path.clone()).with_leftover(path))
    }
}

/// With nothing between the two files that would keep the standard library from seeing that they are files.
fn copy(source: &File, mut target: &File, most: u64) -> io::Result<u64> {
    let begin = target.stream_position()?;
    let mut copied = 0;
    loop {
        match io::copy(&mut source.take(most - copied), &mut target) {
            // Some of it may be copied; both cursors are behind that.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => copied = target.stream_position()? - begin,
            result => return result.map(|rest| copied + rest),
        }
    }
}

fn create_temp(dir: &Arc<Dir>, name: &CStr, writer: &Writer) -> Result<(CString, File)> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for attempt in 1.. {
        let temp = temp::name(writer.maker, name, attempt);
        match openat(dir.fd(), &*temp, flags, Mode::from_bits_truncate(0o600)) {
            Ok(file) => return Ok((temp, file.into())),
            // It may have been made for all that.
            Err(errno) if !certainly_not_created(errno) && writer.remove_temp(dir, &temp) == Temp::Stuck => {
                let path = dir.path_of(&temp);
                return Err(Error::from_errno(errno, Step::CreateTemp, path.clone()).with_leftover(path));
            }
            Err(Errno::EEXIST | Errno::EINTR) if attempt < NAME_ATTEMPTS => {}
            Err(errno) => return Err(Error::from_errno(errno, Step::CreateTemp, dir.path_of(&temp))),
        }
    }
    unreachable!("the last attempt returns")
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the file is gone, and so is the temporary name, or the commit has said otherwise.
        if self.file.take().is_some() {
            self.owner.writer().remove_temp(&self.dir, &self.temp);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.as_file().write(buf);
        self.note(result)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let result = self.as_file().write_vectored(bufs);
        self.note(result)
    }

    /// Does nothing: there is no buffer, and durability is [`commit`](AtomicFile::commit)'s business.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AtomicFile {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
            && self.broken.is_none()
        {
            self.broken = Some(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
        }
        result
    }
}
