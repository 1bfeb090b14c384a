//! The storage beneath a directory: its filesystem, and the devices down to the disk.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::device::{self, Chain};
use super::{Device, Filesystem, filesystem};

/// The filesystem of a directory, its devices, and why that list may be incomplete.
pub(super) struct Ground {
    pub(super) filesystem: Filesystem,
    pub(super) device: Vec<Device>,
    pub(super) incomplete: Option<String>,
}

pub(super) fn look(dir: BorrowedFd<'_>, path: &Path) -> Ground {
    let found = filesystem::look(dir, path);
    let (mut filesystem, mut incomplete) = (found.filesystem, found.incomplete);
    let mut chain = Chain::default();
    for place in &found.places {
        chain.follow(place);
    }
    let device = chain.devices;
    incomplete = incomplete.or(chain.incomplete);
    let is_volatile = |device: &Device| {
        device.kind == device::MEMORY || device.backing_filesystem.as_ref().is_some_and(|beneath| beneath.volatile)
    };
    filesystem.volatile |= device.iter().any(is_volatile);
    Ground { filesystem, device, incomplete }
}
