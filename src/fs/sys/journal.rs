//! Where `Barrier::Journal` holds: on filesystems where one journal commit, after the data has been written out, makes data and
//! metadata durable. This is an allow-list. Everything else is refused, with the reason.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;

use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

/// Comma-separated mount options.
struct Options(String);

impl Options {
    fn has(&self, option: &str) -> bool {
        self.0.split(',').any(|found| found == option)
    }

    fn has_prefix(&self, prefix: &str) -> bool {
        self.0.split(',').any(|found| found.starts_with(prefix))
    }
}

/// The reason why the journal barrier does not hold on the filesystem of `dir`; `None` if it does.
pub(crate) fn no_journal(dir: impl AsFd) -> Option<String> {
    let Ok(stat) = fstat(&dir) else { return Some("fstat of the directory failed".into()) };
    let device = (major(stat.st_dev), minor(stat.st_dev));
    let mountinfo = mountinfo();
    let Some((kind, options)) = mount(&mountinfo, device) else {
        // A file on btrfs has another device number than the mount.
        let btrfs = fstatfs(&dir).is_ok_and(|stat| stat.filesystem_type() == BTRFS_SUPER_MAGIC);
        let found = if btrfs { "this is btrfs" } else { "this filesystem could not be identified" };
        return Some(format!("the journal barrier holds on ext4 and xfs only, and {found}"));
    };
    match kind {
        "ext4" => no_ext4_journal(device),
        "xfs" => xfs_objection(&Options(options.into())),
        other => Some(format!("the journal barrier holds on ext4 and xfs only, and this is {other}")),
    }
}

/// The mounts of this thread, which may have its own mount namespace.
fn mountinfo() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default()
}

/// The type and the superblock options of the filesystem on a device (proc_pid_mountinfo(5)).
fn mount(mountinfo: &str, (major, minor): (u64, u64)) -> Option<(&str, &str)> {
    let device = format!("{major}:{minor}");
    let line = mountinfo.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let mut fields = line.split_once(" - ")?.1.split(' ');
    Some((fields.next()?, fields.nth(1)?))
}

/// Whether the filesystem of `dir` is mounted with this type (proc_pid_mountinfo(5)).
pub(super) fn is_mounted_as(dir: impl AsFd, wanted: &str) -> bool {
    let Ok(stat) = fstat(dir) else { return false };
    let device = (major(stat.st_dev), minor(stat.st_dev));
    mount(&mountinfo(), device).is_some_and(|(kind, _)| kind == wanted)
}

/// Whether this xfs has a realtime device, which `syncfs` does not flush. Also true if its mount is not found.
pub(super) fn may_be_realtime(dir: impl AsFd) -> bool {
    let Ok(stat) = fstat(dir) else { return true };
    let device = (major(stat.st_dev), minor(stat.st_dev));
    let mountinfo = mountinfo();
    mount(&mountinfo, device).is_none_or(|(_, options)| Options(options.into()).has_prefix("rtdev="))
}

fn xfs_objection(options: &Options) -> Option<String> {
    let objection = if options.has_prefix("rtdev=") {
        "this xfs has a realtime device"
    } else if options.has_prefix("logdev=") {
        "this xfs has an external log"
    } else if options.has("nobarrier") {
        "this xfs is mounted with nobarrier"
    } else {
        return None;
    };
    Some(format!("the journal barrier does not hold here: {objection}"))
}

fn no_ext4_journal((major, minor): (u64, u64)) -> Option<String> {
    let unknown = |what: &str| Some(format!("cannot check whether the journal barrier holds here: {what}"));
    let Ok(link) = fs::read_link(format!("/sys/dev/block/{major}:{minor}")) else {
        return unknown("the filesystem's device is not in /sys");
    };
    let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(options) = fs::read_to_string(format!("/proc/fs/ext4/{name}/options")) else {
        return unknown(&format!("/proc/fs/ext4/{name}/options cannot be read"));
    };
    let options = Options(options.lines().collect::<Vec<_>>().join(","));
    // The name of an internal journal ends with its inode number, which is 8.
    let has_journal = fs::exists(format!("/proc/fs/jbd2/{name}-8")).unwrap_or(false);
    ext4_objection(&options, has_journal, || fast_commits(&name))
        .map(|why| format!("the journal barrier does not hold here: {why}"))
}

fn ext4_objection(
    options: &Options,
    internal_journal: bool,
    fast_commits: impl FnOnce() -> Option<bool>,
) -> Option<&'static str> {
    if !internal_journal {
        return Some("this ext4 has no internal journal");
    }
    if !options.has("barrier") || options.has("nobarrier") {
        return Some("this ext4 is mounted without barriers");
    }
    if options.has("journal_async_commit") {
        return Some("this ext4 is mounted with journal_async_commit");
    }
    if !options.has("data=ordered") {
        return Some("this ext4 is not mounted with data=ordered");
    }
    if options.has("fc_debug_force") {
        return Some("this ext4 has fast_commit");
    }
    match fast_commits() {
        Some(false) => None,
        Some(true) => Some("this ext4 has fast_commit"),
        None => Some("only this ext4's device, which could not be read, shows whether it has fast_commit"),
    }
}

