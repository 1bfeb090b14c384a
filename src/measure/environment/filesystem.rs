//! The filesystem of a directory: its kind, mount options and properties, and its devices in `/sys`.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, dev_t, fstat, major, minor};

use super::mountinfo::{self, Mount};
use super::{Filesystem, kinds};
use crate::fs::sys;

/// A filesystem and the devices it is on.
#[derive(Debug, Default)]
pub(super) struct FilesystemAndDevices {
    pub(super) filesystem: Filesystem,
    /// Its devices, as canonical directories in `/sys`.
    pub(super) places: Vec<PathBuf>,
    /// Why that list may be incomplete.
    pub(super) incomplete: Option<String>,
}

/// The filesystem of an open file or directory. `path` is the path it was opened by.
pub(super) fn look(file: BorrowedFd<'_>, path: &Path) -> FilesystemAndDevices {
    let mounts = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    let mounts = mountinfo::parse(&String::from_utf8_lossy(&mounts));
    let mut found = look_among(&mounts, file, path);
    let Some(mount) = found.1.filter(|mount| mount.kind == "overlay") else { return found.0 };
    // Writes go to the upper directory. Its path is that of the process that mounted the overlay, possibly in another
    // mount namespace.
    let upper = mount.value("upperdir").and_then(|upper| {
        look_at(&mounts, Path::new(upper)).or_else(|| look_at(&mounts, Path::new(&without_backslashes(upper))))
    });
    match upper {
        Some(upper) => {
            found.0.filesystem.volatile |= upper.filesystem.volatile;
            found.0.filesystem.beneath = Some(Box::new(upper.filesystem));
            (found.0.places, found.0.incomplete) = (upper.places, upper.incomplete);
        }
        None => {
            found.0.incomplete = Some("the upper directory of this overlayfs cannot be found".into());
        }
    }
    found.0
}

/// The filesystem of the file at `path`.
pub(super) fn of(path: &Path) -> Option<FilesystemAndDevices> {
    let file = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    Some(look(file.as_fd(), path))
}

/// Removes backslash escapes. An overlayfs shows paths as they were given, with `\\,` for a comma.
fn without_backslashes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain
}

/// The filesystem beneath an overlayfs. If that is an overlayfs too, does not look further.
fn look_at(mounts: &[Mount], path: &Path) -> Option<FilesystemAndDevices> {
    if !path.is_absolute() {
        return None;
    }
    let file = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    Some(look_among(mounts, file.as_fd(), path).0)
}

fn look_among<'a>(mounts: &'a [Mount], file: BorrowedFd<'_>, path: &Path) -> (FilesystemAndDevices, Option<&'a Mount>) {
    let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let device = fstat(file).map_or((0, 0), |stat| numbers(stat.st_dev));
    let Some(mount) = mountinfo::find(mounts, mount_id(file), device, &canonical) else {
        let filesystem = Filesystem { kind: kinds::UNKNOWN.into(), ..Filesystem::default() };
        let incomplete = Some("the filesystem is not mounted in the mount namespace of this process".into());
        return (FilesystemAndDevices { filesystem, places: Vec::new(), incomplete }, None);
    };
    let place = place(mount);
    let name = place.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let options = match &name {
        Some(name) if kinds::is_ext(&mount.kind) => fs::read_to_string(format!("/proc/fs/ext4/{name}/options")).ok(),
        _ => None,
    };
    let filesystem = describe(mount, name.as_deref(), options.as_deref());
    let needs_no_device = filesystem.volatile || filesystem.network || filesystem.fuse && mount.device.0 == 0;
    let incomplete = (place.is_none() && !needs_no_device).then(|| no_place(mount));
    let places = place.map_or_else(Vec::new, |place| members(&mount.kind, place));
    (FilesystemAndDevices { filesystem, places, incomplete }, Some(mount))
}

fn no_place(mount: &Mount) -> String {
    if !Path::new("/sys/dev/block").is_dir() {
        "/sys cannot be read".into()
    } else if mount.device.0 == 0 {
        format!("{} does not name its device", mount.kind)
    } else {
        let (major, minor) = mount.device;
        format!("the device {major}:{minor} is not in /sys")
    }
}

fn numbers(device: dev_t) -> (u64, u64) {
    (major(device), minor(device))
}

