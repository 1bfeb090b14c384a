//! A directory held open: what every step of the protocol works through.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstat, mkdirat};

use crate::error::{Error, Kind, Result, Step};
use crate::sys;

/// A directory, by descriptor: a path can come to mean another directory while it is open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// The path it was opened by, for messages.
    path: PathBuf,
    sync_writes: AtomicBool,
    /// A sync of it has failed.
    distrusted: AtomicBool,
    device: libc::dev_t,
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Dir {
    /// Opens a directory that the caller names; symbolic links on the way to it are the caller's business.
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = open(path, FLAGS, Mode::empty()).map_err(|errno| Error::from_errno(errno, Step::OpenDir, path))?;
        Ok(Dir::new(fd, path.to_owned()))
    }

    /// Opens the directory that a symbolic link in this one means.
    pub(crate) fn open_from(&self, path: &Path) -> Result<Dir> {
        let whole = self.path.join(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = openat(&self.fd, path, FLAGS, Mode::empty());
        Ok(Dir::new(fd.map_err(|errno| Error::from_errno(errno, Step::OpenDir, &whole))?, whole))
    }

    /// One whose sync fails.
    #[cfg(all(test, feature = "tokio-uring", target_os = "linux"))]
    pub(crate) fn open_unsyncable(path: &Path) -> Dir {
        Dir::new(open(path, FLAGS | OFlag::O_PATH, Mode::empty()).unwrap(), path.to_owned())
    }

    /// Opens a directory beneath this one. `path` is of normal components; `""` is the directory itself.
    pub(crate) fn open_beneath(&self, path: &str) -> nix::Result<Dir> {
        let fd = sys::open_beneath(self.fd(), if path.is_empty() { "." } else { path }, FLAGS)?;
        Ok(Dir::new(fd, self.path.join(path)))
    }

    fn new(fd: OwnedFd, path: PathBuf) -> Dir {
        let sync_writes = AtomicBool::new(sys::is_proven(&fd));
        // It cannot fail on an open descriptor; if it did, the directory would match no device.
        let device = fstat(&fd).map_or(libc::dev_t::MAX, |stat| stat.st_dev);
        Dir { fd, path, sync_writes, distrusted: AtomicBool::new(false), device }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, for messages.
    pub(crate) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.to_bytes()))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes its entries durable, or says that nobody knows whether they are.
    pub(crate) fn sync(&self) -> Result<()> {
        sys::sync_dir(&self.fd).map_err(|errno| {
            self.distrust();
            Error::from_errno(errno, Step::SyncDir, &self.path)
        })?;
        self.confirm()
    }

    /// A sync that succeeded beside another's that failed proves nothing: an error is reported once an open file, and the
    /// descriptor is shared.
    pub(crate) fn confirm(&self) -> Result<()> {
        if self.distrusted.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Poisoned, Step::SyncDir, &self.path));
        }
        Ok(())
    }

    /// Makes this directory durable in the one that holds it, unless that may not be read: who may not, did not create it
    /// there.
    pub(crate) fn sync_parent(&self) -> Result<()> {
        let path = || self.path.join("..");
        match openat(&self.fd, "..", FLAGS, Mode::empty()) {
            Ok(parent) => sys::sync_dir(parent).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path())),
            Err(Errno::EACCES | Errno::EPERM) => Ok(()),
            Err(errno) => Err(Error::from_errno(errno, Step::OpenDir, path())),
        }
    }

    /// What it means that something was not found here: perhaps there is no "here" any more.
    pub(crate) fn not_found(&self) -> Kind {
        match fstat(&self.fd) {
            Ok(stat) if stat.st_nlink == 0 => Kind::DirectoryRemoved,
            _ => Kind::NotFound,
        }
    }

    /// Creates a directory in this one, or finds that another has just done so. Not durable before [`sync`](Dir::sync).
    pub(crate) fn make(&self, name: &Path, mode: u32) -> Result<()> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(mode as _)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(Error::from_errno(errno, Step::CreateDir, self.path.join(name))),
        }
    }

    /// The device of its filesystem.
    pub(crate) fn device(&self) -> libc::dev_t {
        self.device
    }

    /// A sync of it has failed: a success beside that proves nothing.
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Whether a write with `RWF_SYNC` may stand in for an fsync here.
    pub(crate) fn sync_writes(&self) -> bool {
        self.sync_writes.load(Ordering::Relaxed)
    }

    /// The filesystem refused such a write: don't ask again.
    pub(crate) fn refuse_sync_writes(&self) {
        self.sync_writes.store(false, Ordering::Relaxed);
    }
}
