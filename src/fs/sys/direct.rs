//! Direct, synchronous I/O on Linux.

use std::ffi::CStr;
use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
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

/// Locks the first byte of a file, as long as its open file description lives (`F_OFD_SETLK` in fcntl(2)). Anybody who can open the
/// file can ask for this lock without taking it.
pub(crate) fn lock_first_byte(file: impl AsFd) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&first_byte(libc::F_WRLCK))).map(drop)
}

/// Whether another open file description has locked the first byte.
pub(crate) fn is_first_byte_locked(file: impl AsFd) -> nix::Result<bool> {
    let mut found = first_byte(libc::F_RDLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(libc::c_int::from(found.l_type) != libc::F_UNLCK)
}

fn first_byte(kind: libc::c_int) -> libc::flock {
    // The numbers of these constants fit into the fields on every architecture.
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 1, l_pid: 0 }
}
