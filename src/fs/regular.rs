//! Opening a regular file for reading, without blocking on FIFOs or devices.

use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::{Error, ErrorKind, Result, Step};

/// Opens a file with `open`, which gets the flags and must add its own rule against symbolic links. `path` is for messages.
pub(crate) fn open(open: impl Fn(OFlag) -> nix::Result<OwnedFd>, path: &Path) -> Result<(File, Metadata)> {
    // O_NONBLOCK: a FIFO must not block the reader.
    let opened = match open(OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        // Another process has a lease on the file (fcntl(2)). The kernel asks it to release the lease; open again without
        // O_NONBLOCK to wait for that.
        Err(Errno::EAGAIN) => open(OFlag::O_RDONLY),
        result => result,
    };
    let file = match opened {
        Ok(file) => File::from(file),
        // If a parent is a file, there is no such file.
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => {
            return Err(Error::from_errno(errno, Step::OpenFile, path).with_kind(ErrorKind::NotFound));
        }
        // A socket, or a device without a driver.
        Err(Errno::ENXIO) => return Err(Error::new(ErrorKind::NotAFile, Step::OpenFile, path)),
        Err(errno) => return Err(Error::from_errno(errno, Step::OpenFile, path)),
    };
    let found = file.metadata().map_err(|error| Error::from_io(error, Step::OpenFile, path))?;
    match found.file_type() {
        kind if kind.is_file() => Ok((file, found)),
        kind if kind.is_dir() => Err(Error::from_errno(Errno::EISDIR, Step::OpenFile, path)),
        kind if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() => {
            Err(Error::new(ErrorKind::NotAFile, Step::OpenFile, path))
        }
        _ => Err(Error::new(ErrorKind::Symlink, Step::OpenFile, path)),
    }
}
