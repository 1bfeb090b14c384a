//! Opens a path beneath a directory one component at a time, for systems without `openat2`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use crate::fs::scan::file_type;

/// Opens `path`, which has normal components only, beneath `root`. Follows no symbolic link.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let (dirs, name) = path.rsplit_once('/').map_or(("", path), |(dirs, name)| (dirs, name));
    let mut held: Option<OwnedFd> = None;
    for component in dirs.split('/').filter(|component| !component.is_empty()) {
        let at = held.as_ref().map_or(root, AsFd::as_fd);
        held = Some(open_one(at, component, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?);
    }
    open_one(held.as_ref().map_or(root, AsFd::as_fd), name, flags)
}

fn open_one(at: BorrowedFd<'_>, name: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(at, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| link_or(errno, at, name))
}

/// Turns ENOTDIR into ELOOP if `path` is a symbolic link: an open with O_DIRECTORY reports a link as "not a directory".
pub(super) fn link_or(errno: Errno, at: BorrowedFd<'_>, path: &str) -> Errno {
    let is_link =
        || fstatat(at, path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| file_type(&stat) == SFlag::S_IFLNK);
    if errno == Errno::ENOTDIR && is_link() { Errno::ELOOP } else { errno }
}
