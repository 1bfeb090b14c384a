//! Linux.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::unistd::fsync;

use super::walk;
use crate::plan::Existing;

/// Opens `path` beneath `root`; no component of it may be a symbolic link. `openat2` since Linux 5.6; refused by some
/// older seccomp profiles with EPERM, which an open of this kind gives for no other reason. A refusal is not remembered:
/// filters belong to threads.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(root, path, how) {
            Err(Errno::EINTR) => {}
            // A rename raced with the walk; or, with O_NONBLOCK, another process has a lease on the file.
            Err(Errno::EAGAIN) if attempts < 16 => {}
            Err(Errno::ENOSYS | Errno::EPERM) => return walk::open_beneath(root, path, flags),
            Err(errno) => return Err(walk::link_or(errno, root, path)),
            Ok(fd) => return Ok(fd),
        }
    }
}

pub(crate) fn sync_file(file: impl AsFd) -> nix::Result<()> {
    fsync(file)
}

pub(crate) fn sync_dir(dir: impl AsFd) -> nix::Result<()> {
    fsync(dir)
}

/// `Errno::EINVAL` where a rename cannot refuse to replace: a link can.
pub(crate) fn rename(
    from: BorrowedFd<'_>,
    old: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
    existing: Existing,
) -> nix::Result<()> {
    match existing {
        Existing::Replace => renameat(from, old, to, new),
        Existing::Refuse => rename_refuse(from, old, to, new),
    }
}

#[cfg(target_env = "gnu")]
fn rename_refuse(from: BorrowedFd<'_>, old: &CStr, to: BorrowedFd<'_>, new: &CStr) -> nix::Result<()> {
    use nix::fcntl::{RenameFlags, renameat2};
    renameat2(from, old, to, new, RenameFlags::RENAME_NOREPLACE)
}

#[cfg(not(target_env = "gnu"))]
fn rename_refuse(_: BorrowedFd<'_>, _: &CStr, _: BorrowedFd<'_>, _: &CStr) -> nix::Result<()> {
    Err(Errno::EINVAL)
}

/// Whether a write with `RWF_SYNC` is as good as an fsync on this filesystem.
///
/// The flag reaches every filesystem, but each must act on it (`generic_write_sync`): one that forgets, or that hands
/// the flag to a daemon which does, loses the data in silence. So: only those where power cuts were tried, and tmpfs,
/// where nothing is durable anyhow. All others get an explicit fsync.
pub(crate) fn honours_sync_write(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|stat| {
        [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC].contains(&stat.filesystem_type())
    })
}
