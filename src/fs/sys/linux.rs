//! Linux.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::libc;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::sys::utsname::uname;
use nix::unistd::fsync;
use rustix::fs::{RenameFlags, ioctl_getflags, renameat_with};

pub(crate) use super::journal::no_journal;
use super::{journal, range, walk};
use crate::protocol::Existing;

/// Opens `path` beneath `root`. No component of it may be a symbolic link.
///
/// Linux has `openat2` since 5.6. Some older seccomp profiles refuse it with EPERM, which such an open returns for no other
/// reason. A refusal is not remembered, because each thread can have its own filter.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(root, path, how) {
            Err(Errno::EINTR) => {}
            // A rename raced with the lookup; or, with O_NONBLOCK, another process holds a lease on the file.
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

/// Starts the write-back of a file without waiting for it.
pub(crate) fn start_sync(file: impl AsFd) -> nix::Result<()> {
    match range::sync(file.as_fd(), libc::SYNC_FILE_RANGE_WRITE) {
        // A sandbox refuses the call. The later sync writes the data.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        result => result,
    }
}

/// Writes a file's data to the device and waits for it. Neither flushes the device's cache nor writes the metadata that
/// locates the data (sync_file_range(2)).
pub(crate) fn sync_range(file: impl AsFd) -> nix::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    range::sync(file.as_fd(), flags)
}

/// Writes back all data on the filesystem of `dir`, and flushes the device's cache.
pub(crate) fn sync_filesystem(dir: impl AsFd) -> nix::Result<()> {
    nix::unistd::syncfs(dir)
}

/// Returns `Errno::EINVAL` for [`Existing::Refuse`] if the filesystem or kernel cannot refuse to replace. A link can.
pub(crate) fn rename(
    from: BorrowedFd<'_>,
    old: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
    existing: Existing,
) -> nix::Result<()> {
    match existing {
        Existing::Replace | Existing::Match(_) => renameat(from, old, to, new),
        Existing::Refuse => rename_refuse(from, old, to, new),
    }
}

/// By rustix: nix has `renameat2` for glibc only.
fn rename_refuse(from: BorrowedFd<'_>, old: &CStr, to: BorrowedFd<'_>, new: &CStr) -> nix::Result<()> {
    match renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Linux before 3.15, or a sandbox. (glibc's wrapper returns EINVAL for it, too.)
        Err(rustix::io::Errno::NOSYS) => Err(Errno::EINVAL),
        Err(errno) => Err(Errno::from_raw(errno.raw_os_error())),
    }
}

/// The path of an open directory, from the kernel.
pub(crate) fn path_of(dir: BorrowedFd<'_>) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap_or_else(|_| ".".into())
}

/// Whether `RWF_SYNC` and `syncfs` are as good as an fsync on this filesystem.
///
/// The kernel passes both to every filesystem, but one that ignores them loses data silently. (FUSE, for example, does not
/// forward a `syncfs` to its daemon.) So this allows only the filesystems that `scripts/crash-test` tests with power cuts, and
/// tmpfs, where nothing is durable anyway. To add one, add it to that script and to `docs/engines-and-barriers.md`, too.
pub(crate) fn syncs_are_trusted(dir: impl AsFd) -> bool {
    fstatfs(&dir).is_ok_and(|stat| match stat.filesystem_type() {
        XFS_SUPER_MAGIC | BTRFS_SUPER_MAGIC | TMPFS_MAGIC => true,
        // ext2 and ext3 have the same magic number, and ext2's syncfs does not flush the device's cache.
        EXT4_SUPER_MAGIC => journal::is_mounted_as(&dir, "ext4"),
        _ => false,
    })
}

/// The reason why one `syncfs` does not make everything on the filesystem of `dir` durable; `None` if it does.
pub(crate) fn no_syncfs(dir: impl AsFd) -> Option<String> {
    if !syncs_are_trusted(&dir) {
        return Some(
            "syncfs is as good as an fsync of each file on ext4, xfs and btrfs only, not on this filesystem".into(),
        );
    }
    if fstatfs(&dir).is_ok_and(|stat| stat.filesystem_type() == XFS_SUPER_MAGIC) && journal::may_be_realtime(&dir) {
        return Some("this xfs has a realtime device, which syncfs does not flush".into());
    }
    let (release, version) = release();
    // syncfs reports write-back errors since Linux 5.8, and errors of the journal and of the flush since 5.17.
    (version < (5, 17)).then(|| format!("syncfs reports every error only since Linux 5.17, and this is {release}"))
}

fn release() -> (String, (u32, u32)) {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (release, version)
}

/// `FS_CASEFOLD_FL` of `linux/fs.h`: names in the directory that differ in case only are the same.
const CASEFOLD: u32 = 0x4000_0000;

/// The reason why no intent log holds in a store on the filesystem of `dir`; `None` if one does.
pub(crate) fn no_intent_log(dir: impl AsFd) -> Option<String> {
    if let Some(why) = no_syncfs(&dir) {
        return Some(why);
    }
    // Two keys that differ only in case would be one file, and the log would hold both.
    if ioctl_getflags(&dir).is_ok_and(|flags| flags.bits() & CASEFOLD != 0) {
        return Some(
            "this directory folds case, and an intent log needs names that differ in case to be different files".into(),
        );
    }
    // btrfs writes a block of the log to a new place each time, which costs two flushes; tmpfs loses it.
    let allowed = fstatfs(&dir).is_ok_and(|stat| [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC].contains(&stat.filesystem_type()));
    (!allowed).then(|| "an intent log was tested with power cuts on ext4 and xfs only".into())
}
