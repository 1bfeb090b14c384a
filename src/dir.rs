//! A directory held open: what every step of the protocol works through.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, dev_t, fstat, fstatat, mkdirat};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::sys;

/// A directory, by descriptor: a path can come to mean another directory while it is open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// The path it was opened by, for messages.
    path: PathBuf,
    /// Whether `RWF_SYNC` is as good as an fsync here; found out when first asked.
    sync_writes: OnceLock<bool>,
    sync_writes_refused: AtomicBool,
    /// A sync of it has failed.
    distrusted: AtomicBool,
    device: dev_t,
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Dir {
    /// Opens a directory that the caller names; symbolic links on the way to it are the caller's business.
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = open(path, FLAGS, Mode::empty()).map_err(|errno| Error::from_errno(errno, Step::OpenDir, path))?;
        Ok(Dir::new(fd, path.to_owned()))
    }

    /// Opens a directory once more that somebody else holds open. Its path, for messages, is what the system calls it now.
    pub(crate) fn reopen(dir: BorrowedFd<'_>) -> Result<Dir> {
        let path = sys::path_of(dir);
        let fd =
            openat(dir, ".", FLAGS, Mode::empty()).map_err(|errno| Error::from_errno(errno, Step::OpenDir, &path))?;
        Ok(Dir::new(fd, path))
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
        // It cannot fail on an open descriptor; if it did, the directory would match no device.
        let device = fstat(&fd).map_or(dev_t::MAX, |stat| stat.st_dev);
        Dir {
            fd,
            path,
            sync_writes: OnceLock::new(),
            sync_writes_refused: AtomicBool::new(false),
            distrusted: AtomicBool::new(false),
            device,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, for messages.
    pub(crate) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.to_bytes()))
    }

    /// Whether it has an entry of this name.
    pub(crate) fn has(&self, name: &CStr) -> bool {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
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
            return Err(Error::new(ErrorKind::Poisoned, Step::SyncDir, &self.path));
        }
        Ok(())
    }

    /// Makes this directory's own name durable, in the directory that holds it.
    ///
    /// A directory that may be searched and written, but not read, cannot be opened to be synced. Then one `syncfs` does it, where
    /// that is as good as an fsync; elsewhere this fails. The root of a mount has no name that a sync could make durable.
    pub(crate) fn sync_parent(&self) -> Result<()> {
        let path = || self.path.join("..");
        match openat(&self.fd, "..", FLAGS, Mode::empty()) {
            Ok(parent) => sys::sync_dir(parent).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path())),
            Err(Errno::EACCES | Errno::EPERM) if self.is_mount_root() => Ok(()),
            Err(errno @ (Errno::EACCES | Errno::EPERM)) => match sys::no_syncfs(&self.fd) {
                None => sys::sync_filesystem(&self.fd)
                    .map_err(|errno| Error::from_errno(errno, Step::SyncFilesystem, &self.path)),
                Some(why) => Err(Error::from_errno(errno, Step::OpenDir, path()).with_detail(format!(
                    "it must be readable, since the name of the directory in it is to be synced and {why}"
                ))),
            },
            Err(errno) => Err(Error::from_errno(errno, Step::OpenDir, path())),
        }
    }

    /// Whether it is on another filesystem than the directory that holds it.
    fn is_mount_root(&self) -> bool {
        fstatat(&self.fd, "..", AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|parent| parent.st_dev != self.device)
    }

    /// What it means that something was not found here: perhaps there is no "here" any more.
    pub(crate) fn not_found(&self) -> ErrorKind {
        match fstat(&self.fd) {
            Ok(stat) if stat.st_nlink == 0 => ErrorKind::DirectoryRemoved,
            _ => ErrorKind::NotFound,
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
    pub(crate) fn device(&self) -> dev_t {
        self.device
    }

    /// A sync of it has failed: a success beside that proves nothing.
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Whether a write with `RWF_SYNC` may stand in for an fsync here.
    pub(crate) fn sync_writes(&self) -> bool {
        !self.sync_writes_refused.load(Ordering::Relaxed) && *self.sync_writes.get_or_init(|| sys::is_proven(&self.fd))
    }

    /// The filesystem refused such a write: don't ask again.
    pub(crate) fn refuse_sync_writes(&self) {
        self.sync_writes_refused.store(true, Ordering::Relaxed);
    }
}

/// Creates a directory in `parent` and makes it durable there; also if another creates it at the same moment and has not
/// synced it yet.
pub(crate) fn make_in(parent: &Dir, name: &Path, mode: u32) -> Result<()> {
    parent.make(name, mode)?;
    parent.sync()
}
