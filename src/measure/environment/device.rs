//! Block devices, from the one that a filesystem is on down to the disk, as listed in `/sys`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Device, Filesystem, filesystem};

/// The kind of a device that loses everything at a power cut.
pub(super) const MEMORY: &str = "memory";

/// The most devices to follow, in case of a loop.
const DEPTH: usize = 64;

/// The devices found so far, each before the devices it is on.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) devices: Vec<Device>,
    /// Why the list may be incomplete.
    pub(super) incomplete: Option<String>,
    seen: Vec<PathBuf>,
}

impl Chain {
    /// Adds the device with this canonical directory in `/sys`, and all devices it is on.
    pub(super) fn follow(&mut self, place: &Path) {
        if self.seen.len() >= DEPTH || self.seen.iter().any(|seen| seen == place) {
            return;
        }
        self.seen.push(place.to_owned());
        let mut device = read(place);
        let mut beneath = Vec::new();
        if device.kind == "partition" {
            beneath.extend(place.parent().map(Path::to_owned));
        } else if device.kind == "loop" {
            match backing(place, &device) {
                Some((filesystem, places, incomplete)) => {
                    device.backing_filesystem = Some(filesystem);
                    beneath = places;
                    self.incomplete = self.incomplete.take().or(incomplete);
                }
                None => self.incomplete = Some(format!("the file beneath {} cannot be found", device.name)),
            }
        }
        beneath.extend(slaves(place));
        self.devices.push(device);
        for place in beneath {
            self.follow(&place);
        }
    }
}

fn read(place: &Path) -> Device {
    let name = place.file_name().unwrap_or_default().to_string_lossy().replace('!', "/");
    let kind = kind(place, &name);
    // A partition has no queue of its own: its disk's queue takes its requests.
    let queue = |what: &str| text(place, &format!("queue/{what}"));
    Device {
        model: ["device/model", "device/name", "dm/name", "md/level"].iter().find_map(|what| text(place, what)),
        backing_file: text(place, "loop/backing_file").map(PathBuf::from),
        backing_filesystem: None,
        // In units of 512 bytes, whatever the block size of the device.
        size_bytes: text(place, "size").and_then(|sectors| sectors.parse::<u64>().ok()?.checked_mul(512)),
        rotational: queue("rotational").map(|flag| flag != "0"),
        scheduler: queue("scheduler").map(|all| chosen(&all)),
        write_cache: queue("write_cache"),
        fua: queue("fua").map(|flag| flag != "0"),
        kind: kind.into(),
        name,
    }
}

fn kind(place: &Path, name: &str) -> &'static str {
    let begins = |names: &[&str]| names.iter().any(|begin| name.starts_with(begin));
    if place.join("partition").exists() {
        "partition"
    } else if place.join("loop").is_dir() || begins(&["loop"]) {
        "loop"
    } else if place.join("dm").is_dir() {
        "device-mapper"
    } else if place.join("md").is_dir() {
        "raid"
    } else if begins(&["zram", "ram"]) {
        MEMORY
    } else if begins(&["nbd", "rbd", "drbd"]) {
        "network"
    } else {
        "disk"
    }
}