/// Whether an ext4 has the feature `fast_commit`; `None` if unknown. Reads the superblock if the device is readable. The
/// statistics in `/proc` can only confirm the feature: without it, and also before the first sync, they are zero.
pub(crate) fn fast_commits(device: &str) -> Option<bool> {
    if let Some(superblock) = superblock(device) {
        return has_fast_commit(&superblock);
    }
    match fs::read_to_string(format!("/proc/fs/ext4/{device}/fc_info")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false), // before Linux 5.10
        Ok(text) if text.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).any(|n| n > 0) => Some(true),
        // All zero: without the feature, or before the first sync.
        _ => None,
    }
}

/// Whether an ext4 has a journal, internal or external; `None` if unknown. With a journal, the options contain `data=`.
#[cfg(feature = "bench")]
pub(crate) fn ext4_has_journal(device: &str, options: Option<&str>) -> Option<bool> {
    match options {
        Some(options) => Some(options.lines().any(|option| option.starts_with("data="))),
        // Documentation/filesystems/ext4/super.rst: COMPAT_HAS_JOURNAL.
        None => has_compatible(&superblock(device)?, 0x4),
    }
}

fn superblock(device: &str) -> Option<[u8; 1024]> {
    let mut file = fs::File::open(format!("/dev/{}", device.replace('!', "/"))).ok()?;
    let mut superblock = [0; 1024];
    file.seek(SeekFrom::Start(1024)).ok()?;
    file.read_exact(&mut superblock).ok()?;
    Some(superblock)
}

/// Documentation/filesystems/ext4/super.rst: COMPAT_FAST_COMMIT.
fn has_fast_commit(superblock: &[u8; 1024]) -> Option<bool> {
    has_compatible(superblock, 0x400)
}

/// Whether a superblock has a compatible feature; `None` if it is not ext4's. `s_magic` is at 0x38, `s_feature_compat` at 0x5c.
fn has_compatible(superblock: &[u8; 1024], feature: u32) -> Option<bool> {
    let word = |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().expect("four bytes"));
    (superblock[0x38..0x3a] == [0x53, 0xef]).then(|| word(0x5c) & feature != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
63 43 7:0 / /mnt rw,relatime - xfs /dev/loop0 rw,inode64,logbufs=8
64 43 0:44 / /tmp rw - tmpfs tmpfs rw,size=4g
";

    #[test]
    fn mounts_are_found_by_device() {
        assert_eq!(mount(MOUNTS, (254, 1)), Some(("ext4", "rw,errors=remount-ro")));
        assert_eq!(mount(MOUNTS, (7, 0)), Some(("xfs", "rw,inode64,logbufs=8")));
        assert_eq!(mount(MOUNTS, (0, 44)).unwrap().0, "tmpfs");
        assert_eq!(mount(MOUNTS, (7, 1)), None);
    }

    #[test]
    fn every_objection_is_raised() {
        let ext4 = |options: &str, journal, fast| ext4_objection(&Options(options.into()), journal, || fast);
        let good = "rw,delalloc,barrier,data=ordered";
        assert_eq!(ext4(good, true, Some(false)), None);
        assert!(ext4(good, false, Some(false)).unwrap().contains("no internal journal"));
        assert!(ext4(good, true, Some(true)).unwrap().contains("fast_commit"));
        assert!(ext4(good, true, None).unwrap().contains("could not be read"));
        for (bad, why) in [
            ("rw,nobarrier,data=ordered", "barriers"),
            ("rw,data=ordered", "barriers"),
            ("rw,barrier,data=writeback", "data=ordered"),
            ("rw,barrier,data=journal", "data=ordered"),
            ("rw,barrier,data=ordered,journal_async_commit", "async"),
            ("rw,barrier,data=ordered,fc_debug_force", "fast_commit"),
        ] {
            assert!(ext4(bad, true, Some(false)).unwrap().contains(why), "{bad}");
        }
        let xfs = |options: &str| xfs_objection(&Options(options.into()));
        assert_eq!(xfs("rw,inode64,logbufs=8,noquota"), None);
        assert!(xfs("rw,rtdev=/dev/sdb").unwrap().contains("realtime"));
        assert!(xfs("rw,logdev=/dev/sdb").unwrap().contains("log"));
        assert!(xfs("rw,nobarrier").unwrap().contains("nobarrier"));
    }

    #[test]
    fn a_superblock_has_the_feature() {
        let mut superblock = [0; 1024];
        assert_eq!(has_fast_commit(&superblock), None);
        superblock[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(has_fast_commit(&superblock), Some(false));
        superblock[0x5d] = 0x04;
        assert_eq!(has_fast_commit(&superblock), Some(true));
    }
}
