//! Warnings about an environment, each with advice.

use super::{Device, Environment, Filesystem, Warning, kinds};

/// Warn if fewer bytes than this are free.
const LITTLE: u64 = 64 << 20;

/// The warnings for an environment. `incomplete` is why its devices are not all known.
pub(super) fn of(environment: &Environment, incomplete: Option<&str>) -> Vec<Warning> {
    let mut warnings = Warnings::default();
    if let Some(error) = &environment.directory_fsync.error {
        warnings.no_sync(error, &environment.filesystem.kind);
    }
    if environment.writable == Some(false) && environment.filesystem.read_only != Some(true) {
        warnings.add(
            "This process has no permission to write to the directory.",
            "Run as the owner of the directory, or change its permissions.",
        );
    }
    warnings.filesystem(&environment.filesystem, "This");
    warnings.free_space(&environment.filesystem);
    for device in &environment.device {
        warnings.device(device);
    }
    if let Some(why) = incomplete {
        warnings.add(
            &format!("Not all devices beneath the directory are known: {why}."),
            "Find out what the disk is, and whether its cache survives a power cut or obeys flushes.",
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
            return self.add(
                &format!("This directory cannot hold a store: {error}."),
                "Choose a directory that can be opened.",
            );
        }
        self.add(
            &format!("This directory cannot hold a store: {error}. New names would not be durable."),
            "Use a filesystem that can sync directories: ext4, xfs or btrfs.",
        );
    }

    /// Adds the warnings for a filesystem. `this` names it in the text.
    fn filesystem(&mut self, filesystem: &Filesystem, this: &str) {
        let kind = &*filesystem.kind;
        let has = |option: &str| filesystem.options.iter().any(|found| found == option);
        if kinds::is_in_memory(kind) {
            return self.add(
                &format!("{this} is {kind}, which is kept in memory: nothing survives a power cut or a restart."),
                "Keep data that must last on a disk.",
            );
        }
        if kinds::is_volatile_overlay(kind, &filesystem.options) {
            self.add(
                &format!(
                    "{this} is an overlayfs mounted with `volatile`: it syncs nothing, and a power cut may lose everything."
                ),
                "Mount it without `volatile`, or keep the store on a volume outside the overlay.",
            );
        }
        if filesystem.read_only == Some(true) {
            self.add(
                &format!("{this} filesystem is mounted read-only."),
                "Mount it read-write. If it was read-write before, an I/O error may have changed that: see the kernel log.",
            );
        }
        self.journal(filesystem, this);
        if filesystem.barriers == Some(false) {
            self.add(
                &format!("{this} {kind} is mounted without barriers: a sync does not flush the disk cache."),
                "Mount it with barriers, unless every disk beneath has a cache that survives power cuts (battery-backed).",
            );
        }
        if has("data=writeback") {
            self.add(
                &format!(
                    "{this} {kind} is mounted with data=writeback: after a power cut, files that were not synced may contain \
                     deleted data. Everything that ringbolt acknowledged was synced."
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
                     each file and directory, but the filesystem does not order unsynced changes."
                ),
                "Run fsck after a power cut, before mounting it; or add a journal (`tune2fs -j`, while it is \
                 unmounted).",
            ),
            Some(false) => self.add(
                &format!("{this} {kind} has no journal: a power cut may leave the filesystem itself inconsistent."),
                "Run fsck after a power cut, before mounting it; or use ext4, xfs or btrfs, which have a journal or an equivalent.",
            ),
            _ => {}
        }
    }

    /// Adds warnings about filesystems that depend on a server or a process, or were not tested.
    fn promises(&mut self, filesystem: &Filesystem, this: &str) {
        let kind = &*filesystem.kind;
        match (filesystem.network, filesystem.fuse) {
            (true, _) => self.add(
                &format!(
                    "{this} is {kind}, on another machine: a sync is only as durable as the server makes it."
                ),
                "Make sure that the server writes to its disk before it replies (NFS: export with `sync`).",
            ),
            (false, true) => self.add(
                &format!("{this} is {kind}, served by a user-space process: a sync is only as durable as that process makes it."),
                "Find out what it does when a file or a directory is synced.",
            ),
            // The filesystem beneath it counts.
            _ if kind == "overlay" => {}
            _ if kind == kinds::UNKNOWN => {
                if filesystem.mount_point.is_none() && filesystem.free_bytes.is_some() {
                    self.add(
                        "The kind of this filesystem is unknown.",
                        "Find out what it is. ringbolt was tested with power cuts on ext4, xfs and btrfs.",
                    );
                }
            }
            _ if kinds::is_tested(kind) => {}
            _ => self.add(
                &format!("{this} is {kind}, where ringbolt was not tested with power cuts."),
                "Durability depends on how this filesystem implements syncs. ext4, xfs and btrfs were tested.",
            ),
        }
    }

    fn free_space(&mut self, filesystem: &Filesystem) {
        let (Some(free), Some(total)) = (filesystem.free_bytes, filesystem.total_bytes) else { return };
        if total == 0 || free >= LITTLE && free >= total / 20 || filesystem.read_only == Some(true) {
            return;
        }
        let percent = free as f64 * 100.0 / total as f64;
        self.add(
            &format!("The filesystem is almost full: {} MiB ({percent:.1}%) are free.", free >> 20),
            "Free some space: a put writes the whole new file next to the old one. A put that runs out of space changes nothing.",
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
                        &format!("{name} is a loop device: it is as durable as its file{file}."),
                        "Find out what filesystem that file is on, and whether a sync there reaches the disk.",
                    );
                };
                self.add(
                    &format!(
                        "{name} is a loop device: it is as durable as its file{file}, which is on {}.",
                        beneath.kind
                    ),
                    "Keep that file on a filesystem whose syncs reach the disk.",
                );
                self.filesystem(beneath, &format!("Beneath {name}: this"));
            }
            "memory" => self.add(
                &format!("{name} is a RAM disk: nothing survives a power cut or a restart."),
                "Keep data that must last on a disk.",
            ),
            "network" => self.add(
                &format!("{name} is a disk on another machine: a flush is only as durable as the server makes it."),
                "Make sure that the server writes to its own disk before it replies.",
            ),
            _ => {}
        }
    }
}
