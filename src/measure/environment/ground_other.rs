//! The storage beneath a directory: unknown on this operating system.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::{Device, Filesystem, kinds};

/// The filesystem of a directory, its devices, and why that list may be incomplete.
pub(super) struct Ground {
    pub(super) filesystem: Filesystem,
    pub(super) device: Vec<Device>,
    pub(super) incomplete: Option<String>,
}

pub(super) fn look(_: BorrowedFd<'_>, _: &Path) -> Ground {
    let filesystem = Filesystem { kind: kinds::UNKNOWN.into(), ..Filesystem::default() };
    let incomplete = "the devices are listed on Linux only".to_owned();
    Ground { filesystem, device: Vec::new(), incomplete: Some(incomplete) }
}
