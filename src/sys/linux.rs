//! Linux.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::sys::utsname::uname;
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

/// Writes back and flushes everything on the filesystem of `dir`.
pub(crate) fn sync_filesystem(dir: impl AsFd) -> nix::Result<()> {
    nix::unistd::syncfs(dir)
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

/// Whether this is a filesystem on which `RWF_SYNC` and `syncfs` are as good as an fsync.
///
/// Both reach every filesystem, but each must act on them: one that forgets, or that would have to ask a daemon, loses data
/// in silence (FUSE, for one, tells its daemon nothing of a syncfs). So: only those where power cuts were tried, and
/// tmpfs, where nothing is durable anyhow.
pub(crate) fn is_proven(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|stat| {
        [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC].contains(&stat.filesystem_type())
    })
}

/// Whether `syncfs` reports whatever goes wrong: pages since Linux 5.8, the journal and the flush since 5.17.
pub(crate) fn syncfs_tells_errors() -> bool {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(5), Some(17))
}
