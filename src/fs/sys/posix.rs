//! Any other Unix: POSIX and nothing more.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::fsync;

pub(crate) use super::walk::open_beneath;
use crate::protocol::Existing;

pub(crate) fn sync_file(file: impl AsFd) -> nix::Result<()> {
    fsync(file)
}

pub(crate) fn sync_dir(dir: impl AsFd) -> nix::Result<()> {
    fsync(dir)
}

/// There is no such call here; nothing depends on it.
pub(crate) fn start_sync(file: impl AsFd) -> nix::Result<()> {
    let _ = file;
    Ok(())
}

/// There is no such call here.
pub(crate) fn sync_range(file: impl AsFd) -> nix::Result<()> {
    let _ = file;
    Err(Errno::ENOSYS)
}

/// There is no such call here.
pub(crate) fn sync_filesystem(dir: impl AsFd) -> nix::Result<()> {
    let _ = dir;
    Err(Errno::ENOSYS)
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
        Existing::Replace | Existing::Match(_) => renameat(from, old, to, new),
        Existing::Refuse => Err(Errno::EINVAL),
    }
}

/// There is no portable way to ask.
pub(crate) fn path_of(_: BorrowedFd<'_>) -> PathBuf {
    ".".into()
}

/// There are no such calls here.
pub(crate) fn is_proven(_: impl AsFd) -> bool {
    false
}

pub(crate) fn no_syncfs(_: impl AsFd) -> Option<String> {
    Some("there is no syncfs on this system".into())
}

pub(crate) fn no_journal(_: impl AsFd) -> Option<String> {
    Some("the journal barrier needs sync_file_range, which Linux alone has".into())
}

/// Names and values of extended attributes.
pub(crate) type Attributes = Vec<(CString, Vec<u8>)>;

/// There are no such calls here.
pub(crate) fn attributes(_: impl AsFd) -> nix::Result<Attributes> {
    Ok(Attributes::new())
}

pub(crate) fn set_attributes(_: impl AsFd, _: &Attributes) -> nix::Result<()> {
    Ok(())
}
