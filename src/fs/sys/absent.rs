//! What Linux has and other systems lack: calls that do nothing or fail, and the reasons.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;

pub(crate) use super::walk::open_beneath;
use crate::protocol::Existing;

/// Does nothing: this system has no such call, and nothing depends on it.
pub(crate) fn start_sync(file: impl AsFd) -> nix::Result<()> {
    let _ = file;
    Ok(())
}

/// Not available on this system.
pub(crate) fn sync_range(file: impl AsFd) -> nix::Result<()> {
    let _ = file;
    Err(Errno::ENOSYS)
}

/// Not available on this system.
pub(crate) fn sync_filesystem(dir: impl AsFd) -> nix::Result<()> {
    let _ = dir;
    Err(Errno::ENOSYS)
}

/// Returns `Errno::EINVAL` for [`Existing::Refuse`]: a rename cannot refuse to replace here. A link can.
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

/// There is no portable way to find it.
pub(crate) fn path_of(_: BorrowedFd<'_>) -> PathBuf {
    ".".into()
}

/// This system has no `O_DIRECT`.
pub(crate) fn open_direct(dir: BorrowedFd<'_>, name: &CStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    openat(dir, name, flags, mode)
}

/// Not available on this system.
pub(crate) fn lock_first_byte(_: impl AsFd) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

/// Not available on this system.
pub(crate) fn is_first_byte_locked(_: impl AsFd) -> nix::Result<bool> {
    Err(Errno::ENOSYS)
}

/// Not available on this system as one call.
pub(crate) fn write_durably(_: impl AsFd, _: &[u8], _: u64) -> nix::Result<usize> {
    Err(Errno::ENOSYS)
}

/// There is no portable way to find it.
pub(crate) fn write_unit(_: impl AsFd) -> u32 {
    0
}

/// This system has neither `RWF_SYNC` nor `syncfs`.
pub(crate) fn syncs_are_trusted(_: impl AsFd) -> bool {
    false
}

pub(crate) fn no_syncfs(_: impl AsFd) -> Option<String> {
    Some("this system has no syncfs".into())
}

pub(crate) fn no_journal(_: impl AsFd) -> Option<String> {
    Some("the journal barrier needs sync_file_range, which only Linux has".into())
}

pub(crate) fn no_intent_log(_: impl AsFd) -> Option<String> {
    Some("an intent log needs direct, synchronous writes and syncfs, which only Linux has".into())
}
