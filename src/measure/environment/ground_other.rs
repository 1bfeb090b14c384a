//! What is beneath a directory, on a system that is not asked for it.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::{Device, Filesystem, kinds};

/// The filesystem of a directory, its devices, and why these are not known.
pub(super) struct Ground {
    pub(super) filesystem: Filesystem,
    pub(super) device: Vec<Device>,
    pub(super) untold: Option<String>,
}

pub(super) fn look(_: BorrowedFd<'_>, _: &Path) -> Ground {
    let filesystem = Filesystem { kind: kinds::UNKNOWN.into(), ..Filesystem::default() };
    let untold = "what is beneath a directory is told on Linux only".to_owned();
    Ground { filesystem, device: Vec::new(), untold: Some(untold) }
}
