//! A temporary file that is being written, not published yet.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::writer::{NAME_ATTEMPTS, Temp, Writer};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::dir::Dir;
use crate::fs::temp;
use crate::protocol::certainly_not_created;
use crate::protocol::options::PutOptions;

/// A temporary file, and what it is to become. Whoever holds it removes it ([`Draft::remove`]) or publishes it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) dir: Arc<Dir>,
    pub(crate) name: CString,
    pub(crate) temp: CString,
    /// Open until a commit takes it.
    file: Option<File>,
    pub(crate) options: PutOptions,
    /// The first failed write. The file lacks what it was to write, so it must not be published.
    broken: Option<io::Error>,
}

impl Draft {
    pub(crate) fn begin(writer: &Writer, dir: Arc<Dir>, name: CString, options: PutOptions) -> Result<Draft> {
        let (temp, file) = create_temp(&dir, &name, writer)?;
        Ok(Draft { dir, name, temp, file: Some(file), options, broken: None })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_ref().expect("open until the commit consumes the guard")
    }

    /// The path of the temporary file, for messages.
    fn path(&self) -> PathBuf {
        self.dir.path_of(&self.temp)
    }

    /// Takes the file out, to be published; a second descriptor stays, for another try where only the name is refused.
    pub(crate) fn take(&mut self) -> Result<OwnedFd> {
        if let Some(cause) = self.broken.take() {
            return Err(Error::from_io(cause, Step::Write, self.path()));
        }
        let second = self.file().try_clone();
        let second = second.map_err(|error| Error::from_io(error, Step::SyncFile, self.path()).with_content_kept())?;
        Ok(self.file.replace(second).expect("just seen").into())
    }

    /// Lets go of the file that a commit has published or thrown away; it stays where only its name was refused.
    pub(crate) fn settle<T>(&mut self, committed: Result<T>) -> Result<T> {
        if !committed.as_ref().is_err_and(Error::content_kept) {
            self.file = None;
        }
        committed
    }

    /// Removes the temporary file, unless a commit has settled it. Not in a forked child, whose parent still writes it.
    pub(crate) fn remove(&mut self, writer: &Writer) -> Result<()> {
        if self.file.take().is_none() || !writer.is_ours() || writer.remove_temp(&self.dir, &self.temp) != Temp::Stuck {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, Step::RemoveTemp, self.path()).with_leftover(self.path()))
    }

    pub(crate) fn write<T>(&mut self, write: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let result = write(self.file());
        self.note(result)
    }

    pub(crate) fn copy(&mut self, source: &File, most: u64) -> io::Result<u64> {
        self.write(|file| copy(source, file, most))
    }

    /// Remembers the first failure: half a file is never published.
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

/// What writes to a guard: to its draft, unbuffered.
macro_rules! write_to_draft {
    ($guard:ty) => {
        impl $guard {
            /// Appends what `source` has from its cursor to its end, and returns how many bytes that is. Both cursors move.
            ///
            /// On Linux the kernel copies (`copy_file_range(2)`), which on xfs and btrfs shares the blocks instead of writing them
            /// again. Writing the same through [`Write`](std::io::Write) takes a call for each buffer.
            ///
            /// # Errors
            ///
            /// Reading or writing failed, perhaps after a part of it. The commit fails then, as after a failed write.
            pub fn copy_from(&mut self, source: &std::fs::File) -> std::io::Result<u64> {
                self.copy_at_most(source, u64::MAX)
            }

            /// The same for at most `most` bytes: to copy a large file in pieces, with a look at something else between them. Fewer
            /// bytes mean that `source` has ended.
            ///
            /// # Errors
            ///
            /// As `copy_from`.
            pub fn copy_at_most(&mut self, source: &std::fs::File, most: u64) -> std::io::Result<u64> {
                self.draft.copy(source, most)
            }
        }

        impl std::io::Write for $guard {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.draft.write(|mut file| file.write(buf))
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.draft.write(|mut file| file.write_vectored(bufs))
            }

            /// Does nothing: there is no buffer, and it is the commit that makes the content durable.
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(crate) use write_to_draft;

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
