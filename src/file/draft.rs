//! A temporary file that is being written and is not published yet.

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
use crate::error::{Error, ErrorKind, Outcome, Result, Step};
use crate::fs::{Dir, temp};
use crate::protocol::{PutOptions, certainly_not_created};

/// A temporary file and its target. The holder must publish it or remove it ([`Draft::remove`]).
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) dir: Arc<Dir>,
    pub(crate) name: CString,
    pub(crate) temp: CString,
    /// Open until a commit takes it.
    file: Option<File>,
    pub(crate) options: PutOptions,
    /// The first write that failed. The file is incomplete, so it must not be published.
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

    /// Takes the file to publish it. A second descriptor stays for another try, in case only the name is refused.
    pub(crate) fn take(&mut self) -> Result<OwnedFd> {
        if let Some(cause) = self.broken.take() {
            return Err(Error::from_io(cause, Step::Write, self.path()));
        }
        let second = self.file().try_clone();
        let second = second.map_err(|error| Error::from_io(error, Step::SyncFile, self.path()).with_content_kept())?;
        Ok(self.file.replace(second).expect("just seen").into())
    }

    /// Closes the file after a commit. Removes the temporary file if nothing was changed, unless only the name was refused. If the
    /// outcome is unknown, the file may be the only copy.
    pub(crate) fn settle<T>(&mut self, writer: &Writer, committed: Result<T>) -> Result<T> {
        match &committed {
            Err(error) if error.content_kept() => {}
            Err(error) if error.outcome() == Outcome::Unknown => self.file = None,
            Ok(_) => self.file = None,
            Err(_) => _ = self.remove(writer),
        }
        committed
    }

    /// Removes the temporary file, unless a commit has settled it. Does nothing in a forked child: the parent still writes the
    /// file.
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

/// `io::copy` uses `copy_file_range` only if both sides are visibly files.
fn copy(source: &File, mut target: &File, most: u64) -> io::Result<u64> {
    let begin = target.stream_position()?;
    let mut copied = 0;
    loop {
        match io::copy(&mut source.take(most - copied), &mut target) {
            // A part may have been copied; both cursors have moved past it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => copied = target.stream_position()? - begin,
            result => return result.map(|rest| copied + rest),
        }
    }
}

/// The methods and traits that write to a guard's draft, unbuffered.
macro_rules! write_to_draft {
    ($guard:ty) => {
        impl $guard {
            /// Appends the rest of `source`, from its cursor to its end, and returns the number of bytes copied. Both cursors
            /// move.
            ///
            /// On Linux the kernel copies (`copy_file_range(2)`). On xfs and btrfs the two files then share blocks, and nothing
            /// is written twice.
            ///
            /// # Errors
            ///
            /// Reading or writing failed, possibly after a part was copied. A later commit fails, as after a failed write.
            pub fn copy_from(&mut self, source: &std::fs::File) -> std::io::Result<u64> {
                self.copy_at_most(source, u64::MAX)
            }

            /// Like `copy_from`, but copies at most `most` bytes. Use it to copy a large file in pieces, for example to check for
            /// cancellation in between. A smaller result means that `source` has ended.
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

            /// Does nothing: there is no buffer. The commit makes the content durable.
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
            // The file may exist all the same.
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
