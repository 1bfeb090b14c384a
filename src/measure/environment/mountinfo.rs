//! Parses `/proc/thread-self/mountinfo`; see proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line: a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    /// Major and minor number: the `st_dev` of its files, except on btrfs, whose subvolumes have their own numbers.
    pub(super) device: (u64, u64),
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) source: Option<String>,
    /// The options of the mount, then those of the filesystem, without duplicates.
    pub(super) options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        let (&[id, _, device, _, point, of_mount, ..], &[kind, source, of_filesystem, ..]) = (&*mount, &*filesystem)
        else {
            return None;
        };
        let (major, minor) = device.split_once(':')?;
        Some(Mount {
            id: id.parse().ok()?,
            device: (major.parse().ok()?, minor.parse().ok()?),
            point: unescape(point).into(),
            kind: kind.to_owned(),
            source: (source != "none" && !source.is_empty()).then(|| unescape(source).to_string_lossy().into_owned()),
            options: options(of_mount, of_filesystem),
        })
    }

    /// The value of the option `name=value`.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(Mount::parse).collect()
}

/// The mount of a directory: the one with the mount id, if known; else the deepest one that covers the path, preferring
/// mounts of the same device. Of two mounts at the same point, the later one hides the other.
pub(super) fn find<'a>(mounts: &'a [Mount], id: Option<u64>, device: (u64, u64), path: &Path) -> Option<&'a Mount> {
    let covers = |mount: &&Mount| path.starts_with(&mount.point);
    let longest = |mount: &&Mount| mount.point.as_os_str().len();
    let known = mounts.iter().find(|mount| Some(mount.id) == id);
    known.or_else(|| mounts.iter().filter(|mount| mount.device == device).filter(covers).max_by_key(longest)).or_else(
        || match device.0 {
            // Major 0: the number is not a device's, and on btrfs may match no mount.
            0 => mounts.iter().filter(covers).max_by_key(longest),
            _ => mounts.iter().filter(|mount| mount.device == device).max_by_key(longest),
        },
    )
}

/// Merges both lists without duplicates. `ro` in either wins over `rw`.
fn options(of_mount: &str, of_filesystem: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for option in of_mount.split(',').chain(of_filesystem.split(',')) {
        let option = unescape(option).to_string_lossy().into_owned();
        if !option.is_empty() && !options.contains(&option) {
            options.push(option);
        }
    }
    if options.iter().any(|option| option == "ro") {
        options.retain(|option| option != "rw");
    }
    options
}

/// Decodes octal escapes, such as `\040` for a space.
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let number = octal.map(|digits| digits.iter().fold(0, |number, digit| number * 8 + u32::from(digit - b'0')));
        match number.and_then(|number| u8::try_from(number).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
40 22 8:17 / /data/xfs rw,noatime shared:5 master:2 - xfs /dev/sdb1 rw,inode64,logbufs=8,logbsize=32k,noquota
41 22 0:33 /@home /home rw,relatime - btrfs /dev/sdc2 rw,space_cache=v2,subvolid=256,subvol=/@home
42 22 0:50 / /merged rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/up\\054per,workdir=/w,volatile
43 22 0:51 / /srv/nfs rw,relatime - nfs4 server:/export rw,vers=4.2,hard,proto=tcp
44 22 0:52 / /mnt/ssh rw,nosuid,nodev - fuse.sshfs me@host: rw,user_id=0,group_id=0
45 22 0:53 / /tmp rw,nosuid shared:9 - tmpfs tmpfs rw,size=4194304k
46 22 7:0 / /mnt/a\\040b\\134c\\011\\012 ro,relatime - ext4 /dev/loop0 rw
47 22 0:54 / /none rw - tmpfs none rw
48 22 0:55 / /data/xfs/over rw - tmpfs first rw
49 48 0:55 / /data/xfs/over rw - tmpfs second rw
a line that is none
";

    fn at(path: &str) -> Mount {
        let mounts = parse(MOUNTS);
        mounts.iter().find(|mount| mount.point == Path::new(path)).unwrap_or_else(|| panic!("{path}")).clone()
    }

    #[test]
    fn lines_are_read() {
        assert_eq!(parse(MOUNTS).len(), 11);
        let root = at("/");
        assert_eq!((root.id, root.device, &*root.kind), (22, (254, 1), "ext4"));
        assert_eq!(root.source.as_deref(), Some("/dev/vda1"));
        assert_eq!(root.options, ["rw", "relatime", "errors=remount-ro"]);
        let xfs = at("/data/xfs");
        assert_eq!((xfs.device, &*xfs.kind, xfs.value("logbufs")), ((8, 17), "xfs", Some("8")));
        let btrfs = at("/home");
        assert_eq!((&*btrfs.kind, btrfs.value("subvol")), ("btrfs", Some("/@home")));
        let overlay = at("/merged");
        assert!(overlay.options.contains(&"volatile".to_owned()));
        assert_eq!(overlay.value("upperdir"), Some("/up,per"));
        assert_eq!(at("/srv/nfs").source.as_deref(), Some("server:/export"));
        assert_eq!(at("/mnt/ssh").kind, "fuse.sshfs");
        assert_eq!(at("/tmp").options, ["rw", "nosuid", "size=4194304k"]);
        assert_eq!(at("/none").source, None);
    }

    #[test]
    fn escapes_are_decoded_and_read_only_wins() {
        let mount = at("/mnt/a b\\c\t\n");
        assert_eq!(mount.options, ["ro", "relatime"]);
        for (text, decoded) in
            [("", ""), ("\\", "\\"), ("\\04", "\\04"), ("\\777", "\\777"), ("\\0400", " 0"), ("\\089", "\\089")]
        {
            assert_eq!(unescape(text), decoded, "{text}");
        }
    }

    #[test]
    fn the_mount_of_a_directory_is_found() {
        let mounts = parse(MOUNTS);
        let find = |id, device, path: &str| find(&mounts, id, device, Path::new(path)).map(|mount| mount.id);
        assert_eq!(find(Some(45), (254, 1), "/"), Some(45));
        assert_eq!(find(None, (8, 17), "/data/xfs/a"), Some(40));
        // A subvolume's number matches no mount.
        assert_eq!(find(Some(99), (0, 77), "/home/me"), Some(41));
        assert_eq!(find(None, (0, 77), "/homes"), Some(22));
        assert_eq!(find(None, (0, 55), "/data/xfs/over/k"), Some(49));
        // A path from another mount namespace.
        assert_eq!(find(None, (8, 17), "/elsewhere"), Some(40));
        assert_eq!(find(None, (8, 99), "/data"), None);
    }
}
