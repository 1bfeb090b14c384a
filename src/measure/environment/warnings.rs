//! What to know of a place, and what to do about it. What is known is said, and nobody is blamed.

use super::{Device, Environment, Filesystem, Warning, kinds};

/// Less than this is almost nothing.
const LITTLE: u64 = 64 << 20;

/// What is to be said; `untold` is why the devices are not known.
pub(super) fn of(environment: &Environment, untold: Option<&str>) -> Vec<Warning> {
    let mut warnings = Warnings::default();
    if let Some(error) = &environment.directory_fsync.error {
        warnings.no_sync(error, &environment.filesystem.kind);
    }
    if environment.writable == Some(false) && environment.filesystem.read_only != Some(true) {
        warnings.add(
            "This process may not write into the directory.",
            "Run it as the owner of the directory, or change the permissions.",
        );
    }
    warnings.filesystem(&environment.filesystem, "This");
    warnings.room(&environment.filesystem);
    for device in &environment.device {
        warnings.device(device);
    }
    if let Some(why) = untold {
        warnings.add(
            &format!("Not all devices beneath are known: {why}."),
            "Find out what the disk is, and whether its cache survives a power cut or is flushed when it is told to.",
        );
    }
    warnings.0
}

#[derive(Debug, Default)]
struct Warnings(Vec<Warning>);

impl Warnings {
    fn add(&mut self, what: &str, advice: &str) {
        self.0.push(Warning { what: what.to_owned(), advice: advice.to_owned() });
    }

    fn no_sync(&mut self, error: &str, kind: &str) {
        if kind == kinds::UNKNOWN {
            return self.add(&format!("No store can be kept here: {error}."), "Name a directory that can be opened.");
        }
        self.add(
            &format!("No store can be kept here: {error}. New names would not be durable, so ringbolt refuses."),
            "Keep the store on a filesystem that can sync directories: ext4, xfs or btrfs.",
        );
    }

    /// What there is to know of a filesystem: `This`, or one that is beneath.
    fn filesystem(&mut self, filesystem: &Filesystem, this: &str) {
        let kind = &*filesystem.kind;
        let has = |option: &str| filesystem.options.iter().any(|found| found == option);
        if kinds::is_in_memory(kind) {
            // Of memory nothing more is to be said.
            return self.add(
                &format!("{this} is {kind}, which is kept in memory: nothing survives a power cut or a restart."),
                "Keep on a disk what must last.",
            );
        }
        if kinds::is_volatile_overlay(kind, &filesystem.options) {
            self.add(
                &format!(
                    "{this} is an overlayfs mounted with `volatile`: it syncs nothing, and a power cut may take it all."
                ),
                "Mount it without `volatile`, or keep the store on a volume outside of it.",
            );
        }
        if filesystem.read_only == Some(true) {
            self.add(
                &format!("{this} filesystem is mounted read-only."),
                "Mount it read-write; if it was until now, it may have met an error: see the kernel's log.",
            );
        }
        self.journal(filesystem, this);
        if filesystem.barriers == Some(false) {
            self.add(
                &format!("{this} {kind} is mounted without barriers: a sync does not flush the cache of the disk."),
                "Mount it with barriers, unless the cache of every disk beneath survives a power cut (by a battery).",
            );
        }
        if has("data=writeback") {
            self.add(
                &format!(
                    "{this} {kind} is mounted with data=writeback: after a power cut, files that were not synced may hold \
                     what had been deleted. What ringbolt has acknowledged was synced."
                ),
                "Mount it with data=ordered if other programs keep files here; the barrier `journal` needs that, too.",
            );
        }
        self.promises(filesystem, this);
        if let Some(beneath) = &filesystem.beneath {
            self.filesystem(beneath, &format!("Beneath the {kind}: this"));
        }
    }

    fn journal(&mut self, filesystem: &Filesystem, this: &str) {
        let kind = &*filesystem.kind;
        match filesystem.journal {
            Some(false) if kinds::is_ext(kind) => self.add(
                &format!(
                    "{this} {kind} has no journal: a power cut may leave the filesystem itself inconsistent. ringbolt syncs \
                     each file and each directory, but no order holds between what is on its way."
                ),
                "Let fsck run after a power cut, before it is mounted; or add a journal (`tune2fs -j`, when it is not \
                 mounted).",
            ),
            Some(false) => self.add(
                &format!("{this} {kind} has no journal: a power cut may leave the filesystem itself inconsistent."),
                "Let fsck run after a power cut, before it is mounted; ext4, xfs and btrfs have a journal or the like.",
            ),
            _ => {}
        }
    }

    /// What rests upon others, or was not tried.
    fn promises(&mut self, filesystem: &Filesystem, this: &str) {
        let kind = &*filesystem.kind;
        match (filesystem.network, filesystem.fuse) {
            (true, _) => self.add(
                &format!(
                    "{this} is {kind}, a filesystem of another machine: a sync is worth what its server makes of it."
                ),
                "See that the server has things on its disk before it answers (NFS: exported with `sync`).",
            ),
            (false, true) => self.add(
                &format!("{this} is {kind}, served by a process: a sync is worth what that process makes of it."),
                "Find out what it does when it is told to sync a file, and a directory.",
            ),
            // What it is on counts.
            _ if kind == "overlay" => {}
            _ if kind == kinds::UNKNOWN => {
                if filesystem.mount_point.is_none() && filesystem.free_bytes.is_some() {
                    self.add(
                        "What filesystem this is cannot be told.",
                        "Find out; what ringbolt promises was tried on ext4, xfs and btrfs.",
                    );
                }
            }
            _ if kinds::is_tried(kind) => {}
            _ => self.add(
                &format!("{this} is {kind}: what ringbolt promises was not tried there with power cuts."),
                "It rests on what that filesystem makes of a sync; ext4, xfs and btrfs were tried.",
            ),
        }
    }

    fn room(&mut self, filesystem: &Filesystem) {
        let (Some(free), Some(total)) = (filesystem.free_bytes, filesystem.total_bytes) else { return };
        if total == 0 || free >= LITTLE && free >= total / 20 || filesystem.read_only == Some(true) {
            return;
        }
        let percent = free as f64 * 100.0 / total as f64;
        self.add(
            &format!("The filesystem is almost full: {} MiB ({percent:.1}%) are free.", free >> 20),
            "Make room: a file is replaced by a whole new one beside it. A put that finds no room changes nothing.",
        );
    }

    fn device(&mut self, device: &Device) {
        let name = &device.name;
        match &*device.kind {
            "loop" => {
                let file =
                    device.backing_file.as_ref().map_or_else(String::new, |file| format!(" ({})", file.display()));
                let Some(beneath) = &device.backing_filesystem else {
                    return self.add(
                        &format!("{name} is a loop device: what is on it is as durable as its file{file}."),
                        "Find out what filesystem that file is on, and what a sync is worth there.",
                    );
                };
                self.add(
                    &format!(
                        "{name} is a loop device: what is on it is as durable as its file{file}, which is on {}.",
                        beneath.kind
                    ),
                    "Keep that file on a disk whose filesystem flushes it; what holds there holds here.",
                );
                self.filesystem(beneath, &format!("Beneath {name}: this"));
            }
            "memory" => self.add(
                &format!("{name} is a disk in memory: nothing survives a power cut or a restart."),
                "Keep on a disk what must last.",
            ),
            "network" => self.add(
                &format!("{name} is a disk of another machine: a flush is worth what its server makes of it."),
                "See that the server has things on its own disk before it answers.",
            ),
            _ => {}
        }
    }
}
