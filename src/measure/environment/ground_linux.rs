//! What is beneath a directory: its filesystem, and the devices down to the disk.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::device::{self, Chain};
use super::{Device, Filesystem, filesystem};

/// The filesystem of a directory, its devices, and why these are not known.
pub(super) struct Ground {
    pub(super) filesystem: Filesystem,
    pub(super) device: Vec<Device>,
    pub(super) untold: Option<String>,
}

pub(super) fn look(dir: BorrowedFd<'_>, path: &Path) -> Ground {
    let found = filesystem::look(dir, path);
    let (mut filesystem, mut untold) = (found.filesystem, found.untold);
    let mut chain = Chain::default();
    for place in &found.places {
        chain.follow(place);
    }
    let device = chain.devices;
    untold = untold.or(chain.untold);
    let forgets = |device: &Device| {
        device.kind == device::MEMORY || device.backing_filesystem.as_ref().is_some_and(|beneath| beneath.volatile)
    };
    filesystem.volatile |= device.iter().any(forgets);
    Ground { filesystem, device, untold }
}
