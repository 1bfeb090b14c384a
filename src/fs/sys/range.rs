//! `sync_file_range(2)`, which neither the standard library nor nix has.
//!
//! The one declaration of a foreign function: what it is given are numbers, and a descriptor that is open for the time of the
//! call, so there is no way to call it that is not safe, and no `unsafe` where it is called.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::libc;

// As in `libc`: both glibc and musl take 64-bit offsets here on every target. A `BorrowedFd` is passed as the number that it
// is (its layout is documented).
unsafe extern "C" {
    safe fn sync_file_range(
        file: BorrowedFd<'_>,
        offset: libc::off64_t,
        len: libc::off64_t,
        flags: libc::c_uint,
    ) -> libc::c_int;
}

/// The whole file (a length of 0 is "to the end").
pub(super) fn sync(file: BorrowedFd<'_>, flags: libc::c_uint) -> nix::Result<()> {
    Errno::result(sync_file_range(file, 0, 0, flags)).map(drop)
}
