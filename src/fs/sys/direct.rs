//! Direct, synchronous I/O on Linux.

use std::ffi::CStr;
use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstat};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::{ReadWriteFlags, pwritev2};

/// Opens a file for I/O that bypasses the page cache, or through it where the filesystem refuses `O_DIRECT` with EINVAL.
pub(crate) fn open_direct(dir: BorrowedFd<'_>, name: &CStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    match openat(dir, name, flags | OFlag::O_DIRECT, mode) {
        Err(Errno::EINVAL) => openat(dir, name, flags, mode),
        result => result,
    }
}

/// One `pwritev2` with `RWF_DSYNC`: what it has written is durable when it returns. Like `fdatasync`, it covers what is needed to
/// read the bytes again (pwritev2(2)).
pub(crate) fn write_durably(file: impl AsFd, bytes: &[u8], offset: u64) -> nix::Result<usize> {
    pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// The bytes that the file's device writes at once, without reading what is beside them, as far as it is known: the physical block
/// of the disk, and the alignment that direct I/O needs (`STATX_DIOALIGN`, Linux 6.1). 0 if neither is known.
pub(crate) fn write_unit(file: impl AsFd) -> u32 {
    let align =
        statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).map_or(0, |found| found.stx_dio_offset_align);
    let block = fstat(file.as_fd()).ok().and_then(|stat| {
        let device = format!("/sys/dev/block/{}:{}", libc::major(stat.st_dev), libc::minor(stat.st_dev));
        // A partition has the queue of its disk.
        let read = |place: &str| fs::read_to_string(format!("{device}/{place}/physical_block_size")).ok();
        read("queue").or_else(|| read("../queue"))?.trim().parse().ok()
    });
    align.max(block.unwrap_or(0))
}
