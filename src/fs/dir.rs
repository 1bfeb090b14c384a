//! A directory that is held open. Every call of the protocol goes through one.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, dev_t, fstat, fstatat, mkdirat};

use super::scan::file_type;
use super::sys;
use crate::error::{Error, ErrorKind, Result, Step};

/// A directory by its descriptor: a path may name another directory later.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// The path it was opened by, for messages.
    path: PathBuf,
    /// Whether `RWF_SYNC` is as good as an fsync here; determined on first use.
    sync_writes: OnceLock<bool>,
    sync_writes_refused: AtomicBool,
    /// Whether a sync of this directory has failed.
    distrusted: AtomicBool,
    device: dev_t,
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Dir {
    /// Opens a directory by path. Symbolic links are followed.
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = open(path, FLAGS, Mode::empty()).map_err(|errno| Error::from_errno(errno, Step::OpenDir, path))?;
        Ok(Dir::new(fd, path.to_owned()))
    }

    /// Opens another descriptor of an open directory. Its path, for messages, is asked of the system.
    pub(crate) fn reopen(dir: BorrowedFd<'_>) -> Result<Dir> {
        let path = sys::path_of(dir);
        let fd =
            openat(dir, ".", FLAGS, Mode::empty()).map_err(|errno| Error::from_errno(errno, Step::OpenDir, &path))?;
        Ok(Dir::new(fd, path))
    }

    /// Opens a directory by a path relative to this one. Symbolic links are followed.
    pub(crate) fn open_from(&self, path: &Path) -> Result<Dir> {
        let whole = self.path.join(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = openat(&self.fd, path, FLAGS, Mode::empty());
        Ok(Dir::new(fd.map_err(|errno| Error::from_errno(errno, Step::OpenDir, &whole))?, whole))
    }

    /// A directory whose sync fails.
    #[cfg(all(test, feature = "tokio-uring", target_os = "linux"))]
    pub(crate) fn open_unsyncable(path: &Path) -> Dir {
        Dir::new(open(path, FLAGS | OFlag::O_PATH, Mode::empty()).unwrap(), path.to_owned())
    }

    /// Opens a directory beneath this one without following links. `path` has normal components only; `""` is the directory
    /// itself.
    pub(crate) fn open_beneath(&self, path: &str) -> nix::Result<Dir> {
        let fd = sys::open_beneath(self.fd(), if path.is_empty() { "." } else { path }, FLAGS)?;
        Ok(Dir::new(fd, self.path.join(path)))
    }

    /// Opens the same directory once more. The kernel reports an error of writeback to each open file once.
    pub(crate) fn open_again(&self) -> Result<Dir> {
        self.open_beneath("").map_err(|errno| Error::from_errno(errno, Step::OpenDir, &self.path))
    }

    fn new(fd: OwnedFd, path: PathBuf) -> Dir {
        // This cannot fail on an open descriptor. If it did, the directory would match no device.
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

    /// The type of the entry `name`, without following a symbolic link.
    pub(crate) fn look(&self, name: &CStr) -> nix::Result<SFlag> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|stat| file_type(&stat))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes the entries of the directory durable. On an error it is unknown whether they are.
    pub(crate) fn sync(&self) -> Result<()> {
        sys::sync_dir(&self.fd).map_err(|errno| {
            self.distrust();
            Error::from_errno(errno, Step::SyncDir, &self.path)
        })?;
        self.confirm()
    }

    /// Fails if another sync of this descriptor has failed: the kernel reports an error only once for each open file, so a
    /// success beside it proves nothing.
    pub(crate) fn confirm(&self) -> Result<()> {
        if self.distrusted.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Poisoned, Step::SyncDir, &self.path));
        }
        Ok(())
    }

    /// Makes the name of this directory durable in its parent.
    ///
    /// A parent that may be searched and written but not read cannot be opened to be synced. Then one `syncfs` does it, where
    /// that is as good as an fsync; elsewhere this fails. The root of a mount has no name to sync.
    pub(crate) fn sync_parent(&self) -> Result<()> {
        let path = || self.path.join("..");
        match openat(&self.fd, "..", FLAGS, Mode::empty()) {
            Ok(parent) => sys::sync_dir(parent).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path())),
            Err(Errno::EACCES | Errno::EPERM) if self.is_mount_root() => Ok(()),
            Err(errno @ (Errno::EACCES | Errno::EPERM)) => match sys::no_syncfs(&self.fd) {
                None => sys::sync_filesystem(&self.fd)
                    .map_err(|errno| Error::from_errno(errno, Step::SyncFilesystem, &self.path)),
                Some(why) => Err(Error::from_errno(errno, Step::OpenDir, path())
                    .with_detail(format!("it must be readable to sync the name of the directory in it, since {why}"))),
            },
            Err(errno) => Err(Error::from_errno(errno, Step::OpenDir, path())),
        }
    }

    /// Whether this directory is on another filesystem than its parent.
    fn is_mount_root(&self) -> bool {
        fstatat(&self.fd, "..", AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|parent| parent.st_dev != self.device)
    }

    /// The kind of an ENOENT in this directory: the directory itself may have been removed.
    pub(crate) fn not_found(&self) -> ErrorKind {
        match fstat(&self.fd) {
            Ok(stat) if stat.st_nlink == 0 => ErrorKind::DirectoryRemoved,
            _ => ErrorKind::NotFound,
        }
    }

    /// Creates a directory in this one. Succeeds if it exists. Not durable before [`sync`](Dir::sync).
    pub(crate) fn make(&self, name: &Path, mode: u32) -> Result<()> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(mode as _)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(Error::from_errno(errno, Step::CreateDir, self.path.join(name))),
        }
    }

    /// The device number of the filesystem.
    pub(crate) fn device(&self) -> dev_t {
        self.device
    }

    /// Records that a sync of this directory has failed.
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Whether a write with `RWF_SYNC` may stand in for an fsync here.
    pub(crate) fn sync_writes(&self) -> bool {
        !self.sync_writes_refused.load(Ordering::Relaxed)
            && *self.sync_writes.get_or_init(|| sys::syncs_are_trusted(&self.fd))
    }

    /// Records that the filesystem refused such a write.
    pub(crate) fn refuse_sync_writes(&self) {
        self.sync_writes_refused.store(true, Ordering::Relaxed);
    }
}

/// Creates a directory in `parent` and makes it durable there, also if another process has just created it and not synced it yet.
pub(crate) fn make_in(parent: &Dir, name: &Path, mode: u32) -> Result<()> {
    parent.make(name, mode)?;
    parent.sync()
}
