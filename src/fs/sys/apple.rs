//! macOS and other Apple systems.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::fsync;

pub(crate) use super::absent::*;

/// Uses `F_FULLFSYNC`: on Apple systems a plain fsync leaves the data in the drive's cache (fsync(2)).
pub(crate) fn sync_file(file: impl AsFd) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_FULLFSYNC).map(drop)
}

/// Uses `F_FULLFSYNC`, or a plain fsync on a filesystem that supports `F_FULLFSYNC` for files only.
pub(crate) fn sync_dir(dir: impl AsFd) -> nix::Result<()> {
    let dir = dir.as_fd();
    match sync_file(dir) {
        Err(Errno::ENOTSUP | Errno::EINVAL | Errno::ENOTTY) => fsync(dir),
        result => result,
    }
}
