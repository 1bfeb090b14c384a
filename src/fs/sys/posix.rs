//! Any other Unix: POSIX and nothing more.

use std::ffi::CString;
use std::os::fd::AsFd;

use nix::unistd::fsync;

pub(crate) use super::absent::*;

pub(crate) fn sync_file(file: impl AsFd) -> nix::Result<()> {
    fsync(file)
}

pub(crate) fn sync_dir(dir: impl AsFd) -> nix::Result<()> {
    fsync(dir)
}

/// Names and values of extended attributes.
pub(crate) type Attributes = Vec<(CString, Vec<u8>)>;

/// POSIX has no extended attributes.
pub(crate) fn attributes(_: impl AsFd) -> nix::Result<Attributes> {
    Ok(Attributes::new())
}

pub(crate) fn set_attributes(_: impl AsFd, _: &Attributes) -> nix::Result<()> {
    Ok(())
}