fn text(place: &Path, what: &str) -> Option<String> {
    let bytes = fs::read(place.join(what)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The active scheduler: the one in brackets in `none [mq-deadline] kyber`.
fn chosen(all: &str) -> String {
    let within = all.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    within.map_or(all, |(chosen, _)| chosen).to_owned()
}

fn slaves(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.join("slaves")).into_iter().flatten().flatten();
    let mut slaves: Vec<PathBuf> = entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    slaves.sort();
    slaves
}

/// The filesystem of a loop device's file, its devices, and why that list may be incomplete. The path is that of the process that
/// set up the device; in our mount namespace it may name another file. A file of another length is rejected.
fn backing(place: &Path, device: &Device) -> Option<(Filesystem, Vec<PathBuf>, Option<String>)> {
    let file = device.backing_file.as_deref()?;
    let offset: u64 = text(place, "loop/offset")?.parse().ok()?;
    let limit: u64 = text(place, "loop/sizelimit")?.parse().ok()?;
    let metadata = fs::metadata(file).ok()?;
    if metadata.is_file() && Some(size(metadata.len(), offset, limit)) != device.size_bytes {
        return None;
    }
    let found = filesystem::of(file)?;
    Some((found.filesystem, found.places, found.incomplete))
}

fn size(file: u64, offset: u64, limit: u64) -> u64 {
    let rest = file.saturating_sub(offset);
    (if limit == 0 { rest } else { rest.min(limit) }) / 512 * 512
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(at: &Path, files: &[(&str, &str)]) -> PathBuf {
        for (name, content) in files {
            let path = at.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::canonicalize(at).unwrap()
    }

    #[test]
    fn the_scheduler_is_the_one_in_brackets() {
        assert_eq!(chosen("none [mq-deadline] kyber bfq"), "mq-deadline");
        assert_eq!(chosen("[none]"), "none");
        assert_eq!(chosen("none"), "none");
    }

    #[test]
    fn a_loop_device_is_as_long_as_its_file() {
        assert_eq!(size(1 << 20, 0, 0), 1 << 20);
        assert_eq!(size((1 << 20) + 511, 512, 0), (1 << 20) - 512);
        assert_eq!(size(1 << 20, 0, 4096), 4096);
    }

    /// A mapping over a RAID of a partition and a disk.
    #[test]
    fn devices_are_followed_to_the_disks() {
        let sys = tempfile::tempdir().unwrap();
        let at = |name: &str| sys.path().join(name);
        let queue = [("queue/rotational", "0\n"), ("queue/fua", "1\n"), ("queue/write_cache", "write back\n")];
        let disk = write(
            &at("sda"),
            &[("size", "2048\n"), ("device/model", "Fast SSD   \n"), ("queue/scheduler", "[none] bfq\n")],
        );
        write(&disk, &queue);
        let part = write(&disk.join("sda1"), &[("partition", "1\n"), ("size", "1024\n")]);
        let other = write(&at("cciss!c0d0"), &[("size", "4096\n"), ("queue/rotational", "1\n")]);
        let raid = write(&at("md0"), &[("md/level", "raid1\n"), ("size", "1000\n"), ("slaves/none", "")]);
        fs::remove_file(raid.join("slaves/none")).unwrap();
        symlink(&part, raid.join("slaves/sda1")).unwrap();
        symlink(&other, raid.join("slaves/cciss!c0d0")).unwrap();
        let mapping = write(&at("dm-0"), &[("dm/name", "secret\n"), ("slaves/none", "")]);
        fs::remove_file(mapping.join("slaves/none")).unwrap();
        symlink(&raid, mapping.join("slaves/md0")).unwrap();

        let mut chain = Chain::default();
        chain.follow(&mapping);
        chain.follow(&part);
        let devices: Vec<_> = chain.devices.iter().map(|device| (&*device.name, &*device.kind)).collect();
        assert_eq!(
            devices,
            [
                ("dm-0", "device-mapper"),
                ("md0", "raid"),
                ("cciss/c0d0", "disk"),
                ("sda1", "partition"),
                ("sda", "disk")
            ]
        );
        assert_eq!(chain.devices[0].model.as_deref(), Some("secret"));
        assert_eq!(chain.devices[1].model.as_deref(), Some("raid1"));
        assert_eq!((chain.devices[2].rotational, chain.devices[2].fua), (Some(true), None));
        assert_eq!((chain.devices[3].size_bytes, chain.devices[3].scheduler.as_deref()), (Some(1024 * 512), None));
        let disk = &chain.devices[4];
        assert_eq!((disk.model.as_deref(), disk.scheduler.as_deref()), (Some("Fast SSD"), Some("none")));
        assert_eq!(
            (disk.write_cache.as_deref(), disk.fua, disk.rotational),
            (Some("write back"), Some(true), Some(false))
        );
        assert_eq!(chain.incomplete, None);
    }

    #[test]
    fn a_loop_device_whose_file_cannot_be_found_is_reported() {
        let sys = tempfile::tempdir().unwrap();
        let backing =
            [("loop/backing_file", "/no/such/file (deleted)\n"), ("loop/offset", "0"), ("loop/sizelimit", "0")];
        let place = write(&sys.path().join("loop9"), &backing);
        let mut chain = Chain::default();
        chain.follow(&place);
        assert_eq!((chain.devices.len(), &*chain.devices[0].kind), (1, "loop"));
        assert!(chain.incomplete.unwrap().contains("loop9"));
        // The file exists: its filesystem is reported.
        let file = sys.path().join("image");
        fs::write(&file, [0; 4096]).unwrap();
        let file = file.to_str().unwrap();
        let backing = [("loop/backing_file", file), ("loop/offset", "0"), ("loop/sizelimit", "0"), ("size", "8")];
        let mut chain = Chain::default();
        chain.follow(&write(&sys.path().join("loop8"), &backing));
        assert!(chain.devices[0].backing_filesystem.is_some());
        // The lengths differ: it is another file.
        let mut chain = Chain::default();
        chain.follow(&write(&sys.path().join("loop8"), &[("size", "16")]));
        assert_eq!(chain.devices[0].backing_filesystem, None);
    }
}