/// The mount id of a descriptor. Unlike a device number, it identifies the mount exactly.
fn mount_id(file: BorrowedFd<'_>) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", file.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// The directory of a filesystem's device in `/sys`. Found by number; or by name, if the number is not that of a device.
fn place(mount: &Mount) -> Option<PathBuf> {
    let by_number = |(major, minor): (u64, u64)| fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok();
    if mount.device.0 != 0 {
        return by_number(mount.device);
    }
    let source = Path::new(mount.source.as_deref()?);
    if !source.is_absolute() || kinds::is_network(&mount.kind) {
        return None;
    }
    match fs::metadata(source) {
        Ok(metadata) if metadata.file_type().is_block_device() => by_number(numbers(metadata.rdev())),
        Ok(_) => None,
        // A container may have no device node.
        Err(_) => fs::canonicalize(Path::new("/sys/class/block").join(source.file_name()?)).ok(),
    }
}

/// All devices of a filesystem: the known one, then the others, if it can have several.
fn members(kind: &str, place: PathBuf) -> Vec<PathBuf> {
    let mut places = vec![place];
    if kind != "btrfs" {
        return places;
    }
    let Some(name) = places[0].file_name().map(ToOwned::to_owned) else { return places };
    let filesystems = fs::read_dir("/sys/fs/btrfs").into_iter().flatten().flatten();
    let Some(devices) = filesystems.map(|entry| entry.path().join("devices")).find(|dir| dir.join(&name).exists())
    else {
        return places;
    };
    let others = fs::read_dir(devices).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = others.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    others.sort();
    others.retain(|other| *other != places[0]);
    places.extend(others);
    places
}

/// The properties of a mount. `device` is the name of the filesystem's device, `ext4` the text of
/// `/proc/fs/ext4/<device>/options`.
fn describe(mount: &Mount, device: Option<&str>, ext4: Option<&str>) -> Filesystem {
    let mut options = mount.options.clone();
    for option in ext4.unwrap_or_default().lines().filter(|option| affects_durability(option)) {
        if !options.iter().any(|found| found == option) {
            options.push(option.to_owned());
        }
    }
    let has = |option: &str| options.iter().any(|found| found == option);
    let no_barriers = ["nobarrier", "barrier=0", "barrier=none"].iter().any(|option| has(option));
    let journal = journal(&mount.kind, device, ext4);
    let fast_commit = match (&*mount.kind, journal) {
        ("ext4", Some(true)) => device.and_then(sys::fast_commits),
        ("ext4", Some(false)) => Some(false),
        _ => None,
    };
    let barriers = match &*mount.kind {
        _ if no_barriers => Some(false),
        "xfs" | "btrfs" => Some(true),
        kind if kinds::is_ext(kind) => has("barrier").then_some(true),
        _ => None,
    };
    Filesystem {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        mount_point: Some(mount.point.clone()),
        journal,
        fast_commit,
        barriers,
        volatile: kinds::is_in_memory(&mount.kind) || kinds::is_volatile_overlay(&mount.kind, &options),
        network: kinds::is_network(&mount.kind),
        fuse: kinds::is_fuse(&mount.kind),
        read_only: Some(has("ro")),
        options,
        ..Filesystem::default()
    }
}

/// Whether an ext4 option affects durability. The mount table omits options with their default value.
fn affects_durability(option: &str) -> bool {
    ["barrier", "nobarrier", "journal_async_commit"].contains(&option) || option.starts_with("data=")
}

fn journal(kind: &str, device: Option<&str>, ext4: Option<&str>) -> Option<bool> {
    match kind {
        "xfs" | "btrfs" | "f2fs" | "zfs" | "bcachefs" | "jfs" | "reiserfs" | "nilfs2" => Some(true),
        "vfat" | "msdos" | "exfat" => Some(false),
        "ext2" if ext4.is_none() => Some(false),
        kind if kinds::is_ext(kind) => sys::ext4_has_journal(device?, ext4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(line: &str, ext4: Option<&str>) -> Filesystem {
        describe(&mountinfo::parse(line)[0], Some("no-such-device"), ext4)
    }

    #[test]
    fn an_ext4_has_known_journal_and_barriers() {
        const LINE: &str = "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw,errors=remount-ro";
        let journaled = described(LINE, Some("rw\nbarrier\ndata=ordered\ncommit=5\nresuid=0\n"));
        assert_eq!(
            (journaled.journal, journaled.barriers, journaled.fast_commit),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!(journaled.options, ["rw", "relatime", "errors=remount-ro", "barrier", "data=ordered"]);
        let bare = described(LINE, Some("rw\nbarrier\n"));
        assert_eq!((bare.journal, bare.fast_commit), (Some(false), Some(false)));
        assert_eq!(described(LINE, Some("nobarrier\ndata=writeback")).barriers, Some(false));
        // Without the driver's options, nothing is known.
        let silent = described(LINE, None);
        assert_eq!((silent.journal, silent.barriers), (None, None));
        assert!(!silent.volatile && !silent.network && !silent.fuse);
    }

    #[test]
    fn other_kinds_are_described() {
        let xfs = described("40 22 8:17 / /x rw,noatime - xfs /dev/sdb1 rw,inode64", None);
        assert_eq!((xfs.journal, xfs.barriers), (Some(true), Some(true)));
        assert_eq!(xfs.mount_point.as_deref(), Some(Path::new("/x")));
        assert_eq!(described("40 22 8:17 / /x rw - xfs /dev/sdb1 rw,nobarrier", None).barriers, Some(false));
        let btrfs = described("41 22 0:33 /@home /home ro - btrfs /dev/sdc2 rw,subvol=/@home", None);
        assert_eq!((btrfs.journal, btrfs.barriers, btrfs.read_only), (Some(true), Some(true), Some(true)));
        let overlay = |options| described(&format!("42 22 0:50 / /m rw - overlay overlay rw,{options}"), None);
        assert!(overlay("upperdir=/u,volatile").volatile && overlay("fsync=volatile").volatile);
        assert!(!overlay("upperdir=/volatile,fsync=auto").volatile);
        assert!(described("45 22 0:53 / /tmp rw - tmpfs tmpfs rw", None).volatile);
        let nfs = described("43 22 0:51 / /n rw - nfs4 server:/export rw,vers=4.2", None);
        assert!(nfs.network && !nfs.fuse && nfs.journal.is_none());
        let sshfs = described("44 22 0:52 / /s rw - fuse.sshfs me@host: rw,user_id=0", None);
        assert!(sshfs.network && sshfs.fuse);
        assert_eq!(described("50 22 8:1 / /boot rw - vfat /dev/sda1 rw", None).journal, Some(false));
    }

    #[test]
    fn backslashes_are_removed() {
        for (text, plain) in [("/a", "/a"), (r"/a\,b", "/a,b"), (r"\\\:", r"\:"), (r"a\", r"a\")] {
            assert_eq!(without_backslashes(text), plain);
        }
    }

    #[test]
    fn the_root_is_found() {
        let found = of(Path::new("/")).unwrap();
        assert_ne!(found.filesystem.kind, kinds::UNKNOWN);
        assert_eq!(found.filesystem.mount_point.as_deref(), Some(Path::new("/")));
    }
}
