//! `sync_file_range(2)`, which neither the standard library nor nix nor rustix wraps.
//!
//! This is the crate's only foreign function. Its arguments are integers and a descriptor that is open during the call, so
//! every call is safe, and the function is declared `safe`.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::libc;

// The declaration of the `libc` crate: glibc and musl take 64-bit offsets on every target. A `BorrowedFd` has the layout of a
// C `int` (documented by the standard library).
unsafe extern "C" {
    safe fn sync_file_range(
        file: BorrowedFd<'_>,
        offset: libc::off64_t,
        len: libc::off64_t,
        flags: libc::c_uint,
    ) -> libc::c_int;
}

/// Covers the whole file: a length of 0 means "to the end".
pub(super) fn sync(file: BorrowedFd<'_>, flags: libc::c_uint) -> nix::Result<()> {
    Errno::result(sync_file_range(file, 0, 0, flags)).map(drop)
}
